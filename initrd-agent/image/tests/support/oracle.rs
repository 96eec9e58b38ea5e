//! Judges two trees by programs that are not ours: find, getfattr, getfacl, lsattr, and the kernel's own maps of
//! extents; [`super::compare`] adds rsync.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// What a judge says about a tree, in parts that can be compared.
type Judge = fn(&Path) -> Vec<Vec<u8>>;

/// What differs between two trees, by every judge; empty when nothing does. Nothing may be cached of either: zeros
/// that are reserved and were read count as data until they are forgotten.
pub fn differences(golden: &Path, clone: &Path) -> Vec<String> {
    let mut found = extents(golden, clone);
    found.extend(differences_but_extents(golden, clone));
    found
}

/// The same without the maps of extents, for what may be cached.
pub fn differences_but_extents(golden: &Path, clone: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let judges: [(&str, Judge); 4] =
        [("find", find), ("getfattr", getfattr), ("getfacl", getfacl), ("lsattr", lsattr)];
    for (name, judge) in judges {
        found.extend(differing(name, &judge(golden), &judge(clone)));
    }
    found.extend(super::compare::rsync(golden, clone).into_iter().map(|line| format!("rsync {line}")));
    found
}

fn differing(judge: &str, ours: &[Vec<u8>], theirs: &[Vec<u8>]) -> Vec<String> {
    let only = |sign: char, some: &[Vec<u8>], other: &[Vec<u8>]| {
        let lines: Vec<_> = some.iter().filter(|line| !other.contains(line)).collect();
        lines.into_iter().map(|line| format!("{judge} {sign} {}", line.escape_ascii())).collect::<Vec<_>>()
    };
    let mut found = only('-', ours, theirs);
    found.extend(only('+', theirs, ours));
    if found.is_empty() && ours.len() != theirs.len() {
        found.push(format!("{judge}: {} and {} answers", ours.len(), theirs.len()));
    }
    found
}

/// What a judge prints about a tree, in parts that end in `end`, sorted.
fn ask(command: &[&str], root: &Path, end: &[u8]) -> Vec<Vec<u8>> {
    let out = Command::new(command[0])
        .args(&command[1..])
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .current_dir(root)
        .output()
        .unwrap();
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    let mut parts = Vec::new();
    let mut rest = &out.stdout[..];
    while !rest.is_empty() {
        let at = rest.windows(end.len()).position(|part| part == end).unwrap_or(rest.len());
        parts.push(rest[..at].to_vec());
        rest = &rest[(at + end.len()).min(rest.len())..];
    }
    parts.sort();
    parts
}

/// Type, mode, owners, number of names, size, time to the nanosecond, link target, path. A directory's size and
/// number of names are its file system's matter.
fn find(root: &Path) -> Vec<Vec<u8>> {
    let directory = r"d %m %U %G %T@ %p\0";
    let other = r"%y %m %U %G %n %s %T@ %p -> %l\0";
    let command =
        ["find", ".", "(", "-type", "d", "-printf", directory, ")", "-o", "(", "-printf", other, ")"];
    ask(&command, root, b"\0")
}

/// Attributes of every name space, each file's sorted. XFS shows ACLs once more under names of its own.
fn getfattr(root: &Path) -> Vec<Vec<u8>> {
    let files = ask(&["getfattr", "-RPdh", "-m-", "-ehex", "."], root, b"\n\n");
    let sorted = |file: &Vec<u8>| {
        let mut lines: Vec<_> = file.split(|b| *b == b'\n').collect();
        lines.retain(|line| !line.starts_with(b"trusted.SGI_ACL_"));
        lines[1..].sort_unstable();
        (lines.len() > 1).then(|| lines.join(&b'\n'))
    };
    files.iter().filter_map(sorted).collect()
}

fn getfacl(root: &Path) -> Vec<Vec<u8>> {
    ask(&["getfacl", "-R", "-P", "-n", "."], root, b"\n\n")
}

/// Flags that an image keeps, by path. A path with a line end makes several lines, which are compared all the same.
fn lsattr(root: &Path) -> Vec<Vec<u8>> {
    let kept = |line: &mut Vec<u8>| {
        let word = line.iter().position(|b| *b == b' ').unwrap_or(0);
        let flags = word > 10 && line[..word].iter().all(|b| *b == b'-' || b.is_ascii_alphabetic());
        line[..word].iter_mut().filter(|b| flags && !b"iaCdASD".contains(b)).for_each(|b| *b = b'-');
    };
    let mut lines = ask(&["lsattr", "-Ra", "."], root, b"\n");
    // `..` of the root is outside.
    lines.retain(|line| !line.ends_with(b" ./.."));
    lines.iter_mut().for_each(kept);
    lines.sort();
    lines
}

type Ranges = Vec<(u64, u64)>;

/// All that is data in the original occupies room in the clone, and no hole of the original does.
fn extents(golden: &Path, clone: &Path) -> Vec<String> {
    let (ours, theirs) = (maps(golden), maps(clone));
    let mut found = Vec::new();
    for (path, (size, data, allocated)) in &ours {
        let Some((_, cloned_data, cloned)) = theirs.get(path) else { continue };
        for (what, inner, outer) in [
            ("data that occupies no room", data, cloned),
            ("a hole that is data", cloned_data, data),
            ("a hole that is allocated", cloned, allocated),
            ("reserved room that is a hole", allocated, cloned),
        ] {
            let lost = inner.iter().find(|range| !within(**range, outer, *size));
            if let Some(range) = lost {
                found.push(format!(
                    "extents {path} of {size}: {what} at {range:?}; data {data:?} in {allocated:?} became \
                     {cloned_data:?} in {cloned:?}"
                ));
            }
        }
    }
    found
}

const BLOCK: u64 = 4096;

/// Whether one of `ranges` holds `range`, as far as that lies in the file and in whole blocks.
fn within((start, end): (u64, u64), ranges: &Ranges, size: u64) -> bool {
    let (start, end) = (start / BLOCK * BLOCK, end.min(size));
    start >= end || whole_blocks(ranges).iter().any(|(from, to)| *from <= start && end <= *to)
}

/// Ranges made larger to whole blocks, as a file system with larger blocks has to, and joined where they then touch.
fn whole_blocks(ranges: &Ranges) -> Ranges {
    let mut joined: Ranges = Vec::new();
    for (start, end) in ranges {
        let (start, end) = (start / BLOCK * BLOCK, end.div_ceil(BLOCK) * BLOCK);
        match joined.last_mut() {
            Some(last) if start <= last.1 => last.1 = end,
            Some(_) | None => joined.push((start, end)),
        }
    }
    joined
}

fn maps(root: &Path) -> BTreeMap<String, (u64, Ranges, Ranges)> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/extents.py");
    let out = Command::new("/usr/bin/python3").arg(script).arg(root).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let ranges = |text: &str| -> Ranges {
        let ranges = text.split(',').filter_map(|range| range.split_once('-'));
        ranges.map(|(start, end)| (start.parse().unwrap(), end.parse().unwrap())).collect()
    };
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines()
        .map(|line| {
            let [path, size, data, allocated] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            (path.to_owned(), (size.parse().unwrap(), ranges(data), ranges(allocated)))
        })
        .collect()
}
