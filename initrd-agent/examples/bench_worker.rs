//! What `cargo xtask bench` measures of us, each as a process of its own: the agent's capture, deployment and fetching,
//! without the machine around them. Prints one JSON object.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use clap::Parser;
use serde::Deserialize as _;
use serde_json::{Value, json};
use sysclone_agent::capture::{Kept, Lines, hand_in, parent};
use sysclone_agent::client::{Client, HttpPacks, Patience, UploadSink};
use sysclone_agent::install::Flusher;
use sysclone_image::sign::{self, VerifyingKey};
use sysclone_image::update::{Keep, Special, Unwatched, UpdateJob, plan_update};
use sysclone_image::{
    ApplyJob, Before, CaptureFacts, CaptureJob, CaptureOptions, ImageKey, Manifest, OsIdentity,
    PackSource as _, apply, capture,
};
use sysclone_protocol::agent::{CaptureOrder, CaptureReply};
use sysclone_protocol::boot::{BootFacts, Initramfs, Loader};
use sysclone_protocol::inventory::Firmware;
use sysclone_protocol::layout::Layout;

/// Gives up instead of waiting for a server that is gone.
const PATIENCE: Patience = Patience::For(Duration::from_secs(10));

#[derive(Debug, Parser)]
enum Role {
    /// As `sysclone-agent capture`, of a directory: the order comes on standard input.
    Capture { root: PathBuf },
    /// As the installation's pull, into a directory.
    Deploy { image: PathBuf, root: PathBuf },
    /// As `sysclone-agent update`, of a directory that is like the first generation.
    Update {
        before: PathBuf,
        image: PathBuf,
        root: PathBuf,
        /// Directory of journal and cache.
        state: PathBuf,
    },
    /// Fetches every pack and checks its name, which is the hash of its bytes; keeps nothing.
    Fetch { image: PathBuf },
    /// Says how much room a generation takes in the store.
    Size { image: PathBuf },
    /// Compares two generations.
    Compare { before: PathBuf, after: PathBuf },
}

fn main() -> anyhow::Result<()> {
    let answer = match Role::parse() {
        Role::Capture { root } => {
            let lines = Lines::start(std::io::stdout());
            lines.finished(take(&root, &lines)?);
            return tell_peak();
        }
        Role::Deploy { image, root } => deploy(&Image::load(&image)?, &root)?,
        Role::Update { before, image, root, state } => {
            let image_now = Image::load(&image)?;
            // A node that has the generation has its manifest, too.
            let other = (before != image).then(|| Image::load(&before)).transpose()?;
            let before = other.as_ref().map_or(&image_now.manifest, |other| &other.manifest);
            update(before, &image_now, (&root, &state))?
        }
        Role::Fetch { image } => fetch(&Image::load(&image)?)?,
        Role::Size { image } => {
            let packs = Image::load(&image)?.manifest.packs;
            json!({ "stored": packs.iter().map(|pack| pack.bytes).sum::<u64>() })
        }
        Role::Compare { before, after } => compare(&Image::load(&before)?, &Image::load(&after)?),
    };
    println!("{answer}");
    tell_peak()
}

/// The most memory this process has had, as the kernel counts it.
fn tell_peak() -> anyhow::Result<()> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("there is no VmHWM")?;
    eprintln!("peak {}", line.trim());
    Ok(())
}

/// What a node is given when it enrols.
struct Image {
    manifest: Manifest,
    key: ImageKey,
    packs: HttpPacks,
}

