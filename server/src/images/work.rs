//! Work on the store that takes a while, as a stream of lines. One at a time: it keeps the disk busy. Whoever stops
//! listening does not stop it; nothing in it is worse for being done to its end.

use std::sync::Arc;

use sysclone_image::{BadPack, FsckJob, FsckReport, Hurt, PackDirectory, RepairReport, VerifyReport};
use sysclone_protocol::names::ImageName;
use tokio::sync::mpsc;

use super::collect::collect;
use super::transfer::{Export, export, import};
use super::{ImageError, image_key, selector};
use crate::app::App;
use crate::db::NewEvent;
use crate::wire::{ImageWork, ImageWorkLine};

/// Where the lines go.
pub(super) type Listener = mpsc::Sender<ImageWorkLine>;

/// How many packs a list names before it only counts.
const NAMED: usize = 20;

/// Does the work. The last line is `Finished` or `Failed`.
pub async fn run_work(app: &Arc<App>, work: ImageWork, actor: &str, listener: Listener) {
    let Ok(_alone) = app.image_work.try_lock() else {
        let reason = "another check or collection of the store is under way; try again when it has ended";
        drop(listener.send(ImageWorkLine::Failed { reason: reason.to_owned() }).await);
        return;
    };
    let changes = match &work {
        ImageWork::Verify { .. } | ImageWork::Gc { dry_run: true, .. } => None,
        ImageWork::Fsck { .. } => Some("store-checked"),
        ImageWork::Gc { dry_run: false, .. } => Some("store-collected"),
        ImageWork::Export { .. } => Some("image-exported"),
        ImageWork::Import { .. } => Some("image-imported"),
    };
    let done = match work {
        ImageWork::Gc { dry_run, repack } => collect(app, (dry_run, repack), listener.clone()).await,
        ImageWork::Import { file, name, trust } => import(app, &file, (name, trust), listener.clone()).await,
        other => {
            let (owned, lines) = (Arc::clone(app), listener.clone());
            super::blocking(move || work_on(&owned, &other, &lines)).await
        }
    };
    let last = done
        .unwrap_or_else(|error| ImageWorkLine::Failed { reason: format!("{:#}", anyhow::Error::new(error)) });
    if let (Some(kind), ImageWorkLine::Finished { text, .. }) = (changes, &last) {
        let event = NewEvent { node: None, actor, kind, text: text.clone() };
        if let Err(error) = app.db.record(event).await {
            tracing::error!(%error, text, "the end of work on the store could not be recorded");
        }
    }
    // Nobody may listen any more.
    drop(listener.send(last).await);
}

fn work_on(app: &App, work: &ImageWork, listener: &Listener) -> Result<ImageWorkLine, ImageError> {
    let say = |text: String| drop(listener.blocking_send(ImageWorkLine::Finding { text }));
    match work {
        ImageWork::Verify { image } => {
            let image = app.store.resolve(&selector(image)?)?;
            let key = image_key(app, &image.name)?;
            let report = app.store.verify(&image, &key, &app.keys.signing.verifying_key())?;
            Ok(verified(&image.to_string(), &report, &say))
        }
        ImageWork::Fsck { quarantine, repair_from } => {
            let report = check(app, *quarantine || repair_from.is_some(), listener)?;
            let mut good = report.is_clean();
            for bad in &report.bad_packs {
                say_bad_pack(bad, &say);
            }
            for (image, what) in &report.bad_manifests {
                say(format!("the manifest of {image} is damaged: {what}"));
            }
            let mut text = format!(
                "{} generations, {} packs, {} bytes read: {}",
                report.generations,
                report.packs,
                report.bytes,
                if good { "all good" } else { "damage found" }
            );
            if let Some(other) = repair_from.as_ref().filter(|_| !good) {
                let repaired = repair(app, std::path::Path::new(other), &say)?;
                good = repaired.failed.is_empty() && report.bad_manifests.is_empty();
                text = format!("{text}; {} packs taken from {other}", repaired.repaired.len());
            }
            Ok(ImageWorkLine::Finished { text, good })
        }
        ImageWork::Export { image, all, file, with_key } => {
            export(app, &Export { image, all: *all, file, with_key: *with_key }, listener)
        }
        ImageWork::Gc { .. } | ImageWork::Import { .. } => unreachable!("they ask the database first"),
    }
}

fn check(app: &App, quarantine: bool, listener: &Listener) -> Result<FsckReport, ImageError> {
    let key = app.keys.signing.verifying_key();
    let image_key = |image: &ImageName| {
        app.keys.image_key(image).unwrap_or_else(|error| {
            tracing::warn!(%image, %error, "an image's key cannot be read");
            None
        })
    };
    // A listener that is slow or gone misses some of the lines about progress.
    let progress = |_packs, bytes| drop(listener.try_send(ImageWorkLine::Progress { bytes, of: None }));
    let job = FsckJob { key: &key, image_key: &image_key, quarantine, progress: &progress };
    Ok(app.store.fsck(&job)?)
}

/// Gets what is missing from another store. Damaged packs are out of the way by now.
fn repair(app: &App, other: &std::path::Path, say: &dyn Fn(String)) -> Result<RepairReport, ImageError> {
    if !other.join("packs").is_dir() {
        return Err(ImageError::Invalid(format!("{} is no image store: it has no packs/", other.display())));
    }
    let (other, key) = (PackDirectory::new(other), app.keys.signing.verifying_key());
    let mut all = RepairReport::default();
    for image in app.store.images()? {
        let mut done = app.store.repair_from(&image, &key, &other)?;
        for (pack, why) in &done.failed {
            say(format!("pack {pack} is not there either: {why}"));
        }
        all.repaired.append(&mut done.repaired);
        all.failed.append(&mut done.failed);
        all.bytes += done.bytes;
    }
    Ok(all)
}

fn verified(image: &str, report: &VerifyReport, say: &dyn Fn(String)) -> ImageWorkLine {
    for damage in &report.damage {
        let first: Vec<String> = damage.files.iter().take(NAMED).map(|path| shown(path)).collect();
        say(format!(
            "pack {}: {}; {} files are lost: {}",
            damage.pack,
            damage.what,
            damage.files.len(),
            first.join(", ")
        ));
    }
    let good = report.damage.is_empty();
    let verdict =
        if good { "all good" } else { "damage found; sysclone image fsck --quarantine, then capture again" };
    let text = format!("{image}: {} packs, {} bytes read: {verdict}", report.packs, report.bytes);
    ImageWorkLine::Finished { text, good }
}

fn say_bad_pack(bad: &BadPack, say: &dyn Fn(String)) {
    let moved = if bad.quarantined { ", moved to quarantine" } else { "" };
    say(format!("pack {}: {}{moved}", bad.pack, bad.what));
    for Hurt { image, files, first } in &bad.hurts {
        let first: Vec<String> = first.iter().map(|path| shown(path)).collect();
        say(format!("  {image} loses {files} files: {}", first.join(", ")));
    }
}

pub(super) fn shown(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}
