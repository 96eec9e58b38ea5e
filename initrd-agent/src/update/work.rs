//! The update itself: order, manifest, plan, staging, swaps, boot loader, and a second look.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use sysclone_image::sign::{self, VerifyingKey};
use sysclone_image::update::{
    Journal, Keep, LOCAL_RULES, Planned, Progress, UpdateJob, Watch, local_rules, plan_update,
};
use sysclone_image::{ImageKey, Manifest};
use sysclone_protocol::update::{
    PlannedChange, SyncReport, UpdateAction, UpdateOrder, UpdatePlan, UpdateRequest, UpdateRule,
};

use super::fallback::Fallback;
use super::lines::Output;
use super::lock::Lock;
use super::state::{self, DIRECTORY, UpdateConfig, Which};
use super::{boot, diff, hints};
use crate::client::{CallError, Client, HttpPacks, Patience};
use crate::clock;
use crate::disk;

/// How long the server may be away. Until the first swap nothing is lost by giving up, and afterwards no server is
/// needed.
const SERVER_AWAY: Duration = Duration::from_secs(600);
const ROOT: &str = "/";

/// What comes of it; nothing when all has been said.
type Outcome = anyhow::Result<Option<SyncReport>>;

/// Does what the server ordered.
pub(super) fn by_order(order: &UpdateOrder, output: &Output) -> Outcome {
    let state = Path::new(DIRECTORY);
    let _lock = Lock::take(state)?;
    if let Some(token) = &order.node_token {
        let config = UpdateConfig {
            server: order.server.clone(),
            token: token.clone(),
            node: order.node.clone(),
            ca_pem: order.ca_pem.clone(),
        };
        config.save().context("keeping this node's token")?;
    }
    if !matches!(order.action, UpdateAction::Explain { .. } | UpdateAction::Rollback) {
        finish(state, output)?;
    }
    match &order.action {
        UpdateAction::Rollback => go_back(state, output),
        UpdateAction::Explain { path } => {
            output.explained(explain(&keep(&order.rules)?, path));
            Ok(None)
        }
        UpdateAction::Plan | UpdateAction::Apply | UpdateAction::Verify => {
            let client = Client::new(&order.server, &order.ca_pem, Patience::For(SERVER_AWAY))?;
            let client = client.with_token(order.token.clone());
            Update::begin(order, &client, output)?.run().map(Some)
        }
    }
}

/// Asks the server for an order, does it, and tells the server what came of it.
pub(super) fn by_itself(action: UpdateAction, output: &Output) -> Outcome {
    ask_and_do(action, false, output)
}

fn ask_and_do(action: UpdateAction, started: bool, output: &Output) -> Outcome {
    let config = UpdateConfig::load()?;
    let client = Client::new(&config.server, &config.ca_pem, Patience::For(SERVER_AWAY))?;
    let request = UpdateRequest { node: config.node.clone(), action, image: state::image(), started };
    let order = client.clone().with_token(config.token.clone()).update_order(&request);
    let order = order.with_context(|| format!("asking {} for an update", config.server))?;
    let done = by_order(&order, output)?;
    if let Some(report) = &done {
        let told = client.with_token(order.token.clone()).synced(report);
        told.with_context(|| format!("telling {} what this machine is now", config.server))?;
    }
    Ok(done)
}

/// Updates this machine if the server lets it do so by itself.
pub(super) fn catch_up(output: &Output) -> Outcome {
    match ask_and_do(UpdateAction::Apply, true, output) {
        Err(error) if matches!(error.downcast_ref(), Some(CallError::Refused { .. })) => {
            output.step(&format!("not updated: {error:#}"));
            Ok(None)
        }
        other => other,
    }
}

/// Goes back to before the last update, without a server.
pub(super) fn roll_back(output: &Output) -> Outcome {
    let state = Path::new(DIRECTORY);
    let _lock = Lock::take(state)?;
    go_back(state, output)
}

