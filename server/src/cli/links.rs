//! install-links: the verbs as names of their own.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, bail};

use super::args::{APPLETS, InstallLinks};
use super::console::{Console, Exit};

/// Makes a link to this program for every verb that has a name of its own.
pub(super) fn run(args: &InstallLinks, console: &mut Console) -> anyhow::Result<Exit> {
    let program = std::env::current_exe().context("finding this program")?;
    let mut failed = false;
    for verb in APPLETS {
        let link = args.directory.join(verb);
        match make(&program, &link, args.force) {
            Ok(()) => console.line(&format!("{} -> {}", link.display(), program.display()))?,
            Err(error) => {
                failed = true;
                console.error(&format!("{error:#}"))?;
            }
        }
    }
    Ok(Exit::failed_if(failed))
}

/// Makes one link. A link that is right already stays; anything else of that name is only replaced with `force`.
fn make(program: &Path, link: &Path, force: bool) -> anyhow::Result<()> {
    if fs::read_link(link).is_ok_and(|target| target == program) {
        return Ok(());
    }
    let made = symlink(program, link);
    if made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
        if !force {
            bail!("{} exists and is something else; --force replaces it", link.display());
        }
        fs::remove_file(link).with_context(|| format!("removing {}", link.display()))?;
        return symlink(program, link).with_context(|| format!("linking {}", link.display()));
    }
    made.with_context(|| format!("linking {}", link.display()))
}
