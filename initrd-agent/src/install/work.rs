//! The phases after enrolment. Up to the end of the plan nothing is written; from `clear` on, each phase has the value
//! that only the phase before can make. An installation that was interrupted goes from the plan to the mounted file
//! systems at once.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, ensure};
use sysclone_bootloaders::disk::{self as bootloader, BootloaderPlan, with_system_mounts};
use sysclone_exec::{Runner, System};
use sysclone_image::{ApplyJob, ApplyProgress, ApplyReport, Before, Manifest, apply};
use sysclone_protocol::agent::{AgentEventKind, Phase};

use super::flush::Flusher;
use super::marker::{self, Marker};
use super::order::{devices, image_key, load_drivers, open_manifest};
use super::reporter::Reporter;
use super::start::Enrolled;
use crate::client::{CallError, HttpPacks, Patience};
use crate::clone_config::CloneConfig;
use crate::disk::{Mounted, Planned, Probed};
use crate::identity::{apply_edits, check_image, gather, make_host_keys, plan_identity};
use crate::initramfs::{disk_drivers, ensure_drivers};
use crate::update;

/// Where the clone's tree is mounted while it is written.
const TARGET: &str = "/target";
const MIB: u64 = 1 << 20;

/// Carries out the order. When this returns, the machine only has to restart.
pub(super) fn install(mut enrolled: Enrolled) -> anyhow::Result<()> {
    let runner: &dyn Runner = &System;
    let manifest = probe(&mut enrolled)?;
    let (planned, loader) = plan(&mut enrolled, &manifest)?;
    let marker = Marker::new(&enrolled.order.job, planned.plan());
    let mounted = if enrolled.order.resume {
        resume(&mut enrolled, planned, &marker)?
    } else {
        make(&mut enrolled, planned, &marker)?
    };
    pull(&mut enrolled, &manifest, &mounted)?;
    let host_keys = identity(&mut enrolled, &manifest, mounted.root(), runner)?;
    Marker::remove(mounted.root())?;
    enrolled.steps.phase(Phase::Bootloader, |reporter| {
        if let Some(text) = bootloader::apply(&loader, mounted.root(), runner)? {
            tracing::warn!("{text}");
            reporter.tell(Phase::Bootloader, AgentEventKind::Warning { text });
        }
        check_initramfs(reporter, &manifest, &mounted, runner)
    })?;
    enrolled.steps.phase(Phase::Verify, |_| verify(&mounted, &loader, runner))?;
    enrolled.steps.phase(Phase::Finish, |_| {
        mounted.unmount(runner)?;
        rustix::fs::sync();
        Ok(())
    })?;
    announce(&enrolled, host_keys)
}

/// Makes the disks hold what the plan says, empty but for the marker.
fn make(enrolled: &mut Enrolled, planned: Planned, marker: &Marker) -> anyhow::Result<Mounted> {
    let runner: &dyn Runner = &System;
    let steps = &mut enrolled.steps;
    let cleared = steps.phase(Phase::Clear, |_| planned.clear(runner))?;
    let partitioned = steps.phase(Phase::Partition, |_| cleared.partition(runner))?;
    let assembled = steps.phase(Phase::Assemble, |_| partitioned.assemble(runner))?;
    let formatted = steps.phase(Phase::Format, |_| assembled.format(runner))?;
    steps.phase(Phase::Mount, |_| {
        let mounted = formatted.mount(runner, target()?)?;
        marker.write(mounted.root())?;
        mounted.mount_again(runner)
    })
}

/// Takes what an interrupted installation of the same plan made.
fn resume(enrolled: &mut Enrolled, planned: Planned, marker: &Marker) -> anyhow::Result<Mounted> {
    let runner: &dyn Runner = &System;
    enrolled.steps.phase(Phase::Mount, |_| {
        let formatted = planned
            .resume(runner, target()?, &|root| marker.check(root))
            .context("going on with the interrupted installation")?;
        tracing::info!("the disks hold this installation's own unfinished work; nothing is cleared");
        formatted.mount(runner, target()?)
    })
}

fn target() -> anyhow::Result<&'static Path> {
    let target = Path::new(TARGET);
    std::fs::create_dir_all(target).with_context(|| format!("making {TARGET}"))?;
    Ok(target)
}

fn probe(enrolled: &mut Enrolled) -> anyhow::Result<Manifest> {
    let Enrolled { client, order, pinned_key, inventory, missing, steps, .. } = enrolled;
    steps.phase(Phase::Probe, |_| {
        ensure!(
            missing.is_empty(),
            "the initrd lacks {}; build it again with sysclone-image-builder",
            missing.join(", ")
        );
        let sealed =
            client.manifest().with_context(|| format!("fetching the manifest of {}", order.image))?;
        open_manifest(&sealed, pinned_key, order, inventory)
    })
}

fn plan(enrolled: &mut Enrolled, manifest: &Manifest) -> anyhow::Result<(Planned, BootloaderPlan)> {
    let Enrolled { order, inventory, modules, steps, .. } = enrolled;
    let decided = steps.phase(Phase::Plan, |reporter| {
        check_image(manifest)?;
        let planned = Probed::new(inventory.clone(), manifest.layout.clone()).plan(&order.disk_rules)?;
        let devices = devices(planned.plan());
        let loader = bootloader::plan(&manifest.boot, &manifest.layout, &devices, inventory.firmware)?;
        load_drivers(&manifest.layout, modules.as_ref())?;
        let text = planned.text();
        for line in text.lines() {
            tracing::info!("plan: {line}");
        }
        reporter.ask(Phase::Plan, AgentEventKind::Plan { text }).context("showing the plan to the server")?;
        Ok((planned, loader))
    })?;
    Ok(decided)
}

