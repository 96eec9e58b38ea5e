//! What a big-endian POWER machine boots: no Debian suite that is served today has packages for it. The kernel is made
//! from Debian's source by Debian's cross compiler, with what emulated machines have built in; so is busybox, which is
//! all that an agent needs to work from memory. Both are made once and kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use sysclone_exec::{Command as Quiet, Runner, System, Tool};

use crate::{build, shell};

/// Where the package linux-source-6.1 puts it.
const KERNEL_SOURCE: &str = "/usr/src/linux-source-6.1.tar.xz";
const KERNEL_CONFIG: &str = include_str!("power_big.config");
const CROSS: &str = "powerpc64-linux-gnu-";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const APT_GET: Tool = Tool("apt-get");
const NPROC: Tool = Tool("nproc");

/// What image-builder is given.
pub(crate) struct Made {
    pub kernel: PathBuf,
    pub modules: PathBuf,
    /// A root directory with busybox.
    pub tree: PathBuf,
}

/// Kernel and busybox, made now if they are not there yet.
pub(crate) fn provide() -> Result<Made> {
    let base = build::cache_dir();
    let stamp = fs::metadata(KERNEL_SOURCE).context("looking at the package linux-source-6.1")?.len();
    let key = blake3::hash(format!("{stamp} {KERNEL_CONFIG}").as_bytes()).to_hex()[..12].to_owned();
    let folder = base.join(format!("ppc64-{key}"));
    if !folder.exists() {
        fs::create_dir_all(&base).with_context(|| format!("creating {}", base.display()))?;
        let work = tempfile::Builder::new().prefix(".making-").tempdir_in(&base);
        let work = work.with_context(|| format!("creating a folder in {}", base.display()))?;
        let made = work.path().join("made");
        kernel(work.path(), &made).context("building a kernel for ppc64")?;
        busybox(work.path(), &made).context("building busybox for ppc64")?;
        fs::rename(&made, &folder).with_context(|| format!("renaming to {}", folder.display()))?;
    }
    let releases = folder.join("modules");
    let modules = fs::read_dir(&releases)?.next().context("the kernel's modules are not there")??.path();
    Ok(Made { kernel: folder.join("vmlinux"), modules, tree: folder.join("tree") })
}

fn kernel(work: &Path, made: &Path) -> Result<()> {
    let (source, out) = (work.join("linux"), work.join("linux-out"));
    unpack(Path::new(KERNEL_SOURCE), &source)?;
    fs::create_dir_all(&out).context("creating a folder")?;
    let config = work.join("config");
    fs::write(&config, KERNEL_CONFIG).context("writing the kernel's configuration")?;
    let make = |words: &[&str]| -> Result<()> {
        let mut make = make(&source)?;
        make.arg("ARCH=powerpc").arg(format!("O={}", out.display())).env("KCONFIG_ALLCONFIG", &config);
        shell::run(make.args(words))
    };
    make(&["allnoconfig"])?;
    make(&["vmlinux"])?;
    let release =
        fs::read_to_string(out.join("include/config/kernel.release")).context("reading the release")?;
    let modules = made.join("modules").join(release.trim());
    fs::create_dir_all(&modules).with_context(|| format!("creating {}", modules.display()))?;
    fs::copy(out.join("modules.builtin"), modules.join("modules.builtin"))
        .context("keeping the list of drivers")?;
    let mut strip = Command::new(format!("{CROSS}strip"));
    shell::run(strip.arg("-o").arg(made.join("vmlinux")).arg(out.join("vmlinux")))
}

fn busybox(work: &Path, made: &Path) -> Result<()> {
    let folder = work.join("busybox-package");
    download("busybox", &folder)?;
    let files =
        fs::read_dir(&folder).context("reading what was downloaded")?.flatten().map(|entry| entry.path());
    let archive = files.into_iter().find(|path| path.to_string_lossy().contains(".orig.tar."));
    let source = work.join("busybox");
    unpack(&archive.context("busybox's source has no .orig.tar")?, &source)?;
    let make = |words: &[&str]| shell::run(make(&source)?.arg("ARCH=powerpc").args(words));
    make(&["defconfig"])?;
    let path = source.join(".config");
    let config = fs::read_to_string(&path).context("reading busybox's configuration")?;
    // One file; and tc, which does not build with newer kernel headers, is left out.
    let config = config.replace("# CONFIG_STATIC is not set", "CONFIG_STATIC=y");
    let config = config.replace("CONFIG_TC=y", "# CONFIG_TC is not set");
    fs::write(&path, config).context("writing busybox's configuration")?;
    make(&["silentoldconfig"])?;
    make(&["busybox"])?;
    let bin = made.join("tree/bin");
    fs::create_dir_all(&bin).with_context(|| format!("creating {}", bin.display()))?;
    fs::copy(source.join("busybox"), bin.join("busybox")).context("keeping busybox").map(drop)
}

fn make(source: &Path) -> Result<Command> {
    let cores = System.run(&Quiet::new(NPROC)).context("counting processors")?.text();
    let mut make = Command::new("make");
    make.arg("-C")
        .arg(source)
        .arg("-s")
        .arg(format!("-j{}", cores.trim()))
        .arg(format!("CROSS_COMPILE={CROSS}"));
    Ok(make)
}

fn unpack(archive: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("creating {}", to.display()))?;
    let mut tar = Command::new("tar");
    shell::run(tar.arg("-xf").arg(archive).arg("-C").arg(to).arg("--strip-components=1"))
}

/// Downloads a source package, whose checksums Debian has signed, by lists of its own: the system's are left alone.
fn download(package: &str, to: &Path) -> Result<()> {
    let format = "$(REPO_URI)|$(ORIGIN)|$(LABEL)|$(CODENAME)";
    let ask = Quiet::new(APT_GET).args(["indextargets", "--format", format, "Created-By: Packages"]);
    let text = System.run(&ask).context("asking apt for its sources")?.text();
    let debian = text.lines().find_map(|line| match line.split('|').collect::<Vec<_>>()[..] {
        [mirror, "Debian", "Debian", release] if !release.contains('-') => Some((mirror, release)),
        _ => None,
    });
    let (mirror, release) = debian.context("apt has no sources of Debian")?;
    let parts = to.join("sources.d");
    for folder in [&parts, &to.join("lists/partial")] {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    let line = format!("deb-src [signed-by={KEYRING}] {mirror} {release} main\n");
    fs::write(parts.join("source.list"), line).context("writing apt's sources")?;
    let settings = [
        "Dir::Etc::sourcelist=/dev/null".to_owned(),
        format!("Dir::Etc::sourceparts={}", parts.display()),
        format!("Dir::State::lists={}", to.join("lists").display()),
        "APT::Sandbox::User=root".to_owned(),
    ];
    let settings: Vec<String> = settings.into_iter().flat_map(|setting| ["-o".to_owned(), setting]).collect();
    let apt = |words: &[&str]| -> Result<()> {
        let apt = Quiet::new(APT_GET).arg("-q").args(&settings).args(words).in_dir(to);
        System.run(&apt).map(drop).context("fetching a source package")
    };
    apt(&["update"])?;
    apt(&["--download-only", "source", package])
}
