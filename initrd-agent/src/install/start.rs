//! From process start to an order: drivers, disks, network, enrolment.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use sysclone_exec::{System, missing_tools};
use sysclone_protocol::agent::{AgentEventKind, EnrollRequest, InstallOrder, Order, Phase, TaskOrder};
use sysclone_protocol::cmdline::{BootArgs, Uplink};
use sysclone_protocol::inventory::Inventory;
use sysclone_protocol::names::Secret;

use super::reporter::Reporter;
use super::steps::Steps;
use super::{CA_FILE, KEY_FILE};
use crate::client::{CallError, Client, Patience};
use crate::drivers::{Modules, settle};
use crate::init::initrd_fault;
use crate::session::{DiskState, FILE, Session};
use crate::{clock, disk, network, tools};

/// Disks count as found when no new one has come for this long. Drivers return before slow buses have looked at all
/// their ports, and a disk that comes late must not make a wrong choice look like the only one.
const DISKS_QUIET: Duration = Duration::from_millis(1500);
/// A machine without any disk after this time has none.
const DISKS_APPEAR: Duration = Duration::from_secs(60);
/// How long a machine whose initrd is not whole tries to tell the server, before it boots again.
const TELLS: Duration = Duration::from_secs(30);
/// How often the list of disks is read meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A node that the server knows and has given an order.
pub(super) struct Enrolled {
    pub(super) client: Client,
    pub(super) order: InstallOrder,
    /// Base64 Ed25519 key from the initrd.
    pub(super) pinned_key: String,
    pub(super) ca_pem: String,
    pub(super) server: String,
    pub(super) inventory: Inventory,
    pub(super) modules: Option<Modules>,
    pub(super) steps: Steps,
    /// Tools that the initrd should have and has not.
    pub(super) missing: Vec<&'static str>,
}

/// A machine with something to do.
pub(super) enum Started {
    /// Become a clone.
    Install(Box<Enrolled>),
    /// Work from memory.
    Tasks(Box<(TaskOrder, Steps)>),
    /// Boot again, because the initrd did not come whole.
    Short,
}

/// Starts the machine and trades its ticket for an order.
pub(super) fn start(began: Instant) -> anyhow::Result<Started> {
    tracing::info!("phase start started");
    let missing: Vec<&str> = missing_tools(&tools::required()).iter().map(|tool| tool.0).collect();
    if !missing.is_empty() {
        tracing::error!("the initrd lacks: {}", missing.join(", "));
    }
    let cmdline = std::fs::read_to_string("/proc/cmdline").context("reading /proc/cmdline")?;
    let args = BootArgs::parse(&cmdline)?;
    let ca_pem = read_pinned(CA_FILE)?;
    let pinned_key = read_pinned(KEY_FILE)?.trim().to_owned();
    let modules = match Modules::of_running_kernel() {
        Ok(modules) => Some(modules),
        Err(error) => {
            tracing::warn!(%error, "no kernel modules in the initrd; drivers must be built in");
            None
        }
    };
    if let Some(fault) = initrd_fault() {
        tell_fault(&args, &ca_pem, modules.as_ref(), &fault);
        return Ok(Started::Short);
    }
    let inventory = bring_up(&args.uplink(), modules.as_ref())?;
    let client = Client::new(&args.server, &ca_pem, Patience::Endless)?;
    tracing::info!("asking {} for an order for {}", args.server, args.node);
    let order = client.enroll(&request(&args, inventory.clone())).context("enrolling")?;
    check_order(&order, &args)?;
    let now = match &order {
        Order::Install(order) => order.now,
        Order::Tasks(order) => order.now,
    };
    match clock::set_from_server(now) {
        Ok(off) => tracing::info!("clock set, it was off by {off} s"),
        Err(error) => tracing::warn!(%error, "the clock could not be set"),
    }
    let session = session(&args, &order);
    let client = client.with_token(session.token.clone());
    session.save(Path::new(FILE)).with_context(|| format!("writing {FILE}"))?;
    let reporter = Reporter::start(client.clone());
    let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    reporter.tell(Phase::Start, AgentEventKind::Started);
    reporter.tell(Phase::Start, AgentEventKind::Done { millis });
    tracing::info!("phase start done in {}.{:03} s", millis / 1000, millis % 1000);
    let steps = Steps::new(reporter, session, Path::new(FILE));
    let server = args.server;
    Ok(match order {
        Order::Tasks(order) => Started::Tasks(Box::new((order, steps))),
        Order::Install(order) => Started::Install(Box::new(Enrolled {
            client,
            order,
            pinned_key,
            ca_pem,
            server,
            inventory,
            modules,
            steps,
            missing,
        })),
    })
}

