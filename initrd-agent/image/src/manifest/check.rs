//! The rules that every manifest keeps. Whoever holds a [`Manifest`] that was read need not check again.

use std::collections::{HashMap, HashSet};

use super::{MAX_CHUNK_BYTES, MAX_FRAME_BYTES, Manifest, ManifestError};
use crate::entry::{Content, Entry, EntryKind, FileData, Meta, split};
use crate::pack::HEADER_BYTES;

/// Longest name in a directory on every Linux file system.
const MAX_NAME_BYTES: usize = 255;
/// Longest target of a symbolic link (`PATH_MAX` without the final NUL).
const MAX_TARGET_BYTES: usize = 4095;
/// Longest name of an extended attribute (`XATTR_NAME_MAX`).
const MAX_XATTR_NAME_BYTES: usize = 255;
/// Longest value of an extended attribute (`XATTR_SIZE_MAX`).
const MAX_XATTR_VALUE_BYTES: usize = 65_536;
/// Largest size and offset that a file can have (`loff_t` is signed).
const MAX_FILE_BYTES: u64 = i64::MAX as u64;

type Rule = Result<(), &'static str>;

pub(super) fn check(manifest: &Manifest) -> Result<(), ManifestError> {
    packs(manifest)?;
    frames(manifest)?;
    chunks(manifest)?;
    entries(manifest)
}

fn require(holds: bool, rule: &'static str) -> Rule {
    if holds { Ok(()) } else { Err(rule) }
}

fn at(table: &'static str, index: usize) -> impl Fn(&'static str) -> ManifestError {
    move |rule| ManifestError::Rule { table, index, rule }
}

fn packs(manifest: &Manifest) -> Result<(), ManifestError> {
    let mut seen = HashSet::new();
    for (index, pack) in manifest.packs.iter().enumerate() {
        require(seen.insert(pack.id), "named twice").map_err(at("pack", index))?;
    }
    Ok(())
}

fn frames(manifest: &Manifest) -> Result<(), ManifestError> {
    let mut previous = None;
    for (index, frame) in manifest.frames.iter().enumerate() {
        let rule = || {
            let pack = manifest.packs.get(frame.pack as usize).ok_or("is in no pack")?;
            let end = frame.offset.checked_add(u64::from(frame.stored_len));
            require(
                frame.offset >= HEADER_BYTES && end.is_some_and(|e| e <= pack.bytes),
                "lies outside its pack",
            )?;
            require((1..=MAX_FRAME_BYTES).contains(&frame.plain_len), "is empty or too large")?;
            require(
                frame.stored_len <= MAX_FRAME_BYTES + MAX_FRAME_BYTES / 8,
                "is stored larger than allowed",
            )?;
            match previous {
                Some((pack, number, end)) if pack == frame.pack => {
                    require(frame.number > number && frame.offset >= end, "overlaps or is out of order")
                }
                Some((pack, ..)) => require(frame.pack > pack, "is out of order"),
                None => Ok(()),
            }
        };
        rule().map_err(at("frame", index))?;
        previous = Some((frame.pack, frame.number, frame.offset + u64::from(frame.stored_len)));
    }
    Ok(())
}

fn chunks(manifest: &Manifest) -> Result<(), ManifestError> {
    let mut seen = HashSet::with_capacity(manifest.chunks.len());
    let mut previous = (0, 0);
    for (index, chunk) in manifest.chunks.iter().enumerate() {
        let rule = || {
            let frame = manifest.frames.get(chunk.frame as usize).ok_or("is in no frame")?;
            require((1..=MAX_CHUNK_BYTES).contains(&chunk.len), "is empty or too large")?;
            let end = chunk.offset.checked_add(chunk.len);
            require(end.is_some_and(|e| e <= frame.plain_len), "lies outside its frame")?;
            require((chunk.frame, chunk.offset) >= previous, "overlaps or is out of order")
        };
        rule().map_err(at("chunk", index))?;
        require(seen.insert(chunk.hash), "is there twice").map_err(at("chunk", index))?;
        previous = (chunk.frame, chunk.offset + chunk.len);
    }
    Ok(())
}

