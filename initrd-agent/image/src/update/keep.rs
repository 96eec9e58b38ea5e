//! What an update leaves alone: what makes a node itself, what administrators say, and what a running system writes.

use sysclone_protocol::identity::{IDENTITY, Treatment};
use sysclone_protocol::update::UpdateRule;

use crate::exclude::{ExcludeError, Excludes, VOLATILE};

/// State of a machine, not of its image: what a running system writes there is its own. Administrators' rules come
/// first, so `+ /etc/fstab` makes a node follow the golden client in that, too.
pub const OWN_STATE: &[&str] = &[
    // Disks and file systems as they are here.
    "/etc/fstab",
    "/etc/crypttab",
    "/etc/mtab",
    "/etc/mdadm.conf",
    "/etc/mdadm/mdadm.conf",
    "/etc/multipath/bindings",
    "/etc/multipath/wwids",
    "/etc/blkid.tab*",
    "lost+found",
    // The network as it is here.
    "/etc/resolv.conf",
    "/etc/network/interfaces",
    "/etc/network/interfaces.d/*",
    "/etc/netplan/*",
    "/etc/systemd/network/*",
    "/etc/NetworkManager/system-connections/*",
    "/etc/sysconfig/network",
    "/etc/sysconfig/network-scripts/ifcfg-*",
    "/etc/sysconfig/network-scripts/route-*",
    "/etc/sysconfig/network/ifcfg-*",
    "/etc/sysconfig/network/routes",
    "/etc/HOSTNAME",
    "/etc/mailname",
    "/var/lib/NetworkManager/*",
    // What the machine starts by: made by its own programs.
    "/boot/grub/grubenv",
    "/boot/grub2/grubenv",
    "/boot/grub/device.map",
    "/boot/grub2/device.map",
    "/boot/grub/i386-pc/***",
    "/boot/grub2/i386-pc/***",
    "/boot/grub/powerpc-ieee1275/***",
    "/boot/grub2/powerpc-ieee1275/***",
    "/boot/grub/custom.cfg",
    "/boot/grub2/custom.cfg",
    "/boot/loader/random-seed",
    // Clocks, seeds, leases, stamps.
    "/etc/adjtime",
    "/var/lib/systemd/timers/*",
    "/var/lib/systemd/timesync/*",
    "/var/lib/systemd/coredump/*",
    "/var/lib/systemd/rfkill/*",
    "/var/lib/systemd/backlight/*",
    "/var/lib/chrony/*",
    "/var/lib/ntp/*",
    "/var/lib/logrotate*",
    "/var/lib/nfs/***",
    "/var/lib/private/*",
    "/var/lib/mlocate/*",
    "/var/lib/plocate/*",
    "/etc/cups/subscriptions.conf*",
    // Logs, caches, queues.
    "/var/log/***",
    "/var/cache/***",
    "/var/spool/***",
    "/var/crash/*",
    "/var/lock",
    "/var/run",
    // People's own.
    "/home/*",
    "/media/*",
    "/mnt/*",
    "/root/.bash_history",
    "/root/.lesshst",
    "/root/.viminfo",
    "/root/.ssh/known_hosts*",
];

/// Name of the directory, in the root of every file system, in which an update is made ready and the version before
/// is kept.
pub const STAGING: &str = ".sysclone-update";

/// Where golden clients and nodes list what they want left alone, as SystemImager has it.
pub const LOCAL_RULES: &str = "etc/systemimager/updateclient.local.exclude";

/// The rules of one update, with where each comes from.
#[derive(Debug, Clone)]
pub struct Keep {
    rules: Excludes,
    from: Vec<String>,
    /// The first rule of [`OWN_STATE`].
    own_state: usize,
}

/// Which rule decides about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision<'a> {
    /// The rule as it was written.
    pub rule: &'a str,
    /// Where it comes from.
    pub from: &'a str,
    /// Whether it leaves the path alone.
    pub keeps: bool,
}

impl Keep {
    /// The machine's identity first, which nobody can take from it; then `rules` in their order; then [`OWN_STATE`]
    /// and what exists only while a system runs.
    ///
    /// # Errors
    /// One of `rules` is malformed; the message names it.
    pub fn new(rules: &[UpdateRule]) -> Result<Self, ExcludeError> {
        let identity = IDENTITY.iter().map(|item| match item.treatment {
            Treatment::Dropped | Treatment::Made | Treatment::Edited | Treatment::Added => {
                (item.pattern.to_owned(), "the machine's identity")
            }
        });
        let given = rules.iter().map(|rule| (rule.rule.clone(), &rule.from[..]));
        let state = OWN_STATE.iter().map(|rule| ((*rule).to_owned(), "the machine's own state"));
        let volatile = VOLATILE.iter().map(|rule| ((*rule).to_owned(), "exists only while the system runs"));
        let before: Vec<_> = identity.chain(given).collect();
        let own_state = before.len();
        let all: Vec<_> = before.into_iter().chain(state).chain(volatile).collect();
        Ok(Self {
            rules: Excludes::parse(all.iter().map(|(rule, _)| rule))?,
            from: all.into_iter().map(|(_, from)| from.to_owned()).collect(),
            own_state,
        })
    }

