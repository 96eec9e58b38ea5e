//! Runs the clone's own tools in its root, with the machine's devices and kernel interfaces visible there for as long
//! as they run.

use std::path::{Path, PathBuf};

use sysclone_exec::{Command, ExecError, Runner};
use sysclone_protocol::boot::Loader;

use super::plan::BootloaderPlan;
use super::yaboot::{self, YabootError};
use super::{MOUNT, UMOUNT, grub2, uefi};

/// Directories of the running system that a loader's tools look into.
const SYSTEM_MOUNTS: &[&str] = &["dev", "proc", "sys", "run"];

/// Why the loader could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The clone lacks the program that the golden client's loader needs.
    #[error("the clone has none of {names} in {root}, so its boot loader cannot be installed")]
    NoInstaller {
        /// Names that were looked for.
        names: String,
        /// The clone's root.
        root: PathBuf,
    },
    /// The EFI system partition holds nothing that the firmware could start.
    #[error(
        "{esp} holds no loader for x86_64 (EFI/<vendor>/shimx64.efi or grubx64.efi); capture a golden client that boots \
         by UEFI"
    )]
    NoUefiLoader {
        /// Where the partition is mounted.
        esp: PathBuf,
    },
    /// A file of the loader could not be changed.
    #[error("rewriting {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// yaboot could not be written.
    #[error(transparent)]
    Yaboot(#[from] YabootError),
    /// A program failed.
    #[error(transparent)]
    Exec(#[from] ExecError),
}

/// Writes the loader. The clone's root is mounted at `root` with everything in it. The answer is what did not work and
/// does not keep the clone from starting.
///
/// # Errors
/// A tool is missing or failed. The system mounts are gone in any case.
pub fn apply(plan: &BootloaderPlan, root: &Path, runner: &dyn Runner) -> Result<Option<String>, ApplyError> {
    if let Some(esp) = &plan.esp {
        return uefi::install(esp, root);
    }
    if plan.loader == Loader::Petitboot {
        return Ok(None);
    }
    with_system_mounts(root, runner, || {
        if plan.loader == Loader::Yaboot {
            yaboot::install(plan, root)?;
        } else {
            grub2::install(plan, root, runner)?;
        }
        Ok(grub2::tell_open_firmware(plan, root, runner))
    })
}

/// Makes `/dev`, `/proc`, `/sys` and `/run` visible below `root` while `work` runs, and takes them away whatever
/// comes of it. The error of `work` is returned before one of unmounting.
///
/// # Errors
/// What `work` returns, or a mount or unmount that failed.
pub fn with_system_mounts<T, E: From<ExecError>>(
    root: &Path,
    runner: &dyn Runner,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let mut mounted = Vec::new();
    let outcome = mount_all(root, runner, &mut mounted).map_err(E::from).and_then(|()| work());
    let mut first_failure = None;
    for place in mounted.iter().rev() {
        if let Err(error) = runner.run(&Command::new(UMOUNT).arg(place)) {
            tracing::warn!(place = %place.display(), %error, "unmounting failed");
            first_failure.get_or_insert(error);
        }
    }
    match (outcome, first_failure) {
        (Ok(_), Some(error)) => Err(E::from(error)),
        (outcome, _) => outcome,
    }
}

fn mount_all(root: &Path, runner: &dyn Runner, mounted: &mut Vec<PathBuf>) -> Result<(), ExecError> {
    for name in SYSTEM_MOUNTS {
        let place = root.join(name);
        runner.run(&Command::new(MOUNT).arg("--bind").arg(format!("/{name}")).arg(&place))?;
        mounted.push(place);
    }
    Ok(())
}
