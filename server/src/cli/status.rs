//! nodestat, and how a node's state is said in one line.

use sysclone_protocol::agent::Phase;

use super::args::Nodestat;
use super::client::Client;
use super::console::{Console, Exit};
use super::targets;
use crate::wire::NodeStatus;
use crate::wire::update::NodeSync;

/// Shows where nodes stand.
pub(super) async fn run(args: &Nodestat, console: &mut Console) -> anyhow::Result<Exit> {
    let client = Client::new(&args.common.socket);
    let (nodes, missed) = targets::known(&client, &args.noderange, console).await?;
    if args.drift {
        let found = synced(&client, &nodes).await?;
        if args.common.json {
            console.json(&found)?;
        } else {
            for sync in &found {
                console.line(&format!("{}: {}", sync.node, drifted(sync)))?;
            }
        }
        return Ok(Exit::failed_if(missed));
    }
    let found = of(&client, &nodes).await?;
    if args.common.json {
        console.json(&found)?;
    } else {
        for status in &found {
            console.line(&format!("{}: {}", status.node, said(status)))?;
        }
    }
    Ok(Exit::failed_if(missed))
}

/// Where the named nodes stand, in the order of their names.
pub(super) async fn of(client: &Client, nodes: &[String]) -> anyhow::Result<Vec<NodeStatus>> {
    let mut found: Vec<NodeStatus> = Vec::with_capacity(nodes.len());
    for batch in targets::batches(nodes) {
        found.extend(client.get::<Vec<NodeStatus>>(&format!("/api/v1/status?nodes={batch}")).await?);
    }
    found.sort_by(|a, b| a.node.cmp(&b.node));
    Ok(found)
}

async fn synced(client: &Client, nodes: &[String]) -> anyhow::Result<Vec<NodeSync>> {
    let mut found: Vec<NodeSync> = Vec::with_capacity(nodes.len());
    for batch in targets::batches(nodes) {
        found.extend(client.get::<Vec<NodeSync>>(&format!("/api/v1/synced?nodes={batch}")).await?);
    }
    found.sort_by(|a, b| a.node.cmp(&b.node));
    Ok(found)
}

/// `demo@3 since 2026-01-02T03:04:05Z, 4 paths differ (2026-01-03T03:04:05Z), demo@4 is newer`.
fn drifted(sync: &NodeSync) -> String {
    let Some(image) = &sync.image else { return "no clone".to_owned() };
    let mut text = image.clone();
    if let Some(at) = &sync.synced_at {
        text += &format!(" since {at}");
    }
    text += &match sync.drift {
        None => ", not verified".to_owned(),
        Some(drift) => {
            let at = sync.drift_at.as_deref().unwrap_or("unknown time");
            format!(", {drift} {} ({at})", if drift == 1 { "path differs" } else { "paths differ" })
        }
    };
    if let Some(newest) = &sync.newest {
        text += &format!(", the newest is {newest}");
    }
    if !sync.reboot.is_empty() {
        text += &format!(", to be restarted: {}", sync.reboot.join(", "));
    }
    text
}

/// A state in words: `installing demo@3: pull 42 %`, `failed demo@3 in pull: disk error`.
pub(super) fn said(status: &NodeStatus) -> String {
    let failed = status.state == "failed";
    let percent = percent(status).filter(|_| !failed).map(|percent| format!(" {percent} %"));
    worded(status, percent.as_deref().unwrap_or_default())
}

/// The same without what changes all the time.
pub(super) fn steady(status: &NodeStatus) -> String {
    worded(status, "")
}

fn worded(status: &NodeStatus, percent: &str) -> String {
    let (before_phase, before_reason) = if status.state == "failed" { (" in ", ": ") } else { (": ", ", ") };
    let image = status.image.as_ref().or(status.tasks.as_ref()).map(|image| format!(" {image}"));
    let phase = status.phase.map(|phase| format!("{before_phase}{}", phase_word(phase)));
    let reason = status.reason.as_ref().map(|reason| format!("{before_reason}{reason}"));
    let (image, phase) = (image.unwrap_or_default(), phase.unwrap_or_default());
    format!("{}{image}{phase}{percent}{}", status.state, reason.unwrap_or_default())
}

