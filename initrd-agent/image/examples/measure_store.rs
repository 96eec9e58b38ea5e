//! Measures what a store does with itself on this machine: `measure_store SOURCE DIRECTORY [GENERATIONS]`.
//!
//! SOURCE is captured once and committed so many times into a store in DIRECTORY, which is filled. Prints seconds and
//! what was done in them.

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use sysclone_image::sign::SigningKey;
use sysclone_image::{
    Accept, CaptureFacts, CaptureJob, CaptureOptions, ExportHead, ExportJob, FsckJob, GcRule, ImageKey,
    OsIdentity, Store, capture,
};
use sysclone_protocol::boot::{BootFacts, Initramfs, Loader};
use sysclone_protocol::inventory::Firmware;
use sysclone_protocol::layout::Layout;
use sysclone_protocol::names::{ImageName, ImageRef};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or("measure_store SOURCE DIRECTORY [GENERATIONS]");
    let (source, directory) = (PathBuf::from(next()?), PathBuf::from(next()?));
    let generations: u32 = next().ok().map_or(Ok(10), |n| n.parse())?;
    let (store, image) = (Store::open(&directory.join("store"))?, "measured".parse::<ImageName>()?);
    let (image_key, signing) = (ImageKey::random()?, SigningKey::random()?);
    let key = signing.verifying_key();
    let options = CaptureOptions { root: source, ..CaptureOptions::default() };
    let job = CaptureJob { options, facts: facts(&image), parent: None, staged: Vec::new(), key: &image_key };
    let mut manifest = timed("capture", || capture(job, &mut store.sink(&image), &|_| ()))?;
    timed("commits", || {
        (0..generations).try_for_each(|number| {
            manifest.header.source = format!("golden {number}");
            store.commit(&image, &manifest.encode(), &signing).map(drop)
        })
    })?;
    println!("{} entries, {} packs, {generations} generations", manifest.entries.len(), manifest.packs.len());
    let newest = ImageRef { name: image.clone(), generation: generations };
    timed("pin and unpin", || {
        store.pin(&newest, "the measurement", SystemTime::now() + Duration::from_secs(60))?;
        store.unpin(&newest, "the measurement")
    })?;
    timed("collection", || store.gc(&key, &GcRule::default(), SystemTime::now()))?;
    timed("looking for lost packs", || store.missing_of(&image, &key))?;
    let image_key_of = |_: &ImageName| Some(image_key.clone());
    let job = FsckJob { key: &key, image_key: &image_key_of, quarantine: false, progress: &|_, _| () };
    let report = timed("check", || store.fsck(&job))?;
    println!("{} MB read, clean: {}", report.bytes / 1_000_000, report.is_clean());
    let file = directory.join("export.tar");
    let job = ExportJob {
        image: &image,
        generations: &[generations],
        key: &key,
        image_key: None,
        progress: &|_, _| (),
    };
    timed("export", || {
        store.export(&job, &mut BufWriter::new(File::create(&file)?)).map_err(Box::<dyn Error>::from)
    })?;
    let other = Store::open(&directory.join("other"))?;
    let mut accept = |head: &ExportHead| {
        Ok(Accept { image: head.image.clone(), image_key: image_key.clone(), manifest_key: key })
    };
    let mut import = || -> Result<_, Box<dyn Error>> {
        Ok(other.import(&mut BufReader::new(File::open(&file)?), &signing, &mut accept)?)
    };
    timed("import", &mut import)?;
    timed("import again", import)?;
    Ok(())
}

fn timed<T, E>(what: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let start = Instant::now();
    let done = work()?;
    println!("{what}: {:.3} s", start.elapsed().as_secs_f64());
    Ok(done)
}

fn facts(image: &ImageName) -> CaptureFacts {
    CaptureFacts {
        image: image.clone(),
        os: OsIdentity::default(),
        arch: std::env::consts::ARCH.to_owned(),
        source: "golden".to_owned(),
        host_key_types: Vec::new(),
        layout: Layout::default(),
        boot: BootFacts {
            firmware: Firmware::Bios,
            loader: Loader::Grub2Bios,
            loader_disks: Vec::new(),
            boot_device: None,
            kernels: Vec::new(),
            initramfs: Initramfs::InitramfsTools,
            kernel_cmdline: String::new(),
        },
    }
}
