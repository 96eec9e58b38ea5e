//! Arms one node: everything that can be wrong is said before the node is switched on.

use jiff::{SignedDuration, Timestamp};
use sysclone_bootloaders::netboot::Loader;
use sysclone_protocol::names::Secret;
use sysclone_protocol::task::Tasks;
use uuid::Uuid;

use super::DeployError;
use super::advance::write_state;
use super::image::Installable;
use crate::app::App;
use crate::boot::{BootFiles, Ticketed, boot_entry};
use crate::db::{Job, NewEvent, NewJob, RulesByLabel, Tx, Work};
use crate::define::{Node, Snapshot};
use crate::state::Input;
use crate::trust::{TokenHash, random};
use crate::wire::ObjectType;

/// A node that can be armed, and with what.
pub(super) struct Ready<'a> {
    node: &'a Node,
    rules: RulesByLabel,
    work: Work,
}

/// Checks a node against an image, in xCAT's words where it has some.
pub(super) fn check<'a>(
    app: &App,
    snapshot: &'a Snapshot,
    name: &str,
    image: &Installable,
) -> Result<Ready<'a>, String> {
    let node = bootable(app, snapshot, name, |arch| match arch {
        Some(arch) if *arch != image.arch => {
            Err(format!("the node is {arch}, but the OS image {} is for {}", image.image, image.arch))
        }
        Some(_) | None => image.boot_folder(&app.boot_files.now()),
    })?;
    let rules = image.rules_for(node)?;
    Ok(Ready { node, rules, work: Work::Install(image.image.clone()) })
}

/// Checks a node that is to work from memory.
pub(super) fn check_for_tasks<'a>(
    app: &App,
    snapshot: &'a Snapshot,
    name: &str,
    tasks: &Tasks,
) -> Result<Ready<'a>, String> {
    let folder =
        |arch: Option<&String>| own_kernel(&app.boot_files.now(), arch.map_or("x86_64", String::as_str));
    let node = bootable(app, snapshot, name, folder)?;
    Ok(Ready { node, rules: RulesByLabel::new(), work: Work::Tasks(tasks.clone()) })
}

/// Where our own kernel for an architecture is.
pub(super) fn own_kernel(files: &BootFiles, arch: &str) -> Result<String, String> {
    if files.has_kernel(arch) {
        return Ok(arch.to_owned());
    }
    Err(format!("boot_dir has no kernel and initrd for {arch}: sysclone-image-builder --arch {arch}"))
}

/// A node that can be booted; `folder_for` says where its kernel and initrd are, knowing the node's architecture.
fn bootable<'a>(
    app: &App,
    snapshot: &'a Snapshot,
    name: &str,
    folder_for: impl FnOnce(Option<&String>) -> Result<String, String>,
) -> Result<&'a Node, String> {
    let node = snapshot
        .node(name)
        .ok_or_else(|| format!("Could not find an object named '{name}' of type 'node'."))?
        .map_err(str::to_owned)?;
    if node.macs.is_empty() {
        return Err("No MAC address available for this node".to_owned());
    }
    if let Some(Err(missing)) = snapshot.placed(name) {
        return Err(missing.to_owned());
    }
    node.serial.map_err(str::to_owned)?;
    let folder = folder_for(node.arch.as_ref())?;
    // Rendered once here, so that a kernel argument that no loader can carry is not found at boot.
    let headline = String::new();
    let (ticket, loader) = (Secret::new("x".repeat(32)), Loader::Grub2);
    let sample = Ticketed { ticket, boot_mac: None, loader, folder, headline };
    boot_entry(app, snapshot, node, Some(&sample)).map_err(|error| error.to_string())?;
    Ok(node)
}

/// Writes the armed job. What else belongs to it is written for all nodes at once, by [`note`].
pub(super) async fn arm(
    (app, tx): (&App, &mut Tx<'_>),
    ready: &Ready<'_>,
    actor: &str,
) -> Result<(), DeployError> {
    let name = &ready.node.name;
    let id = Uuid::new_v4().to_string();
    let nonce = random::<16>();
    let ticket = app.keys.ticket.ticket(&id, &nonce);
    let life = SignedDuration::try_from(app.config.ticket_life).unwrap_or(SignedDuration::MAX);
    let expires_at = tx.now().saturating_add(life).unwrap_or(Timestamp::MAX);
    tx.insert_job(&NewJob {
        id: &id,
        node: name,
        work: &ready.work,
        macs: &ready.node.macs,
        uuid: ready.node.uuid.as_deref(),
        disk_rules: &ready.rules,
        nonce: &nonce,
        ticket_hash: TokenHash::of(ticket.reveal()),
        expires_at,
        created_by: actor,
    })
    .await?;
    let text = armed_text(&ready.work, expires_at);
    tx.event(NewEvent { node: Some(name.as_str()), actor, kind: "node-armed", text }).await?;
    Ok(())
}

/// What xCAT notes at nodes that get an image (`os`, `arch`, `profile`, `provmethod`); they boot from the network again.
pub(super) async fn note(tx: &mut Tx<'_>, nodes: &[String], image: &Installable) -> Result<(), DeployError> {
    tx.set_offline(nodes, false).await?;
    for (attr, value) in [
        ("os", image.osvers.as_str()),
        ("arch", &image.arch),
        ("profile", &image.profile),
        ("provmethod", image.image.name.as_str()),
    ] {
        tx.put_attribute(ObjectType::Node, nodes, (attr, value)).await?;
    }
    Ok(())
}

fn armed_text(work: &Work, expires_at: Timestamp) -> String {
    let until = expires_at.round(jiff::Unit::Second).unwrap_or(expires_at);
    format!("armed with {work}; its ticket is good for one network boot until {until}")
}

/// Takes back what a node was set to do. An agent that is at work is told to stop.
pub(super) async fn withdraw(
    (app, tx): (&App, &mut Tx<'_>),
    job: &Job,
    actor: &str,
) -> Result<(), DeployError> {
    let withdrawn = Input::Withdrawn { by: actor.to_owned() };
    if let Some(state) = job.state.after(&withdrawn)? {
        let progress = app.progress.get(&job.id).unwrap_or(job.progress);
        write_state(tx, job, &state, (progress, actor, "")).await?;
    }
    Ok(())
}
