//! What goes by itself: generations that `keep` lets go, then packs that nothing names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sysclone_image::{GcReport, GcRule, RetentionRule, StoredPack, plan_retention};
use sysclone_protocol::names::ImageName;
use tokio::sync::mpsc;

use super::keep::parse_keep;
use super::work::{Listener, run_work};
use super::{ImageError, blocking, image_key};
use crate::app::App;
use crate::wire::{ImageWork, ImageWorkLine, ObjectType};

/// How often the daemon does this by itself, and how long after its start for the first time.
const EVERY: Duration = Duration::from_secs(86_400);
const FIRST: Duration = Duration::from_secs(3600);

/// Collects once a day until the daemon stops. What was done is an event.
pub async fn collect_daily(app: Arc<App>) {
    let mut wait = FIRST;
    loop {
        tokio::select! {
            () = app.cancel.cancelled() => return,
            () = tokio::time::sleep(std::mem::replace(&mut wait, EVERY)) => {}
        }
        let (listener, mut lines) = mpsc::channel(1);
        let work = ImageWork::Gc { dry_run: false, repack: None };
        let said = async {
            while let Some(line) = lines.recv().await {
                if let ImageWorkLine::Failed { reason } = line {
                    tracing::warn!(reason, "the store was not collected");
                }
            }
        };
        tokio::join!(run_work(&app, work, "server", listener), said);
    }
}

/// Does it, or says what would be done; also rewrites packs of which less than `repack` percent are used.
pub(super) async fn collect(
    app: &Arc<App>,
    (dry_run, repack): (bool, Option<u8>),
    listener: Listener,
) -> Result<ImageWorkLine, ImageError> {
    let rules = rules(app).await?;
    let app = Arc::clone(app);
    blocking(move || {
        let say = |text: String| drop(listener.blocking_send(ImageWorkLine::Finding { text }));
        let now = SystemTime::now();
        for (image, rule) in &rules {
            let gone = match dry_run {
                true => plan_retention(&app.store.history(image, now)?, rule, now),
                false => app.store.retain(image, rule, now)?,
            };
            for generation in gone {
                let verb = if dry_run { "would be removed" } else { "is removed" };
                say(format!("{image}@{generation} {verb}, because keep lets it go"));
            }
        }
        if let Some(percent) = repack {
            rewrite(&app, (percent, now), (dry_run, &say))?;
        }
        let (key, rule) = (app.keys.signing.verifying_key(), GcRule::default());
        let report = match dry_run {
            true => app.store.plan_gc(&key, &rule, now)?,
            false => app.store.gc(&key, &rule, now)?,
        };
        Ok(collected(&report, dry_run, &say))
    })
    .await
}

/// The rules of all images that have one.
async fn rules(app: &App) -> Result<BTreeMap<ImageName, RetentionRule>, ImageError> {
    let mut rules = BTreeMap::new();
    for (name, attributes) in app.db.objects(ObjectType::Osimage, None).await? {
        let Some(keep) = attributes.get("keep") else { continue };
        let rule = parse_keep(keep).map_err(|why| {
            ImageError::Invalid(format!("keep={keep} of the osimage {name}: {why} is expected"))
        })?;
        if let Ok(image) = name.parse() {
            rules.insert(image, rule);
        }
    }
    Ok(rules)
}

fn rewrite(
    app: &App,
    rule: (u8, SystemTime),
    (dry_run, say): (bool, &dyn Fn(String)),
) -> Result<(), ImageError> {
    for image in app.store.images()? {
        let packs = if dry_run {
            app.store.plan_repack(&image, &app.keys.signing, rule)?
        } else {
            let key = image_key(app, &image)?;
            app.store.repack(&image, (&key, &app.keys.signing), rule)?.old
        };
        if !packs.is_empty() {
            let (all, live): (u64, u64) =
                packs.iter().fold((0, 0), |sum, one| (sum.0 + one.pack.bytes, sum.1 + one.live_bytes));
            let verb = if dry_run { "would be rewritten" } else { "are rewritten" };
            say(format!("{image}: {} packs, {all} bytes with {live} in use, {verb}", packs.len()));
        }
    }
    Ok(())
}

fn collected(report: &GcReport, dry_run: bool, say: &dyn Fn(String)) -> ImageWorkLine {
    let bytes = |packs: &[StoredPack]| packs.iter().map(|pack| pack.bytes).sum::<u64>();
    for (packs, what) in [
        (&report.deleted, "deleted from the trash"),
        (&report.trashed, "moved to the trash, deleted by a later run"),
        (&report.restored, "brought back from the trash"),
        (&report.waiting, "named by nothing and too young to go"),
    ] {
        if !packs.is_empty() {
            say(format!("{} packs, {} bytes: {what}", packs.len(), bytes(packs)));
        }
    }
    let (verb, freed) = (if dry_run { "would be freed" } else { "freed" }, report.freed_bytes());
    ImageWorkLine::Finished { text: format!("{freed} bytes {verb}"), good: true }
}
