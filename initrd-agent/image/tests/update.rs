//! A running tree becomes like a newer generation, and back, wherever that is interrupted, by the word of programs that
//! are not ours. `SYSCLONE_CASES=1000 cargo test -p sysclone-image --test update` tries a thousand trees.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::collections::HashSet;
use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use proptest::prelude::any;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use support::plant::{self, Planted};
use support::tree::noise;
use support::volume::Volume;
use support::{Site, options, oracle, random};
use sysclone_image::update::{
    Journal, Keep, Planned, Preview, STAGING, Special, Unwatched, UpdateError, UpdateJob, Watch, plan_update,
};
use sysclone_image::{Manifest, PackId, PackSource};
use sysclone_protocol::update::{ChangeKind, UpdateRule, Why};

const KINDS: [&str; 3] = ["ext4", "xfs", "btrfs"];
/// Trees that are tried unless the environment says otherwise.
const CASES: u32 = 3;
const NAMES: usize = 50;

/// One machine that follows the golden client.
struct Machine<'a> {
    site: &'a Site,
    root: PathBuf,
    state: tempfile::TempDir,
    keep: Keep,
    held_before: HashSet<Vec<u8>>,
    special: Special,
    mounts: Vec<PathBuf>,
    keep_local: bool,
    delete_local: bool,
}

/// Stops before the swap with this number.
struct StopAt(usize);

impl Watch for StopAt {
    fn swap(&mut self, done: usize, _: usize) -> io::Result<()> {
        if done == self.0 { Err(io::Error::other("the power is gone")) } else { Ok(()) }
    }

    fn files_are_there(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> Machine<'a> {
    fn new(site: &'a Site, root: &Path) -> Self {
        Self {
            site,
            root: root.to_owned(),
            state: tempfile::tempdir_in("/var/tmp").unwrap(),
            keep: Keep::new(&[]).unwrap(),
            held_before: HashSet::new(),
            special: Special::default(),
            mounts: Vec::new(),
            keep_local: false,
            delete_local: false,
        }
    }

    fn plan<'s>(&'s self, wanted: &'s Manifest, base: Option<&'s Manifest>) -> Planned<'s> {
        plan_update(&UpdateJob {
            root: &self.root,
            mount_points: &self.mounts,
            wanted,
            base,
            held_before: &self.held_before,
            keep: &self.keep,
            state: self.state.path(),
            keep_local: self.keep_local,
            delete_local: self.delete_local,
            read_all: false,
            special: &self.special,
            threads: 3,
        })
        .unwrap()
    }

    fn preview(&self, wanted: &Manifest, base: &Manifest) -> Preview {
        self.plan(wanted, Some(base)).preview().clone()
    }

    fn stage(&self, wanted: &Manifest, base: &Manifest) -> Result<u64, UpdateError> {
        self.stage_planned(&self.plan(wanted, Some(base)))
    }

    fn stage_planned(&self, planned: &Planned<'_>) -> Result<u64, UpdateError> {
        let staged = planned.stage((&self.site.image_key, &self.site.store), &|_| ())?;
        assert!(staged.warnings.is_empty(), "{:?}", staged.warnings);
        Ok(staged.fetched_bytes)
    }

    fn journal(&self) -> Journal {
        Journal::load(self.state.path()).unwrap().expect("there is a journal")
    }

    fn places(&self) -> (&Path, &Path) {
        (&self.root, self.state.path())
    }

    /// Goes forward, and is interrupted before that swap, if there are so many.
    fn forward(&self, stop: usize) {
        if self.journal().forward(self.places(), &mut StopAt(stop)).is_err() {
            self.journal().forward(self.places(), &mut Unwatched).unwrap();
        }
    }

    fn back(&self, stop: usize) {
        if self.journal().back(self.places(), &mut StopAt(stop)).is_err() {
            self.journal().back(self.places(), &mut Unwatched).unwrap();
        }
        assert!(Journal::load(self.state.path()).unwrap().is_none());
        assert!(!self.root.join(STAGING).exists());
    }

    /// The whole way.
    fn update(&self, wanted: &Manifest, base: &Manifest) -> u64 {
        let fetched = self.stage(wanted, base).unwrap();
        self.journal().forward(self.places(), &mut Unwatched).unwrap();
        fetched
    }

    /// What differs from another tree, the slots aside.
    fn differences(&self, other: &Path) -> Vec<String> {
        let slots = self.root.join(STAGING);
        let aside = self.root.with_extension("aside");
        let times = self.root.metadata().unwrap();
        let moved = slots.exists();
        if moved {
            fs::rename(&slots, &aside).unwrap();
            set_time(&self.root, &times);
        }
        let found = oracle::differences_but_extents(other, &self.root);
        if moved {
            fs::rename(&aside, &slots).unwrap();
            set_time(&self.root, &times);
        }
        without_links_to_slots(found)
    }
}

