//! Every move of the state machine, the legal and the illegal.

use super::*;

fn failed() -> State {
    State::Failed { phase: Phase::Pull, reason: "x".into() }
}

fn all_states() -> Vec<State> {
    vec![
        State::Armed,
        State::Booting,
        State::Installing(Phase::Start),
        State::Installing(Phase::Verify),
        State::Finishing,
        State::Rebooting,
        State::Booted,
        failed(),
        State::Withdrawn,
    ]
}

/// For every state of [`all_states`], in order: `=` no change, `!` illegal, else the word of the next state.
fn row(input: &Input) -> Vec<&'static str> {
    all_states()
        .iter()
        .map(|state| match state.after(input) {
            Ok(Some(next)) => next.word(),
            Ok(None) => "=",
            Err(_) => "!",
        })
        .collect()
}

#[test]
fn the_whole_table_of_moves() {
    let cases = [
        (Input::LoaderSeen, "booting = ! ! ! ! ! ! !"),
        (Input::BootedAgain, "= = failed failed failed = = = ="),
        (Input::Enrolled, "installing installing ! ! ! ! ! ! !"),
        (Input::PhaseStarted(Phase::Pull), "! ! installing = = ! ! ! !"),
        (Input::PhaseStarted(Phase::Start), "! ! = = = ! ! ! !"),
        (Input::PhaseStarted(Phase::Finish), "! ! finishing finishing = ! ! ! !"),
        (Input::PhaseStarted(Phase::Unknown), "! ! = = = ! ! ! !"),
        (Input::PhaseStarted(Phase::Boot), "! ! ! ! = ! ! ! !"),
        (
            Input::AgentFailed { phase: Phase::Pull, reason: "x".into() },
            "! ! failed failed failed failed ! = !",
        ),
        (Input::Installed, "! ! ! rebooting rebooting = ! ! !"),
        (Input::BootReported, "! ! ! ! ! booted = ! !"),
        (Input::Withdrawn { by: "x".into() }, "withdrawn withdrawn failed failed failed = = = ="),
    ];
    for (input, expected) in cases {
        assert_eq!(row(&input).join(" "), expected, "{input:?}");
    }
}

#[test]
fn a_whole_life_ends_in_booted() {
    let mut state = State::Armed;
    let phases = [Phase::Probe, Phase::Plan, Phase::Clear, Phase::Pull, Phase::Verify, Phase::Finish];
    let inputs = [Input::LoaderSeen, Input::Enrolled].into_iter();
    let inputs = inputs.chain(phases.map(Input::PhaseStarted));
    for input in inputs.chain([Input::Installed, Input::BootReported]) {
        state = state.after(&input).unwrap().unwrap_or(state);
    }
    assert_eq!(state, State::Booted);
}

#[test]
fn what_cannot_be_is_said_in_words() {
    let error = State::Installing(Phase::Pull).after(&Input::BootReported).unwrap_err();
    assert_eq!(error.to_string(), "a boot report is not possible while the node is installing (pull)");
}

#[test]
fn phases_go_through_their_words() {
    for phase in [Phase::Start, Phase::Pull, Phase::Bootloader, Phase::Boot] {
        assert_eq!(parse_phase(&phase_word(phase)), phase);
    }
    assert_eq!(parse_phase("teleport"), Phase::Unknown);
}
