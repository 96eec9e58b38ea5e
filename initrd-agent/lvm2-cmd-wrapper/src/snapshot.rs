//! Snapshots of logical volumes: temporary copies that hold still while they are read.

use crate::LvmError;
use crate::command::Lvm;
use crate::report::{self, SnapshotReport};

/// What marks the snapshots that are ours, so that those of an earlier run are found again.
pub const TAG: &str = "sysclone-capture";

/// Volume groups' metadata backups are the machine's own files; they are not touched for what is gone in a minute.
const NO_BACKUP: &[&str] = &["-q", "-y", "-An"];

impl Lvm<'_> {
    /// Makes a snapshot with room for `size_bytes` of changes; a mounted file system on it is at rest at that moment.
    ///
    /// # Errors
    /// `lvcreate` failed, for one because the group has not the room.
    pub fn make_snapshot(&self, origin: &str, name: &str, size_bytes: u64) -> Result<(), LvmError> {
        let size = format!("{size_bytes}b");
        let what = ["-s", "-L", &size, "--addtag", TAG, "-n", name, origin];
        self.run("lvcreate", &[NO_BACKUP, &what[..]].concat()).map(drop)
    }

    /// All snapshots that carry [`TAG`].
    ///
    /// # Errors
    /// `lvs` failed or printed something else.
    pub fn snapshots(&self) -> Result<Vec<SnapshotReport>, LvmError> {
        self.report("lvs", &["-o", report::SNAPSHOT_FIELDS, &format!("@{TAG}")], report::parse_snapshots)
    }

    /// Removes a snapshot.
    ///
    /// # Errors
    /// `lvremove` failed, for one because it is mounted.
    pub fn remove_snapshot(&self, snapshot: &SnapshotReport) -> Result<(), LvmError> {
        let name = format!("{}/{}", snapshot.group, snapshot.name);
        self.run("lvremove", &[NO_BACKUP, &["-f", name.as_str()]].concat()).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sysclone_exec::Script;

    #[test]
    fn a_snapshot_is_marked_listed_and_removed() {
        let report = r#"{"report":[{"lv":[
            {"vg_name":"vg0","lv_name":"snap","lv_attr":"swi-I-s---","data_percent":"100.00"}]}]}"#;
        let script = Script::new().on("lvm lvcreate", "").on("lvm lvs", report).on("lvm lvremove", "");
        let lvm = Lvm::host(&script);
        lvm.make_snapshot("vg0/root", "snap", 8 << 20).unwrap();
        let found = lvm.snapshots().unwrap();
        assert!(found[0].is_full);
        lvm.remove_snapshot(&found[0]).unwrap();
        let form = "--reportformat json --units b --nosuffix";
        assert_eq!(
            script.lines(),
            [
                "lvm lvcreate -q -y -An -s -L 8388608b --addtag sysclone-capture -n snap vg0/root".to_owned(),
                format!("lvm lvs {form} -o vg_name,lv_name,lv_attr,data_percent @sysclone-capture"),
                "lvm lvremove -q -y -An -f vg0/snap".to_owned(),
            ]
        );
    }
}
