//! A store whose process is killed, or whose disk fails, at every single system call that changes something. After
//! each the store is checked: every generation that is there is whole, and doing it all again works.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use support::{Site, options, run, text};
use sysclone_image::sign::SigningKey;
use sysclone_image::{
    Accept, ExportJob, FsckJob, FsckReport, GcRule, ImageKey, Manifest, RetentionRule, Store, StoreError,
};
use sysclone_protocol::names::{ImageName, ImageRef};

/// What changes something on a disk. Each in turn is the one that fails.
const CALLS: [&str; 8] = ["write", "fsync", "rename", "renameat2", "unlink", "rmdir", "mkdir", "utimensat"];
/// Tells the child where its store is.
const STORE: &str = "SYSCLONE_TEST_STORE";
/// How the child says that a step was refused, as it should be when the disk fails.
const REFUSED: i32 = 3;

fn noise(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A store with everything that the steps need, its keys beside it.
fn template() -> Site {
    let (golden, other, site) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), Site::new());
    let mut parent: Option<Manifest> = None;
    for generation in 1..=3 {
        for number in 0..4 {
            // More than a frame each: the first one to be rewritten, the second to lose one.
            let len = if generation < 3 { 500_000 } else { 60_000 };
            let content = if number == 0 { noise(0, 60_000) } else { noise(generation * 10 + number, len) };
            fs::write(golden.path().join(format!("file{number}")), content).unwrap();
        }
        parent = Some(site.commit(&site.capture(options(golden.path()), parent.as_ref())));
    }
    let at = |name: &str| site.directory.path().join(name);
    // The second generation has lost a frame of the pack that it has alone.
    let second = ImageRef { name: site.image.clone(), generation: 2 };
    let second = site.store.manifest(&second, &site.signing_key.verifying_key()).unwrap();
    let lost = second.packs[1].id.to_string();
    let pack = site.store.pack_path(&second.packs[1].id).unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    bytes[1000] ^= 1;
    fs::write(at("quarantine").join(&lost), bytes).unwrap();
    fs::remove_file(pack).unwrap();
    fs::write(at("lost"), lost).unwrap();
    fs::write(golden.path().join("more"), b"more").unwrap();
    fs::write(at("capture"), site.capture(options(golden.path()), parent.as_ref()).encode()).unwrap();
    // Another server's image, to be imported.
    fs::write(other.path().join("file"), noise(99, 50_000)).unwrap();
    let mut from = Site::new();
    from.image = "imported".parse().unwrap();
    from.image_key = site.image_key.clone();
    from.commit(&from.capture(options(other.path()), None));
    let key = from.signing_key.verifying_key();
    let (image, generations) = (&from.image, &[1][..]);
    let job = ExportJob { image, generations, key: &key, image_key: None, progress: &|_, _| () };
    from.store.export(&job, &mut fs::File::create(at("export")).unwrap()).unwrap();
    fs::write(at("image-key"), site.image_key.to_base64().reveal()).unwrap();
    fs::write(at("signing-key"), site.signing_key.to_base64().reveal()).unwrap();
    fs::write(at("other-key"), key.to_base64()).unwrap();
    site
}

/// What the child works with.
struct Work {
    store: Store,
    image: ImageName,
    image_key: ImageKey,
    key: SigningKey,
}

impl Work {
    fn open(root: &Path) -> Result<Self, StoreError> {
        let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
        Ok(Self {
            store: Store::open(root)?,
            image: "golden".parse().unwrap(),
            image_key: ImageKey::from_base64(&read("image-key")).unwrap(),
            key: SigningKey::from_base64(&read("signing-key")).unwrap(),
        })
    }

    fn at(&self, generation: u32) -> ImageRef {
        ImageRef { name: self.image.clone(), generation }
    }

    /// Everything that a store does. What was done by an earlier try is not an error.
    fn steps(&self, root: &Path) -> Result<(), StoreError> {
        let (store, now, day) = (&self.store, SystemTime::now(), Duration::from_secs(86_400));
        let key = self.key.verifying_key();
        let keys = (&self.image_key, &self.key);
        store.heal(&self.image, keys)?;
        store.put_pack(&self.image, &sysclone_image::PackId::of(b"new"), &mut &b"new"[..])?;
        match store.commit(&self.image, &fs::read(root.join("capture")).unwrap(), &self.key) {
            // An earlier try collected, a month later, what this capture counted on.
            Ok(_) | Err(StoreError::MissingPacks { .. }) => {}
            Err(error) => return Err(error),
        }
        let newest = self.at(store.newest(&self.image)?.unwrap());
        store.tag(&self.at(3), &"stable".parse().unwrap())?;
        store.tag(&newest, &"stable".parse().unwrap())?;
        store.pin(&newest, "the test", now + day)?;
        store.unpin(&newest, "the test")?;
        store.rollback(&self.at(3), &self.key)?;
        match store.remove(&self.at(1), now) {
            Ok(()) | Err(StoreError::NoSuchImage(_)) => {}
            Err(error) => return Err(error),
        }
        let rule = RetentionRule { keep_last: Some(3), keep_younger: None };
        store.retain(&self.image, &rule, now)?;
        store.repack(&self.image, keys, (90, now))?;
        for later in [30, 32] {
            store.gc(&key, &GcRule::default(), now + day * later)?;
        }
        let other = fs::read_to_string(root.join("other-key")).unwrap();
        let mut accept = |head: &sysclone_image::ExportHead| {
            let manifest_key = sysclone_image::sign::VerifyingKey::from_base64(&other).unwrap();
            Ok(Accept { image: head.image.clone(), image_key: self.image_key.clone(), manifest_key })
        };
        store.import(&mut fs::File::open(root.join("export")).unwrap(), &self.key, &mut accept)?;
        Ok(())
    }

