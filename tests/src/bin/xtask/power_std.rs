//! Rust's standard library for POWER. Debian's `rustc-web` can make programs for it but comes without the library; this
//! builds it once from `rust-web-src`, which holds all that it depends on, and keeps it per version of the compiler.
//! Nothing outside the cache is written.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sysclone_exec::{Command as Quiet, Runner, System, Tool};

use crate::arch::Arch;
use crate::{build, shell};

/// Debian's compiler, whatever other is first in PATH.
pub(crate) const RUSTC: &str = "/usr/bin/rustc";

/// What it is asked with.
const ASKED: Tool = Tool(RUSTC);

/// A package with nothing in it: cargo builds the library along with it. It is a workspace of its own, so that cargo
/// looks for none in the folders above.
const PACKAGE: &str = "[package]\nname = \"empty\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[workspace]\n";

/// `test` is for the tests under emulation.
const CRATES: &str = "-Zbuild-std=std,panic_abort,panic_unwind,proc_macro,test";

/// A standard library that is ready.
pub(crate) struct Made {
    /// What rustc is given as `--sysroot`.
    pub sysroot: PathBuf,
    /// A short word for the compiler's version.
    pub version: String,
}

/// The standard library for `arch`, built now if this compiler's is not there yet.
pub(crate) fn provide(arch: Arch) -> Result<Made> {
    let ask = |word: &str| -> Result<String> {
        let asking = || format!("asking {RUSTC}, which Debian's package rustc-web holds");
        Ok(System.run(&Quiet::new(ASKED).arg(word)).with_context(asking)?.text())
    };
    let version = blake3::hash(ask("-vV")?.as_bytes()).to_hex()[..12].to_owned();
    let base = build::cache_dir().join("rust-std");
    // For each architecture its own, because each comes to be there by one rename.
    let sysroot = base.join(format!("{version}-{}", arch.name()));
    if !sysroot.exists() {
        let run = Quiet::new(ASKED).args(["--print", "sysroot"]);
        let source = PathBuf::from(System.run(&run).context("asking for the sysroot")?.text().trim_end());
        std::fs::create_dir_all(&base).with_context(|| format!("creating {}", base.display()))?;
        let work = tempfile::Builder::new().prefix(".making-").tempdir_in(&base);
        let work = work.with_context(|| format!("creating a folder in {}", base.display()))?;
        build_in(work.path(), arch, &source).context("building Rust's standard library")?;
        std::fs::rename(work.path().join("sysroot"), &sysroot)
            .with_context(|| format!("renaming to {}", sysroot.display()))?;
    }
    Ok(Made { sysroot, version })
}

fn build_in(work: &Path, arch: Arch, debian: &Path) -> Result<()> {
    let vendor = debian.join("lib/rustlib/src/rust/library/vendor");
    let vendor = vendor
        .canonicalize()
        .context("looking for the sources, which Debian's package rust-web-src holds")?;
    let package = work.join("empty");
    std::fs::create_dir_all(package.join("src")).context("creating an empty package")?;
    std::fs::write(package.join("src/lib.rs"), "").context("writing an empty package")?;
    std::fs::write(package.join("Cargo.toml"), PACKAGE).context("writing an empty package")?;
    let mut build = shell::cargo(&["build", "--release", "--offline", CRATES, "--target", arch.target()]);
    build
        .arg("--manifest-path")
        .arg(package.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(work.join("target"))
        .args(["--config", "source.crates-io.replace-with=\"vendored\"", "--config"])
        .arg(format!("source.vendored.directory={:?}", vendor))
        .env("RUSTC", RUSTC)
        .env("RUSTC_BOOTSTRAP", "1")
        // Optimising across crates needs the bitcode of all of them.
        .env("RUSTFLAGS", "-C embed-bitcode=yes");
    shell::run(&mut build)?;
    let to = work.join("sysroot/lib/rustlib").join(arch.target()).join("lib");
    collect(&work.join("target").join(arch.target()).join("release/deps"), &to)
}

/// Copies the libraries, but not the empty package.
fn collect(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("creating {}", to.display()))?;
    let mut copied = 0;
    for entry in from.read_dir().with_context(|| format!("reading {}", from.display()))? {
        let path = entry.with_context(|| format!("reading {}", from.display()))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".rlib") && !name.starts_with("libempty-") {
            std::fs::copy(&path, to.join(&name)).with_context(|| format!("copying {name}"))?;
            copied += 1;
        }
    }
    ensure!(copied > 0, "cargo made no library in {}", from.display());
    Ok(())
}