/// Finishes what was interrupted.
pub(super) fn recover(output: &Output) -> Outcome {
    let state = Path::new(DIRECTORY);
    let _lock = Lock::take(state)?;
    if !finish(state, output)? {
        output.step("no update was interrupted");
    }
    Ok(None)
}

/// Answers whether there was something to finish.
fn finish(state: &Path, output: &Output) -> anyhow::Result<bool> {
    let Some(journal) = Journal::load(state)? else { return Ok(false) };
    // All swaps are made, and what follows them may be missing.
    let is_noted = !state::is_next(state, &journal.to);
    if !journal.is_unfinished() && is_noted {
        return Ok(false);
    }
    match journal.progress {
        Progress::RollingBack => {
            output.step(&format!("going on with the way back from {}", journal.to));
            back(state, journal, output)?;
        }
        Progress::Applying | Progress::Applied => {
            output.step(&format!("going on with the update to {}", journal.to));
            // What the plan was is not known any more: the boot loader is looked after in any case.
            forward(state, journal, (true, true), output)?;
        }
    }
    Ok(true)
}

fn go_back(state: &Path, output: &Output) -> Outcome {
    let journal = Journal::load(state)?.context("there is no update to go back from")?;
    let image = journal.from.clone().unwrap_or_else(|| "what it was".to_owned());
    let changed = journal.len() as u64;
    output.step(&format!("putting back {changed} paths of before {}", journal.to));
    back(state, journal, output)?;
    let reboot = Vec::new();
    Ok(Some(SyncReport { image, changed, fetched_bytes: 0, drift: None, reboot }))
}

/// Makes the swaps, and everything that follows from them.
fn forward(
    state: &Path,
    mut journal: Journal,
    (kernel, loader): (bool, bool),
    output: &Output,
) -> anyhow::Result<()> {
    let mut watch = Swaps { output, kernel };
    journal.forward((Path::new(ROOT), state), &mut watch)?;
    // Until all that follows is done, this machine is not noted to have the generation, and the next run goes on here.
    after_swaps(loader, output)?;
    state::advanced(state, &journal)
}

fn back(state: &Path, journal: Journal, output: &Output) -> anyhow::Result<()> {
    let before = journal.clone();
    let loader = journal.paths().any(|path| boot::changes_loader(&[named(path)]));
    journal.back((Path::new(ROOT), state), &mut Swaps { output, kernel: false })?;
    state::gone_back(state, &before)?;
    after_swaps(loader, output)
}

fn named(path: String) -> PlannedChange {
    let (change, why) =
        (sysclone_protocol::update::ChangeKind::Content, sysclone_protocol::update::Why::Unknown);
    PlannedChange { path, change, why, bytes: 0, diff: None }
}

fn after_swaps(loader: bool, output: &Output) -> anyhow::Result<()> {
    if loader {
        output.step("writing the boot loader");
        if let Some(text) = boot::renew_loader()? {
            output.warning(text);
        }
    }
    boot::check_menu()
}

struct Swaps<'a> {
    output: &'a Output,
    kernel: bool,
}

impl Watch for Swaps<'_> {
    fn swap(&mut self, _: usize, _: usize) -> std::io::Result<()> {
        Ok(())
    }

    fn files_are_there(&mut self) -> std::io::Result<()> {
        for text in boot::prepare(self.kernel).map_err(std::io::Error::other)? {
            self.output.warning(text);
        }
        Ok(())
    }
}

/// The rules: the order's, then those that this machine has in SystemImager's place.
fn keep(rules: &[UpdateRule]) -> anyhow::Result<Keep> {
    let path = Path::new(ROOT).join(LOCAL_RULES);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let shown = path.display().to_string();
    let own =
        local_rules(&text, &shown).filter(|rule| rule.rule.starts_with('/') || !rule.rule.contains(' '));
    let all: Vec<UpdateRule> = rules.iter().cloned().chain(own).collect();
    Keep::new(&all).context("reading the rules for what is left alone")
}