/// A name that was removed is still one of its inode in the slots, so `find` counts it. rsync compares what is linked
/// with what in the tree.
fn without_links_to_slots(found: Vec<String>) -> Vec<String> {
    let told = |line: &str, sign: &str| {
        let mut fields: Vec<&str> = line.strip_prefix(&format!("find {sign} "))?.split(' ').collect();
        fields.remove(4);
        Some(fields.join(" "))
    };
    let of = |sign| found.iter().filter_map(|line| told(line, sign)).collect::<Vec<_>>();
    let (golden, clone) = (of("-"), of("+"));
    let same = |line: &String| {
        told(line, "-").is_some_and(|line| clone.contains(&line))
            || told(line, "+").is_some_and(|line| golden.contains(&line))
    };
    found.iter().filter(|line| !same(line)).cloned().collect()
}

fn set_time(path: &Path, like: &fs::Metadata) {
    let time = Timespec { tv_sec: like.mtime(), tv_nsec: like.mtime_nsec() };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::empty()).unwrap();
}

#[test]
fn any_tree_follows_and_goes_back_wherever_it_is_interrupted() {
    let cases = std::env::var("SYSCLONE_CASES").map_or(CASES, |n| n.parse().unwrap());
    let volumes = KINDS.map(|kind| (kind, Volume::new(kind)));
    let config = Config {
        cases,
        max_shrink_iters: 500,
        max_shrink_time: 60_000,
        failure_persistence: None,
        ..Config::default()
    };
    let any_case = (0..KINDS.len(), random::tree(NAMES), any::<[Index; 3]>());
    let result =
        TestRunner::new(config).run(&any_case, |(kind, tree, stops)| check(&volumes[kind], (&tree, &stops)));
    result.unwrap_or_else(|error| panic!("{error}"));
}

fn check(
    (kind, volume): &(&str, Volume),
    (tree, stops): (&random::Tree, &[Index; 3]),
) -> Result<(), TestCaseError> {
    let [golden, clone, before] = ["golden", "clone", "before"].map(|name| volume.root().join(name));
    for left in [&golden, &clone, &before] {
        if left.exists() {
            plant::remove(left);
        }
    }
    let planted = Planted::new(&golden, tree);
    let site = Site::new();
    let first = site.commit(&site.capture(options(&golden), None));
    for root in [&clone, &before] {
        fs::create_dir(root).unwrap();
        site.apply(&first, root).unwrap();
    }
    planted.change(&tree.edits);
    volume.remount(kind);
    let second = site.commit(&site.capture(options(&golden), Some(&first)));
    let machine = Machine::new(&site, &clone);
    let mut wrong = Vec::new();
    let planned = machine.plan(&second, Some(&first));
    let changes = &planned.preview().changes;
    machine.stage_planned(&planned).unwrap();
    wrong.extend(machine.differences(&before).into_iter().map(|d| format!("staging changed: {d}")));
    if !changes.is_empty() && planned.check(0).unwrap().is_empty() {
        wrong.push("what is not yet done looks as if it were".to_owned());
    }
    let swaps = changes.len() + 1;
    machine.forward(stops[0].index(swaps));
    wrong.extend(planned.check(0).unwrap().into_iter().map(|path| format!("does not look done: {path}")));
    wrong.extend(machine.differences(&golden).into_iter().map(|d| format!("forward: {d}")));
    machine.back(stops[1].index(swaps));
    wrong.extend(machine.differences(&before).into_iter().map(|d| format!("back: {d}")));
    // Half the way, and back from there.
    machine.stage(&second, &first).unwrap();
    if machine.journal().forward(machine.places(), &mut StopAt(stops[2].index(swaps))).is_err() {
        machine.back(usize::MAX);
        wrong.extend(machine.differences(&before).into_iter().map(|d| format!("half and back: {d}")));
        machine.stage(&second, &first).unwrap();
        machine.forward(usize::MAX);
    }
    wrong.extend(machine.differences(&golden).into_iter().map(|d| format!("again: {d}")));
    let left = machine.preview(&second, &first);
    wrong.extend(left.changes.iter().map(|change| format!("not done: {change:?}")));
    for root in [&golden, &clone, &before] {
        plant::remove(root);
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(TestCaseError::fail(format!("on {kind}: {wrong:#?}, planned was {changes:#?}")))
    }
}

