//! Where nodes stand, for people.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::progress::Progress;
use crate::app::App;
use crate::db::{Attributes, DbError, Job, Work};
use crate::define::Snapshot;
use crate::state::State;
use crate::wire::{NodeStatus, Objects};

/// Longer than any phase that says nothing meanwhile; making an initramfs takes minutes on slow machines.
const SILENCE: SignedDuration = SignedDuration::from_mins(10);

/// The status of nodes, or of all; nodes that are not defined are left out.
///
/// # Errors
/// The database cannot be read.
pub async fn statuses(app: &App, nodes: Option<&[String]>) -> Result<Vec<NodeStatus>, DbError> {
    let snapshot = app.known.now();
    let jobs = jobs_by_node(app, nodes).await?;
    let all: Vec<String>;
    let names = match nodes {
        Some(nodes) => nodes,
        None => {
            all = snapshot.names().map(str::to_owned).collect();
            &all
        }
    };
    let defined = names.iter().filter(|name| snapshot.attributes(name).is_some());
    Ok(defined.map(|name| status(name, jobs.get(name), &app.progress)).collect())
}

fn status(name: &str, job: Option<&Job>, progress: &Progress) -> NodeStatus {
    let Some(job) = job else {
        return NodeStatus {
            node: name.to_owned(),
            state: "defined".to_owned(),
            phase: None,
            progress: None,
            image: None,
            tasks: None,
            reason: None,
            since: String::new(),
        };
    };
    NodeStatus {
        node: name.to_owned(),
        state: job.state.word().to_owned(),
        phase: job.state.phase(),
        progress: progress.get(&job.id).filter(|_| job.state.is_running()),
        image: job.work.image().map(ToString::to_string),
        tasks: match &job.work {
            Work::Tasks(tasks) => Some(tasks.to_string()),
            Work::Install(_) => None,
        },
        reason: reason(job, progress.last_heard(&job.id), Timestamp::now()),
        since: job.changed_at.to_string(),
    }
}

/// Why it failed, or what it waits for.
fn reason(job: &Job, heard: Option<Timestamp>, now: Timestamp) -> Option<String> {
    let heard = heard.unwrap_or(job.changed_at).max(job.changed_at);
    match &job.state {
        state if state.is_running() && now.duration_since(heard) > SILENCE => {
            let at = heard.round(jiff::Unit::Second).unwrap_or(heard);
            Some(format!("no word from the agent since {at}: look at the node's console"))
        }
        State::Failed { reason, .. } => Some(reason.clone()),
        state if state.awaits_ticket() && job.expires_at <= now => Some(
            "its ticket has expired, the next network boot goes to its own disk: run nodeset again".into(),
        ),
        state => state.waits_for().map(str::to_owned),
    }
}

/// What the next network boot of each node gets, in xCAT's words: `sysclone debian12-x86_64`, `boot` or `offline`.
///
/// # Errors
/// The database cannot be read.
pub(super) async fn currstate(
    app: &App,
    snapshot: &Snapshot,
    nodes: Option<&[String]>,
) -> Result<BTreeMap<String, String>, DbError> {
    let jobs = jobs_by_node(app, nodes).await?;
    let offline: HashSet<String> = app.db.offline(nodes).await?.into_iter().collect();
    let now = Timestamp::now();
    let word = |name: &str, attributes: &Attributes| {
        let armed = jobs.get(name).filter(|job| job.state.awaits_ticket() && job.expires_at > now);
        if let Some(job) = armed {
            armed_word(&job.work, attributes)
        } else if offline.contains(name) {
            "offline".to_owned()
        } else {
            "boot".to_owned()
        }
    };
    let wanted: Option<HashSet<&String>> = nodes.map(|nodes| nodes.iter().collect());
    let names =
        snapshot.names().filter(|name| wanted.as_ref().is_none_or(|w| w.contains(&(*name).to_owned())));
    Ok(names.filter_map(|name| Some((name.to_owned(), word(name, snapshot.attributes(name)?)))).collect())
}

/// The headline of an armed node; arming noted what it installs at the node.
#[must_use]
pub fn armed_word(work: &Work, attributes: &Attributes) -> String {
    let get = |attr: &str| attributes.get(attr).map(String::as_str).unwrap_or("unknown");
    match work {
        Work::Install(_) => format!("sysclone {}-{}", get("os"), get("arch")),
        Work::Tasks(tasks) => tasks.to_string(),
    }
}

/// Adds to node definitions what the server knows: `status`, `statustime`, `currstate`.
///
/// # Errors
/// The database cannot be read.
pub async fn node_views(app: &App, nodes: &mut Objects) -> Result<(), DbError> {
    let names: Vec<String> = nodes.keys().cloned().collect();
    let states = currstate(app, &app.known.now(), Some(&names)).await?;
    for status in statuses(app, Some(&names)).await? {
        let Some(attributes) = nodes.get_mut(&status.node) else { continue };
        attributes.insert("status".to_owned(), status.state);
        if !status.since.is_empty() {
            attributes.insert("statustime".to_owned(), status.since);
        }
        if let Some(state) = states.get(&status.node) {
            attributes.insert("currstate".to_owned(), state.clone());
        }
    }
    Ok(())
}

async fn jobs_by_node(app: &App, nodes: Option<&[String]>) -> Result<HashMap<String, Job>, DbError> {
    let jobs = app.db.current_jobs(nodes).await?;
    Ok(jobs.into_iter().map(|job| (job.node.to_string(), job)).collect())
}