    /// For the walk: names that are left alone are not even looked at.
    pub(crate) fn excludes(&self) -> &Excludes {
        &self.rules
    }

    /// Which rule decides about a path (from the root, without a leading slash): the first that leaves alone a
    /// directory above it, else the one for the path itself; none when the node follows the image in it.
    #[must_use]
    pub fn explain(&self, path: &[u8], is_directory: bool) -> Option<Decision<'_>> {
        let above = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at]);
        let whole = above.map(|path| (path, true)).find(|(path, is)| self.rules.matches(path, *is));
        let (path, is_directory) = whole.unwrap_or((path, is_directory));
        let rule = self.rules.deciding(path, is_directory)?;
        let keeps = self.rules.matches(path, is_directory);
        Some(Decision { rule: &self.rules.texts()[rule], from: &self.from[rule], keeps })
    }

    /// Whether a name is left alone, the directories above it aside.
    pub(crate) fn is_kept(&self, path: &[u8], is_directory: bool) -> bool {
        self.rules.matches(path, is_directory)
    }

    /// Whether a directory that is left alone is made where it is missing: a new program may need a place for its
    /// logs.
    pub(crate) fn is_made(&self, path: &[u8]) -> bool {
        self.rules.deciding(path, true).is_some_and(|rule| rule >= self.own_state)
    }
}

/// Reads a list of rules as SystemImager has it: one on a line, `#` begins a comment.
pub fn local_rules<'a>(text: &'a str, from: &'a str) -> impl Iterator<Item = UpdateRule> + 'a {
    let lines = text.lines().map(|line| line.split_once('#').map_or(line, |(rule, _)| rule).trim());
    lines
        .filter(|line| !line.is_empty())
        .map(move |line| UpdateRule { rule: line.to_owned(), from: from.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(rules: &[(&str, &str)]) -> Keep {
        let rule =
            |(rule, from): &(&str, &str)| UpdateRule { rule: (*rule).to_owned(), from: (*from).to_owned() };
        Keep::new(&rules.iter().map(rule).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn the_rule_that_decides_is_told_with_where_it_comes_from() {
        let keep = keep(&[("/opt/data", "osimage compute"), ("+ /etc/fstab", "node n1"), ("+ *", "node n1")]);
        let told = |path: &str| keep.explain(path.as_bytes(), false).map(|d| (d.rule, d.from, d.keeps));
        assert_eq!(told("etc/machine-id"), Some(("/etc/machine-id", "the machine's identity", true)));
        assert_eq!(told("opt/data/deep/file"), Some(("/opt/data", "osimage compute", true)));
        assert_eq!(told("etc/fstab"), Some(("+ /etc/fstab", "node n1", false)));
        assert_eq!(told("var/log/syslog"), Some(("+ *", "node n1", false)));
    }

    #[test]
    fn a_node_keeps_itself_and_follows_in_everything_else() {
        let keep = keep(&[]);
        for kept in [
            "etc/fstab",
            "etc/ssh/ssh_host_rsa_key",
            "var/log/apt/history.log",
            "var/cache/apt/pkgcache.bin",
            "boot/grub/i386-pc/normal.mod",
            ".sysclone-update/0",
            "boot/.sysclone-update",
            "home/anna",
            "var/lib/sysclone/update/journal",
            "tmp/x",
        ] {
            assert!(keep.explain(kept.as_bytes(), false).is_some_and(|d| d.keeps), "{kept}");
        }
        for follows in [
            "etc/passwd",
            "boot/grub/grub.cfg",
            "usr/lib/libc.so.6",
            "home",
            "var/lib/dpkg/status",
            "root/.ssh",
        ] {
            assert!(keep.explain(follows.as_bytes(), false).is_none_or(|d| !d.keeps), "{follows}");
        }
        assert!(keep.is_made(b"var/log/nginx") && !keep.is_made(b"etc/ssh/ssh_host_x"));
    }

    /// Administrators read the list there.
    #[test]
    fn every_built_in_rule_is_documented() {
        let page = include_str!("../../../../docs/updating.md");
        let identity = IDENTITY.iter().map(|item| item.pattern);
        for rule in identity.chain(OWN_STATE.iter().copied()).chain(VOLATILE.iter().copied()) {
            assert!(page.contains(&format!("`{rule}`")), "docs/updating.md does not have {rule}");
        }
    }

    #[test]
    fn lists_have_comments() {
        let text = "# ours\n/etc/motd\n\n  *.local  # all of them\n";
        let rules: Vec<String> = local_rules(text, "here").map(|rule| rule.rule).collect();
        assert_eq!(rules, ["/etc/motd", "*.local"]);
    }
}
