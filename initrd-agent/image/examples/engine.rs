//! The image engine by itself, for comparing architectures: `engine capture ROOT STORE` prints the manifest as text,
//! `engine apply STORE ROOT` fills ROOT, `engine encode STORE` prints the stored manifest's bytes written anew.
//!
//! All times and keys are fixed, so that whatever two architectures print differently is a fault.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sysclone_image::sign::SigningKey;
use sysclone_image::{
    ApplyJob, Before, CaptureFacts, CaptureJob, CaptureOptions, ImageKey, Manifest, OsIdentity, Store, apply,
    capture,
};
use sysclone_protocol::boot::{BootFacts, Initramfs, Loader};
use sysclone_protocol::inventory::Firmware;
use sysclone_protocol::layout::Layout;
use sysclone_protocol::names::{ImageName, ImageRef};

/// 32 zero bytes, for whom secrecy does not matter.
const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    match words.iter().map(PathBuf::as_path).collect::<Vec<_>>().as_slice() {
        [task, root, store] if *task == Path::new("capture") => take(root, store),
        [task, store, root] if *task == Path::new("apply") => fill(store, root),
        [task, store] if *task == Path::new("encode") => encode(store),
        _ => Err("engine capture ROOT STORE | apply STORE ROOT | encode STORE".into()),
    }
}

/// One thread, because several share frames out in the order in which they come.
fn take(root: &Path, store: &Path) -> Result<(), Box<dyn Error>> {
    let (store, image, key) = (Store::open(store)?, name()?, ImageKey::from_base64(KEY)?);
    let as_of = Some(SystemTime::UNIX_EPOCH);
    let options = CaptureOptions { root: root.to_owned(), threads: 1, as_of, ..CaptureOptions::default() };
    let job = CaptureJob { options, facts: facts(&image), parent: None, staged: Vec::new(), key: &key };
    let manifest = capture(job, &mut store.sink(&image), &|_| ())?;
    store.commit(&image, &manifest.encode(), &SigningKey::from_base64(KEY)?)?;
    print(&manifest);
    Ok(())
}

/// All but the names of packs and their salts, which are random.
fn print(manifest: &Manifest) {
    println!("{:?}\n{:?}\n{:?}", manifest.header, manifest.layout, manifest.boot);
    for entry in &manifest.entries {
        println!("{entry:?}");
    }
    for chunk in &manifest.chunks {
        println!("{chunk:?}");
    }
    for frame in &manifest.frames {
        println!("{frame:?}");
    }
    for pack in &manifest.packs {
        println!("pack of {} bytes", pack.bytes);
    }
}

fn fill(store: &Path, root: &Path) -> Result<(), Box<dyn Error>> {
    let (store, key) = (Store::open(store)?, ImageKey::from_base64(KEY)?);
    let (manifest, source) = (&stored(&store)?, &store);
    let job = ApplyJob { manifest, key: &key, source, root, before: Before::Nothing, threads: 2 };
    let report = apply(&job, &|_| ())?;
    if !report.warnings.is_empty() {
        return Err(format!("the target refused something: {:?}", report.warnings).into());
    }
    println!("{} files, {} bytes", report.files, report.bytes);
    Ok(())
}

fn encode(store: &Path) -> Result<(), Box<dyn Error>> {
    Ok(std::io::Write::write_all(&mut std::io::stdout(), &stored(&Store::open(store)?)?.encode())?)
}

fn stored(store: &Store) -> Result<Manifest, Box<dyn Error>> {
    let (name, key) = (name()?, SigningKey::from_base64(KEY)?);
    let generation = store.newest(&name)?.ok_or("the store is empty")?;
    Ok(store.manifest(&ImageRef { name, generation }, &key.verifying_key())?)
}

fn name() -> Result<ImageName, Box<dyn Error>> {
    Ok("compared".parse()?)
}

fn facts(image: &ImageName) -> CaptureFacts {
    CaptureFacts {
        image: image.clone(),
        os: OsIdentity::default(),
        arch: "any".into(),
        source: "localhost".into(),
        host_key_types: vec!["ed25519".into()],
        layout: Layout::default(),
        boot: BootFacts {
            firmware: Firmware::Bios,
            loader: Loader::Unknown,
            loader_disks: Vec::new(),
            boot_device: None,
            kernels: Vec::new(),
            initramfs: Initramfs::Unknown,
            kernel_cmdline: String::new(),
        },
    }
}
