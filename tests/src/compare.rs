//! Judges a clone against its golden client file by file: by rsync over the mounted disks in both directions, and by
//! own eyes where rsync does not look (inode flags, holes, parts of a second).

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{IFlags, OFlags, ioctl_getflags};
use sysclone_exec::{Command, Runner, System, Tool};

use crate::lab::volumes::{Extent, logical_volumes, partitions};
use crate::lab::{Loop, Mount};

const RSYNC: Tool = Tool("rsync");

/// The filesystems of a lab disk, mounted read-only.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    // Fields are dropped in order: mounts, inner ones first, before the devices under them.
    _mounts: Vec<Mount>,
    _loops: Vec<Loop>,
}

impl Tree {
    /// Mounts the disk image `disk`, made with the golden client's layout, at `at`.
    ///
    /// # Errors
    /// It has another layout, or a filesystem is not sound.
    pub fn open(disk: &Path, at: &Path) -> Result<Self> {
        let [_, boot, lvm] = partitions(disk)?[..] else { bail!("{}: not three partitions", disk.display()) };
        let volumes = {
            let pv = Loop::attach(disk, lvm.start, Some(lvm.size))?;
            logical_volumes(pv.device())?
        };
        let volume = |name: &str| {
            let (_, extent) =
                volumes.iter().find(|(known, _)| known == name).context("a volume is missing")?;
            Ok::<_, anyhow::Error>(Extent { start: lvm.start + extent.start, size: extent.size })
        };
        let (mut mounts, mut loops) = (Vec::new(), Vec::new());
        // The golden client and its clone share UUIDs, which XFS refuses to mount twice unless told.
        for (extent, place, kind, options) in [
            (volume("root")?, "", "ext4", "ro"),
            (boot, "boot", "ext4", "ro"),
            (volume("var")?, "var", "xfs", "ro,nouuid"),
        ] {
            let device = Loop::attach(disk, extent.start, Some(extent.size))?;
            mounts.insert(0, Mount::new(device.device(), &at.join(place), kind, options)?);
            loops.push(device);
        }
        Ok(Self { root: at.to_owned(), _mounts: mounts, _loops: loops })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// One path that is not the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// Path from the root, with `/` before it and none after it.
    pub path: String,
    /// What differs, in rsync's item codes or in words.
    pub what: String,
}

/// All differences between two trees, sorted.
///
/// # Errors
/// A tree cannot be read.
pub fn differences(golden: &Path, clone: &Path) -> Result<Vec<Difference>> {
    let mut found = BTreeSet::new();
    found.extend(rsync(golden, clone)?);
    found.extend(rsync(clone, golden)?);
    walk(golden, clone, Path::new(""), &mut found)?;
    Ok(found.into_iter().collect())
}

fn rsync(from: &Path, to: &Path) -> Result<Vec<Difference>> {
    let command = Command::new(RSYNC)
        .args(["-aHAXn", "--checksum", "--itemize-changes", "--delete", "--numeric-ids", "--8-bit-output"])
        // Compares modification times to the nanosecond.
        .args(["--modify-window=-1", "--out-format=%i %n"])
        .arg(from.join(""))
        .arg(to.join(""));
    let output = System.run(&command).context("comparing with rsync")?;
    Ok(output.text().lines().filter_map(parse_item).collect())
}

/// `<f.st...... etc/hostname`, `*deleting   etc/x`, `.d..t...... etc/`.
fn parse_item(line: &str) -> Option<Difference> {
    let (what, path) = line.split_once(' ')?;
    let path = path.trim_start().trim_end_matches('/');
    let path = if path == "." { "/".to_owned() } else { format!("/{path}") };
    Some(Difference { path, what: what.to_owned() })
}

/// Inode flags that images keep on these filesystems. Other flags tell how a filesystem stores a file, or advise tools
/// (`nodump`, `noatime`, `sync`), and are not kept.
const KEPT: IFlags = IFlags::IMMUTABLE.union(IFlags::APPEND);

/// How much more room than the golden client's a sparse file may take (allocation is by extents).
const SLACK_BYTES: u64 = 128 << 10;

fn walk(golden: &Path, clone: &Path, path: &Path, found: &mut BTreeSet<Difference>) -> Result<()> {
    let (ours, theirs) = (golden.join(path), clone.join(path));
    let metadata = fs::symlink_metadata(&ours).with_context(|| format!("looking at {}", ours.display()))?;
    // Missing files are rsync's finding already.
    let Ok(other) = fs::symlink_metadata(&theirs) else { return Ok(()) };
    let mut add = |what: String| {
        let path = Path::new("/").join(path).to_string_lossy().into_owned();
        found.insert(Difference { path, what });
    };
    let time = |m: &Metadata| (m.mtime(), m.mtime_nsec());
    if time(&metadata) != time(&other) {
        add(format!("modified at {:?}, not {:?}", time(&other), time(&metadata)));
    }
    if metadata.is_file() || metadata.is_dir() {
        let (flags, others) = (flags(&ours)?, flags(&theirs)?);
        if flags != others {
            add(format!("flags {others:?}, not {flags:?}"));
        }
    }
    let room = |m: &Metadata| m.blocks() * 512;
    if metadata.is_file() && room(&metadata) < metadata.len() && room(&other) > room(&metadata) + SLACK_BYTES
    {
        add(format!("takes {} bytes, not {}: its holes are filled", room(&other), room(&metadata)));
    }
    if metadata.is_dir() {
        for entry in fs::read_dir(&ours).with_context(|| format!("listing {}", ours.display()))? {
            walk(golden, clone, &path.join(entry?.file_name()), found)?;
        }
    }
    Ok(())
}

fn flags(path: &Path) -> Result<IFlags> {
    let quiet = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed();
    let file: File = OpenOptions::new()
        .read(true)
        .custom_flags(quiet)
        .open(path)
        .with_context(|| format!("opening {}", path.display()))?;
    let flags = ioctl_getflags(&file).with_context(|| format!("reading the flags of {}", path.display()))?;
    Ok(flags & KEPT)
}

/// Whether `path` is what the rsync-like `pattern` names, or lies inside it. `*` stands for any part of one name.
#[must_use]
pub fn is_named(pattern: &str, path: &str) -> bool {
    let (wanted, given) = (pattern.split('/'), path.split('/').collect::<Vec<_>>());
    let wanted: Vec<&str> = wanted.collect();
    given.len() >= wanted.len() && wanted.iter().zip(&given).all(|(glob, name)| matches_glob(glob, name))
}

fn matches_glob(glob: &str, name: &str) -> bool {
    match glob.split_once('*') {
        None => glob == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|tail| {
            (0..=tail.len()).any(|at| tail.get(at..).is_some_and(|end| matches_glob(rest, end)))
        }),
    }
}

