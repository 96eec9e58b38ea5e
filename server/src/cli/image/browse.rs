//! What a manifest tells without reading any pack: facts, names, differences.

use anyhow::{Context, bail};
use jiff::Timestamp;
use serde_json::{Value, json};
use sysclone_image::{Change, Diff, Entry, EntryKind, Manifest, diff};

use super::args::{ImageDiff, ImageLs, OneImage};
use super::content::Opened;
use crate::cli::client::Client;
use crate::cli::console::{Console, Exit};
use crate::cli::meter::{bytes, grouped};

/// The header, the disks and what could not be captured.
pub(super) async fn show(args: &OneImage, console: &mut Console) -> anyhow::Result<Exit> {
    let opened = Opened::fetch(&Client::new(&args.common.socket), &args.image).await?;
    let manifest = &opened.manifest;
    let header = &manifest.header;
    if args.common.json {
        console.json(&json!({
            "image": manifest.image_ref().to_string(), "header": header, "layout": manifest.layout,
            "boot": manifest.boot, "entries": manifest.entries.len(), "bytes": manifest.file_bytes(),
            "packs": manifest.packs.len(),
        }))?;
        return Ok(Exit::Done);
    }
    let at = Timestamp::from_second(header.captured_at).unwrap_or_default();
    let mut say = |name: &str, text: &str| console.line(&format!("{name:<14}{text}"));
    say("image", &manifest.image_ref().to_string())?;
    say("captured", &format!("{at} from {}", header.source))?;
    say("system", &format!("{} ({})", header.os.name, header.arch))?;
    if let Some(parent) = header.parent {
        say("built on", &format!("{}@{parent}", header.image))?;
    }
    let entries = grouped(manifest.entries.len() as u64);
    say("content", &format!("{entries} entries, {} of files", bytes(manifest.file_bytes())))?;
    let stored = manifest.packs.iter().map(|pack| pack.bytes).sum();
    say("stored", &format!("{} packs, {}", manifest.packs.len(), bytes(stored)))?;
    for filesystem in &manifest.layout.filesystems {
        let point = filesystem.mount_point.as_deref().unwrap_or("-");
        say("filesystem", &format!("{} {point}, {} used", filesystem.kind, bytes(filesystem.used_bytes)))?;
    }
    for pattern in &header.excludes {
        say("excluded", pattern)?;
    }
    for notice in &header.inconsistent {
        say("inconsistent", &format!("{}: {}", shown(&notice.path), notice.reason))?;
    }
    for notice in &header.skipped {
        say("skipped", &format!("{}: {}", shown(&notice.path), notice.reason))?;
    }
    Ok(Exit::Done)
}

/// One directory.
pub(super) async fn ls(args: &ImageLs, console: &mut Console) -> anyhow::Result<Exit> {
    let opened = Opened::fetch(&Client::new(&args.common.socket), &args.image).await?;
    let manifest = &opened.manifest;
    let index = opened.find(&args.path)?;
    let top = &manifest.entries[index];
    let found: Vec<&Entry> = match top.kind {
        EntryKind::Directory => manifest.children(&top.path).collect(),
        _ => vec![top],
    };
    if args.common.json {
        let entries: Vec<Value> = found.iter().map(|entry| as_json(manifest, entry)).collect();
        console.json(&entries)?;
        return Ok(Exit::Done);
    }
    for entry in found {
        let name = entry.split().map_or("/".into(), |(_, name)| String::from_utf8_lossy(name));
        console.line(&if args.long { long(manifest, entry, &name) } else { name.into_owned() })?;
    }
    Ok(Exit::Done)
}

fn inode<'a>(manifest: &'a Manifest, entry: &'a Entry) -> &'a Entry {
    match entry.kind {
        EntryKind::HardLink { first } => &manifest.entries[first as usize],
        _ => entry,
    }
}

/// The letter of `ls -l`, the size, and what follows the name.
fn facts(entry: &Entry) -> (char, String, String) {
    match &entry.kind {
        EntryKind::Directory => ('d', "0".to_owned(), String::new()),
        EntryKind::File(data) => ('-', data.size.to_string(), String::new()),
        EntryKind::Symlink { target } => {
            ('l', "0".to_owned(), format!(" -> {}", String::from_utf8_lossy(target)))
        }
        EntryKind::CharDevice { major, minor } => ('c', format!("{major},{minor}"), String::new()),
        EntryKind::BlockDevice { major, minor } => ('b', format!("{major},{minor}"), String::new()),
        EntryKind::Fifo => ('p', "0".to_owned(), String::new()),
        EntryKind::HardLink { .. } => ('-', "0".to_owned(), String::new()),
    }
}