/// A golden client and its clone, which is one generation behind.
struct Pair {
    volume: Volume,
    site: Site,
    first: Manifest,
}

impl Pair {
    fn new(fill: impl Fn(&Path)) -> Self {
        let volume = Volume::new("ext4");
        let site = Site::new();
        let golden = volume.root().join("golden");
        fs::create_dir(&golden).unwrap();
        fill(&golden);
        let first = site.commit(&site.capture(options(&golden), None));
        let clone = volume.root().join("clone");
        fs::create_dir(&clone).unwrap();
        site.apply(&first, &clone).unwrap();
        Self { volume, site, first }
    }

    fn golden(&self, path: &str) -> PathBuf {
        self.volume.root().join("golden").join(path)
    }

    fn clone(&self, path: &str) -> PathBuf {
        self.volume.root().join("clone").join(path)
    }

    fn capture(&self) -> Manifest {
        let golden = self.volume.root().join("golden");
        self.site.commit(&self.site.capture(options(&golden), Some(&self.first)))
    }

    fn machine(&self) -> Machine<'_> {
        Machine::new(&self.site, &self.volume.root().join("clone"))
    }
}

fn some_files(root: &Path) {
    for directory in ["etc/app", "usr/lib", "var/log", "opt/old/deep"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for (path, seed) in [("etc/app/a", 1), ("etc/app/b", 2), ("usr/lib/large", 3), ("opt/old/deep/file", 4)] {
        fs::write(root.join(path), noise(seed, 3_000_000)).unwrap();
    }
    fs::write(root.join("etc/motd"), "golden\n").unwrap();
    fs::write(root.join("etc/machine-id"), "golden's\n").unwrap();
    fs::write(root.join("var/log/messages"), "golden's\n").unwrap();
}

fn told(preview: &Preview) -> Vec<(&str, ChangeKind, Why)> {
    preview.changes.iter().map(|change| (&change.path[..], change.change.clone(), change.why)).collect()
}

#[test]
fn what_is_not_as_it_was_to_be_afterwards_is_told() {
    let pair = Pair::new(some_files);
    for (path, seed) in [("etc/app/a", 21), ("etc/app/b", 22), ("etc/app/new", 23), ("usr/lib/large", 24)] {
        fs::write(pair.golden(path), noise(seed, 100_000)).unwrap();
    }
    fs::hard_link(pair.golden("etc/app/new"), pair.golden("etc/app/link")).unwrap();
    fs::remove_dir_all(pair.golden("opt/old/deep")).unwrap();
    let second = pair.capture();
    let machine = pair.machine();
    let planned = machine.plan(&second, Some(&pair.first));
    machine.stage_planned(&planned).unwrap();
    machine.forward(usize::MAX);
    assert_eq!(planned.check(0).unwrap(), Vec::<String>::new());
    let mut bytes = fs::read(pair.clone("etc/app/a")).unwrap();
    bytes[50_000] ^= 1;
    fs::write(pair.clone("etc/app/a"), bytes).unwrap();
    fs::remove_file(pair.clone("etc/app/b")).unwrap();
    fs::rename(pair.clone("etc/app/link"), pair.clone("etc/app/other")).unwrap();
    fs::copy(pair.clone("etc/app/other"), pair.clone("etc/app/link")).unwrap();
    let time = pair.golden("etc/app/link").metadata().unwrap();
    set_time(&pair.clone("etc/app/link"), &time);
    fs::create_dir_all(pair.clone("opt/old/deep")).unwrap();
    assert_eq!(planned.check(0).unwrap(), ["/etc/app/a", "/etc/app/b", "/etc/app/new", "/opt/old/deep"]);
}

#[test]
fn what_the_node_changed_is_told_and_replaced_or_kept() {
    let pair = Pair::new(some_files);
    fs::write(pair.golden("etc/app/a"), noise(11, 10)).unwrap();
    fs::write(pair.clone("etc/app/a"), noise(12, 10)).unwrap();
    fs::write(pair.clone("etc/app/b"), noise(13, 10)).unwrap();
    fs::remove_file(pair.clone("etc/motd")).unwrap();
    fs::write(pair.clone("etc/only-here"), "mine").unwrap();
    fs::write(pair.clone("etc/machine-id"), "mine").unwrap();
    fs::write(pair.clone("var/log/messages"), "mine").unwrap();
    let second = pair.capture();
    let mut machine = pair.machine();
    let preview = machine.preview(&second, &pair.first);
    assert_eq!(
        told(&preview),
        [
            ("/etc/app/a", ChangeKind::Content, Why::Both),
            ("/etc/app/b", ChangeKind::Content, Why::Node),
            ("/etc/motd", ChangeKind::Create, Why::Node),
        ]
    );
    assert_eq!(preview.local, 1);
    machine.keep_local = true;
    let kept = machine.preview(&second, &pair.first);
    assert!(kept.changes.is_empty(), "{:?}", kept.changes);
    let reasons: Vec<_> = kept.kept.iter().map(|kept| (&kept.path[..], &kept.reason[..])).collect();
    let changed = "changed on this node";
    assert_eq!(reasons, [("/etc/app/a", changed), ("/etc/app/b", changed), ("/etc/motd", changed)]);
    machine.keep_local = false;
    machine.delete_local = true;
    machine.update(&second, &pair.first);
    for (path, content) in
        [("etc/machine-id", "mine"), ("var/log/messages", "mine"), ("etc/motd", "golden\n")]
    {
        assert_eq!(fs::read_to_string(pair.clone(path)).unwrap(), content, "{path}");
    }
    assert_eq!(fs::read(pair.clone("etc/app/a")).unwrap(), noise(11, 10));
    assert!(!pair.clone("etc/only-here").exists());
    machine.back(usize::MAX);
    assert_eq!(fs::read_to_string(pair.clone("etc/only-here")).unwrap(), "mine");
    assert_eq!(fs::read(pair.clone("etc/app/a")).unwrap(), noise(12, 10));
    assert!(!pair.clone("etc/motd").exists());
}

#[test]
fn only_new_chunks_are_fetched_and_a_rename_fetches_nothing() {
    let pair = Pair::new(some_files);
    fs::rename(pair.golden("usr/lib/large"), pair.golden("usr/lib/larger")).unwrap();
    let mut content = fs::read(pair.golden("etc/app/b")).unwrap();
    content.extend_from_slice(b"one more line");
    fs::write(pair.golden("etc/app/b"), content).unwrap();
    let second = pair.capture();
    let machine = pair.machine();
    let preview = machine.preview(&second, &pair.first);
    let from = "/usr/lib/large".to_owned();
    assert_eq!(
        told(&preview),
        [
            ("/etc/app/b", ChangeKind::Content, Why::Golden),
            ("/usr/lib/large", ChangeKind::Delete, Why::Golden),
            ("/usr/lib/larger", ChangeKind::Rename { from }, Why::Golden),
        ]
    );
    let fetched = machine.update(&second, &pair.first);
    assert_eq!(fetched, preview.fetch_bytes);
    assert!(fetched < 600_000, "{fetched} bytes for the last chunk of one file");
    assert!(machine.differences(&pair.golden("")).iter().all(|line| line.contains("machine-id")));
}

#[test]
fn what_stays_in_a_directory_keeps_the_directory() {
    let pair = Pair::new(some_files);
    fs::remove_dir_all(pair.golden("opt/old")).unwrap();
    fs::write(pair.clone("opt/old/mine"), "mine").unwrap();
    let second = pair.capture();
    let mut machine = pair.machine();
    machine.update(&second, &pair.first);
    assert!(pair.clone("opt/old/mine").exists() && !pair.clone("opt/old/deep").exists());
    machine.back(usize::MAX);
    // Something else takes the directory's name.
    std::os::unix::fs::symlink("elsewhere", pair.golden("opt/old")).unwrap();
    let third = pair.capture();
    let preview = machine.preview(&third, &pair.first);
    let reasons: Vec<_> = preview.kept.iter().map(|kept| (&kept.path[..], &kept.reason[..])).collect();
    assert_eq!(reasons[0], ("/opt/old", "a directory is in its way, and what is in it stays"), "{reasons:?}");
    fs::remove_file(pair.clone("opt/old/mine")).unwrap();
    machine.update(&third, &pair.first);
    assert_eq!(fs::read_link(pair.clone("opt/old")).unwrap(), Path::new("elsewhere"));
    machine.back(usize::MAX);
    assert_eq!(fs::read(pair.clone("opt/old/deep/file")).unwrap(), noise(4, 3_000_000));
    machine.keep = Keep::new(&[UpdateRule { rule: "/opt/old/deep".into(), from: "node n1".into() }]).unwrap();
    let preview = machine.preview(&third, &pair.first);
    assert!(preview.changes.is_empty(), "{:?}", preview.changes);
}

#[test]
fn a_full_disk_is_said_before_anything_is_written_and_leaves_nothing() {
    let pair = Pair::new(some_files);
    fs::write(pair.golden("usr/lib/huge"), noise(20, 40 << 20)).unwrap();
    let second = pair.capture();
    let small = Volume::tmpfs(48 << 20);
    pair.site.apply(&pair.first, &small.root()).unwrap();
    let machine = Machine::new(&pair.site, &small.root());
    let error = machine.stage(&second, &pair.first).unwrap_err();
    assert!(matches!(&error, UpdateError::Room { mount, .. } if mount == "/"), "{error:?}");
    assert!(!small.root().join(STAGING).exists() && !small.root().join("usr/lib/huge").exists());
    assert!(Journal::load(machine.state.path()).unwrap().is_none());
}

#[test]
fn files_are_not_read_again_while_nothing_happens_to_them() {
    let pair = Pair::new(some_files);
    let machine = pair.machine();
    let planned = machine.plan(&pair.first, Some(&pair.first));
    assert!(planned.preview().changes.is_empty() && planned.preview().read_bytes > 12_000_000);
    // As if some time had passed since the files were written.
    planned.remember(i64::MAX).unwrap();
    assert_eq!(machine.preview(&pair.first, &pair.first).read_bytes, 0);
    let times = fs::metadata(pair.clone("etc/app/a")).unwrap();
    let mut content = fs::read(pair.clone("etc/app/a")).unwrap();
    content[7] ^= 1;
    fs::write(pair.clone("etc/app/a"), content).unwrap();
    set_time(&pair.clone("etc/app/a"), &times);
    let preview = machine.preview(&pair.first, &pair.first);
    assert_eq!(told(&preview), [("/etc/app/a", ChangeKind::Content, Why::Node)]);
    assert_eq!(preview.read_bytes, 3_000_000);
}

#[test]
fn late_files_come_last_and_held_ones_stay() {
    /// Notes what is there when all is said to be there.
    struct Seen(PathBuf, Vec<bool>);
    impl Watch for Seen {
        fn swap(&mut self, _: usize, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn files_are_there(&mut self) -> io::Result<()> {
            let config = fs::read_to_string(self.0.join("boot/grub.cfg"))? == "new";
            self.1.extend([config, self.0.join("boot/vmlinuz-2").exists()]);
            Ok(())
        }
    }
    let pair = Pair::new(|root| {
        fs::create_dir(root.join("boot")).unwrap();
        fs::write(root.join("boot/vmlinuz-1"), "old kernel").unwrap();
        fs::write(root.join("boot/grub.cfg"), "old").unwrap();
    });
    fs::rename(pair.golden("boot/vmlinuz-1"), pair.golden("boot/vmlinuz-2")).unwrap();
    fs::write(pair.golden("boot/grub.cfg"), "new").unwrap();
    let second = pair.capture();
    let mut machine = pair.machine();
    machine.special.late = sysclone_image::Excludes::parse(["/boot/grub.cfg"]).unwrap();
    let held = sysclone_image::Excludes::parse(["/boot/*-1"]).unwrap();
    machine.special.held = (held, "it runs".to_owned());
    machine.stage(&second, &pair.first).unwrap();
    let mut seen = Seen(pair.clone(""), Vec::new());
    machine.journal().forward(machine.places(), &mut seen).unwrap();
    assert_eq!(seen.1, [false, true]);
    assert!(pair.clone("boot/vmlinuz-1").exists());
    assert_eq!(fs::read_to_string(pair.clone("boot/grub.cfg")).unwrap(), "new");
    // By now it is not held any more.
    machine.special.held = Default::default();
    machine.held_before = [b"boot/vmlinuz-1".to_vec()].into();
    let preview = machine.preview(&second, &second);
    assert_eq!(
        told(&preview).first().map(|(path, kind, _)| (*path, kind.clone())),
        Some(("/boot/vmlinuz-1", ChangeKind::Delete))
    );
}

#[test]
fn a_damaged_journal_is_not_followed() {
    let pair = Pair::new(some_files);
    fs::write(pair.golden("etc/motd"), "new").unwrap();
    let second = pair.capture();
    let machine = pair.machine();
    machine.stage(&second, &pair.first).unwrap();
    let path = machine.state.path().join("journal");
    let good = fs::read(&path).unwrap();
    for at in [0, 9, 50, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, bad).unwrap();
        let error = Journal::load(machine.state.path()).unwrap_err();
        assert!(matches!(error, UpdateError::Journal { .. }), "{error:?}");
    }
    fs::write(&path, good).unwrap();
    let error = machine.stage(&second, &pair.first).unwrap_err();
    assert!(matches!(error, UpdateError::Unfinished { .. }), "{error:?}");
    machine.forward(usize::MAX);
    assert_eq!(fs::read_to_string(pair.clone("etc/motd")).unwrap(), "new");
}

/// A store that is away after so many reads.
struct Away<'a>(&'a sysclone_image::Store, std::sync::atomic::AtomicU64);

