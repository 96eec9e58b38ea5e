//! A whole image from several HTTP sources, of which one lies and one dies.
#![allow(clippy::unwrap_used, reason = "a failed expectation is the test's result")]

mod support;

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use support::{Reaction, Request, Server};
use sysclone_agent::client::{HttpPacks, Patience};
use sysclone_image::sign::SigningKey;
use sysclone_image::{
    ApplyJob, Before, CaptureFacts, CaptureJob, CaptureOptions, ImageKey, Manifest, OsIdentity, Store, apply,
    capture,
};
use sysclone_protocol::boot::{BootFacts, Initramfs, Loader};
use sysclone_protocol::inventory::Firmware;
use sysclone_protocol::layout::Layout;
use sysclone_protocol::names::ImageName;

/// Content that neither compresses nor repeats.
fn noise(seed: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

struct Image {
    golden: tempfile::TempDir,
    store: tempfile::TempDir,
    key: ImageKey,
    manifest: Manifest,
}

fn image() -> Image {
    let (golden, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for seed in 0..12 {
        fs::write(golden.path().join(format!("file{seed}")), noise(seed, 5 << 20)).unwrap();
    }
    let store = Store::open(folder.path()).unwrap();
    let (name, key): (ImageName, _) = ("golden".parse().unwrap(), ImageKey::random().unwrap());
    let facts = CaptureFacts {
        image: name.clone(),
        os: OsIdentity::default(),
        arch: "x86_64".into(),
        source: "golden".into(),
        host_key_types: vec![],
        layout: Layout::default(),
        boot: BootFacts {
            firmware: Firmware::Bios,
            loader: Loader::Grub2Bios,
            loader_disks: vec![],
            boot_device: None,
            kernels: vec![],
            initramfs: Initramfs::InitramfsTools,
            kernel_cmdline: String::new(),
        },
    };
    let options = CaptureOptions { root: golden.path().to_owned(), threads: 2, ..CaptureOptions::default() };
    let job = CaptureJob { options, facts, parent: None, staged: vec![], key: &key };
    let manifest = capture(job, &mut store.sink(&name), &|_| ()).unwrap();
    let signing = SigningKey::random().unwrap();
    let reply = store.commit(&name, &manifest.encode(), &signing).unwrap();
    let manifest = store.manifest(&reply.image, &signing.verifying_key()).unwrap();
    Image { golden, store: folder, key, manifest }
}

/// What a request asks for, from the pack's file.
fn part(store: &Path, request: &Request) -> (Vec<u8>, Vec<(String, String)>) {
    let name = request.path.rsplit('/').next().unwrap();
    let file = fs::File::open(store.join("packs").join(&name[..2]).join(name)).unwrap();
    let range = request.range.as_ref().unwrap().strip_prefix("bytes=").unwrap();
    let (start, last) = range.split_once('-').unwrap();
    let (start, last): (u64, u64) = (start.parse().unwrap(), last.parse().unwrap());
    let mut bytes = vec![0; usize::try_from(last + 1 - start).unwrap()];
    file.read_exact_at(&mut bytes, start).unwrap();
    let length = file.metadata().unwrap().len();
    (bytes, vec![("Content-Range".into(), format!("bytes {start}-{last}/{length}"))])
}

fn honest(store: PathBuf) -> impl Fn(&Request) -> Reaction + Send + Sync + 'static {
    move |request| {
        let (body, headers) = part(&store, request);
        Reaction::Answer { status: 206, headers, body }
    }
}

#[test]
fn one_source_lies_and_one_dies_and_the_clone_is_whole() {
    let image = image();
    let store = image.store.path().to_owned();
    let (for_liar, for_dying, answers) = (store.clone(), store.clone(), AtomicUsize::new(0));
    let liar = Server::plain(move |request| {
        let (mut body, headers) = part(&for_liar, request);
        body[0] ^= 1;
        Reaction::Answer { status: 206, headers, body }
    });
    let dying = Server::plain(move |request| match answers.fetch_add(1, Ordering::SeqCst) {
        0..3 => honest(for_dying.clone())(request),
        3 => {
            let (body, headers) = part(&for_dying, request);
            Reaction::Cut { status: 206, headers, body, sent: 100_000 }
        }
        _ => Reaction::HangUp,
    });
    let good = Server::plain(honest(store));
    let urls = [&liar, &dying, &good].map(|server| format!("{}/packs", server.url("http")));
    let never = Arc::new(AtomicBool::new(false));
    let source = HttpPacks::new(urls.to_vec(), Patience::Endless, never);
    let clone = tempfile::tempdir().unwrap();
    let (manifest, key) = (&image.manifest, &image.key);
    let before = Before::Nothing;
    let job = ApplyJob { manifest, key, source: &source, root: clone.path(), before, threads: 2 };
    let report = apply(&job, &|_| ()).unwrap();

    for seed in 0..12 {
        let name = format!("file{seed}");
        let ours = fs::read(image.golden.path().join(&name)).unwrap();
        assert!(ours == fs::read(clone.path().join(&name)).unwrap(), "{name}");
    }
    let asked = [&liar, &dying, &good].map(|server| server.requests().len());
    // Both fetching threads may have asked before the first lie was found out; then nobody asks it again.
    assert!((1..=8).contains(&asked[0]), "{asked:?}");
    // Several readers may be at it when it dies, and one that finds a kept connection dead asks once more on a new one.
    // If it were not left alone then, all reads would try it first: eighteen requests and more.
    assert!((4..=14).contains(&asked[1]), "{asked:?}");
    assert!(asked[2] > 5, "{asked:?}");
    // What the liar gave is fetched again frame by frame, nothing else is.
    let most = report.needed_bytes + asked[0] as u64 * (5 << 20);
    assert!((report.needed_bytes..=most).contains(&report.fetched_bytes), "{report:?}");
}
