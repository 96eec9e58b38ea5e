//! The architectures that images are built for, and what each is called elsewhere.

use std::fmt;

/// An architecture, in the kernel's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Arch {
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

impl Arch {
    /// Debian's word.
    #[must_use]
    pub fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Ppc64le => "ppc64el",
            Self::Ppc64 => "ppc64",
        }
    }

    /// The Debian package that depends on the newest kernel.
    #[must_use]
    pub fn kernel_package(self) -> &'static str {
        match self {
            Self::X86_64 => "linux-image-amd64",
            Self::Ppc64le => "linux-image-powerpc64le",
            Self::Ppc64 => "linux-image-powerpc64",
        }
    }

    /// Whether programs of this architecture run here.
    #[must_use]
    pub fn is_native(self) -> bool {
        let little = cfg!(target_endian = "little");
        match self {
            Self::X86_64 => std::env::consts::ARCH == "x86_64",
            Self::Ppc64le => std::env::consts::ARCH == "powerpc64" && little,
            Self::Ppc64 => std::env::consts::ARCH == "powerpc64" && !little,
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::X86_64 => "x86_64",
            Self::Ppc64le => "ppc64le",
            Self::Ppc64 => "ppc64",
        })
    }
}
