//! The golden clients of the lab: a real Debian 12 on a disk image, made once and kept until what makes it changes.

mod awkward;
mod boot;
mod disk;
mod power;
mod private;
mod sources;
mod tree;
mod uefi;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use sysclone_exec::{Command, Runner, System, Tool};

pub use awkward::PLACES;

use crate::lab::Loop;

const SETPRIV: Tool = Tool("setpriv");
const UNSHARE: Tool = Tool("unshare");
const SSH_KEYGEN: Tool = Tool("ssh-keygen");

/// Everything that decides what the disk holds, so that a changed recipe makes a new one.
const RECIPE: &[&str] = &[
    include_str!("awkward.rs"),
    include_str!("boot.rs"),
    include_str!("disk.rs"),
    include_str!("mod.rs"),
    include_str!("power.rs"),
    include_str!("private.rs"),
    include_str!("sources.rs"),
    include_str!("tree.rs"),
    include_str!("uefi.rs"),
];

/// Downloading on a slow line takes the most of it.
const BUILD_LIMIT: Duration = Duration::from_secs(1800);

/// Size of the golden client's disk.
pub const DISK_BYTES: u64 = 4 << 30;

/// Host name of the golden client.
pub const HOSTNAME: &str = "golden";

/// Which golden client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// PC BIOS: GPT with bios_grub, ext4 /boot, LVM with ext4 root, xfs /var and swap.
    BiosLvm,
    /// UEFI under Secure Boot: ESP, swap partition, ext4 root.
    Uefi,
    /// POWER, little-endian: GPT with a PReP partition, the rest as on BIOS.
    Power,
}

impl Kind {
    /// Its name in the cache and on the command line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::BiosLvm => "bios-lvm",
            Self::Uefi => "uefi",
            Self::Power => "power",
        }
    }
}

/// A golden client that is ready to be copied and booted.
#[derive(Debug, Clone)]
pub struct Golden {
    folder: PathBuf,
    kind: Kind,
}

impl Golden {
    /// Takes the golden client from `cache`, or makes it. `builder` is the xtask program, which does the making in
    /// mounts and device nodes of its own ([`build`]); `say` hears whether it is made or found.
    ///
    /// # Errors
    /// Something in the making fails.
    pub fn prepare(kind: Kind, cache: &Path, builder: &Path, say: impl Fn(&str)) -> Result<Self> {
        fs::create_dir_all(cache).with_context(|| format!("creating {}", cache.display()))?;
        let cache = cache.canonicalize().context("finding the cache")?;
        let lock = File::create(cache.join("lock")).context("creating the cache's lock")?;
        flock(&lock, FlockOperation::LockExclusive).context("waiting for the cache")?;
        let prefix = format!("golden-{}-", kind.word());
        let golden = Self { folder: cache.join(format!("{prefix}{}", key()?)), kind };
        if golden.folder.exists() {
            say("found in the cache");
            return Ok(golden);
        }
        say("not in the cache, making it");
        let partial = cache.join("golden.partial");
        Loop::detach_all(&partial).context("detaching an unfinished golden client")?;
        match fs::remove_dir_all(&partial) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).context("removing an unfinished golden client");
            }
            _ => fs::create_dir(&partial).context("creating the golden client's folder")?,
        }
        // In a process namespace of its own, all that works on it ends with this program, however that ends.
        let build = Command::new(SETPRIV)
            .args(["--pdeathsig", "KILL", "--", UNSHARE.0, "--mount", "--propagation", "private"])
            .args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"])
            .arg(builder)
            .arg("golden-build")
            .arg(kind.word())
            .arg(&partial)
            .arg(cache.join(format!("debs-{}", kind.word())))
            .timeout(BUILD_LIMIT);
        System.run(&build).context("making the golden client")?;
        fs::rename(&partial, &golden.folder).context("keeping the golden client")?;
        forget_old(&cache, &prefix).context("removing old golden clients")?;
        Ok(golden)
    }

    /// Its disk. Boot a copy of it.
    #[must_use]
    pub fn disk(&self) -> PathBuf {
        self.folder.join("disk.img")
    }

    /// Which one it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Private key that root on it (and on its clones) accepts.
    #[must_use]
    pub fn identity(&self) -> PathBuf {
        self.folder.join("id_ed25519")
    }
}

/// Makes a golden client in `folder`, keeping downloaded packages in `debs`. Runs in a mount namespace of its own.
///
/// # Errors
/// Some step fails.
pub fn build(kind: Kind, folder: &Path, debs: &Path) -> Result<()> {
    private::own_devices().context("making private device nodes")?;
    let work = private::workspace(folder).context("making a work space")?;
    let identity = folder.join("id_ed25519");
    let keygen = Command::new(SSH_KEYGEN).args(["-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f"]);
    System.run(&keygen.arg(&identity)).context("making the lab's ssh key")?;
    let public = fs::read_to_string(identity.with_extension("pub")).context("reading the lab's ssh key")?;
    if kind == Kind::Power {
        power::run_here().context("preparing the emulator of POWER")?;
    }
    let root = tree::make(kind, &work, debs).context("installing Debian")?;
    tree::customise(&root, &public).context("configuring the tree")?;
    let (image, mnt) = (folder.join("disk.img"), work.join("mnt"));
    match kind {
        Kind::BiosLvm | Kind::Power => disk::write(kind, &root, &image, &mnt),
        Kind::Uefi => uefi::write(&root, &image, &mnt),
    }
    .context("writing the disk")?;
    private::remove_workspace(&work).context("removing the work space")
}

/// Golden clients that are kept: the one in use and the one before it.
const KEPT: usize = 2;

fn forget_old(cache: &Path, prefix: &str) -> Result<()> {
    let mut found = Vec::new();
    for entry in fs::read_dir(cache)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            found.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    found.sort();
    for (_, old) in found.iter().rev().skip(KEPT) {
        fs::remove_dir_all(old)?;
    }
    Ok(())
}

/// Name of the golden client that the recipe and the package lists of today make.
fn key() -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for part in RECIPE {
        hasher.update(part.as_bytes());
    }
    for date in sources::index_dates()? {
        hasher.update(date.as_bytes());
    }
    Ok(hasher.finalize().to_hex()[..16].to_owned())
}
