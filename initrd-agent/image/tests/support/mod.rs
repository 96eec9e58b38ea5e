//! What the tests with real file systems share: loop-mounted volumes, a tree with everything awkward in it, and the
//! comparison of two trees by rsync and by what rsync does not look at.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file is a program of its own and uses a part of this"
)]
#![allow(clippy::unwrap_used, reason = "these are tests")]

pub mod chance;
pub mod compare;
pub mod oracle;
pub mod plant;
pub mod random;
pub mod steps;
pub mod tree;
pub mod volume;

use std::path::{Path, PathBuf};

use sysclone_exec::{Command, Runner, System, Tool};
use sysclone_image::sign::SigningKey;
use sysclone_image::{
    ApplyError, ApplyJob, ApplyReport, Before, CaptureFacts, CaptureJob, CaptureOptions, ImageKey, Manifest,
    OsIdentity, Store, apply, capture,
};
use sysclone_protocol::boot::{BootFacts, Initramfs, Loader};
use sysclone_protocol::inventory::Firmware;
use sysclone_protocol::layout::Layout;
use sysclone_protocol::names::{ImageName, ImageRef};

/// Runs a tool; a failure ends the test with what the tool said.
pub fn run(tool: &'static str, args: &[&str]) -> String {
    System.run(&Command::new(Tool(tool)).args(args)).unwrap_or_else(|error| panic!("{error}")).text()
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("the tests' own paths are text")
}

/// A store with keys, and one image in it.
pub struct Site {
    pub directory: tempfile::TempDir,
    pub store: Store,
    pub image: ImageName,
    pub image_key: ImageKey,
    pub signing_key: SigningKey,
}

impl Site {
    pub fn new() -> Self {
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        Self {
            store: Store::open(directory.path()).unwrap(),
            directory,
            image: image_name(),
            image_key: ImageKey::random().unwrap(),
            signing_key: SigningKey::random().unwrap(),
        }
    }

    /// Captures into the store, but does not commit.
    pub fn capture(&self, options: CaptureOptions, parent: Option<&Manifest>) -> Manifest {
        let job = self.job(options, parent);
        capture(job, &mut self.store.sink(&self.image), &|_| ()).unwrap_or_else(|error| panic!("{error:?}"))
    }

    pub fn job<'a>(&'a self, options: CaptureOptions, parent: Option<&'a Manifest>) -> CaptureJob<'a> {
        CaptureJob { options, facts: facts(&self.image), parent, staged: Vec::new(), key: &self.image_key }
    }

    /// Commits and reads back what is then in the store.
    pub fn commit(&self, manifest: &Manifest) -> Manifest {
        let reply = self.store.commit(&self.image, &manifest.encode(), &self.signing_key).unwrap();
        self.store.manifest(&reply.image, &self.signing_key.verifying_key()).unwrap()
    }

    pub fn apply(&self, manifest: &Manifest, root: &Path) -> Result<ApplyReport, ApplyError> {
        let (key, source, before) = (&self.image_key, &self.store, Before::Nothing);
        apply(&ApplyJob { manifest, key, source, root, before, threads: 3 }, &|_| ())
    }

    /// Goes on with what an interrupted deployment left; a name in the root may stay.
    pub fn resume(
        &self,
        manifest: &Manifest,
        (root, spare): (&Path, &[u8]),
    ) -> Result<ApplyReport, ApplyError> {
        let (key, source, spare) = (&self.image_key, &self.store, [spare]);
        let before = Before::Interrupted(&spare);
        apply(&ApplyJob { manifest, key, source, root, before, threads: 3 }, &|_| ())
    }

    pub fn newest(&self) -> ImageRef {
        let generation = self.store.newest(&self.image).unwrap().unwrap();
        ImageRef { name: self.image.clone(), generation }
    }

    /// Files of all packs.
    pub fn packs(&self) -> Vec<PathBuf> {
        let directories = std::fs::read_dir(self.directory.path().join("packs")).unwrap();
        let files = directories.flat_map(|d| std::fs::read_dir(d.unwrap().path()).unwrap());
        files.map(|file| file.unwrap().path()).collect()
    }

    /// Bytes of all packs.
    pub fn pack_bytes(&self) -> u64 {
        self.packs().iter().map(|pack| pack.metadata().unwrap().len()).sum()
    }
}

/// Options to capture one tree.
pub fn options(root: &Path) -> CaptureOptions {
    CaptureOptions { root: root.to_owned(), threads: 3, ..CaptureOptions::default() }
}

/// The one image of a [`Site`].
pub fn image_name() -> ImageName {
    "golden".parse().unwrap()
}

fn facts(image: &ImageName) -> CaptureFacts {
    CaptureFacts {
        image: image.clone(),
        os: OsIdentity { id: "debian".into(), version: "12".into(), name: "Debian".into() },
        arch: "x86_64".into(),
        source: "golden.example".into(),
        host_key_types: vec!["ed25519".into()],
        layout: Layout::default(),
        boot: BootFacts {
            firmware: Firmware::Bios,
            loader: Loader::Grub2Bios,
            loader_disks: vec!["vda".into()],
            boot_device: None,
            kernels: Vec::new(),
            initramfs: Initramfs::InitramfsTools,
            kernel_cmdline: String::new(),
        },
    }
}