impl PackSource for Away<'_> {
    fn read(&self, pack: &PackId, range: Range<u64>) -> io::Result<Vec<u8>> {
        let left = self.1.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
        self.0.read(pack, range)
    }

    fn size(&self, pack: &PackId) -> io::Result<u64> {
        self.0.size(pack)
    }
}

#[test]
fn a_server_that_goes_away_changes_nothing() {
    let pair = Pair::new(some_files);
    for n in 0..8 {
        fs::write(pair.golden(&format!("usr/lib/new{n}")), noise(100 + n, 4_000_000)).unwrap();
    }
    let second = pair.capture();
    let machine = pair.machine();
    let planned = machine.plan(&second, Some(&pair.first));
    let all = planned.preview().fetch_bytes;
    let away = Away(&pair.site.store, 4.into());
    let error = planned.stage((&pair.site.image_key, &away), &|_| ()).err().unwrap();
    assert!(matches!(error, UpdateError::Stage(_)), "{error:?}");
    assert!(Journal::load(machine.state.path()).unwrap().is_none() && !pair.clone("usr/lib/new0").exists());
    // What came whole before stays in its slot.
    let fetched = machine.update(&second, &pair.first);
    assert!(fetched <= all, "{fetched} of {all} bytes");
    assert_eq!(fs::read(pair.clone("usr/lib/new7")).unwrap(), noise(107, 4_000_000));
}