    fn check(&self) -> FsckReport {
        let (key, image_key) = (self.key.verifying_key(), |_: &_| Some(self.image_key.clone()));
        let job = FsckJob { key: &key, image_key: &image_key, quarantine: false, progress: &|_, _| () };
        self.store.fsck(&job).unwrap()
    }

    /// Nothing is half there.
    fn is_sound(&self, root: &Path, when: &str) {
        let report = self.check();
        let lost = fs::read_to_string(root.join("lost")).unwrap();
        assert!(report.bad_manifests.is_empty(), "{when}: {report:?}");
        for bad in &report.bad_packs {
            let expected =
                bad.pack.to_string() == lost && bad.hurts.iter().all(|hurt| hurt.image.generation == 2);
            assert!(expected, "{when}: {bad:?}");
        }
        let generations = self.store.generations(&self.image).unwrap();
        assert!(!generations.is_empty(), "{when}");
        for generation in self.store.tags(&self.image).unwrap().into_values() {
            assert!(
                generations.contains(&generation),
                "{when}: a tag is on {generation}, of {generations:?}"
            );
        }
        assert_eq!(fs::read_dir(root.join("incoming")).unwrap().count(), 0, "{when}");
    }
}

/// The child. Run alone, without the variable, it does nothing.
#[test]
#[ignore = "the others run it"]
fn the_steps() {
    let Ok(root) = std::env::var(STORE) else { return };
    let root = Path::new(&root);
    if Work::open(root).and_then(|work| work.steps(root)).is_err() {
        // Without a word: writing one may be the call that fails.
        std::process::exit(REFUSED);
    }
}

/// Runs the child on a store with a fault at its `when`th call; answers how it ended and what it said, or nothing when
/// there was no such call.
fn child(root: &Path, fault: &str, (call, when): (&str, usize)) -> Option<(Option<i32>, String)> {
    let trace = root.with_extension("trace");
    let inject = format!("inject={call}:{fault}:when={when}");
    let out = Command::new("strace")
        .args(["-f", "-qqq", "-e", &format!("trace={call}"), "-e", &inject, "-o"])
        .args([text(&trace), "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "the_steps", "--test-threads=1", "--nocapture"])
        .env(STORE, root)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let hit = out.status.code().is_none() || fs::read_to_string(trace).unwrap().contains("INJECTED");
    hit.then(|| (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned()))
}

/// Lets every call fail in turn, on some stores at a time. Which of its threads makes a call is not the same each time,
/// so there is no one number of faults; but there is none of the calls that is never made.
fn every_call(fault: &str, judge: &(dyn Fn(Option<i32>, &str) -> bool + Sync)) {
    let site = template();
    // The call and its number that come next.
    let next = Mutex::new((0, 0));
    let hit = Mutex::new(HashMap::<_, usize>::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let place = tempfile::tempdir_in("/dev/shm").unwrap();
                let root = place.path().join("store");
                loop {
                    let (index, when) = {
                        let mut next = next.lock().unwrap();
                        next.1 += 1;
                        (next.0, next.1)
                    };
                    let Some(call) = CALLS.get(index) else { return };
                    run("cp", &["-a", "--", text(site.directory.path()), text(&root)]);
                    let name = format!("{fault} at {call} {when}");
                    match child(&root, fault, (call, when)) {
                        Some((code, said)) => {
                            assert!(judge(code, &said), "{name}: {code:?} {said}");
                            *hit.lock().unwrap().entry(call).or_default() += 1;
                        }
                        None => {
                            let mut next = next.lock().unwrap();
                            // The first to see that there are no more of this call.
                            if next.0 == index {
                                *next = (index + 1, 0);
                            }
                        }
                    }
                    let work = Work::open(&root).unwrap();
                    work.is_sound(&root, &name);
                    work.steps(&root).unwrap_or_else(|error| panic!("again after {name}: {error:?}"));
                    work.is_sound(&root, &format!("again after {name}"));
                    fs::remove_dir_all(&root).unwrap();
                }
            });
        }
    });
    let hit = hit.into_inner().unwrap();
    assert!(CALLS.iter().all(|call| hit.contains_key(call)), "the faults hit: {hit:?}");
}

#[test]
fn killed_at_any_call_a_store_is_sound_and_goes_on() {
    every_call("signal=KILL", &|code, _| code.is_none() || code == Some(137));
}

#[test]
fn a_disk_that_is_full_at_any_call_is_an_error_and_nothing_else() {
    // The test harness itself writes a line before it runs the child.
    let harness = |said: &str| said.contains("io error when listing tests");
    // What cannot be removed is removed later: some faults are only warned of.
    let refused = |code, said: &str| matches!(code, Some(REFUSED | 0)) || code == Some(101) && harness(said);
    every_call("error=ENOSPC", &|code, said| refused(code, said) && !said.contains("panicked"));
}
