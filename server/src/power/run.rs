//! One task on many nodes, a limited number at a time. Each node has a time limit and fails alone. When nobody listens
//! any more, no further node is begun; those begun are finished, so that it is known how they ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use sysclone_exec::System;
use sysclone_protocol::names::Secret;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::error::PowerError;
use super::fields::Task;
use super::hmc::{Login, NETBOOT_LIMIT};
use super::machine::{Machine, Tools};
use super::perform::perform;
use super::target::{NetworkBoot, Target, read_target};
use crate::app::App;
use crate::db::{DbError, NewEvent};
use crate::define::Snapshot;
use crate::wire::power::{Limits, NodeAnswer};
use crate::wire::{ObjectType, Objects};

/// Pause before a BMC that did not answer is asked again.
const PAUSE: Duration = Duration::from_secs(2);

/// What was asked for, and by whom.
pub(crate) struct Asked {
    pub(crate) nodes: Vec<String>,
    /// One after the other on each node; the first one that fails ends the node's turn.
    pub(crate) tasks: Vec<Task>,
    pub(crate) limits: Limits,
    pub(crate) actor: String,
}

impl Asked {
    fn only_reads(&self) -> bool {
        self.tasks.iter().all(|task| task.only_reads())
    }

    fn words(&self) -> String {
        self.tasks.iter().map(Task::to_string).collect::<Vec<_>>().join(", ")
    }

    /// What an answer calls a step: nothing when there is only one.
    fn step(&self, task: Task) -> Option<String> {
        (self.tasks.len() > 1).then(|| task.verb().to_owned())
    }
}

/// One task's outcome on a node.
type Done = (Task, Result<String, PowerError>);

/// Does what is asked, once [`record_request`] has put it on record, and sends an answer for each node, as they come.
pub(crate) async fn run(app: &App, asked: &Asked, answers: mpsc::Sender<NodeAnswer>) {
    let unheard = AtomicBool::new(false);
    let snapshot = app.known.now();
    let logins = logins(app).await;
    let work = stream::iter(asked.nodes.clone()).map(|name| {
        let (unheard, snapshot, logins) = (&unheard, &snapshot, &logins);
        async move {
            if unheard.load(Ordering::Relaxed) || app.cancel.is_cancelled() {
                return None;
            }
            let result = on_node(app, (snapshot, logins), &name, asked).await;
            Some((name, result))
        }
    });
    let mut work = std::pin::pin!(work.buffer_unordered(asked.limits.fanout()));
    let mut left_out = 0_usize;
    while let Some(done) = work.next().await {
        let Some((name, steps)) = done else {
            left_out += 1;
            continue;
        };
        for (task, result) in steps {
            let result = result.map_err(|error| error.to_string());
            record_result(app, asked, (&name, task), &result).await;
            let answer = NodeAnswer { name: name.clone(), step: asked.step(task), result };
            if answers.send(answer).await.is_err() {
                unheard.store(true, Ordering::Relaxed);
            }
        }
    }
    if left_out > 0 && !asked.only_reads() {
        let text = format!("{} was interrupted: {left_out} nodes were left as they are", asked.words());
        record(app, asked, None, text).await;
    }
}

/// All tasks on one node, each to its end or the node's time limit.
async fn on_node(
    app: &App,
    (snapshot, logins): (&Snapshot, &Objects),
    name: &str,
    asked: &Asked,
) -> Vec<Done> {
    let limit = asked.limits.time();
    let mut done = Vec::new();
    let known_hosts = app.config.state_dir.join("known_hosts");
    let ssh = Login { identity: app.config.ssh.identity.clone(), known_hosts };
    let tools = Tools { runner: Arc::new(System), ipmi_home: app.ipmi_home.clone(), ssh };
    let mut machine = target_of(app, (snapshot, logins), name).map(|target| Machine::new(target, &tools));
    let tasks = machine.as_ref().map_or_else(|_| asked.tasks.clone(), |machine| machine.tasks(&asked.tasks));
    // A partition's network boot takes as long as it takes; nobody would type a limit for it.
    let limit = if tasks == [Task::Netboot] { limit.max(NETBOOT_LIMIT) } else { limit };
    let deadline = Instant::now() + limit;
    for task in tasks {
        let result = match &mut machine {
            Ok(machine) => match timeout_at(deadline, tried(machine, task, asked.limits.retries)).await {
                Ok(result) => result,
                Err(_) => Err(PowerError::TimeLimit { seconds: limit.as_secs() }),
            },
            Err(reason) => Err(PowerError::Definition(reason.clone())),
        };
        let failed = result.is_err();
        done.push((task, result));
        if failed {
            break;
        }
    }
    done
}

