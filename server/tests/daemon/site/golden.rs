//! A small image, made by the image crate from a directory.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use sysclone_image::{
    CaptureFacts, CaptureJob, CaptureOptions, ImageKey, Manifest, OsIdentity, PackId, PackSink,
};
use sysclone_image::{Store, capture};
use sysclone_protocol::boot::{BootFacts, Initramfs, Loader};
use sysclone_protocol::inventory::Firmware;
use sysclone_protocol::layout::{Disk, DiskRules, Layout};
use sysclone_server::trust::Keys;

use super::Site;

/// An image that has not reached a server yet.
pub(crate) struct ImageFacts {
    pub(crate) manifest: Manifest,
    pub(crate) packs: BTreeMap<PackId, Vec<u8>>,
}

#[derive(Default)]
struct Gathered(BTreeMap<PackId, Vec<u8>>);

impl PackSink for Gathered {
    fn put(&mut self, id: &PackId, bytes: Vec<u8>) -> io::Result<()> {
        self.0.insert(*id, bytes);
        Ok(())
    }
}

impl ImageFacts {
    /// An image whose one file holds `content`.
    pub(crate) fn make(image: &str, content: &[u8], key: &ImageKey) -> Self {
        let tree = tempfile::tempdir_in("/var/tmp").unwrap();
        std::fs::write(tree.path().join("file"), content).unwrap();
        Self::of_tree(image, tree.path(), key)
    }

    fn of_tree(image: &str, tree: &Path, key: &ImageKey) -> Self {
        let options = CaptureOptions { root: tree.to_owned(), threads: 1, ..CaptureOptions::default() };
        let facts = facts(image);
        let job = CaptureJob { options, facts, parent: None, staged: Vec::new(), key };
        let mut packs = Gathered::default();
        let manifest = capture(job, &mut packs, &|_| {}).unwrap();
        Self { manifest, packs: packs.0 }
    }
}

fn facts(image: &str) -> CaptureFacts {
    let disk = Disk {
        name: "vda".into(),
        size_bytes: 8 << 30,
        sector_bytes: 512,
        rules: DiskRules::default(),
        table: None,
    };
    CaptureFacts {
        image: image.parse().unwrap(),
        os: OsIdentity { id: "debian".into(), version: "12".into(), name: "Debian 12".into() },
        arch: "x86_64".into(),
        source: "golden".into(),
        host_key_types: vec![],
        layout: Layout { disks: vec![disk], ..Layout::default() },
        boot: BootFacts {
            firmware: Firmware::Bios,
            loader: Loader::Grub2Bios,
            loader_disks: vec!["vda".into()],
            boot_device: None,
            kernels: vec![],
            initramfs: Initramfs::Unknown,
            kernel_cmdline: String::new(),
        },
    }
}

impl Site {
    /// Puts a generation of an image into the store of a running server, as a finished capture leaves it.
    pub(crate) fn add_image(&self, name: &str) -> ImageFacts {
        let tree = tempfile::tempdir_in("/var/tmp").unwrap();
        std::fs::write(tree.path().join("file"), vec![b'x'; 200_000]).unwrap();
        self.add_image_of(name, tree.path())
    }

    /// The same with the content of a directory.
    pub(crate) fn add_image_of(&self, name: &str, tree: &Path) -> ImageFacts {
        let keys = Keys::load_or_create(&self.path("state/keys")).unwrap();
        let image = name.parse().unwrap();
        let made = ImageFacts::of_tree(name, tree, &keys.make_image_key(&image).unwrap());
        let store = Store::open(&self.path("state/store")).unwrap();
        for (id, bytes) in &made.packs {
            store.put_pack(&image, id, &mut &bytes[..]).unwrap();
        }
        store.commit(&image, &made.manifest.encode(), &keys.signing).unwrap();
        let attributes = [("provmethod", "sysclone"), ("osvers", "debian12"), ("osarch", "x86_64")];
        self.define("osimage", name, &attributes);
        made
    }
}