fn entries(manifest: &Manifest) -> Result<(), ManifestError> {
    let first = manifest.entries.first().ok_or(ManifestError::Rule {
        table: "entry",
        index: 0,
        rule: "there is no root directory",
    })?;
    require(first.path.is_empty() && first.kind == EntryKind::Directory, "is not the root directory")
        .map_err(at("entry", 0))?;
    let mut is_directory: HashMap<&[u8], bool> = HashMap::with_capacity(manifest.entries.len());
    for (index, entry) in manifest.entries.iter().enumerate() {
        let rule = || {
            if index > 0 {
                path(entry, &is_directory)?;
            }
            meta(&entry.meta)?;
            kind(manifest, index, entry)
        };
        rule().map_err(at("entry", index))?;
        let directory = entry.kind == EntryKind::Directory;
        require(is_directory.insert(&entry.path, directory).is_none(), "has a path that is there twice")
            .map_err(at("entry", index))?;
    }
    Ok(())
}

/// The parent is checked to be a directory that came before, so by induction the whole path is sane.
fn path(entry: &Entry, is_directory: &HashMap<&[u8], bool>) -> Rule {
    let (parent, name) = split(&entry.path).ok_or("has no path")?;
    require(!entry.path.starts_with(b"/"), "has an absolute path")?;
    require(!matches!(name, b"" | b"." | b".."), "has an empty, '.' or '..' name")?;
    require(name.len() <= MAX_NAME_BYTES, "has a name of more than 255 bytes")?;
    require(!name.contains(&0), "has a NUL in its name")?;
    require(is_directory.get(parent) == Some(&true), "is not inside a directory that came before it")
}

fn meta(meta: &Meta) -> Rule {
    require(meta.mode <= 0o7777, "has more than permission bits in its mode")?;
    require(meta.mtime.nanos < 1_000_000_000, "has a second or more of nanoseconds")?;
    require(meta.xattrs.is_sorted_by(|a, b| a.name < b.name), "has attributes twice or out of order")?;
    for xattr in &meta.xattrs {
        let name = &xattr.name;
        let sane = (1..=MAX_XATTR_NAME_BYTES).contains(&name.len()) && !name.contains(&0);
        require(sane, "has an attribute with an impossible name")?;
        require(xattr.value.len() <= MAX_XATTR_VALUE_BYTES, "has an attribute that is too long")?;
    }
    Ok(())
}

fn kind(manifest: &Manifest, index: usize, entry: &Entry) -> Rule {
    match &entry.kind {
        EntryKind::Directory
        | EntryKind::CharDevice { .. }
        | EntryKind::BlockDevice { .. }
        | EntryKind::Fifo => Ok(()),
        EntryKind::File(data) => file(manifest, data),
        EntryKind::Symlink { target } => {
            let sane = (1..=MAX_TARGET_BYTES).contains(&target.len()) && !target.contains(&0);
            require(sane, "is a symbolic link with an impossible target")
        }
        EntryKind::HardLink { first } => {
            let first = *first as usize;
            require(first < index, "is a hard link to a later entry")?;
            let target = &manifest.entries[first].kind;
            let sane = !matches!(target, EntryKind::Directory | EntryKind::HardLink { .. });
            require(sane, "is a hard link to a directory or another link")?;
            require(entry.meta == Meta::default(), "is a hard link with metadata of its own")
        }
    }
}

fn file(manifest: &Manifest, data: &FileData) -> Rule {
    require(data.size <= MAX_FILE_BYTES, "is larger than a file can be")?;
    require(data.origin.changed.nanos < 1_000_000_000, "has a second or more of nanoseconds")?;
    let mut end = 0;
    for extent in &data.extents {
        require(extent.offset >= end, "has extents that overlap or are out of order")?;
        let len = match extent.content {
            Content::Chunk(chunk) => {
                u64::from(manifest.chunks.get(chunk as usize).ok_or("uses a chunk that is not there")?.len)
            }
            Content::Zeros(len) => len,
        };
        require(len > 0, "has an empty extent")?;
        end = extent.offset.checked_add(len).ok_or("has an extent beyond all offsets")?;
    }
    require(end <= data.size, "has extents beyond its end")
}

#[cfg(test)]
mod tests {
    use super::super::tests::small;
    use super::*;
    use crate::entry::{Extent, Xattr};

