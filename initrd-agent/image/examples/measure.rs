//! Measures a capture and an apply on this machine: `measure SOURCE STORE TARGET [THREADS]`.
//!
//! SOURCE is read, STORE and TARGET are directories that are filled. Prints seconds, processor seconds, bytes and the
//! peak of memory.

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use sysclone_image::sign::SigningKey;
use sysclone_image::{
    ApplyJob, Before, CaptureFacts, CaptureJob, CaptureOptions, ImageKey, Manifest, OsIdentity, Store, apply,
    capture,
};
use sysclone_protocol::boot::{BootFacts, Initramfs, Loader};
use sysclone_protocol::inventory::Firmware;
use sysclone_protocol::layout::Layout;
use sysclone_protocol::names::ImageName;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or("measure SOURCE STORE TARGET [THREADS]");
    let (source, store, target) = (PathBuf::from(next()?), PathBuf::from(next()?), PathBuf::from(next()?));
    let threads = next().ok().map_or(Ok(4), |n| n.parse())?;
    let (store, image) = (Store::open(&store)?, "measured".parse::<ImageName>()?);
    let (key, signing_key) = (ImageKey::random()?, SigningKey::random()?);
    let captured = |parent: Option<&Manifest>| -> Result<Manifest, Box<dyn Error>> {
        let options = CaptureOptions { root: source.clone(), threads, ..CaptureOptions::default() };
        let job = CaptureJob { options, facts: facts(&image), parent, staged: Vec::new(), key: &key };
        let start = Clock::start();
        let manifest = capture(job, &mut store.sink(&image), &|_| ())?;
        let unsigned = manifest.encode();
        let reply = store.commit(&image, &unsigned, &signing_key)?;
        println!(
            "capture {}: {} entries, {} MB of files, {} MB of new packs, manifest {} kB, peak {}",
            start.read(),
            reply.entries,
            reply.bytes / 1_000_000,
            reply.new_bytes / 1_000_000,
            unsigned.len() / 1000,
            peak()?
        );
        Ok(manifest)
    };
    let first = captured(None)?;
    let second = captured(Some(&first))?;
    let start = Clock::start();
    let job = ApplyJob {
        manifest: &second,
        key: &key,
        source: &store,
        root: &target,
        before: Before::Nothing,
        threads,
    };
    let report = apply(&job, &|_| ())?;
    println!(
        "apply {}: {} files, {} MB, peak {}",
        start.read(),
        report.files,
        report.bytes / 1_000_000,
        peak()?
    );
    Ok(())
}

/// Wall and processor time since it was started.
struct Clock(Instant, f64);

impl Clock {
    fn start() -> Self {
        Self(Instant::now(), Self::processor_seconds())
    }

    fn processor_seconds() -> f64 {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
            .as_secs_f64()
    }

    fn read(&self) -> String {
        let (wall, processor) = (self.0.elapsed().as_secs_f64(), Self::processor_seconds() - self.1);
        format!("{wall:.2} s ({processor:.2} s of processor)")
    }
}

/// The largest memory this process has had, as the kernel says it.
fn peak() -> Result<String, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().to_owned())
}

fn facts(image: &ImageName) -> CaptureFacts {
    CaptureFacts {
        image: image.clone(),
        os: OsIdentity::default(),
        arch: std::env::consts::ARCH.into(),
        source: "localhost".into(),
        host_key_types: Vec::new(),
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
