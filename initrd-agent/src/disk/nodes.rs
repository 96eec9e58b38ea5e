//! Block device nodes: telling the kernel of a new table, waiting for nodes, flushing.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::ioctl;

/// `BLKRRPART` of `linux/fs.h`: re-read the partition table. `BLKFLSBUF`: write out and drop cached blocks.
const BLKRRPART: ioctl::Opcode = ioctl::opcode::none(0x12, 95);
const BLKFLSBUF: ioctl::Opcode = ioctl::opcode::none(0x12, 97);

/// How long a kernel may take to make the nodes of a table it has read, or to let go of what was unmounted.
const NODES: Duration = Duration::from_secs(30);
/// How often it is looked whether they are there.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until nothing uses a disk: while it, a part of it or something stacked on it is mounted or otherwise claimed,
/// in whatever mount namespace, the kernel lets nobody else claim it.
///
/// # Errors
/// It is still in use after a while, or cannot be opened.
pub(super) fn wait_unused(disk: &str) -> anyhow::Result<()> {
    let flags = i32::try_from(rustix::fs::OFlags::EXCL.bits()).expect("open flags are an int");
    let began = Instant::now();
    loop {
        match OpenOptions::new().read(true).custom_flags(flags).open(disk) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && began.elapsed() < NODES => {
                thread::sleep(LOOK);
            }
            Err(error) => return Err(error).with_context(|| format!("claiming {disk}")),
        }
    }
}

/// Makes the kernel read the partition table of a disk anew.
///
/// # Errors
/// A partition is still in use.
pub(super) fn reread_table(disk: &str) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(disk)?;
    file.sync_all()?;
    let began = Instant::now();
    loop {
        match plain_ioctl::<BLKRRPART>(&file) {
            // Something that looks at every new device may have a partition open for a moment.
            Err(rustix::io::Errno::BUSY) if began.elapsed() < NODES => thread::sleep(LOOK),
            other => return other.map_err(io::Error::from),
        }
    }
}

/// Waits until all nodes are there.
///
/// # Errors
/// One is not there in time.
pub(super) fn wait_for(nodes: &[String]) -> anyhow::Result<()> {
    let began = Instant::now();
    while let Some(missing) = nodes.iter().find(|node| !Path::new(node).exists()) {
        if began.elapsed() > NODES {
            bail!("the kernel made no node {missing} within {} s", NODES.as_secs());
        }
        thread::sleep(LOOK);
    }
    Ok(())
}

/// `major:minor` of a device node.
///
/// # Errors
/// It cannot be looked at.
pub(super) fn number_of(node: &str) -> anyhow::Result<String> {
    use std::os::unix::fs::MetadataExt as _;
    let rdev = std::fs::metadata(node).with_context(|| format!("looking at {node}"))?.rdev();
    Ok(format!("{}:{}", rustix::fs::major(rdev), rustix::fs::minor(rdev)))
}

/// Makes sure that a device is as large as planned.
///
/// # Errors
/// It cannot be opened, or has another size.
pub(super) fn check_size(node: &str, planned: u64) -> anyhow::Result<()> {
    let file = File::open(node).with_context(|| format!("opening {node}"))?;
    let size =
        rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0)).with_context(|| format!("measuring {node}"))?;
    ensure!(size == planned, "{node} has {size} bytes instead of {planned}");
    Ok(())
}

/// Writes out everything that is cached for a device and drops it, so that the next read comes from the disk.
///
/// # Errors
/// The device reported an error.
pub(super) fn flush(device: &str) -> anyhow::Result<()> {
    let file = File::open(device).with_context(|| format!("opening {device}"))?;
    file.sync_all().with_context(|| format!("writing out {device}"))?;
    plain_ioctl::<BLKFLSBUF>(&file).with_context(|| format!("flushing {device}"))
}

#[expect(unsafe_code, reason = "rustix has no wrapper of these ioctls")]
fn plain_ioctl<const OPCODE: ioctl::Opcode>(file: &File) -> rustix::io::Result<()> {
    // SAFETY: both requests take no argument and touch no memory of this process.
    unsafe { ioctl::ioctl(file, ioctl::NoArg::<OPCODE>::new()) }
}
