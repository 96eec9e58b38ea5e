//! Capture, deployment and collection are killed, or their disk fails, at any point: the store is sound, the image is
//! the old or the new one, and the next run ends with what programs that are not ours call equal.
//! `SYSCLONE_KILLS=500 cargo test -p sysclone-image --test killed` does it longer.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use support::chance::{Chance, rounds};
use support::steps::{self, Fault, Step};
use support::tree::noise;
use support::{Site, oracle, run, text};
use sysclone_image::{FsckJob, Store};

/// Rounds unless the environment says otherwise; each has three faults.
const ROUNDS: u32 = 5;
/// Files that change from round to round.
const FILES: u64 = 40;

#[test]
#[ignore = "one step in a process of its own, which the other test starts"]
fn step() {
    steps::perform();
}

#[test]
fn whatever_ends_a_step_the_store_is_sound_and_the_next_run_succeeds() {
    let mut chance = Chance::from_environment();
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let mut life = Life {
        site: Site::new(),
        golden: directory.path().join("golden"),
        takes: [Duration::from_millis(100); 4],
    };
    let clone = directory.path().join("clone");
    plant(&life.golden);
    life.succeed(Step::Capture, &life.golden.clone());
    for _ in 0..rounds("SYSCLONE_KILLS", ROUNDS) {
        change(&life.golden, &mut chance);
        life.broken_capture(&mut chance);
        life.broken_apply(&mut chance, &clone);
        life.broken_collection(&mut chance);
    }
}

struct Life {
    site: Site,
    golden: std::path::PathBuf,
    /// How long each step takes when nothing is in its way.
    takes: [Duration; 4],
}

impl Life {
    fn succeed(&mut self, step: Step, root: &Path) {
        let began = Instant::now();
        let output = steps::run(step, Fault::None, &self.site, root);
        assert!(output.status.success(), "{step:?}: {}", String::from_utf8_lossy(&output.stderr));
        self.takes[step as usize] = began.elapsed();
    }

    /// Whether the step succeeded all the same.
    fn disturb(&self, chance: &mut Chance, step: Step, root: &Path) -> (bool, Fault) {
        let fault = Fault::any(chance, step, self.takes[step as usize] * 2);
        let output = steps::run(step, fault, &self.site, root);
        eprintln!("{step:?} with {fault:?}: {:?}", output.status);
        (output.status.success(), fault)
    }

    fn broken_capture(&mut self, chance: &mut Chance) {
        let before = self.site.newest().generation;
        let golden = self.golden.clone();
        let (succeeded, fault) = self.disturb(chance, Step::Capture, &golden);
        let after = self.site.newest().generation;
        assert!(after == before || after == before + 1, "{fault:?}: from {before} to {after}");
        assert!(!succeeded || after == before + 1, "{fault:?}: a success that made nothing");
        self.assert_sound(fault);
        self.succeed(Step::Capture, &golden);
        self.assert_sound(fault);
    }

    fn broken_apply(&mut self, chance: &mut Chance, clone: &Path) {
        fs::create_dir(clone).unwrap();
        let (succeeded, fault) = self.disturb(chance, Step::Apply, clone);
        if succeeded {
            self.assert_equal(clone, fault);
        } else if fault.is_seen() {
            assert_no_file_is_false(&self.golden, clone, fault);
        }
        if !succeeded {
            let (succeeded, again) = self.disturb(chance, Step::Resume, clone);
            if !succeeded {
                self.succeed(Step::Resume, clone);
            }
            self.assert_equal(clone, again);
        }
        fs::remove_dir_all(clone).unwrap();
        fs::create_dir(clone).unwrap();
        self.succeed(Step::Apply, clone);
        self.assert_equal(clone, fault);
        fs::remove_dir_all(clone).unwrap();
    }