#[test]
fn two_generations_are_one_update() {
    let pair = Pair::new(some_files);
    fs::write(pair.golden("etc/motd"), "second").unwrap();
    fs::write(pair.golden("etc/gone-again"), "second").unwrap();
    let second = pair.capture();
    fs::remove_file(pair.golden("etc/gone-again")).unwrap();
    fs::write(pair.golden("etc/third"), "third").unwrap();
    let golden = pair.golden("");
    let third = pair.site.commit(&pair.site.capture(options(&golden), Some(&second)));
    let machine = pair.machine();
    machine.update(&third, &pair.first);
    assert_eq!(fs::read_to_string(pair.clone("etc/motd")).unwrap(), "second");
    assert!(pair.clone("etc/third").exists() && !pair.clone("etc/gone-again").exists());
    assert!(machine.preview(&third, &third).changes.is_empty());
}

#[test]
fn a_version_before_that_crowds_the_disk_is_named_and_can_be_forgotten() {
    let pair = Pair::new(some_files);
    for path in ["etc/app/a", "usr/lib/large", "opt/old/deep/file"] {
        fs::write(pair.golden(path), noise(31, 3_000_000)).unwrap();
    }
    let second = pair.capture();
    let small = Volume::tmpfs(44 << 20);
    pair.site.apply(&pair.first, &small.root()).unwrap();
    let machine = Machine::new(&pair.site, &small.root());
    machine.update(&second, &pair.first);
    assert!(machine.journal().crowded(&small.root()).unwrap().is_empty());
    fs::write(small.root().join("fills"), noise(32, 18 << 20)).unwrap();
    let crowded = machine.journal().crowded(&small.root()).unwrap();
    assert!(matches!(&crowded[..], [(_, kept, left)] if *kept > 9_000_000 && kept > left), "{crowded:?}");
    machine.journal().discard(machine.places()).unwrap();
    assert!(!small.root().join(STAGING).exists() && Journal::load(machine.state.path()).unwrap().is_none());
    assert_eq!(fs::read(small.root().join("etc/app/a")).unwrap(), noise(31, 3_000_000));
}