impl Image {
    /// From a folder with `manifest` (signed) and `access.json`.
    fn load(folder: &Path) -> anyhow::Result<Self> {
        let read = |name: &str| std::fs::read(folder.join(name)).with_context(|| format!("reading {name}"));
        let access: Value = serde_json::from_slice(&read("access.json")?)?;
        let text = |name: &str| access[name].as_str().with_context(|| format!("{name} is missing"));
        let manifest = sign::open(&read("manifest")?, &VerifyingKey::from_base64(text("manifest_key")?)?)?;
        let (sources, never) = (vec![text("packs")?.to_owned()], Arc::new(AtomicBool::new(false)));
        let packs = HttpPacks::new(sources, PATIENCE, never);
        Ok(Self { manifest, key: ImageKey::from_base64(text("image_key")?)?, packs })
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

fn take(root: &Path, lines: &Lines) -> anyhow::Result<CaptureReply> {
    let order = CaptureOrder::deserialize(&mut serde_json::Deserializer::from_reader(std::io::stdin()))?;
    let client = Client::new(&order.server, &order.ca_pem, PATIENCE)?.with_token(order.token.clone());
    let key = ImageKey::from_base64(order.image_key.reveal())?;
    let beside = root.parent().context("the tree has nothing beside it")?;
    let kept = Kept::of(&beside.join("manifests"), &order.image.name);
    let parent = parent(&client, &order, &kept)?;
    let options = CaptureOptions { root: root.to_owned(), ..CaptureOptions::default() };
    let job =
        CaptureJob { options, facts: facts(&order), parent: parent.as_ref(), staged: Vec::new(), key: &key };
    let manifest = capture(job, &mut UploadSink::new(client.clone()), &|progress| lines.progress(progress))?;
    hand_in(&client, manifest, (parent.as_ref(), &kept))
}

/// Plan, stage, swap, and the look at the result.
fn update(before: &Manifest, image: &Image, (root, state): (&Path, &Path)) -> anyhow::Result<Value> {
    let (keep, held, special) = (Keep::new(&[])?, HashSet::new(), Special::default());
    let wanted = &image.manifest;
    let job = UpdateJob {
        root,
        mount_points: &[],
        wanted,
        base: Some(before),
        held_before: &held,
        keep: &keep,
        state,
        keep_local: false,
        delete_local: false,
        read_all: false,
        special: &special,
        threads: threads(),
    };
    let planned = plan_update(&job)?;
    planned.remember(sysclone_agent::clock::now())?;
    let (changes, mut fetched) = (planned.preview().changes.len(), 0);
    if changes > 0 {
        let mut staged = planned.stage((&image.key, &image.packs), &|_| ())?;
        staged.journal.forward((root, state), &mut Unwatched)?;
        fetched = staged.fetched_bytes;
        let wrong = planned.check(sysclone_agent::clock::now())?;
        ensure!(wrong.is_empty(), "not as it should be: {wrong:?}");
    }
    // A node is sent the difference from the generation that it has.
    let manifest = wanted.delta(before).len();
    Ok(json!({ "changes": changes, "fetched": fetched, "manifest": manifest }))
}

fn deploy(image: &Image, root: &Path) -> anyhow::Result<Value> {
    let before = Before::Nothing;
    let (manifest, key, source) = (&image.manifest, &image.key, &image.packs);
    let flusher = Flusher::start(&[root.to_owned()]);
    let report = apply(&ApplyJob { manifest, key, source, root, before, threads: threads() }, &|_| ())?;
    drop(flusher);
    ensure!(report.warnings.is_empty(), "the target refused something: {:?}", report.warnings);
    Ok(json!({ "files": report.files, "bytes": report.bytes, "fetched": report.fetched_bytes }))
}

fn fetch(image: &Image) -> anyhow::Result<Value> {
    let (next, packs) = (AtomicUsize::new(0), &image.manifest.packs);
    std::thread::scope(|scope| {
        // As many connections as a deployment has.
        let fetcher = || -> anyhow::Result<()> {
            while let Some(pack) = packs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let mut hasher = blake3::Hasher::new();
                for start in (0..pack.bytes).step_by(4 << 20) {
                    let range = start..pack.bytes.min(start + (4 << 20));
                    hasher.update(&image.packs.read(&pack.id, range)?);
                }
                ensure!(hasher.finalize().to_hex().as_str() == pack.id.to_string(), "{} is damaged", pack.id);
            }
            Ok(())
        };
        let running = [scope.spawn(fetcher), scope.spawn(fetcher)];
        running.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("it panicked"))?)
    })?;
    Ok(json!({ "fetched": packs.iter().map(|pack| pack.bytes).sum::<u64>() }))
}

fn compare(before: &Image, after: &Image) -> Value {
    let known: HashSet<_> = before.manifest.chunks.iter().map(|chunk| chunk.hash).collect();
    let new = || after.manifest.chunks.iter().filter(|chunk| !known.contains(&chunk.hash));
    let frames: BTreeSet<u32> = new().map(|chunk| chunk.frame).collect();
    let packed = |frame: &u32| u64::from(after.manifest.frames[*frame as usize].stored_len);
    let there: HashSet<_> = before.manifest.packs.iter().map(|pack| pack.id).collect();
    let packs = after.manifest.packs.iter().filter(|pack| !there.contains(&pack.id));
    json!({
        "chunks": new().count(),
        "plain": new().map(|chunk| u64::from(chunk.len)).sum::<u64>(),
        "packed": frames.iter().map(packed).sum::<u64>(),
        "stored": packs.map(|pack| pack.bytes).sum::<u64>(),
    })
}

fn facts(order: &CaptureOrder) -> CaptureFacts {
    CaptureFacts {
        image: order.image.name.clone(),
        os: OsIdentity::default(),
        arch: std::env::consts::ARCH.to_owned(),
        source: "golden".to_owned(),
        host_key_types: Vec::new(),
        layout: Layout::default(),
        boot: BootFacts {
            firmware: Firmware::Bios,
            loader: Loader::Unknown,
            loader_disks: Vec::new(),
            boot_device: None,
            kernels: Vec::new(),
            initramfs: Initramfs::Unknown,
            kernel_cmdline: String::new(),
        },
    }
}
