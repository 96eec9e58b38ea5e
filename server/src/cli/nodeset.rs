//! nodeset.

use super::args::Nodeset;
use super::client::Client;
use super::console::{Console, Exit, Usage};
use super::{objects, targets};
use crate::wire::{NodesetRequest, Outcome};
use sysclone_protocol::task::Tasks;

/// States that can be typed beside work from memory; `osimage` may be followed by `=NAME`.
const STATES: [&str; 4] = ["boot", "offline", "stat", "osimage"];

/// Sets what nodes do at their next network boot. A bad node does not keep the others from being set.
pub(super) async fn run(args: &Nodeset, console: &mut Console) -> anyhow::Result<Exit> {
    check(&args.state)?;
    let client = Client::new(&args.common.socket);
    let (nodes, missed) = targets::known(&client, &args.noderange, console).await?;
    let outcomes: Vec<Outcome> = if nodes.is_empty() {
        Vec::new()
    } else {
        let request = NodesetRequest { nodes, state: args.state.clone() };
        client.post("/api/v1/nodeset", &request).await?
    };
    let exit =
        if args.common.json { objects::show_json(&outcomes, console)? } else { shown(&outcomes, console)? };
    Ok(if missed { Exit::Failed } else { exit })
}

/// Refuses words that are not states before anything is asked of the daemon.
pub(super) fn check(state: &str) -> Result<(), Usage> {
    let word = state.split_once('=').map_or(state, |(word, _)| word);
    match (STATES.contains(&word), word == "osimage" || word == state) {
        (false, _) => match state.parse::<Tasks>() {
            Ok(_) => Ok(()),
            Err(error) => Err(Usage(error.to_string())),
        },
        (true, false) => Err(Usage(format!("'{word}' takes no value"))),
        (true, true) => Ok(()),
    }
}

fn shown(outcomes: &[Outcome], console: &mut Console) -> anyhow::Result<Exit> {
    for outcome in outcomes {
        match &outcome.result {
            Ok(text) => console.line(&format!("{}: {text}", outcome.name))?,
            Err(error) => console.node_error(&outcome.name, error)?,
        }
    }
    Ok(Exit::failed_if(outcomes.iter().any(|outcome| outcome.result.is_err())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_checked_before_anything_is_asked() {
        for state in
            ["boot", "stat", "osimage", "osimage=demo", "osimage=demo@3", "shell", "runcmd=lsblk,shutdown"]
        {
            assert_eq!(check(state), Ok(()), "{state}");
        }
        assert_eq!(check("install").unwrap_err().0, "Unknown state install requested");
        assert_eq!(check("boot=x").unwrap_err().0, "'boot' takes no value");
    }
}
