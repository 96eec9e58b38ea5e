//! Makes volume groups with the real lvm2 on files behind loop devices. Only metadata is written, so no device mapper
//! is needed; root is, for the loop devices.

#![expect(clippy::unwrap_used, reason = "a test says by panicking what is wrong")]

use std::collections::BTreeSet;
use std::path::Path;

use lvm2_cmd_wrapper::Lvm;
use lvm2_cmd_wrapper::metadata::{Group, PhysicalVolume, Segment, Volume, new_uuid};
use sysclone_exec::{Command, Runner as _, Script, System, Tool};

const LOSETUP: Tool = Tool("losetup");
const GIB: u64 = 1 << 30;

/// A loop device, gone when dropped.
struct Loop(String);

impl Loop {
    fn new(file: &Path) -> Self {
        let file = std::fs::canonicalize(file).unwrap();
        let command = Command::new(LOSETUP).args(["-f", "--show"]).arg(file);
        Self(System.run(&command).expect("this test needs root and loop devices").text().trim().to_owned())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        System.run(&Command::new(LOSETUP).args(["-d", &self.0])).unwrap();
    }
}

fn device(size_bytes: u64) -> (tempfile::NamedTempFile, Loop) {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(size_bytes).unwrap();
    let device = Loop::new(file.path());
    (file, device)
}

fn linear(extents: u64, pv: usize, first: u64) -> Segment {
    Segment { extents, stripe_bytes: 0, stripes: vec![(pv, first)] }
}

fn group(devices: &[&str]) -> Group {
    let uuid = |end: &str| format!("aaaaaa-bbbb-cccc-dddd-eeee-ffff-ggggg{end}");
    let physical_volumes = devices
        .iter()
        .enumerate()
        .map(|(i, device)| PhysicalVolume {
            device: (*device).to_owned(),
            uuid: uuid(&i.to_string()),
            size_bytes: GIB,
            start_bytes: 1 << 20,
            extents: 255,
        })
        .collect();
    let volume = |name: &str, tags: &[&str], segments| Volume {
        name: name.into(),
        uuid: uuid(&name[..1]),
        tags: tags.iter().map(|t| (*t).to_owned()).collect(),
        segments,
    };
    let striped = Segment { extents: 40, stripe_bytes: 65536, stripes: vec![(0, 0), (1, 0)] };
    Group {
        name: "vg0".into(),
        uuid: uuid("V"),
        extent_bytes: 4 << 20,
        physical_volumes,
        volumes: vec![
            volume("root", &[], vec![linear(235, 0, 20), linear(65, 1, 20)]),
            volume("fast", &["a", "b/c"], vec![striped]),
            volume("swap_1", &[], vec![linear(32, 1, 100)]),
        ],
        created: 1_700_000_000,
    }
}

#[test]
fn a_group_is_made_with_every_uuid_size_and_tag() {
    let (first, second) = (device(GIB), device(GIB));
    let devices = [first.1.0.as_str(), second.1.0.as_str()];
    let lvm = Lvm::initrd(&System, &devices).metadata_only();
    let group = group(&devices);
    lvm.make_group(&group).unwrap();

    let vgs = lvm.vgs().unwrap();
    assert_eq!(vgs.len(), 1);
    assert_eq!((vgs[0].uuid.as_str(), vgs[0].free_extents), (group.uuid.as_str(), 510 - 372));
    let pvs = lvm.pvs().unwrap();
    let found: BTreeSet<_> =
        pvs.iter().map(|p| (p.device.as_str(), p.uuid.as_str(), p.start_bytes)).collect();
    let made: BTreeSet<_> =
        group.physical_volumes.iter().map(|p| (p.device.as_str(), p.uuid.as_str(), p.start_bytes)).collect();
    assert_eq!(found, made);
    let lvs = lvm.lvs().unwrap();
    for (name, size, kind, stripes, tags) in
        [("root", 300, "linear", 1, vec![]), ("fast", 40, "striped", 2, vec!["a", "b/c"])]
    {
        let lv = lvs.iter().find(|lv| lv.name == name).unwrap();
        let volume = group.volumes.iter().find(|v| v.name == name).unwrap();
        assert_eq!((lv.uuid.as_str(), lv.size_bytes), (volume.uuid.as_str(), size << 22));
        assert_eq!((lv.segment_type.as_str(), lv.stripes, &lv.tags), (kind, stripes, &volume.tags));
        assert_eq!(lv.tags, tags);
    }
    // lvm2's own check of what is on the disks.
    let config = format!(
        "devices{{use_devicesfile=0 filter=[\"a|^{}$|\",\"a|^{}$|\",\"r|.*|\"]}}",
        devices[0], devices[1]
    );
    let check =
        Command::new(lvm2_cmd_wrapper::LVM).args(["vgck", "--driverloaded", "n", "--config", &config, "vg0"]);
    System.run(&check).unwrap();
}

#[test]
fn a_copy_of_the_same_group_on_another_disk_is_not_seen() {
    let (old, new) = (device(GIB), device(GIB));
    for device in [&old.1, &new.1] {
        let lvm = Lvm::initrd(&System, &[&device.0]).metadata_only();
        let mut group = group(&[&device.0]);
        group.volumes = vec![];
        lvm.make_group(&group).unwrap();
        let pvs = lvm.pvs().unwrap();
        assert_eq!(pvs.iter().map(|p| p.device.as_str()).collect::<Vec<_>>(), [device.0.as_str()]);
    }
}

#[test]
fn the_metadata_of_a_group_is_this_text() {
    let text = group(&["/dev/sda3", "/dev/sdb"]).render().unwrap();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/group.vg");
    assert_eq!(text, std::fs::read_to_string(golden).unwrap());
}

#[test]
fn names_that_would_be_read_as_metadata_are_refused() {
    for (what, change) in [
        ("volume group name", (|g| g.name = "a {".into()) as fn(&mut Group)),
        ("logical volume name", |g| g.volumes[0].name = "..".into()),
        ("tag", |g| g.volumes[1].tags[0] = "x\"]".into()),
        ("UUID", |g| g.uuid = "short".into()),
        ("device", |g| g.physical_volumes[0].device = "/dev/a\"b".into()),
    ] {
        let mut group = group(&["/dev/sda"]);
        change(&mut group);
        let error = group.render().unwrap_err().to_string();
        assert!(error.ends_with(&format!("is no {what} for lvm2")), "{error}");
    }
}

#[test]
fn new_uuids_are_uuids_and_differ() {
    let (a, b) = (new_uuid().unwrap(), new_uuid().unwrap());
    assert!(lvm2_cmd_wrapper::metadata::is_uuid(&a) && a != b, "{a} {b}");
}

#[test]
fn commands_see_only_the_devices_they_are_given() {
    let script = Script::lenient();
    Lvm::initrd(&script, &["/dev/nvme0n1p3"]).activate("vg0").unwrap();
    let line = script.lines().remove(0);
    assert!(line.contains("udev_sync=0") && line.ends_with("-q -ay vg0"), "{line}");
    assert!(line.contains(r#"a|^/dev/nvme0n1p3$|\",\"r|.*|"#), "{line}");
    let script = Script::new().on("lvm vgs --reportformat", r#"{"report":[]}"#);
    assert_eq!(Lvm::host(&script).vgs().unwrap(), []);
}
