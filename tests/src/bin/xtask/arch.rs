//! The architectures that the agent is built for, and cargo for each. POWER is built on an x86_64 machine, by what
//! Debian has: its `rustc-web`, its cross gcc, and a standard library of our own making (`power_std`).

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::{power_std, shell};

/// An architecture, in the kernel's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Arch {
    /// 64-bit PC.
    #[value(name = "x86_64")]
    X86_64,
    /// 64-bit POWER, little-endian.
    #[value(name = "ppc64le")]
    Ppc64le,
    /// 64-bit POWER, big-endian.
    #[value(name = "ppc64")]
    Ppc64,
}

/// The agent runs on every Linux of its architecture, so it is linked without any library.
const STATIC: &str = "-C target-feature=+crt-static";

impl Arch {
    /// The kernel's word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Ppc64le => "ppc64le",
            Self::Ppc64 => "ppc64",
        }
    }

    /// rustc's word.
    pub(crate) fn target(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-gnu",
            Self::Ppc64le => "powerpc64le-unknown-linux-gnu",
            Self::Ppc64 => "powerpc64-unknown-linux-gnu",
        }
    }

    /// Whether it needs what `power_std` makes.
    pub(crate) fn is_power(self) -> bool {
        match self {
            Self::X86_64 => false,
            Self::Ppc64le | Self::Ppc64 => true,
        }
    }

    /// What runs its programs here, for cargo. The processors are the oldest that are installed.
    pub(crate) fn runner(self) -> &'static str {
        match self {
            Self::X86_64 => "",
            Self::Ppc64le => "qemu-ppc64le-static -cpu power8",
            Self::Ppc64 => "qemu-ppc64-static -cpu power7",
        }
    }

    fn linker(self) -> &'static str {
        match self {
            Self::X86_64 => "gcc",
            Self::Ppc64le => "powerpc64le-linux-gnu-gcc",
            Self::Ppc64 => "powerpc64-linux-gnu-gcc",
        }
    }

    /// cargo with `words`, making static programs of this architecture, and the folder in which it puts them. POWER has
    /// a folder for each version of its compiler: cargo would not notice a standard library that has changed.
    pub(crate) fn cargo(self, words: &[&str]) -> Result<(Command, PathBuf)> {
        let mut command = shell::cargo(words);
        command.args(["--locked", "--target", self.target()]);
        if !self.is_power() {
            command.env("RUSTFLAGS", STATIC);
            return Ok((command, shell::target_dir().join(self.target())));
        }
        let made = power_std::provide(self)?;
        let folder = shell::target_dir().join("power").join(&made.version);
        let variable = format!("CARGO_TARGET_{}", self.target().to_ascii_uppercase().replace('-', "_"));
        command
            .env("RUSTC", power_std::RUSTC)
            .env("RUSTFLAGS", format!("{STATIC} --sysroot={}", made.sysroot.display()))
            .env(format!("{variable}_LINKER"), self.linker())
            .env(format!("{variable}_RUNNER"), self.runner())
            .arg("--target-dir")
            .arg(&folder);
        Ok((command, folder.join(self.target())))
    }
}
