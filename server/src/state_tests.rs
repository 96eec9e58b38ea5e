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
        State::Installing(Phase::Pull),
        State::Installing(Phase::Verify),
        State::Resuming(Phase::Pull),
        State::Finishing,
        State::Rebooting,
        State::Booted,
        State::Working,
        State::Worked,
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
    // armed, booting, installing start, pull, verify, resuming pull, finishing, rebooting, booted, running, done,
    // failed, withdrawn
    let cases = [
        (Input::LoaderSeen, "booting = ! ! ! = ! ! ! ! ! ! !"),
        (Input::BootedAgain { may_resume: true }, "= = resuming resuming failed = failed = = failed = = ="),
        (Input::BootedAgain { may_resume: false }, "= = failed failed failed = failed = = failed = = ="),
        (Input::Enrolled, "installing installing ! ! ! installing ! ! ! ! ! ! !"),
        (Input::TasksTaken, "running running ! ! ! running ! ! ! ! ! ! !"),
        (Input::PhaseStarted(Phase::Pull), "! ! installing = = ! = ! ! ! ! ! !"),
        (Input::PhaseStarted(Phase::Clear), "! ! installing ! ! ! = ! ! ! ! ! !"),
        (Input::PhaseStarted(Phase::Start), "! ! = = = ! = ! ! = ! ! !"),
        (Input::PhaseStarted(Phase::Finish), "! ! finishing finishing finishing ! = ! ! ! ! ! !"),
        (Input::PhaseStarted(Phase::Unknown), "! ! = = = ! = ! ! ! ! ! !"),
        (Input::PhaseStarted(Phase::Boot), "! ! ! ! ! ! = ! ! ! ! ! !"),
        (Input::PhaseStarted(Phase::Task), "! ! ! ! ! ! = ! ! = ! ! !"),
        (
            Input::AgentFailed { phase: Phase::Pull, reason: "x".into() },
            "! ! failed failed failed ! failed failed ! failed ! = !",
        ),
        (Input::Installed, "! ! ! ! rebooting ! rebooting = ! ! ! ! !"),
        (Input::Worked, "! ! ! ! ! ! ! ! ! done = ! !"),
        (Input::BootReported, "! ! ! ! ! ! ! booted = ! ! ! !"),
        (
            Input::Withdrawn { by: "x".into() },
            "withdrawn withdrawn failed failed failed failed failed = = withdrawn = = =",
        ),
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
fn an_interrupted_installation_goes_on_where_it_was_and_never_clears_twice() {
    let pulling = State::Installing(Phase::Pull);
    let again = pulling.after(&Input::BootedAgain { may_resume: true }).unwrap().unwrap();
    assert_eq!(again, State::Resuming(Phase::Pull));
    let enrolled = again.after(&Input::Enrolled).unwrap().unwrap();
    assert_eq!(enrolled, pulling, "that disks were written to is not forgotten");
    for phase in [Phase::Start, Phase::Probe, Phase::Plan, Phase::Mount, Phase::Pull] {
        assert_eq!(enrolled.after(&Input::PhaseStarted(phase)), Ok(None), "{phase:?}");
    }
    for phase in [Phase::Clear, Phase::Partition, Phase::Assemble, Phase::Format] {
        assert!(enrolled.after(&Input::PhaseStarted(phase)).is_err(), "{phase:?}");
    }
    let start = State::Installing(Phase::Clear);
    assert_eq!(start.after(&Input::PhaseStarted(Phase::Clear)), Ok(None), "a message may come twice");
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
