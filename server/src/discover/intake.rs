//! What machines that are being discovered say, and what they are answered.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sysclone_protocol::discover::{Machine, Reply, Report};
use sysclone_protocol::names::Mac;

use super::become_node::{Named, name_machine};
use super::claims::{self, Match};
use super::leases::{Lease, Leases};
use crate::app::App;
use crate::boot::is_armed;
use crate::db::{DbError, NewEvent};
use crate::trust::{Token, TokenHash};

/// How often a machine is to report.
const PAUSE_SECONDS: u32 = 10;
/// What a machine says again before this time is over is not read.
const SAYS_AGAIN: Duration = Duration::from_secs(5);
/// Machines of which it is remembered that they have said what they are. The others are asked again.
const REMEMBERED: usize = 1 << 16;
/// Who is written down as the one who made a machine a node.
const ACTOR: &str = "discovery";

/// Machines that are being discovered.
#[derive(Debug, Default)]
pub struct Discovery {
    /// Their addresses.
    pub leases: Leases,
    /// Held by who makes a machine a node: no two may become the same one.
    pub(super) naming: tokio::sync::Mutex<()>,
    told: Mutex<HashMap<Mac, Instant>>,
}

impl Discovery {
    /// With the addresses that the database has.
    #[must_use]
    pub fn load(recorded: &[Lease]) -> Self {
        Self { leases: Leases::load(recorded, Instant::now()), ..Self::default() }
    }

    /// Lets a machine say again what it is.
    pub(super) fn ask_again(&self, mac: &Mac) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).remove(mac);
    }

    fn has_told(&self, mac: &Mac) -> bool {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).contains_key(mac)
    }

    /// Whether what a machine says is to be read; then it counts as said.
    fn tells(&self, mac: &Mac, now: Instant) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.get(mac).is_some_and(|at| now.duration_since(*at) < SAYS_AGAIN) {
            return false;
        }
        if told.len() >= REMEMBERED {
            told.clear();
        }
        told.insert(*mac, now);
        true
    }
}

/// What a report is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// This.
    Reply(Reply),
    /// The token is nobody's: the address that it was made for is not this machine's any more.
    Nobodys,
}

/// The token of a machine with this address. It is not stored, and worth nothing once the address is another's.
pub(crate) fn token(app: &App, lease: &Lease) -> sysclone_protocol::names::Secret {
    app.keys.ticket.token(Token::Discover, &lease.mac.to_string(), &lease.ip.octets())
}

/// Takes a report.
///
/// # Errors
/// The database failed.
pub async fn hear(app: &App, report: Report) -> Result<Heard, DbError> {
    let mac = report.mac;
    let Some((lease, true)) = app.discovery.leases.of(&mac) else { return Ok(Heard::Nobodys) };
    // Hashes are compared, so the time that takes tells nothing.
    if TokenHash::of(token(app, &lease).reveal()) != TokenHash::of(report.token.reveal()) {
        return Ok(Heard::Nobodys);
    }
    app.discovery.leases.heard(&mac, Instant::now());
    if let Some(machine) = report.machine
        && app.discovery.tells(&mac, Instant::now())
    {
        keep(app, &lease, claims::tidy(machine)).await?;
    }
    if app.known.now().by_mac(&mac).is_none() {
        recognise(app, &mac).await?;
    }
    let reply = Reply {
        tell: !app.discovery.has_told(&mac),
        restart: has_work(app, &mac).await?,
        pause_seconds: PAUSE_SECONDS,
    };
    Ok(Heard::Reply(reply))
}

async fn keep(app: &App, lease: &Lease, machine: Machine) -> Result<(), DbError> {
    let (mac, ip) = (&lease.mac, lease.ip.to_string());
    let uuid = claims::uuid_of(&machine, mac);
    let mut tx = app.db.write().await?;
    if tx.put_discovered((mac, &ip), &uuid, &machine).await? {
        let words = claims::in_words(&machine);
        let text = format!(
            "{mac} at {ip} says that it is {words}; to make it a node: nodediscoverdef -u {uuid} -n <node>"
        );
        tx.event(NewEvent { node: None, actor: "agent", kind: "discovered", text }).await?;
    }
    tx.commit().await
}

/// Whether there is something to do for the node that the machine has become.
async fn has_work(app: &App, mac: &Mac) -> Result<bool, DbError> {
    let Some(node) = app.known.now().by_mac(mac).map(|node| node.name.clone()) else { return Ok(false) };
    Ok(app.db.current_job(node.as_str()).await?.is_some_and(|job| is_armed(&job)))
}

/// Makes a machine the node that says that it is this machine, or the next of those that were chosen for that.
async fn recognise(app: &App, mac: &Mac) -> Result<(), DbError> {
    let Some(found) = app.db.discovered_by(mac).await? else { return Ok(()) };
    let snapshot = app.known.now();
    let refusal = async |node: Option<&str>, text: String| {
        let event = NewEvent { node, actor: ACTOR, kind: "discovery-ambiguous", text };
        app.record_refusal(event).await;
    };
    let uuid = &found.uuid;
    let (node, method) = match claims::find(&snapshot, &found.machine, mac) {
        Match::One(node, method) => (node, method),
        Match::Several(nodes) => {
            let nodes = nodes.join(", ");
            let text = format!(
                "{mac} could be any of {nodes}, by what they say: nodediscoverdef -u {uuid} -n <node> decides"
            );
            refusal(None, text).await;
            return Ok(());
        }
        Match::None => match next_in_order(app).await? {
            Some(node) => (node, "seq"),
            None => return Ok(()),
        },
    };
    if let Named::Refused(why) = name_machine(app, &found, (&node, method), ACTOR).await? {
        refusal(Some(&node), format!("{mac} says that it is {node}: {why}")).await;
    }
    Ok(())
}

/// The next node that machines become in order.
async fn next_in_order(app: &App) -> Result<Option<String>, DbError> {
    let nodes = app.db.discovery_sequence().await?;
    let snapshot = app.known.now();
    let is_free =
        |name: &String| snapshot.node(name).and_then(Result::ok).is_some_and(|node| node.macs.is_empty());
    Ok(nodes.into_iter().find(is_free))
}
