//! The mounted filesystems of a running machine (`proc_pid_mountinfo(5)`), with their use.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::nodes::number_of;

/// One mounted filesystem on a block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// `major:minor` of its device.
    pub device_number: String,
    /// Source device as mounted.
    pub source: String,
    /// Mount point.
    pub point: PathBuf,
    /// Filesystem type.
    pub kind: String,
    /// btrfs: path of the mounted subvolume, without a leading slash; none for the whole filesystem.
    pub subvolume: Option<String>,
    /// Bytes in use.
    pub used_bytes: u64,
}

/// Types on block devices that are kept; everything else is a pseudo or network filesystem.
const REAL: &[&str] = &["ext2", "ext3", "ext4", "xfs", "btrfs", "vfat"];

/// The real filesystems of this machine, `/` first, each device or subvolume once (bind mounts are not filesystems of
/// their own).
///
/// # Errors
/// `/proc/self/mountinfo` cannot be read, or a filesystem does not answer.
pub fn real_mounts() -> anyhow::Result<Vec<Mount>> {
    let table = std::fs::read("/proc/self/mountinfo").context("reading /proc/self/mountinfo")?;
    let mut mounts = parse_mounts(&String::from_utf8_lossy(&table));
    for mount in &mut mounts {
        let stat = rustix::fs::statvfs(&mount.point)
            .with_context(|| format!("asking the filesystem at {} for its use", mount.point.display()))?;
        mount.used_bytes = (stat.f_blocks - stat.f_bfree) * stat.f_frsize;
    }
    Ok(mounts)
}

pub(super) fn parse_mounts(table: &str) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    for line in table.lines() {
        let Some(mount) = parse_line(line) else { continue };
        // A later mount on the same point hides an earlier one.
        mounts.retain(|m| m.point != mount.point);
        let same = |m: &Mount| (&m.device_number, &m.subvolume) == (&mount.device_number, &mount.subvolume);
        if !mounts.iter().any(same) {
            mounts.push(mount);
        }
    }
    mounts.sort_by_key(|m| m.point.components().count());
    mounts
}

/// Every mount point of devices with these numbers, and what is mounted below them, the last one mounted first.
///
/// # Errors
/// `/proc/self/mountinfo` cannot be read.
pub(super) fn points_of(numbers: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    let table = std::fs::read("/proc/self/mountinfo").context("reading /proc/self/mountinfo")?;
    Ok(points_in(&String::from_utf8_lossy(&table), numbers))
}

fn points_in(table: &str, numbers: &[String]) -> Vec<PathBuf> {
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut points = Vec::new();
    // A mount comes after the one that it is mounted on.
    for line in lines(table) {
        if numbers.contains(&line.number) || taken.contains(&line.parent) {
            taken.insert(line.id);
            points.push(line.point.into());
        }
    }
    points.reverse();
    points
}

/// Device number and mount point of every mount; nothing when the table under `root` cannot be read.
pub(super) fn mounted_numbers(root: &Path) -> Vec<(String, String)> {
    let table = std::fs::read(root.join("proc/self/mountinfo")).unwrap_or_default();
    lines(&String::from_utf8_lossy(&table)).map(|line| (line.number, line.point)).collect()
}

/// What all mounts have, real filesystems or not.
struct Line {
    id: String,
    parent: String,
    number: String,
    point: String,
}

fn lines(table: &str) -> impl Iterator<Item = Line> {
    table.lines().filter_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let front: Vec<&str> = front.split(' ').collect();
        let [id, parent, number, _, point, ..] = front[..] else { return None };
        let number = device_number(number, &unescape(back.split(' ').nth(1)?));
        Some(Line { id: id.to_owned(), parent: parent.to_owned(), number, point: unescape(point) })
    })
}

/// btrfs mounts have a number that belongs to no device; their source's is taken instead.
fn device_number(number: &str, source: &str) -> String {
    let anonymous = number.starts_with("0:") && source.starts_with("/dev/");
    let own = if anonymous { number_of(source).ok() } else { None };
    own.unwrap_or_else(|| number.to_owned())
}

