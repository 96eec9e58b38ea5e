//! The content of images, read by root straight from the store: every byte is checked on its way.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sysclone_image::sign::{self, VerifyingKey};
use sysclone_image::{ApplyJob, Before, ImageKey, Manifest, PackDirectory, apply, read_file};

use super::args::{ImageCheckout, ImagePath};
use crate::cli::client::{Client, query_value};
use crate::cli::console::{Console, Exit};
use crate::cli::meter::{bytes, grouped};
use crate::wire::ImageAccess;

/// A generation, and what reads it.
pub(super) struct Opened {
    pub(super) manifest: Manifest,
    /// Directory of what machines boot.
    pub(super) boot_dir: PathBuf,
    key: ImageKey,
    packs: PackDirectory,
}

impl Opened {
    pub(super) async fn fetch(client: &Client, image: &str) -> anyhow::Result<Self> {
        let access: ImageAccess = client.get(&format!("/api/v1/images/{}", query_value(image))).await?;
        let what = || format!("the manifest of {image} from the daemon");
        let sealed = STANDARD.decode(&access.manifest).with_context(what)?;
        let signer = VerifyingKey::from_base64(&access.manifest_key).with_context(what)?;
        let manifest = sign::open(&sealed, &signer).with_context(what)?;
        let key = ImageKey::from_base64(access.image_key.reveal()).with_context(what)?;
        let packs = PackDirectory::new(Path::new(&access.store));
        Ok(Self { manifest, boot_dir: access.boot_dir.into(), key, packs })
    }

    /// Writes a directory or file of the image into the directory `root`, which is made.
    pub(super) fn write_part(&self, path: &str, root: &Path) -> anyhow::Result<()> {
        let index = self.find(path)?;
        let part =
            self.manifest.subtree(&self.manifest.entries[index].path).expect("the entry was just found");
        fs::create_dir_all(root).with_context(|| format!("making {}", root.display()))?;
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let (manifest, key, source) = (&part, &self.key, &self.packs);
        let job = ApplyJob { manifest, key, source, root, threads, before: Before::Nothing };
        apply(&job, &|_| ()).with_context(|| format!("taking {path} out of the image")).map(drop)
    }
}

/// Prints a file's bytes as they are.
pub(super) async fn cat(args: &ImagePath, console: &mut Console) -> anyhow::Result<Exit> {
    let opened = Opened::fetch(&Client::new(&args.common.socket), &args.image).await?;
    let index = opened.find(&args.path)?;
    let mut write = |bytes: &[u8]| console.bytes(bytes);
    let read = read_file((&opened.manifest, &opened.key), &opened.packs, index, &mut write);
    read.with_context(|| format!("printing {}", args.path))?;
    console.flush()?;
    Ok(Exit::Done)
}

/// Writes a part of the image into a directory that holds nothing yet.
pub(super) async fn checkout(args: &ImageCheckout, console: &mut Console) -> anyhow::Result<Exit> {
    let opened = Opened::fetch(&Client::new(&args.common.socket), &args.image).await?;
    let index = opened.find(&args.path)?;
    let part =
        opened.manifest.subtree(&opened.manifest.entries[index].path).expect("the entry was just found");
    fs::create_dir_all(&args.directory).with_context(|| format!("making {}", args.directory.display()))?;
    let mut names =
        fs::read_dir(&args.directory).with_context(|| format!("reading {}", args.directory.display()))?;
    ensure!(names.next().is_none(), "{} is not empty; name a new directory", args.directory.display());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let (key, source, root) = (&opened.key, &opened.packs, args.directory.as_path());
    let job = ApplyJob { manifest: &part, key, source, root, threads, before: Before::Nothing };
    let started = Instant::now();
    let terminal = console.err_is_terminal;
    let report = apply(&job, &|progress| {
        if terminal && started.elapsed().as_secs() >= 2 {
            let text = format!("\r{} of {}\x1b[K", bytes(progress.done), bytes(progress.total));
            // Progress that cannot be shown is no failure.
            drop(std::io::stderr().write_all(text.as_bytes()));
        }
    })
    .with_context(|| format!("writing to {}", args.directory.display()))?;
    if terminal {
        console.note("\r\x1b[K")?;
    }
    for warning in &report.warnings {
        console.note(&format!(
            "Warning: {} ({} times, first at {})\n",
            warning.what, warning.count, warning.example
        ))?;
    }
    let files = grouped(report.files);
    console.line(&format!("{}: {files} files, {}", args.directory.display(), bytes(report.bytes)))?;
    Ok(Exit::Done)
}
