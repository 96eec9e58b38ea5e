//! What a lab machine runs before anything else: SeaBIOS, or UEFI (OVMF) with or without Secure Boot.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Debian's package `ovmf`.
const OVMF: &str = "/usr/share/OVMF";

/// UEFI firmware with its memory of boot entries and keys.
#[derive(Debug, Clone)]
pub struct Uefi {
    code: PathBuf,
    variables: PathBuf,
    secure_boot: bool,
    only_http: bool,
}

impl Uefi {
    /// Firmware as it leaves the factory, without Secure Boot; its variables are kept in the new file `variables`.
    ///
    /// # Errors
    /// The file cannot be made, or OVMF is not installed.
    pub fn new(variables: &Path) -> Result<Self> {
        Self::from_package(variables, ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"), false)
    }

    /// The same with Microsoft's keys enrolled and Secure Boot enforced.
    ///
    /// # Errors
    /// The file cannot be made, or OVMF is not installed.
    pub fn with_secure_boot(variables: &Path) -> Result<Self> {
        Self::from_package(variables, ("OVMF_CODE_4M.ms.fd", "OVMF_VARS_4M.ms.fd"), true)
    }

    fn from_package(variables: &Path, (code, initial): (&str, &str), secure_boot: bool) -> Result<Self> {
        let initial = Path::new(OVMF).join(initial);
        std::fs::copy(&initial, variables)
            .with_context(|| format!("copying {}; it is in the package ovmf", initial.display()))?;
        let code = Path::new(OVMF).join(code);
        Ok(Self { code, variables: variables.to_owned(), secure_boot, only_http: false })
    }

    /// Boots from the network by HTTP only, never by PXE.
    #[must_use]
    pub fn only_http(mut self) -> Self {
        self.only_http = true;
        self
    }

    /// Further properties of QEMU's `-machine`.
    pub(super) fn machine(&self) -> &'static str {
        // The variables are writable from system management mode only.
        if self.secure_boot { ",smm=on" } else { "" }
    }

    /// QEMU's options, in pairs.
    pub(super) fn options(&self) -> Vec<(&'static str, String)> {
        let flash = |unit: u8, file: &Path, readonly: &str| {
            let file = file.display().to_string().replace(',', ",,");
            ("-drive", format!("if=pflash,format=raw,unit={unit},readonly={readonly},file={file}"))
        };
        let mut options = vec![flash(0, &self.code, "on"), flash(1, &self.variables, "off")];
        if self.secure_boot {
            options.push(("-global", "driver=cfi.pflash01,property=secure,value=on".to_owned()));
        }
        if self.only_http {
            for switch in ["IPv4PXESupport", "IPv6PXESupport"] {
                options.push(("-fw_cfg", format!("name=opt/org.tianocore/{switch},string=n")));
            }
        }
        options
    }
}