fn explain(keep: &Keep, path: &str) -> String {
    let is_directory = Path::new(path).is_dir();
    match keep.explain(path.trim_start_matches('/').as_bytes(), is_directory) {
        None => format!("{path} follows the image: no rule is about it"),
        Some(decided) if decided.keeps => {
            format!("{path} is left alone by the rule '{}' ({})", decided.rule, decided.from)
        }
        Some(decided) => {
            format!("{path} follows the image by the rule '{}' ({})", decided.rule, decided.from)
        }
    }
}

/// One update under way.
struct Update<'a> {
    order: &'a UpdateOrder,
    output: &'a Output,
    state: &'a Path,
    wanted: Arc<Manifest>,
    /// The same as what is wanted, when this machine has that already.
    base: Option<Arc<Manifest>>,
    keep: Keep,
    points: Vec<PathBuf>,
    running: String,
}

impl<'a> Update<'a> {
    fn begin(order: &'a UpdateOrder, client: &Client, output: &'a Output) -> anyhow::Result<Self> {
        let state = Path::new(DIRECTORY);
        let kept = Which::Now.load(state).filter(|kept| state::image() == Some(kept.image_ref()));
        let kept = kept.map(Arc::new);
        let key = VerifyingKey::from_base64(&order.manifest_key).context("reading the server's key")?;
        let wanted = wanted(order, client, (kept.as_ref(), &key))?;
        let machine = std::env::consts::ARCH;
        ensure!(
            machine_of(&wanted.header.arch) == machine,
            "{} is for {}, this machine is {machine}",
            order.image,
            wanted.header.arch
        );
        let points = mount_points(&wanted, kept.as_deref())?;
        let base = match order.action {
            UpdateAction::Verify => Some(Arc::clone(&wanted)),
            _ => kept,
        };
        let keep = keep(&order.rules)?;
        Ok(Self { order, output, state, wanted, base, keep, points, running: boot::running() })
    }

    fn run(self) -> anyhow::Result<SyncReport> {
        let held = state::held(self.state);
        let special = boot::special(&self.running)?;
        let job = UpdateJob {
            root: Path::new(ROOT),
            mount_points: &self.points,
            wanted: &self.wanted,
            base: self.base.as_deref(),
            held_before: &held,
            keep: &self.keep,
            state: self.state,
            keep_local: self.order.keep_local,
            delete_local: self.order.delete_local,
            read_all: self.order.action == UpdateAction::Verify,
            special: &special,
            threads: std::thread::available_parallelism().map_or(2, usize::from),
        };
        self.output.step("comparing this machine with the image");
        let planned = plan_update(&job)?;
        // Worth keeping whatever happens; without it the next plan reads everything.
        if let Err(error) = planned.remember(clock::now()) {
            tracing::debug!(%error, "what was read is not remembered");
        }
        let mut plan = self.plan(&planned);
        if self.order.diff {
            let (key, source) = self.packs()?;
            diff::add(&mut plan.changes, (Path::new(ROOT), &self.wanted), (&key, &source));
        }
        let reboot = plan.reboot.clone();
        let (changes, kernel, loader) = (
            plan.changes.len() as u64,
            boot::changes_kernel(&plan.changes),
            boot::changes_loader(&plan.changes),
        );
        let drift = drift(&plan);
        self.output.plan(plan);
        let image = self.order.image.to_string();
        if self.order.action != UpdateAction::Apply {
            let verified = self.order.action == UpdateAction::Verify;
            let image =
                if verified { image } else { state::image().map_or(image, |image| image.to_string()) };
            let drift = verified.then_some(changes);
            return Ok(SyncReport { image, changed: 0, fetched_bytes: 0, drift, reboot: Vec::new() });
        }
        let now_held: HashSet<Vec<u8>> = self.held(&planned, &special.held.0);
        let fetched_bytes = if changes == 0 {
            self.nothing_to_swap()?;
            0
        } else {
            self.swap(&planned, (kernel, loader))?
        };
        state::save_held(self.state, &now_held).context("keeping the list of what is removed later")?;
        let drift = drift + self.look_again(&planned)?;
        self.make_room()?;
        Ok(SyncReport { image, changed: changes, fetched_bytes, drift: Some(drift), reboot })
    }