/// The differences that nothing in `allowed` explains. A folder's time may change with what is allowed to change in
/// it, and a folder may be there for the sake of what is allowed to be in it.
#[must_use]
pub fn unexplained<'a>(differences: &'a [Difference], allowed: &[&str]) -> Vec<&'a Difference> {
    let named = |path: &str| allowed.iter().any(|pattern| is_named(pattern, path));
    let parents: BTreeSet<&Path> =
        differences.iter().filter(|d| named(&d.path)).filter_map(|d| Path::new(&d.path).parent()).collect();
    let followed = |d: &Difference| {
        // rsync says `cd+++++++++` where a folder is new, and in the other direction that it would be deleted.
        let one_sided =
            |path: &str| differences.iter().any(|other| other.path == path && other.what == "cd+++++++++");
        let is_folder =
            |path: &str| differences.iter().any(|other| other.path == path && other.what == ".d..t......");
        match d.what.as_str() {
            "cd+++++++++" | ".d..t......" => true,
            "*deleting" => one_sided(&d.path),
            what => what.starts_with("modified at ") && is_folder(&d.path),
        }
    };
    differences
        .iter()
        .filter(|d| !named(&d.path))
        .filter(|d| !(parents.contains(Path::new(&d.path)) && followed(d)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(path: &str, what: &str) -> Difference {
        Difference { path: path.to_owned(), what: what.to_owned() }
    }

    #[test]
    fn items_become_paths_from_the_root() {
        for (line, path, what) in [
            (">fcst...... etc/hostname", "/etc/hostname", ">fcst......"),
            ("*deleting   etc/x y/", "/etc/x y", "*deleting"),
            (".d..t...... ./", "/", ".d..t......"),
        ] {
            assert_eq!(parse_item(line), Some(difference(path, what)), "{line}");
        }
    }

    #[test]
    fn patterns_name_files_and_what_is_inside() {
        for (pattern, path, expected) in [
            ("/etc/hostname", "/etc/hostname", true),
            ("/etc/hostname", "/etc/hostname2", false),
            ("/etc/ssh/ssh_host_*", "/etc/ssh/ssh_host_rsa_key.pub", true),
            ("/var/lib/dhcp/*.lease*", "/var/lib/dhcp/a.leases", true),
            ("/var/lib/sysclone/*", "/var/lib/sysclone/deep/file", true),
            ("/etc/*", "/var/etc/x", false),
        ] {
            assert_eq!(is_named(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_folder_follows_what_is_allowed_in_it_and_no_further() {
        let found = [
            difference("/etc", ".d..t......"),
            difference("/etc/hostname", ">fcst......"),
            difference("/opt", ".d..t......"),
            difference("/srv", ".d...p....."),
        ];
        let left: Vec<_> =
            unexplained(&found, &["/etc/hostname"]).into_iter().map(|d| d.path.as_str()).collect();
        assert_eq!(left, ["/opt", "/srv"]);
    }
}
