//! The marker of an unfinished installation in the root of the clone's file systems: it alone permits another agent
//! to go on. It is there from before the first file until before the bootloader, after which the disk may start by
//! itself.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use sysclone_protocol::plan::InstallPlan;

/// Its name in the clone's `/`.
pub(super) const NAME: &str = ".sysclone-unfinished";

/// Larger than any marker: what lies under its name need not be ours.
const MAX_BYTES: u64 = 4096;

/// Whose unfinished installation is on the disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Marker {
    /// The deployment.
    job: String,
    /// Digest of the plan: these disks, cut up like this.
    plan: String,
}

impl Marker {
    pub(super) fn new(job: &str, plan: &InstallPlan) -> Self {
        Self { job: job.to_owned(), plan: digest(plan) }
    }

    /// Puts the marker on the disk.
    pub(super) fn write(&self, root: &Path) -> anyhow::Result<()> {
        let path = root.join(NAME);
        let text = serde_json::to_vec(self).context("encoding the marker")?;
        let put = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(&text)?;
            file.sync_all()?;
            File::open(root)?.sync_all()
        };
        put().with_context(|| format!("writing {}", path.display()))
    }

    /// Makes sure that what is under `root` is what an agent of this deployment left.
    ///
    /// # Errors
    /// It is not; the sentence says what to do.
    pub(super) fn check(&self, root: &Path) -> anyhow::Result<()> {
        let path = root.join(NAME);
        let refused = "nothing was changed: run nodeset for this node again to install it from the beginning";
        let read = || -> io::Result<Vec<u8>> {
            let flags = i32::try_from(OFlags::NOFOLLOW.bits()).expect("open flags are an int");
            let mut bytes = Vec::new();
            let file = OpenOptions::new().read(true).custom_flags(flags).open(&path)?;
            io::Read::read_to_end(&mut io::Read::take(file, MAX_BYTES), &mut bytes)?;
            Ok(bytes)
        };
        let bytes = match read() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                anyhow::bail!(
                    "there is no unfinished installation on the disks ({NAME} is missing); {refused}"
                )
            }
            Err(error) => return Err(error).with_context(|| format!("reading {NAME} of the clone")),
        };
        let found: Self = serde_json::from_slice(&bytes)
            .with_context(|| format!("reading {NAME} of the clone; {refused}"))?;
        ensure!(
            found.job == self.job,
            "the unfinished installation on the disks is of another deployment ({}, this one is {}); {refused}",
            found.job.escape_debug(),
            self.job
        );
        ensure!(
            found.plan == self.plan,
            "the unfinished installation on the disks was planned otherwise than it would be now; {refused}"
        );
        Ok(())
    }

    /// Takes the marker off the disk for good: from now on nobody goes on.
    pub(super) fn remove(root: &Path) -> anyhow::Result<()> {
        let path = root.join(NAME);
        std::fs::remove_file(&path)
            .and_then(|()| File::open(root)?.sync_all())
            .with_context(|| format!("removing {}", path.display()))
    }
}

/// The same for the same plan on the same disks, whatever the kernel calls them today.
fn digest(plan: &InstallPlan) -> String {
    let mut plan = plan.clone();
    let mut names = Vec::new();
    for disk in &mut plan.disks {
        names.push((disk.facts.device(), format!("/disk/{}", disk.label)));
        let facts = &mut disk.facts;
        facts.name.clear();
        facts.held_by = None;
        facts.path = None;
    }
    // Longest first, so that one name is not taken for the beginning of another.
    names.sort_by_key(|(device, _)| std::cmp::Reverse(device.len()));
    let renamed = |device: &str| {
        let found =
            names.iter().find_map(|(old, new)| Some(format!("{new}{}", device.strip_prefix(&**old)?)));
        found.unwrap_or_else(|| device.to_owned())
    };
    for volume in plan.groups.iter_mut().flat_map(|group| &mut group.physical_volumes) {
        volume.device = renamed(&volume.device);
    }
    for filesystem in &mut plan.filesystems {
        filesystem.device = renamed(&filesystem.device);
    }
    let text = serde_json::to_vec(&plan).expect("a plan has text keys only and always encodes");
    blake3::hash(&text).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sysclone_protocol::inventory::DiskFacts;
    use sysclone_protocol::plan::{PlannedDisk, PlannedGroup, PlannedPhysicalVolume};

    fn plan(disk: &str, serial: &str) -> InstallPlan {
        let facts = DiskFacts {
            name: disk.into(),
            serial: Some(serial.into()),
            path: Some(format!("pci-{disk}")),
            ..DiskFacts::default()
        };
        let volume = PlannedPhysicalVolume {
            device: facts.partition_device(3),
            uuid: "u".into(),
            size_bytes: 5,
            extents: 1,
        };
        let group = PlannedGroup {
            name: "vg0".into(),
            uuid: "u".into(),
            extent_bytes: 4,
            physical_volumes: vec![volume],
            volumes: vec![],
            free_extents: 0,
        };
        let disk = PlannedDisk { label: "vda".into(), facts, table: None };
        InstallPlan { disks: vec![disk], groups: vec![group], filesystems: vec![] }
    }

    #[test]
    fn a_disk_that_is_called_otherwise_today_is_the_same() {
        assert_eq!(digest(&plan("sda", "S1")), digest(&plan("sdb", "S1")));
        assert_ne!(digest(&plan("sda", "S1")), digest(&plan("sda", "S2")));
    }

    #[test]
    fn only_the_same_deployment_on_the_same_disks_goes_on() {
        let root = tempfile::tempdir().unwrap();
        let marker = Marker::new("job-1", &plan("sda", "S1"));
        let refusal = |marker: &Marker| format!("{:#}", marker.check(root.path()).unwrap_err());
        assert!(refusal(&marker).contains("is missing"), "{}", refusal(&marker));
        marker.write(root.path()).unwrap();
        marker.check(root.path()).unwrap();
        let other = Marker::new("job-2", &plan("sda", "S1"));
        assert!(
            refusal(&other).contains("another deployment (job-1, this one is job-2)"),
            "{}",
            refusal(&other)
        );
        let other = Marker::new("job-1", &plan("sda", "S2"));
        assert!(refusal(&other).contains("planned otherwise"), "{}", refusal(&other));
        Marker::remove(root.path()).unwrap();
        assert!(refusal(&marker).contains("run nodeset"), "{}", refusal(&marker));
        std::fs::write(root.path().join(NAME), "junk").unwrap();
        assert!(refusal(&marker).contains("nothing was changed"), "{}", refusal(&marker));
        std::fs::remove_file(root.path().join(NAME)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.path().join(NAME)).unwrap();
        marker.check(root.path()).unwrap_err();
    }
}