    /// Each row breaks one rule of a good manifest.
    type Row = (&'static str, fn(&mut Manifest));

    fn data(manifest: &mut Manifest) -> &mut FileData {
        match &mut manifest.entries[1].kind {
            EntryKind::File(data) => data,
            other => panic!("{other:?}"),
        }
    }

    fn path(manifest: &mut Manifest, path: &[u8]) {
        manifest.entries[3].path = path.to_vec();
    }

    const PATHS: &[Row] = &[
        ("no root", |m| m.entries.clear()),
        ("root is not first", |m| m.entries.swap(0, 2)),
        ("root is no directory", |m| m.entries[0].kind = EntryKind::Fifo),
        ("second root", |m| path(m, b"")),
        ("dot", |m| path(m, b"sub/.")),
        ("dot dot", |m| path(m, b"sub/..")),
        ("only dot dot", |m| path(m, b"..")),
        ("dot dot inside", |m| path(m, b"sub/../x")),
        ("absolute", |m| path(m, b"/etc")),
        ("double slash", |m| path(m, b"sub//x")),
        ("trailing slash", |m| path(m, b"sub/")),
        ("NUL", |m| path(m, b"sub/a\0b")),
        ("long name", |m| path(m, &[b'x'; 256])),
        ("no parent", |m| path(m, b"missing/x")),
        ("parent is a file", |m| path(m, b"file/x")),
        ("parent comes later", |m| m.entries.swap(2, 3)),
        ("twice", |m| path(m, b"file")),
    ];

    const CONTENT: &[Row] = &[
        ("link to later", |m| m.entries[4].kind = EntryKind::HardLink { first: 6 }),
        ("link to itself", |m| m.entries[4].kind = EntryKind::HardLink { first: 4 }),
        ("link out of range", |m| m.entries[4].kind = EntryKind::HardLink { first: u32::MAX }),
        ("link to directory", |m| m.entries[4].kind = EntryKind::HardLink { first: 0 }),
        ("link with metadata", |m| m.entries[4].meta.uid = 1),
        ("empty target", |m| m.entries[3].kind = EntryKind::Symlink { target: vec![] }),
        ("NUL target", |m| m.entries[3].kind = EntryKind::Symlink { target: vec![0] }),
        ("long target", |m| m.entries[3].kind = EntryKind::Symlink { target: vec![b'x'; 4096] }),
        ("mode", |m| m.entries[1].meta.mode = 0o10000),
        ("nanoseconds", |m| m.entries[1].meta.mtime.nanos = 1_000_000_000),
        ("attribute order", |m| m.entries[1].meta.xattrs.reverse()),
        ("attribute name", |m| m.entries[1].meta.xattrs[0].name.clear()),
        ("attribute NUL", |m| m.entries[1].meta.xattrs[1].name.push(0)),
        ("attribute length", |m| m.entries[1].meta.xattrs[0].value = vec![0; 65_537]),
        ("attribute twice", |m| {
            let x = Xattr { name: b"user.a".to_vec(), value: vec![] };
            m.entries[1].meta.xattrs.push(x);
        }),
        ("extent order", |m| data(m).extents.swap(0, 1)),
        ("extent overlap", |m| data(m).extents[1].offset = 4),
        ("extent beyond end", |m| data(m).size -= 1),
        ("extent overflow", |m| {
            data(m).extents[2] = Extent { offset: u64::MAX, content: Content::Zeros(2) };
        }),
        ("size", |m| data(m).size = 1 << 63),
        ("no zeros", |m| data(m).extents[1].content = Content::Zeros(0)),
        ("no such chunk", |m| data(m).extents[0].content = Content::Chunk(2)),
    ];

    const TABLES: &[Row] = &[
        ("chunk frame", |m| m.chunks[1].frame = 1),
        ("chunk end", |m| m.chunks[1].len = 6),
        ("chunk overflow", |m| m.chunks[1].offset = u32::MAX),
        ("chunk empty", |m| m.chunks[0].len = 0),
        ("chunk overlap", |m| m.chunks[1].offset = 4),
        ("chunk order", |m| m.chunks.swap(0, 1)),
        ("chunk twice", |m| m.chunks[1].hash = m.chunks[0].hash),
        ("frame pack", |m| m.frames[0].pack = 1),
        ("frame in header", |m| m.frames[0].offset = 0),
        ("frame end", |m| m.frames[0].stored_len = 1000),
        ("frame overflow", |m| m.frames[0].offset = u64::MAX),
        ("frame empty", |m| m.frames[0].plain_len = 0),
        ("frame bomb", |m| m.frames[0].plain_len = u32::MAX),
        ("frame overlap", |m| m.frames.push(m.frames[0])),
        ("pack twice", |m| m.packs.push(m.packs[0])),
    ];

    #[test]
    fn each_broken_rule_is_refused() {
        Manifest::decode(&small().encode()).expect("the unbroken one is good");
        for (what, break_it) in [PATHS, CONTENT, TABLES].into_iter().flatten() {
            let mut manifest = small();
            break_it(&mut manifest);
            let answer = Manifest::decode(&manifest.encode());
            assert!(matches!(answer, Err(ManifestError::Rule { .. })), "{what}: {answer:?}");
        }
    }
}