/// One task, asked again while nobody answers.
async fn tried(machine: &mut Machine, task: Task, retries: u16) -> Result<String, PowerError> {
    let mut left = retries;
    loop {
        match perform(machine, task).await {
            Err(error) if left > 0 && error.nothing_was_done() => {
                left -= 1;
                tracing::debug!(%error, "no answer, asking again");
                tokio::time::sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}

/// User names and passwords by method, from the objects of type `passwd`.
async fn logins(app: &App) -> Objects {
    app.db.objects(ObjectType::Passwd, None).await.unwrap_or_else(|error| {
        tracing::error!(%error, "passwords of methods cannot be read; nodes need their own");
        Objects::new()
    })
}

fn target_of(app: &App, (snapshot, logins): (&Snapshot, &Objects), name: &str) -> Result<Target, String> {
    let unknown = || format!("Could not find an object named '{name}' of type 'node'.");
    let attributes = snapshot.attributes(name).ok_or_else(unknown)?;
    let open = |text: &str| app.keys.attributes.open("bmcpassword", text).map_err(|error| error.to_string());
    let default = |method: &str| {
        let login = logins.get(method)?;
        let password = match login.get("password") {
            Some(sealed) => app.keys.attributes.open("password", sealed).ok()?,
            // There it is a key that opens.
            None if ["hmc", "ivm"].contains(&method) => Secret::new(String::new()),
            None => return None,
        };
        Some((login.get("username").cloned().unwrap_or_default(), password))
    };
    let mut target = read_target(name, attributes, &default, &open)?;
    if let Target::Hmc(lpar) = &mut target {
        lpar.boot = network_boot(app, snapshot, name);
    }
    Ok(target)
}

/// What a partition's firmware is told. Where there is no gateway this server stands for it: the HMC wants one.
fn network_boot(app: &App, snapshot: &Snapshot, name: &str) -> Option<NetworkBoot> {
    let mac = *snapshot.node(name)?.ok()?.macs.first()?;
    let placed = snapshot.placed(name)?.ok()?;
    let server = app.config.listen.address;
    let gateway = placed.network.gateway.unwrap_or(server);
    let mask = u32::MAX.checked_shl(32 - u32::from(placed.network.prefix)).unwrap_or(0).into();
    Some(NetworkBoot { mac, server, client: placed.ip, gateway, mask })
}

/// Before anything is done: who asked for what, on each node.
///
/// # Errors
/// It could not be written down; then nothing may be done.
pub(crate) async fn record_request(app: &App, asked: &Asked) -> Result<(), DbError> {
    if asked.only_reads() {
        return Ok(());
    }
    let mut tx = app.db.write().await?;
    for name in &asked.nodes {
        let text = format!("{} was asked for", asked.words());
        tx.event(NewEvent { node: Some(name), actor: &asked.actor, kind: "power-asked", text }).await?;
    }
    tx.commit().await
}

async fn record_result(
    app: &App,
    asked: &Asked,
    (name, task): (&str, Task),
    result: &Result<String, String>,
) {
    if task.only_reads() {
        return;
    }
    let text = match result {
        Ok(text) => format!("{task}: {text}"),
        Err(error) => format!("{task} failed: {error}"),
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
