//! What belongs to one machine alone and is never cloned: the one declared list that capture, deploy and the
//! end-to-end comparison all read.

/// What happens to a path of the golden client's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// Left out of the image and not made again: the clone's own services make it.
    Dropped,
    /// Left out of the image; the agent makes the clone its own.
    Made,
    /// In the image; the agent edits the golden client's name out of it.
    Edited,
    /// Not on the golden client; the agent adds it.
    Added,
}

/// One line of the identity list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdentityItem {
    /// rsync-like pattern, anchored at the root when it starts with `/`.
    pub pattern: &'static str,
    /// What happens to it.
    pub treatment: Treatment,
}

const fn item(pattern: &'static str, treatment: Treatment) -> IdentityItem {
    IdentityItem { pattern, treatment }
}

/// The list. Order does not matter.
pub const IDENTITY: &[IdentityItem] = &[
    item("/etc/hostname", Treatment::Made),
    item("/etc/hosts", Treatment::Edited),
    item("/etc/machine-id", Treatment::Made),
    item("/var/lib/dbus/machine-id", Treatment::Made),
    item("/etc/ssh/ssh_host_*", Treatment::Made),
    item("/var/lib/systemd/random-seed", Treatment::Made),
    item("/var/lib/urandom/random-seed", Treatment::Dropped),
    item("/var/lib/systemd/credential.secret", Treatment::Dropped),
    item("/var/lib/dhcp/*.lease*", Treatment::Dropped),
    item("/var/lib/dhclient/*", Treatment::Dropped),
    item("/var/lib/NetworkManager/*.lease", Treatment::Dropped),
    item("/var/lib/NetworkManager/secret_key", Treatment::Dropped),
    item("/var/lib/NetworkManager/seen-bssids", Treatment::Dropped),
    item("/etc/udev/rules.d/70-persistent-net.rules", Treatment::Dropped),
    item("/etc/udev/rules.d/70-persistent-cd.rules", Treatment::Dropped),
    item("/etc/lvm/devices/system.devices", Treatment::Dropped),
    item("/etc/lvm/devices/backup/*", Treatment::Dropped),
    item("/etc/lvm/cache/*", Treatment::Dropped),
    item("/etc/lvm/archive/*", Treatment::Dropped),
    item("/etc/lvm/backup/*", Treatment::Dropped),
    item("/etc/iscsi/initiatorname.iscsi", Treatment::Dropped),
    item("/etc/krb5.keytab", Treatment::Dropped),
    item("/etc/sysclone/clone.toml", Treatment::Added),
    item("/etc/sysclone/generation", Treatment::Added),
    item("/usr/lib/sysclone/sysclone-agent", Treatment::Added),
    item("/etc/systemd/system/sysclone-report.service", Treatment::Added),
    item("/etc/systemd/system/multi-user.target.wants/sysclone-report.service", Treatment::Added),
    item("/var/lib/sysclone/*", Treatment::Dropped),
    // In the root of every file system: updates that are made ready, and the version before.
    item(".sysclone-update", Treatment::Dropped),
    // What finishes an update that a power cut interrupted, and the name by which SystemImager's users ask for one.
    item("/etc/systemd/system/sysclone-update-recover.service", Treatment::Dropped),
    item("/etc/systemd/system/sysinit.target.wants/sysclone-update-recover.service", Treatment::Dropped),
    item("/etc/systemd/system/sysclone-update.service", Treatment::Dropped),
    item("/etc/systemd/system/multi-user.target.wants/sysclone-update.service", Treatment::Dropped),
    item("/etc/sysclone/update.toml", Treatment::Dropped),
    item("/usr/local/sbin/si_updateclient", Treatment::Added),
];