    fn held(&self, planned: &Planned<'_>, held: &sysclone_image::Excludes) -> HashSet<Vec<u8>> {
        let kept = planned.preview().kept.iter().map(|kept| kept.path.trim_start_matches('/').as_bytes());
        kept.filter(|path| held.matches(path, false) || held.matches(path, true))
            .map(<[u8]>::to_vec)
            .collect()
    }

    fn plan(&self, planned: &Planned<'_>) -> UpdatePlan {
        let preview = planned.preview();
        let boot = boot::actions(&preview.changes);
        let files = planned.replaced().into_values();
        let files = files.map(|path| format!("/{}", String::from_utf8_lossy(&path))).collect();
        let told = serde_json::to_vec(&(&preview.changes, &boot)).expect("plans always encode");
        UpdatePlan {
            from: self.base.as_ref().map(|base| base.image_ref().to_string()),
            to: self.wanted.image_ref().to_string(),
            digest: blake3::hash(&told).to_hex().to_string(),
            changes: preview.changes.clone(),
            kept: preview.kept.clone(),
            fetch_bytes: preview.fetch_bytes,
            write_bytes: preview.write_bytes,
            boot,
            reboot: boot::reboot_reasons(&preview.changes, &self.running),
            restart: hints::users(&files),
        }
    }

    /// The node has the generation already, but may not know.
    fn nothing_to_swap(&self) -> anyhow::Result<()> {
        Which::Now.save(self.state, &self.wanted).context("keeping the manifest")?;
        state::write_note(&self.order.image.to_string())
    }

    /// What content is fetched by.
    fn packs(&self) -> anyhow::Result<(ImageKey, HttpPacks)> {
        let key = self.order.image_key.as_ref().context(
            "the server gave no key to the image: it lets nodes update themselves only with updatepull=yes",
        )?;
        let key = ImageKey::from_base64(key.reveal()).context("reading the image's key")?;
        let never = Arc::new(AtomicBool::new(false));
        Ok((key, HttpPacks::new(self.order.pack_sources.clone(), Patience::For(SERVER_AWAY), never)))
    }

    fn swap(&self, planned: &Planned<'_>, boot: (bool, bool)) -> anyhow::Result<u64> {
        let (key, source) = self.packs()?;
        Which::Next.save(self.state, &self.wanted).context("keeping the manifest")?;
        state::install_recovery().context("preparing for a power cut")?;
        self.output.step("fetching what is new");
        let staged = planned.stage((&key, &source), &|progress| {
            self.output.progress(progress.done, progress.total);
        });
        if staged.is_err() {
            state::forget_next(self.state).context("forgetting an update that is not made")?;
        }
        let staged = staged?;
        for warning in staged.warnings {
            self.output.warning(warning);
        }
        let fallback = Fallback::of(Path::new(ROOT), &self.running);
        self.output.step(&format!("swapping {} paths", staged.journal.len()));
        forward(self.state, staged.journal, boot, self.output)?;
        if fallback.settle().context("keeping the running kernel in the boot menu")? {
            let running = &self.running;
            self.output.step(&format!("the boot menu keeps an entry for the running kernel {running}"));
        }
        Ok(staged.fetched_bytes)
    }

    /// The version before is not worth a disk that runs full.
    fn make_room(&self) -> anyhow::Result<()> {
        let Some(journal) = Journal::load(self.state)? else { return Ok(()) };
        if let Some((mount, kept, left)) = journal.crowded(Path::new(ROOT))?.first() {
            let (kept, left) = (kept >> 20, left >> 20);
            self.output.warning(format!(
                "the version before the update took {kept} MiB on {mount}, more than the {left} MiB that are free: it was \
                 removed, and there is nothing to go back to"
            ));
            journal.discard((Path::new(ROOT), self.state))?;
        }
        Ok(())
    }