/// `36 35 98:0 /root /point rw,noatime master:1 - ext3 /dev/root rw`: only mounts of a filesystem's own root count.
fn parse_line(line: &str) -> Option<Mount> {
    let (front, back) = line.split_once(" - ")?;
    let front: Vec<&str> = front.split(' ').collect();
    let [_, _, device, root, point, ..] = front[..] else { return None };
    let mut back = back.split(' ');
    let (kind, source) = (back.next()?, back.next()?);
    let (source, root) = (unescape(source), unescape(root));
    let subvolume = match kind {
        "btrfs" => subvolume(&root, back.next()?)?,
        _ => None,
    };
    let own_root = subvolume.is_some() || root == "/";
    (REAL.contains(&kind) && own_root && source.starts_with('/')).then(|| Mount {
        device_number: device_number(device, &source),
        source,
        point: Path::new(&unescape(point)).to_owned(),
        kind: kind.to_owned(),
        subvolume,
        used_bytes: 0,
    })
}

/// What the super block's options name as mounted, unless the mount's root is a directory below that: a bind mount.
fn subvolume(root: &str, options: &str) -> Option<Option<String>> {
    let named = options.split(',').find_map(|word| word.strip_prefix("subvol=")).map(unescape);
    let named = named.unwrap_or_else(|| "/".to_owned());
    (named == root).then(|| (named != "/").then(|| named.trim_start_matches('/').to_owned()))
}

/// Spaces, tabs, newlines and backslashes are written as octal escapes.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_real_filesystems_count_and_the_root_is_first() {
        let table = "\
24 1 253:2 / /var rw - xfs /dev/mapper/vg0-var rw
22 1 253:1 / / rw,relatime shared:1 - ext4 /dev/mapper/vg0-root rw
25 22 0:5 / /proc rw - proc proc rw
26 22 254:2 / /boot rw - ext4 /dev/vda2 rw
27 22 253:1 /srv /mnt/bind rw - ext4 /dev/mapper/vg0-root rw
28 22 0:40 / /net rw - nfs4 server:/export rw
29 22 8:1 / /a\\040b rw - ext4 /dev/sda1 rw
";
        let points: Vec<_> = parse_mounts(table).into_iter().map(|m| m.point.display().to_string()).collect();
        assert_eq!(points, ["/", "/var", "/boot", "/a b"]);
    }

    #[test]
    fn subvolumes_are_filesystems_and_directories_in_them_are_not() {
        let table = "\
22 1 0:21 /@ / rw shared:1 - btrfs /dev/vda3 rw,space_cache=v2,subvolid=256,subvol=/@
23 22 0:21 /@home /home rw - btrfs /dev/vda3 rw,subvolid=257,subvol=/@home
24 22 0:21 /@home/anna /mnt/bind rw - btrfs /dev/vda3 rw,subvolid=257,subvol=/@home
25 22 0:21 /@home /mnt/again rw - btrfs /dev/vda3 rw,subvolid=257,subvol=/@home
26 22 0:21 / /mnt/top rw - btrfs /dev/vda3 rw,subvolid=5,subvol=/
";
        let found: Vec<_> =
            parse_mounts(table).into_iter().map(|m| (m.point.display().to_string(), m.subvolume)).collect();
        let some = |path: &str| Some(path.to_owned());
        assert_eq!(
            found,
            [("/".into(), some("@")), ("/home".into(), some("@home")), ("/mnt/top".into(), None)]
        );
    }

    #[test]
    fn what_is_mounted_below_is_let_go_first() {
        let table = "\
21 1 0:9 / /target rw - tmpfs tmpfs rw
22 21 8:1 / /target rw - ext4 /dev/sda1 rw
23 22 253:1 / /target/var rw - xfs /dev/mapper/a rw
24 22 0:5 / /target/proc rw - proc proc rw
25 1 8:17 / /targets rw - ext4 /dev/sdb1 rw
26 1 8:2 /sub /mnt rw - ext4 /dev/sda2 rw
";
        let points = points_in(table, &["8:1".into(), "8:2".into()]);
        let points: Vec<_> = points.iter().map(|p| p.display().to_string()).collect();
        assert_eq!(points, ["/mnt", "/target/proc", "/target/var", "/target"]);
    }
}
