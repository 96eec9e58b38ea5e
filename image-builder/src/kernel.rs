//! The kernel: its image file and the directory of its modules, in a tree or as given.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A kernel to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// What `uname -r` will say.
    pub release: String,
    /// The image file.
    pub image: PathBuf,
    /// `…/lib/modules/<release>`.
    pub modules: PathBuf,
}

impl Kernel {
    /// The only kernel of a tree that a kernel package was unpacked into.
    ///
    /// # Errors
    /// There is none or more than one.
    pub fn in_tree(root: &Path) -> Result<Self> {
        let candidates = ["lib/modules", "usr/lib/modules"].map(|d| root.join(d));
        let base = candidates.iter().find(|d| d.is_dir());
        let base = base.with_context(|| format!("{} has no lib/modules", root.display()))?;
        let mut releases = Vec::new();
        for entry in std::fs::read_dir(base).with_context(|| format!("reading {}", base.display()))? {
            releases.push(entry.context("reading a directory")?.file_name().to_string_lossy().into_owned());
        }
        let [release] = releases.as_slice() else {
            bail!(
                "{} should hold one kernel, not {}: {}",
                base.display(),
                releases.len(),
                releases.join(", ")
            );
        };
        let names = ["vmlinuz", "vmlinux"].map(|name| root.join("boot").join(format!("{name}-{release}")));
        let image = names.iter().find(|f| f.is_file());
        let image = image.with_context(|| format!("{}/boot has no kernel {release}", root.display()))?;
        Ok(Self { release: release.clone(), image: image.clone(), modules: base.join(release) })
    }

    /// A kernel given by its file and module directory; the directory's name is the release.
    ///
    /// # Errors
    /// One of them is not there.
    pub fn given(image: &Path, modules: &Path) -> Result<Self> {
        if !image.is_file() {
            bail!("there is no kernel file {}", image.display());
        }
        let modules = modules.canonicalize().with_context(|| format!("opening {}", modules.display()))?;
        let release =
            modules.file_name().and_then(|n| n.to_str()).context("the module directory has no name")?;
        Ok(Self { release: release.to_owned(), image: image.to_owned(), modules: modules.clone() })
    }
}