    fn broken_collection(&mut self, chance: &mut Chance) {
        let before = self.site.newest();
        let (_, fault) = self.disturb(chance, Step::Collect, Path::new("/"));
        self.assert_sound(fault);
        self.succeed(Step::Collect, Path::new("/"));
        self.assert_sound(fault);
        // Rewriting packs makes a generation that has the same content; none goes back.
        assert!(self.site.newest().generation >= before.generation, "{fault:?}");
        let key = self.site.signing_key.verifying_key();
        let generations = self.site.store.generations(&self.site.image).unwrap();
        assert!((1..=2).contains(&generations.len()), "{fault:?}: {generations:?}");
        let named: usize = {
            let packs = generations.iter().flat_map(|generation| {
                let image = sysclone_protocol::names::ImageRef {
                    name: self.site.image.clone(),
                    generation: *generation,
                };
                self.site.store.manifest(&image, &key).unwrap().packs
            });
            packs.map(|pack| pack.id).collect::<std::collections::BTreeSet<_>>().len()
        };
        assert_eq!(self.site.packs().len(), named, "{fault:?}: what nothing names is gone");
    }

    fn assert_sound(&self, fault: Fault) {
        let store = Store::open(self.site.directory.path()).unwrap();
        let key = self.site.signing_key.verifying_key();
        let image_key = |_: &_| Some(self.site.image_key.clone());
        let report = store
            .fsck(&FsckJob { key: &key, image_key: &image_key, quarantine: false, progress: &|_, _| () })
            .unwrap();
        assert!(report.is_clean(), "{fault:?}: {report:?}");
        let left = fs::read_dir(self.site.directory.path().join("incoming")).unwrap().count();
        assert_eq!(left, 0, "{fault:?}: what was being received is gone");
    }

    fn assert_equal(&self, clone: &Path, fault: Fault) {
        let differences = oracle::differences_but_extents(&self.golden, clone);
        assert!(differences.is_empty(), "{fault:?}: {differences:#?}");
    }
}

/// After a failure that the process saw, every file that is there has its whole content.
fn assert_no_file_is_false(golden: &Path, clone: &Path, fault: Fault) {
    for entry in fs::read_dir(clone).unwrap() {
        let entry = entry.unwrap();
        let original = golden.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            assert_no_file_is_false(&original, &entry.path(), fault);
        } else if entry.file_type().unwrap().is_file() {
            let same = fs::read(&original).unwrap() == fs::read(entry.path()).unwrap();
            assert!(same, "{fault:?}: {} is false", original.display());
        }
    }
}

fn plant(golden: &Path) {
    for directory in ["files", "deep/er/down", "empty"] {
        fs::create_dir_all(golden.join(directory)).unwrap();
    }
    for n in 0..FILES {
        fs::write(file(golden, n), noise(n, 1000 + usize::try_from(n * n).unwrap() * 300)).unwrap();
    }
    fs::write(golden.join("deep/er/down/large"), noise(99, 6 << 20)).unwrap();
    fs::File::create(golden.join("deep/sparse")).unwrap().set_len(50 << 20).unwrap();
    symlink("../files", golden.join("deep/link")).unwrap();
    fs::hard_link(golden.join("deep/er/down/large"), golden.join("deep/again")).unwrap();
    run("setfacl", &["-m", "u:1234:rwx", text(&golden.join("deep"))]);
    run("setfattr", &["-n", "trusted.note", "-v", "n", text(&golden.join("deep/again"))]);
    run("mkfifo", &["-m", "620", text(&golden.join("deep/pipe"))]);
}

fn file(golden: &Path, n: u64) -> std::path::PathBuf {
    golden.join(format!("files/{n}"))
}

/// Some files get other content, one is removed or comes back, one gets a new name.
fn change(golden: &Path, chance: &mut Chance) {
    for _ in 0..3 {
        let len = usize::try_from(1 + chance.below(900_000)).unwrap();
        fs::write(file(golden, chance.below(FILES)), noise(chance.below(1 << 40), len)).unwrap();
    }
    let one = file(golden, chance.below(FILES));
    if one.exists() {
        fs::remove_file(one).unwrap();
    } else {
        fs::write(one, noise(chance.below(1 << 40), 100)).unwrap();
    }
    let (from, to) = (file(golden, chance.below(FILES)), file(golden, FILES + chance.below(5)));
    if from.exists() {
        fs::rename(from, to).unwrap();
    }
}
