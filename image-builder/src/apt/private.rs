//! apt for an architecture that the system does not have: lists and a state of its own, so that nothing of the system
//! changes.

use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};
use sysclone_exec::{Command, Runner};

use super::APT_GET;
use crate::arch::Arch;

/// Packages that are taken from Debian's backports. GRUB 2.06 finds no network card on Open Firmware: it forgets to
/// allocate the card's path (fixed in 2.12).
const BACKPORTED: &str = "grub-ieee1275-bin";

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What apt is to be told on every call; its folders are in `cache`.
pub(super) fn state(runner: &dyn Runner, cache: &Path, arch: Arch) -> Result<Vec<String>> {
    let base = std::path::absolute(cache).context("finding the cache")?.join("apt").join(arch.debian());
    let sources = base.join("sources.d");
    if sources.exists() {
        std::fs::remove_dir_all(&sources).with_context(|| format!("emptying {}", sources.display()))?;
    }
    for folder in [&base.join("lists/partial"), &base.join("archives/partial"), &sources] {
        std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    link_sources(&sources).with_context(|| format!("linking apt's sources into {}", sources.display()))?;
    let write = |name: &str, text: &str| {
        let path = base.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    };
    // No package is installed there.
    write("status", "")?;
    let mut pinned = String::new();
    if let Some((mirror, release)) = debian(runner)? {
        let line = format!("deb [signed-by={KEYRING}] {mirror} {release}-backports main\n");
        write("sources.d/backports.list", &line)?;
        pinned = format!("Package: {BACKPORTED}\nPin: release n={release}-backports\nPin-Priority: 990\n");
    }
    write("preferences", &pinned)?;
    Ok(options(&base, arch))
}

/// The system's own sources.
fn link_sources(to: &Path) -> std::io::Result<()> {
    let single = Path::new("/etc/apt/sources.list");
    if single.exists() {
        symlink(single, to.join("sources.list"))?;
    }
    let Ok(entries) = std::fs::read_dir("/etc/apt/sources.list.d") else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        symlink(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// The mirror and the release that the system gets Debian itself from.
fn debian(runner: &dyn Runner) -> Result<Option<(String, String)>> {
    let format = "$(REPO_URI)|$(ORIGIN)|$(LABEL)|$(CODENAME)";
    let ask = Command::new(APT_GET).args(["indextargets", "--format", format, "Created-By: Packages"]);
    let text = runner.run(&ask).context("asking apt for its sources")?.text();
    let release = |line: &str| match line.split('|').collect::<Vec<_>>()[..] {
        [mirror, "Debian", "Debian", release] if !release.contains('-') => {
            Some((mirror.to_owned(), release.to_owned()))
        }
        _ => None,
    };
    Ok(text.lines().find_map(release))
}

fn options(base: &Path, arch: Arch) -> Vec<String> {
    let at = |name: &str| base.join(name).display().to_string();
    let settings = [
        format!("APT::Architecture={}", arch.debian()),
        format!("APT::Architectures={}", arch.debian()),
        "APT::Sandbox::User=root".to_owned(),
        "Dir::Etc::sourcelist=/dev/null".to_owned(),
        format!("Dir::Etc::sourceparts={}", at("sources.d")),
        format!("Dir::Etc::preferences={}", at("preferences")),
        format!("Dir::State={}", at("")),
        format!("Dir::State::lists={}", at("lists")),
        format!("Dir::State::status={}", at("status")),
        format!("Dir::Cache={}", at("")),
        format!("Dir::Cache::archives={}", at("archives")),
    ];
    settings.into_iter().flat_map(|setting| ["-o".to_owned(), setting]).collect()
}