    /// Nothing counts as done that is not there. Answers how many paths are not as they should be: a service may have
    /// written to them since.
    fn look_again(&self, planned: &Planned<'_>) -> anyhow::Result<u64> {
        self.output.step("looking at the result");
        let left = planned.check(clock::now())?;
        if let Some(first) = left.first() {
            let (count, image) = (left.len(), &self.order.image);
            let text = format!("{count} paths are not as in {image} any more, the first is {first}");
            self.output.warning(text);
        }
        Ok(left.len() as u64)
    }
}

/// Paths that differ from the image after all: kept because they were changed here.
fn drift(plan: &UpdatePlan) -> u64 {
    plan.kept.iter().filter(|kept| kept.reason.starts_with("changed on")).count() as u64
}

/// Rust's word for an architecture as the kernel names it.
fn machine_of(arch: &str) -> &str {
    match arch {
        "ppc64le" | "ppc64" => "powerpc64",
        other => other,
    }
}

/// The ordered manifest: the one that is here, or made from the one that is here, or fetched.
fn wanted(
    order: &UpdateOrder,
    client: &Client,
    (kept, key): (Option<&Arc<Manifest>>, &VerifyingKey),
) -> anyhow::Result<Arc<Manifest>> {
    let same_name = kept.filter(|kept| kept.header.image == order.image.name);
    if let Some(kept) = same_name
        && kept.header.generation != order.image.generation
        && let Ok(delta) = client.manifest_delta(kept.header.generation)
    {
        match sign::open_delta(&delta, kept, key) {
            Ok(manifest) if manifest.image_ref() == order.image => return Ok(Arc::new(manifest)),
            Ok(_) => tracing::debug!("the difference makes another generation than the ordered one"),
            Err(error) => tracing::debug!("the difference is not used: {:#}", anyhow::Error::new(error)),
        }
    }
    let known = same_name.filter(|kept| kept.header.generation == order.image.generation);
    let sealed = client.manifest_unless(known.map(|known| known.digest()));
    let sealed = sealed.with_context(|| format!("fetching the manifest of {}", order.image))?;
    let manifest = match (sealed, known) {
        (None, Some(known)) => Arc::clone(known),
        (sealed, _) => {
            let opened = sign::open(&sealed.unwrap_or_default(), key);
            Arc::new(opened.with_context(|| format!("opening the manifest of {}", order.image))?)
        }
    };
    ensure!(
        manifest.image_ref() == order.image,
        "the server sent the manifest of {} instead of {}",
        manifest.image_ref(),
        order.image
    );
    Ok(manifest)
}

/// The mounted file systems that the image covers.
///
/// # Errors
/// One that the machine had is not mounted: what belongs onto it would go below it.
fn mount_points(wanted: &Manifest, base: Option<&Manifest>) -> anyhow::Result<Vec<PathBuf>> {
    let mounted: Vec<PathBuf> = disk::real_mounts()?.into_iter().map(|mount| mount.point).collect();
    let mut points = Vec::new();
    for point in points_of(wanted) {
        if mounted.contains(&point) {
            points.push(point);
        } else {
            let had = base.is_none_or(|base| points_of(base).contains(&point));
            ensure!(
                !had,
                "{} is a file system of its own in the image and is not mounted here: mount it first",
                point.display()
            );
        }
    }
    Ok(points)
}

fn points_of(manifest: &Manifest) -> Vec<PathBuf> {
    let filesystems = &manifest.layout.filesystems;
    let whole = filesystems.iter().filter_map(|fs| fs.mount_point.as_deref());
    let parts = filesystems.iter().flat_map(|fs| &fs.subvolumes).map(|sub| sub.mount_point.as_str());
    whole.chain(parts).filter(|point| point.starts_with('/')).map(PathBuf::from).collect()
}