fn long(manifest: &Manifest, entry: &Entry, name: &str) -> String {
    let inode = inode(manifest, entry);
    let (letter, size, behind) = facts(inode);
    let meta = &inode.meta;
    let at = Timestamp::from_second(meta.mtime.seconds).unwrap_or_default();
    let marks = if meta.xattrs.is_empty() { ' ' } else { '+' };
    format!("{letter}{:04o}{marks} {:>6} {:>6} {size:>12} {at} {name}{behind}", meta.mode, meta.uid, meta.gid)
}

fn as_json(manifest: &Manifest, entry: &Entry) -> Value {
    let inode = inode(manifest, entry);
    let (letter, size, _) = facts(inode);
    let xattrs: Vec<_> = inode.meta.xattrs.iter().map(|x| String::from_utf8_lossy(&x.name)).collect();
    json!({
        "path": shown(&entry.path), "type": letter.to_string(), "mode": format!("{:04o}", inode.meta.mode),
        "uid": inode.meta.uid, "gid": inode.meta.gid, "size": size,
        "mtime": inode.meta.mtime.seconds, "mtime_nanos": inode.meta.mtime.nanos, "xattrs": xattrs,
    })
}

/// What differs between two generations.
pub(super) async fn compare(args: &ImageDiff, console: &mut Console) -> anyhow::Result<Exit> {
    let client = Client::new(&args.common.socket);
    let old = Opened::fetch(&client, &args.old).await?;
    let new = Opened::fetch(&client, &args.new).await?;
    if old.manifest.header.image != new.manifest.header.image {
        // Other images have other keys, so that not one chunk could be shared; paths can be compared all the same.
        console.note("Warning: these are generations of different images\n")?;
    }
    let found = diff(&old.manifest, &new.manifest);
    if args.common.json {
        console.json(&diff_json(&found))?;
        return Ok(Exit::Done);
    }
    if !args.stat {
        for difference in &found.differences {
            console.line(&format!(
                "{} {}",
                letter(&difference.change),
                path_of(&difference.path, &difference.change)
            ))?;
        }
    }
    let count = grouped(found.differences.len() as u64);
    let (new_bytes, fetch) = (bytes(found.new_bytes), bytes(found.fetch_bytes));
    console.line(&format!("{count} differences, {new_bytes} of new content, at most {fetch} to fetch"))?;
    Ok(Exit::Done)
}

fn letter(change: &Change) -> char {
    match change {
        Change::Added => 'A',
        Change::Removed => 'D',
        Change::Renamed { .. } => 'R',
        Change::Type => 'T',
        Change::Content => 'M',
        Change::Metadata => 'm',
    }
}

fn path_of(path: &[u8], change: &Change) -> String {
    match change {
        Change::Renamed { from } => format!("{} -> {}", shown(from), shown(path)),
        _ => shown(path),
    }
}

fn diff_json(found: &Diff) -> Value {
    let word = |change: &Change| match change {
        Change::Added => "added",
        Change::Removed => "removed",
        Change::Renamed { .. } => "renamed",
        Change::Type => "type",
        Change::Content => "content",
        Change::Metadata => "metadata",
    };
    let differences: Vec<Value> = found
        .differences
        .iter()
        .map(|difference| {
            let from = match &difference.change {
                Change::Renamed { from } => Value::from(shown(from)),
                _ => Value::Null,
            };
            json!({
                "path": shown(&difference.path), "change": word(&difference.change), "from": from,
                "bytes": difference.bytes,
            })
        })
        .collect();
    json!({ "differences": differences, "new_bytes": found.new_bytes, "fetch_bytes": found.fetch_bytes })
}

pub(super) fn shown(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}

impl Opened {
    /// The entry that a typed path means.
    pub(super) fn find(&self, path: &str) -> anyhow::Result<usize> {
        let wanted = path.trim_matches('/');
        if wanted.split('/').any(|part| part == ".." || part == ".") {
            bail!("{path}: paths in images have no '.' and '..'");
        }
        self.manifest
            .find(wanted.as_bytes())
            .with_context(|| format!("{} has no {path}", self.manifest.image_ref()))
    }
}
