//! sysclone image: list, browse, compare, tag, remove and check images.

mod args;
mod boot_files;
mod browse;
mod content;
mod listing;
mod work;

use args::{ImageExport, ImageHistory, ImageImport, ImageList, ImageRm, ImageTag, ImageVerb, OneImage};

pub(super) use args::Image;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::client::{Client, query_value};
use super::console::{Console, Exit};
use crate::wire::{ImageChange, ImageChanged, ImageLine, ImageWork};

/// Does what was asked for.
pub(super) async fn run(verb: &ImageVerb, console: &mut Console) -> anyhow::Result<Exit> {
    match verb {
        ImageVerb::List(args) => list(args, console).await,
        ImageVerb::History(args) => history(args, console).await,
        ImageVerb::Show(args) => browse::show(args, console).await,
        ImageVerb::Ls(args) => browse::ls(args, console).await,
        ImageVerb::Diff(args) => browse::compare(args, console).await,
        ImageVerb::Cat(args) => content::cat(args, console).await,
        ImageVerb::Checkout(args) => content::checkout(args, console).await,
        ImageVerb::BootFiles(args) => boot_files::make(args, console).await,
        ImageVerb::Tag(args) => tag(args, console).await,
        ImageVerb::Rollback(args) => rollback(args, console).await,
        ImageVerb::Rm(args) => remove(args, console).await,
        ImageVerb::Verify(args) => {
            let request = ImageWork::Verify { image: args.image.clone() };
            work::run(&args.common, &request, console).await
        }
        ImageVerb::Fsck(args) => {
            let (quarantine, repair_from) = (args.quarantine, args.repair_from.clone());
            work::run(&args.common, &ImageWork::Fsck { quarantine, repair_from }, console).await
        }
        ImageVerb::Gc(args) => {
            let (dry_run, repack) = (args.dry_run, args.repack);
            work::run(&args.common, &ImageWork::Gc { dry_run, repack }, console).await
        }
        ImageVerb::Export(args) => export(args, console).await,
        ImageVerb::Import(args) => import(args, console).await,
    }
}

async fn export(args: &ImageExport, console: &mut Console) -> anyhow::Result<Exit> {
    let work = ImageWork::Export {
        image: args.image.clone(),
        all: args.all,
        file: absolute(&args.file)?,
        with_key: !args.without_key,
    };
    work::run(&args.common, &work, console).await
}

async fn import(args: &ImageImport, console: &mut Console) -> anyhow::Result<Exit> {
    let (name, trust) = (args.name.clone(), args.trust.clone());
    let work = ImageWork::Import { file: absolute(&args.file)?, name, trust };
    work::run(&args.common, &work, console).await
}

/// The daemon has another working directory.
fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("finding {}", path.display()))
}

async fn list(args: &ImageList, console: &mut Console) -> anyhow::Result<Exit> {
    let mut lines: Vec<ImageLine> = Client::new(&args.common.socket).get("/api/v1/images").await?;
    lines.retain(|line| line.newest);
    listing::print(&lines, args.common.json, console)
}

async fn history(args: &ImageHistory, console: &mut Console) -> anyhow::Result<Exit> {
    let path = format!("/api/v1/images?name={}", query_value(&args.name));
    let lines: Vec<ImageLine> = Client::new(&args.common.socket).get(&path).await?;
    listing::print(&lines, args.common.json, console)
}

async fn tag(args: &ImageTag, console: &mut Console) -> anyhow::Result<Exit> {
    let (image, tag) = (args.image.clone(), args.tag.clone());
    let change =
        if args.delete { ImageChange::Untag { image, tag } } else { ImageChange::Tag { image, tag } };
    send(&Client::new(&args.common.socket), &change, (args.common.json, console)).await
}

async fn rollback(args: &OneImage, console: &mut Console) -> anyhow::Result<Exit> {
    let change = ImageChange::Rollback { image: args.image.clone() };
    send(&Client::new(&args.common.socket), &change, (args.common.json, console)).await
}

async fn remove(args: &ImageRm, console: &mut Console) -> anyhow::Result<Exit> {
    let change = ImageChange::Remove { image: args.image.clone(), all: args.all };
    send(&Client::new(&args.common.socket), &change, (args.common.json, console)).await
}

async fn send(
    client: &Client,
    change: &ImageChange,
    (json, console): (bool, &mut Console),
) -> anyhow::Result<Exit> {
    let done: ImageChanged = client.post("/api/v1/images", change).await?;
    if json {
        console.json(&done)?
    } else {
        console.line(&done.text)?
    }
    Ok(Exit::Done)
}