fn read_pinned(path: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(path)
        .with_context(|| format!("reading {path}, which the boot server adds to the initrd that it serves"))
}

/// What the supervisor needs of an order.
fn session(args: &BootArgs, order: &Order) -> Session {
    let (token, allow_shell, resume) = match order {
        Order::Install(order) => (&order.token, order.allow_shell, order.resume),
        Order::Tasks(order) => (&order.token, order.allow_shell, false),
    };
    Session {
        server: args.server.clone(),
        token: token.clone(),
        allow_shell,
        phase: Phase::Start,
        disk_state: if resume { DiskState::Incomplete } else { DiskState::Untouched },
        failure: None,
    }
}

/// Loads drivers, brings up the network and waits for disks, the last two at the same time.
pub(crate) fn bring_up(uplink: &Uplink, modules: Option<&Modules>) -> anyhow::Result<Inventory> {
    if let Some(modules) = modules {
        settle(modules, Path::new("/sys/devices"));
        tracing::info!("{} drivers loaded", modules.loaded());
    }
    std::thread::scope(|scope| {
        let disks = scope.spawn(|| wait_for_disks(modules, disk::inventory));
        network::start(uplink, modules, &System)?;
        disks.join().expect("looking at disks does not panic")
    })
}

/// Reads the inventory until no new disk comes.
fn wait_for_disks(
    modules: Option<&Modules>,
    mut look: impl FnMut() -> anyhow::Result<Inventory>,
) -> anyhow::Result<Inventory> {
    let began = Instant::now();
    let (mut seen, mut since) = (look()?, Instant::now());
    loop {
        let enough = if seen.disks.is_empty() { DISKS_APPEAR } else { DISKS_QUIET };
        if since.elapsed() >= enough || began.elapsed() >= DISKS_APPEAR {
            return Ok(seen);
        }
        std::thread::sleep(LOOK_EVERY);
        if let Some(modules) = modules {
            settle(modules, Path::new("/sys/devices"));
        }
        let now = look()?;
        if now.disks != seen.disks {
            since = Instant::now();
        }
        seen = now;
    }
}

fn request(args: &BootArgs, inventory: Inventory) -> EnrollRequest {
    EnrollRequest {
        node: args.node.clone(),
        ticket: args.ticket.clone(),
        boot_mac: args.boot_mac,
        inventory,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        attempt: Some(Secret::new(uuid::Uuid::new_v4().simple().to_string())),
        can_resume: true,
        can_do_tasks: true,
        initrd_fault: None,
    }
}

fn check_order(order: &Order, args: &BootArgs) -> anyhow::Result<()> {
    let node = match order {
        Order::Tasks(order) => {
            tracing::info!("order: {}", order.tasks);
            &order.node
        }
        Order::Install(order) => {
            let verb = if order.resume { "go on installing" } else { "install" };
            tracing::info!("order: {verb} {} as {}", order.image, order.hostname);
            &order.node
        }
    };
    ensure!(*node == args.node, "the server's order is for {node}, this machine is {}", args.node);
    Ok(())
}

/// Tells the server that the initrd did not come whole, as far as what did come can do that: when it cannot, the
/// server still sees that the machine boots again.
fn tell_fault(args: &BootArgs, ca_pem: &str, modules: Option<&Modules>, fault: &str) {
    tracing::error!("the initrd is not whole: {fault}");
    let tell = || -> anyhow::Result<()> {
        if let Some(modules) = modules {
            settle(modules, Path::new("/sys/devices"));
        }
        network::start(&args.uplink(), modules, &System)?;
        let client = Client::new(&args.server, ca_pem, Patience::For(TELLS))?;
        let told =
            EnrollRequest { initrd_fault: Some(fault.to_owned()), ..request(args, disk::inventory()?) };
        match client.enroll(&told) {
            // The server has written it down.
            Err(CallError::Refused { .. }) => Ok(()),
            other => other.map(drop).context("telling the server"),
        }
    };
    if let Err(error) = tell() {
        tracing::warn!("the server could not be told: {error:#}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sysclone_protocol::inventory::DiskFacts;

    #[test]
    fn disks_that_come_late_are_waited_for() {
        let mut looks = 0;
        let disk = |name: &str| DiskFacts { name: name.into(), ..DiskFacts::default() };
        let inventory = wait_for_disks(None, || {
            looks += 1;
            let disks = match looks {
                1..3 => vec![],
                3..6 => vec![disk("sda")],
                _ => vec![disk("sda"), disk("sdb")],
            };
            Ok(Inventory { disks, ..Inventory::default() })
        });
        assert_eq!(inventory.unwrap().disks.len(), 2);
    }
}