fn pull(enrolled: &mut Enrolled, manifest: &Manifest, mounted: &Mounted) -> anyhow::Result<()> {
    let Enrolled { order, steps, .. } = enrolled;
    let (key, root) = (image_key(order)?, mounted.root());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let spare = [marker::NAME.as_bytes()];
    let before = if order.resume { Before::Interrupted(&spare) } else { Before::Nothing };
    steps.phase(Phase::Pull, |reporter| {
        let sources = order.pack_sources.clone();
        let source = HttpPacks::new(sources, Patience::Endless, reporter.stop_flag());
        let job = ApplyJob { manifest, key: &key, source: &source, root, before, threads };
        let shown = AtomicU64::new(0);
        let flusher = Flusher::start(mounted.points());
        let report = apply(&job, &|progress| show_progress(reporter, &shown, progress))?;
        drop(flusher);
        let text = figures(&report);
        tracing::info!("{text}");
        reporter.tell(Phase::Pull, AgentEventKind::Note { text });
        for warning in report.warnings {
            let text = format!("{} ({} times, first at {})", warning.what, warning.count, warning.example);
            tracing::warn!("{text}");
            reporter.tell(Phase::Pull, AgentEventKind::Warning { text });
        }
        Ok(())
    })
}

/// What a pull came to, for the log and the server.
fn figures(report: &ApplyReport) -> String {
    let kib = |bytes: u64| bytes / 1024;
    let peak = memory_peak_kib().map_or_else(|| "not known".to_owned(), |kib| format!("{kib} KiB"));
    format!(
        "{} files; written {} KiB, kept {} KiB, fetched {} KiB of {} KiB needed; peak memory {peak}",
        report.files,
        kib(report.bytes),
        kib(report.kept_bytes),
        kib(report.fetched_bytes),
        kib(report.needed_bytes)
    )
}

/// The most memory that this process has used at once.
fn memory_peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// Every report goes to the server's ear, every tenth of the way to the console.
fn show_progress(reporter: &Reporter, shown: &AtomicU64, ApplyProgress { done, total }: ApplyProgress) {
    reporter.progress(Phase::Pull, (done, total));
    let tenth = (done * 10).checked_div(total).unwrap_or(10);
    if shown.fetch_max(tenth, Ordering::Relaxed) < tenth {
        tracing::info!("pull {}0 % of {} MiB", tenth, total / MIB);
    }
}

fn identity(
    enrolled: &mut Enrolled,
    manifest: &Manifest,
    root: &Path,
    runner: &dyn Runner,
) -> anyhow::Result<Vec<String>> {
    let Enrolled { order, ca_pem, server, steps, .. } = enrolled;
    let config = CloneConfig {
        server: server.clone(),
        token: order.report_token.clone(),
        node: order.node.clone(),
        job: order.job.clone(),
        image: order.image.clone(),
        ca_pem: ca_pem.clone(),
    };
    steps.phase(Phase::Identity, |_| {
        let facts = gather(root, &manifest.header.source, &order.hostname, config)?;
        apply_edits(root, &plan_identity(&facts))?;
        keep_manifest(root, manifest).context("keeping the manifest on the clone")?;
        with_system_mounts(root, runner, || {
            make_host_keys(root, &manifest.header.host_key_types, &order.hostname, runner)
        })
    })
}

/// The clone's first update is told by it what the golden client changed, and what the clone.
fn keep_manifest(root: &Path, manifest: &Manifest) -> std::io::Result<()> {
    let state = root.join(update::DIRECTORY.trim_start_matches('/'));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&state)?;
    update::Which::Now.save(&state, manifest)
}

/// Compares the drivers of the chosen disks with the clone's initramfs.
fn check_initramfs(
    reporter: &Reporter,
    manifest: &Manifest,
    mounted: &Mounted,
    runner: &dyn Runner,
) -> anyhow::Result<()> {
    let root = mounted.root();
    let Some(kernel) = bootloader::first_kernel(root)? else { return Ok(()) };
    let disks = &mounted.plan().disks;
    let drivers = disks.iter().flat_map(|disk| disk_drivers(Path::new("/sys"), &disk.facts.name)).collect();
    let told = ensure_drivers(root, &kernel, (&drivers, manifest.boot.initramfs), runner)?;
    if let Some(text) = told {
        tracing::warn!("{text}");
        reporter.tell(Phase::Bootloader, AgentEventKind::Warning { text });
    }
    Ok(())
}

fn verify(mounted: &Mounted, loader: &BootloaderPlan, runner: &dyn Runner) -> anyhow::Result<()> {
    // What is read back must come from the disks, not from the caches of what was written.
    rustix::fs::sync();
    std::fs::write("/proc/sys/vm/drop_caches", "3").context("dropping caches")?;
    mounted.verify(runner)?;
    bootloader::verify(loader, mounted.root())?;
    Ok(())
}

/// Tells the server that all is written. Without its answer the machine does not restart: the server must know that
/// the next boot is the clone's.
fn announce(enrolled: &Enrolled, host_keys: Vec<String>) -> anyhow::Result<()> {
    let outcome = enrolled.steps.reporter().ask(Phase::Finish, AgentEventKind::Installed { host_keys });
    match outcome {
        Ok(_) => tracing::info!("the server knows that the installation is complete"),
        Err(error) => {
            let refused = error.downcast_ref::<CallError>();
            let refused = matches!(refused, Some(CallError::Refused { .. }));
            ensure!(refused, error.context("telling the server that the installation is complete"));
            // All is written and the ticket is spent; a server that took the first message and lost its answer
            // refuses the second.
            tracing::warn!("the server did not take the last event: {error:#}");
        }
    }
    Ok(())
}