/// How far the current phase is. A phase that has nothing to do is not shown as a part of nothing.
pub(super) fn percent(status: &NodeStatus) -> Option<u64> {
    let (done, total) = status.progress.filter(|(_, total)| *total > 0)?;
    let percent = u128::from(done.min(total)) * 100 / u128::from(total);
    Some(u64::try_from(percent).expect("at most 100"))
}

/// The phase as people know it.
pub(super) fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Start => "start",
        Phase::Probe => "probe",
        Phase::Plan => "plan",
        Phase::Clear => "clear",
        Phase::Partition => "partition",
        Phase::Assemble => "assemble",
        Phase::Format => "format",
        Phase::Mount => "mount",
        Phase::Pull => "pull",
        Phase::Identity => "identity",
        Phase::Bootloader => "bootloader",
        Phase::Verify => "verify",
        Phase::Finish => "finish",
        Phase::Capture => "capture",
        Phase::Boot => "boot",
        Phase::Task => "task",
        Phase::Unknown => "a later phase",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn node(name: &str, state: &str, phase: Option<Phase>) -> NodeStatus {
        NodeStatus {
            node: name.to_owned(),
            state: state.to_owned(),
            phase,
            progress: None,
            image: Some("demo@3".to_owned()),
            tasks: None,
            reason: None,
            since: "2026-01-02T03:04:05Z".to_owned(),
        }
    }

    #[test]
    fn a_state_is_said_in_one_line() {
        let defined = NodeStatus { image: None, ..node("n1", "defined", None) };
        assert_eq!(said(&defined), "defined");
        let armed =
            NodeStatus { reason: Some("waits for a network boot".into()), ..node("n1", "armed", None) };
        assert_eq!(said(&armed), "armed demo@3, waits for a network boot");
        let progress = Some((421, 1000));
        let pulling = NodeStatus { progress, ..node("n1", "installing", Some(Phase::Pull)) };
        assert_eq!(said(&pulling), "installing demo@3: pull 42 %");
        let reason = Some("disk sda: I/O error".to_owned());
        let failed = NodeStatus { reason, ..node("n1", "failed", Some(Phase::Pull)) };
        assert_eq!(said(&failed), "failed demo@3 in pull: disk sda: I/O error");
    }

    #[test]
    fn how_far_a_clone_is_from_its_image_is_said_in_one_line() {
        let none = NodeSync {
            node: "n1".into(),
            image: None,
            newest: None,
            synced_at: None,
            drift: None,
            drift_at: None,
            reboot: vec![],
        };
        assert_eq!(drifted(&none), "no clone");
        let installed = NodeSync { image: Some("demo@3".into()), newest: Some("demo@4".into()), ..none };
        assert_eq!(drifted(&installed), "demo@3, not verified, the newest is demo@4");
        let at = || Some("2026-01-02T03:04:05Z".to_owned());
        let reboot = vec!["kernel".to_owned()];
        let synced =
            NodeSync { newest: None, synced_at: at(), drift: Some(1), drift_at: at(), reboot, ..installed };
        assert_eq!(
            drifted(&synced),
            "demo@3 since 2026-01-02T03:04:05Z, 1 path differs (2026-01-02T03:04:05Z), to be restarted: kernel"
        );
    }

    #[test]
    fn percents_stay_between_0_and_100() {
        let at =
            |progress| percent(&NodeStatus { progress: Some(progress), ..node("n1", "installing", None) });
        for (progress, expected) in
            [((0, 0), None), ((0, 5), Some(0)), ((9, 5), Some(100)), ((u64::MAX, u64::MAX), Some(100))]
        {
            assert_eq!(at(progress), expected);
        }
    }
}
