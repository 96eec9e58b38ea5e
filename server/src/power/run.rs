//! One task on many nodes, a limited number at a time. Each node has a time limit and fails alone. When nobody listens
//! any more, no further node is begun; those begun are finished, so that it is known how they ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use sysclone_exec::System;
use tokio::sync::mpsc;

use super::error::PowerError;
use super::fields::Task;
use super::machine::{Machine, Tools};
use super::perform::perform;
use super::target::{Target, read_target};
use crate::app::App;
use crate::db::{DbError, NewEvent};
use crate::define::Snapshot;
use crate::wire::power::{Limits, NodeAnswer};

/// Pause before a BMC that did not answer is asked again.
const PAUSE: Duration = Duration::from_secs(2);

/// What was asked for, and by whom.
pub(crate) struct Asked {
    pub(crate) nodes: Vec<String>,
    pub(crate) task: Task,
    pub(crate) limits: Limits,
    pub(crate) actor: String,
}

/// Does what is asked, once [`record_request`] has put it on record, and sends an answer for each node, as they come.
pub(crate) async fn run(app: &App, asked: &Asked, answers: mpsc::Sender<NodeAnswer>) {
    let unheard = AtomicBool::new(false);
    let snapshot = app.known.now();
    let work = stream::iter(asked.nodes.clone()).map(|name| {
        let (unheard, snapshot) = (&unheard, &snapshot);
        async move {
            if unheard.load(Ordering::Relaxed) || app.cancel.is_cancelled() {
                return None;
            }
            let result = on_node(app, snapshot, &name, asked).await;
            Some((name, result))
        }
    });
    let mut work = std::pin::pin!(work.buffer_unordered(asked.limits.fanout()));
    let mut left_out = 0_usize;
    while let Some(done) = work.next().await {
        let Some((name, result)) = done else {
            left_out += 1;
            continue;
        };
        let result = result.map_err(|error| error.to_string());
        record_result(app, asked, &name, &result).await;
        let answer = NodeAnswer { name, step: None, result };
        if answers.send(answer).await.is_err() {
            unheard.store(true, Ordering::Relaxed);
        }
    }
    if left_out > 0 && !asked.task.only_reads() {
        let text = format!("{} was interrupted: {left_out} nodes were left as they are", asked.task);
        record(app, asked, None, text).await;
    }
}

/// One node, to its end or its time limit.
pub(super) async fn on_node(
    app: &App,
    snapshot: &Snapshot,
    name: &str,
    asked: &Asked,
) -> Result<String, PowerError> {
    let limit = asked.limits.time();
    let target = target_of(app, snapshot, name)?;
    let tools = Tools { runner: Arc::new(System), ipmi_home: app.ipmi_home.clone() };
    let mut machine = Machine::new(target, &tools);
    let tries = async {
        let mut left = asked.limits.retries;
        loop {
            match perform(&mut machine, asked.task).await {
                Err(error) if left > 0 && error.nothing_was_done() => {
                    left -= 1;
                    tracing::debug!(node = name, %error, "no answer, asking again");
                    tokio::time::sleep(PAUSE).await;
                }
                done => return done,
            }
        }
    };
    let late = PowerError::TimeLimit { seconds: limit.as_secs() };
    tokio::time::timeout(limit, tries).await.unwrap_or(Err(late))
}

fn target_of(app: &App, snapshot: &Snapshot, name: &str) -> Result<Target, PowerError> {
    let unknown = || format!("Could not find an object named '{name}' of type 'node'.");
    let attributes = snapshot.attributes(name).ok_or_else(|| PowerError::Definition(unknown()))?;
    let open = |text: &str| app.keys.attributes.open("bmcpassword", text).map_err(|error| error.to_string());
    read_target(name, attributes, &|_| None, &open).map_err(PowerError::Definition)
}

/// Before anything is done: who asked for what, on each node.
///
/// # Errors
/// It could not be written down; then nothing may be done.
pub(crate) async fn record_request(app: &App, asked: &Asked) -> Result<(), DbError> {
    if asked.task.only_reads() {
        return Ok(());
    }
    let mut tx = app.db.write().await?;
    for name in &asked.nodes {
        let text = format!("{} was asked for", asked.task);
        tx.event(NewEvent { node: Some(name), actor: &asked.actor, kind: "power-asked", text }).await?;
    }
    tx.commit().await
}

async fn record_result(app: &App, asked: &Asked, name: &str, result: &Result<String, String>) {
    if asked.task.only_reads() {
        return;
    }
    let text = match result {
        Ok(text) => format!("{}: {text}", asked.task),
        Err(error) => format!("{} failed: {error}", asked.task),
    };
    record(app, asked, Some(name), text).await;
}

/// What was done is done: that it cannot be written down is no reason to call it failed.
async fn record(app: &App, asked: &Asked, node: Option<&str>, text: String) {
    let event = NewEvent { node, actor: &asked.actor, kind: "power", text };
    if let Err(error) = app.db.record(event).await {
        tracing::error!(%error, "an event could not be recorded");
    }
}
