//! The golden client's files: Debian's packages, and the few settings that make it a lab machine.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use sysclone_exec::{Command, Runner, System, Tool};

use super::{HOSTNAME, Kind, power, sources};

const MMDEBSTRAP: Tool = Tool("mmdebstrap");
const SYSTEMCTL: Tool = Tool("systemctl");

/// All but kernel and boot loader.
const PACKAGES: &[&str] = &[
    "systemd-sysv",
    "udev",
    "dbus",
    "openssh-server",
    "kmod",
    "iproute2",
    "lvm2",
    "e2fsprogs",
    "xfsprogs",
    "zstd",
    "initramfs-tools",
    "libcap2-bin",
    "attr",
    "acl",
    "iputils-ping",
];

/// The kernel, the boot loader, and what its disk needs. The cloud kernel boots fastest in an emulator and has NVMe,
/// virtio and IDE (but no AHCI) drivers.
fn boot_packages(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::BiosLvm => &["linux-image-cloud-amd64", "grub-pc"],
        Kind::Uefi => &[
            "linux-image-cloud-amd64",
            "grub-efi-amd64",
            "grub-efi-amd64-signed",
            "shim-signed",
            "btrfs-progs",
            "dosfstools",
        ],
        Kind::Power => &["linux-image-powerpc64le", "grub-ieee1275"],
    }
}

/// Not needed to boot, and slow to unpack, read and compare.
const TRIMMED: &[&str] = &[
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
];

const INSTALL_LIMIT: Duration = Duration::from_secs(1500);

/// Installs Debian into a folder under `work`, with the packages kept in `debs` from earlier runs.
pub(super) fn make(kind: Kind, work: &Path, debs: &Path) -> Result<PathBuf> {
    fs::create_dir_all(debs).context("creating the package cache")?;
    let root = work.join("root");
    let mut command = Command::new(MMDEBSTRAP)
        .args(["--mode=root", "--format=directory", "--variant=minbase"])
        .arg(format!("--architectures={}", if kind == Kind::Power { "ppc64el" } else { "amd64" }))
        .arg("--skip=download/empty,essential/unlink,cleanup/apt/cache")
        .arg("--setup-hook=mkdir -p \"$1/var/cache/apt/archives\"")
        .arg(format!("--setup-hook=sync-in {} /var/cache/apt/archives", debs.display()))
        .arg("--aptopt=APT::Install-Recommends \"false\"")
        .arg(format!("--include={}", [PACKAGES, boot_packages(kind)].concat().join(",")));
    if kind == Kind::Power {
        command = command.arg(format!("--essential-hook={}", power::FEW_DRIVERS));
    }
    for option in TRIMMED {
        command = command.arg(format!("--dpkgopt={option}"));
    }
    let mut sources = sources::host_sources()?;
    if kind == Kind::Power {
        // Mirrors of other architectures' updates lag behind, and then apt takes nothing at all.
        sources.retain(|line| line.contains(&format!(" {} ", sources::SUITE)));
    }
    let sources = sources.join("\n") + "\n";
    let command = command
        .arg(sources::SUITE)
        .arg(&root)
        .arg("-")
        .stdin(sources)
        .env("TMPDIR", work)
        .timeout(INSTALL_LIMIT);
    System.run(&command)?;
    keep_packages(&root.join("var/cache/apt/archives"), debs)?;
    Ok(root)
}

/// Moves downloaded packages out of the tree, dropping from the cache what is no longer used.
fn keep_packages(archives: &Path, debs: &Path) -> Result<()> {
    let is_package = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "deb");
    let packages = |folder: &Path| -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))?;
        Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_package).collect())
    };
    let used = packages(archives)?;
    let file_names: Vec<_> = used.iter().filter_map(|path| path.file_name()).collect();
    for old in packages(debs)? {
        if !file_names.contains(&old.file_name().unwrap_or_default()) {
            fs::remove_file(&old).with_context(|| format!("removing {}", old.display()))?;
        }
    }
    for package in &used {
        let kept = debs.join(package.file_name().expect("a listed file has a name"));
        fs::copy(package, &kept).with_context(|| format!("keeping {}", kept.display()))?;
        fs::remove_file(package).with_context(|| format!("removing {}", package.display()))?;
    }
    Ok(())
}

const NETWORK: &str = "[Match]\nName=en* eth*\n\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n\n\
                       [DHCPv4]\nUseHostname=no\nClientIdentifier=mac\n";

/// Services that only cost time in a machine that lives for minutes.
const MASKED: &[&str] = &[
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "systemd-networkd-wait-online.service",
];

/// Makes the tree a lab machine: name, network by DHCP, root's ssh key, a journal that stays in memory.
pub(super) fn customise(root: &Path, public_key: &str) -> Result<()> {
    let write = |path: &str, text: &str| -> Result<()> {
        let file = root.join(path);
        fs::create_dir_all(file.parent().expect("a file has a folder"))?;
        fs::write(&file, text).with_context(|| format!("writing /{path}"))
    };
    write("etc/hostname", &format!("{HOSTNAME}\n"))?;
    write("etc/hosts", &format!("127.0.0.1 localhost\n127.0.1.1 {HOSTNAME}\n"))?;
    write("etc/resolv.conf", "")?;
    write("etc/systemd/network/10-lab.network", NETWORK)?;
    write("etc/systemd/journald.conf.d/lab.conf", "[Journal]\nStorage=volatile\n")?;
    write("root/.ssh/authorized_keys", public_key)?;
    fs::set_permissions(root.join("root/.ssh"), fs::Permissions::from_mode(0o700))?;
    fs::set_permissions(root.join("root/.ssh/authorized_keys"), fs::Permissions::from_mode(0o600))?;
    let systemctl =
        |verb: &str, units: &[&str]| System.run(&Command::new(SYSTEMCTL).in_root(root).arg(verb).args(units));
    systemctl("enable", &["systemd-networkd", "ssh"])?;
    systemctl("mask", MASKED)?;
    Ok(())
}
