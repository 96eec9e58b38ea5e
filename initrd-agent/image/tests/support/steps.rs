//! One step of an image's life in a process of its own, so that it can be killed or given a broken disk.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use sysclone_image::sign::SigningKey;
use sysclone_image::{Before, GcRule, ImageKey, RetentionRule, Store, read_index};
use sysclone_protocol::names::ImageRef;

use super::chance::Chance;
use super::{Site, options};

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Captures the tree and commits it.
    Capture,
    /// Writes the newest generation into the tree.
    Apply,
    /// Goes on with what an interrupted one left there.
    Resume,
    /// Keeps two generations, rewrites packs that are mostly dead, and collects.
    Collect,
}

/// What happens to it.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    None,
    /// It is killed after this long.
    KilledAfter(Duration),
    /// It is killed at a thread's `n`th call of this.
    KilledAt {
        call: &'static str,
        n: u64,
    },
    /// A thread's `n`th call of this fails.
    Fails {
        call: &'static str,
        n: u64,
        error: &'static str,
    },
}

/// What the store calls.
const STORE_CALLS: &[&str] =
    &["openat", "read", "write", "fsync", "renameat2", "rename", "unlink", "mkdir", "flock", "pread64"];
/// What a deployment calls beside reading.
const APPLY_CALLS: &[&str] = &[
    "openat",
    "pwrite64",
    "fallocate",
    "ftruncate",
    "fchown",
    "fchownat",
    "fchmod",
    "fsetxattr",
    "utimensat",
    "linkat",
    "mkdirat",
    "mknodat",
    "symlinkat",
    "syncfs",
    "pread64",
];

const ERRORS: &[&str] = &["EIO", "ENOSPC"];

impl Fault {
    /// Any fault for a step that takes this long.
    pub fn any(chance: &mut Chance, step: Step, takes: Duration) -> Self {
        let calls = match step {
            Step::Apply | Step::Resume => APPLY_CALLS,
            Step::Capture | Step::Collect => STORE_CALLS,
        };
        // Most calls are made a few times only by each thread, some a hundred times.
        let longest = *chance.one(&[3, 10, 60]);
        let (call, n, error) = (*chance.one(calls), 1 + chance.below(longest), *chance.one(ERRORS));
        match chance.below(4) {
            0 => {
                let most = u64::try_from(takes.as_micros()).unwrap().max(1);
                Self::KilledAfter(Duration::from_micros(chance.below(most)))
            }
            1 | 2 => Self::KilledAt { call, n },
            _ => Self::Fails { call, n, error },
        }
    }

    /// Whether the process itself sees what happens.
    pub fn is_seen(self) -> bool {
        matches!(self, Self::None | Self::Fails { .. })
    }

    fn command(self, program: &Path) -> Command {
        let strace = |inject: String| {
            let mut command = Command::new("strace");
            // Its own lines are not wanted.
            command.args(["-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", &inject]).arg(program);
            command
        };
        match self {
            Self::None => Command::new(program),
            Self::KilledAfter(time) => {
                let mut command = Command::new("timeout");
                command.args(["-s", "KILL", &format!("{:.6}", time.as_secs_f64())]).arg(program);
                command
            }
            Self::KilledAt { call, n } => strace(format!("inject={call}:signal=SIGKILL:when={n}")),
            Self::Fails { call, n, error } => strace(format!("inject={call}:error={error}:when={n}")),
        }
    }
}

/// Runs a step of this site on a tree in another process. The program is the test itself, which has an ignored test
/// named `step` that calls [`perform`].
pub fn run(step: Step, fault: Fault, site: &Site, root: &Path) -> Output {
    let mut command = fault.command(&std::env::current_exe().unwrap());
    command
        .args(["--ignored", "--exact", "step", "--nocapture", "--test-threads=1"])
        .env("SYSCLONE_STEP", format!("{step:?}"))
        .env("SYSCLONE_STEP_STORE", site.directory.path())
        .env("SYSCLONE_STEP_ROOT", root)
        .env("SYSCLONE_STEP_IMAGE_KEY", site.image_key.to_base64().reveal())
        .env("SYSCLONE_STEP_SIGNING_KEY", site.signing_key.to_base64().reveal());
    command.output().unwrap()
}

/// Performs what the environment says; nothing when it says nothing.
pub fn perform() {
    let Ok(step) = std::env::var("SYSCLONE_STEP") else { return };
    let text = |name: &str| std::env::var(format!("SYSCLONE_STEP_{name}")).unwrap();
    let (directory, root) = (PathBuf::from(text("STORE")), PathBuf::from(text("ROOT")));
    let work = Work {
        store: Store::open(&directory).unwrap(),
        image_key: ImageKey::from_base64(&text("IMAGE_KEY")).unwrap(),
        signing_key: SigningKey::from_base64(&text("SIGNING_KEY")).unwrap(),
        root,
    };
    match step.as_str() {
        "Capture" => work.capture(),
        "Apply" => work.apply(Before::Nothing),
        "Resume" => work.apply(Before::Interrupted(&[])),
        "Collect" => work.collect(),
        other => panic!("{other} is no step"),
    }
}

struct Work {
    store: Store,
    image_key: ImageKey,
    signing_key: SigningKey,
    root: PathBuf,
}

impl Work {
    fn newest(&self) -> Option<sysclone_image::Manifest> {
        let name = super::image_name();
        let generation = self.store.newest(&name).unwrap()?;
        let key = self.signing_key.verifying_key();
        Some(self.store.manifest(&ImageRef { name, generation }, &key).unwrap())
    }

    fn capture(&self) {
        let (image, parent) = (super::image_name(), self.newest());
        let staged = self.store.staged(&image).unwrap();
        let staged =
            staged.iter().map(|pack| read_index(&self.store, pack, &self.image_key).unwrap()).collect();
        let job = sysclone_image::CaptureJob {
            options: options(&self.root),
            facts: super::facts(&image),
            parent: parent.as_ref(),
            staged,
            key: &self.image_key,
        };
        let manifest = sysclone_image::capture(job, &mut self.store.sink(&image), &|_| ()).unwrap();
        assert!(manifest.header.inconsistent.is_empty(), "{:?}", manifest.header.inconsistent);
        self.store.commit(&image, &manifest.encode(), &self.signing_key).unwrap();
    }

    fn apply(&self, before: Before<'_>) {
        let manifest = self.newest().unwrap();
        let job = sysclone_image::ApplyJob {
            manifest: &manifest,
            key: &self.image_key,
            source: &self.store,
            root: &self.root,
            before,
            threads: 3,
        };
        let report = sysclone_image::apply(&job, &|_| ()).unwrap();
        assert!(report.warnings.is_empty(), "{:?}", report.warnings);
    }

    fn collect(&self) {
        let (image, now) = (super::image_name(), SystemTime::now);
        let two = RetentionRule { keep_last: Some(2), keep_younger: None };
        self.store.retain(&image, &two, now()).unwrap();
        self.store.repack(&image, (&self.image_key, &self.signing_key), (40, now())).unwrap();
        let at_once = GcRule { grace: Duration::ZERO, trash: Duration::ZERO, staged: Duration::ZERO };
        // Into the trash, then off the disk.
        for _ in 0..2 {
            self.store.gc(&self.signing_key.verifying_key(), &at_once, now()).unwrap();
        }
    }
}
