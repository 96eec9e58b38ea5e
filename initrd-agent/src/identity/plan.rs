//! What makes a clone its own machine, as a list of edits. Pure.

use super::facts::StartSystem;
use super::hosts;
use crate::clone_config::{
    AGENT_FILE, CONFIG_FILE, CloneConfig, NOTE_FILE, RC_LINE, SI_UPDATECLIENT, UNIT_FILE, UNIT_LINK,
};

/// All that the edits depend on.
#[derive(Debug, Clone)]
pub struct IdentityFacts {
    /// Name of the golden client.
    pub golden_name: String,
    /// Host name of the clone.
    pub hostname: String,
    /// The image's `/etc/hosts`, if it has one.
    pub hosts: Option<Vec<u8>>,
    /// New machine-id: 32 lower-case hexadecimal digits.
    pub machine_id: String,
    /// New random seed; its length is what systemd writes.
    pub random_seed: Vec<u8>,
    /// Whether the image has the folder of dbus's copy of the machine-id.
    pub has_dbus: bool,
    /// Whether the image has the folder of systemd's random seed.
    pub has_systemd_state: bool,
    /// What starts services on the clone.
    pub start: StartSystem,
    /// The clone's report configuration.
    pub config: CloneConfig,
    /// The running agent's own file.
    pub agent: Vec<u8>,
}

/// One change below the clone's root. Paths are absolute in the clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// The file has these bytes and this mode and belongs to root; missing folders are made.
    Write {
        /// Where.
        path: String,
        /// Content.
        bytes: Vec<u8>,
        /// Permission bits.
        mode: u32,
    },
    /// The file has these bytes and keeps owner and mode.
    Rewrite {
        /// Where.
        path: String,
        /// Content.
        bytes: Vec<u8>,
    },
    /// There is this symbolic link.
    Link {
        /// Where.
        path: String,
        /// What it says.
        target: String,
    },
}

impl Edit {
    /// Where the edit is made.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Write { path, .. } | Self::Rewrite { path, .. } | Self::Link { path, .. } => path,
        }
    }
}

const UNIT: &str = "\
[Unit]
Description=Tell the sysclone server that this clone runs from its own disk
ConditionPathExists=/etc/sysclone/clone.toml
After=network.target

[Service]
Type=simple
ExecStart=/usr/lib/sysclone/sysclone-agent report

[Install]
WantedBy=multi-user.target
";

/// The edits, in the order in which they are made.
#[must_use]
pub fn plan_identity(facts: &IdentityFacts) -> Vec<Edit> {
    let mut edits = vec![write("/etc/hostname", format!("{}\n", facts.hostname), 0o644)];
    if let Some(hosts) = &facts.hosts {
        let renamed = hosts::rename(hosts, &facts.golden_name, &facts.hostname);
        if renamed != *hosts {
            edits.push(Edit::Rewrite { path: "/etc/hosts".to_owned(), bytes: renamed });
        }
    }
    edits.push(write("/etc/machine-id", format!("{}\n", facts.machine_id), 0o444));
    if facts.has_dbus {
        edits.push(link("/var/lib/dbus/machine-id", "/etc/machine-id"));
    }
    if facts.has_systemd_state {
        edits.push(write("/var/lib/systemd/random-seed", facts.random_seed.clone(), 0o600));
    }
    edits.push(write(AGENT_FILE, facts.agent.clone(), 0o755));
    let config = toml::to_string(&facts.config).expect("a struct of texts always encodes");
    edits.push(write(CONFIG_FILE, config, 0o600));
    let note = toml::to_string(&facts.config.note()).expect("a struct of texts always encodes");
    edits.push(write(NOTE_FILE, note, 0o644));
    edits.push(link(SI_UPDATECLIENT, AGENT_FILE));
    match &facts.start {
        StartSystem::Systemd => {
            edits.push(write(UNIT_FILE, UNIT, 0o644));
            edits.push(link(UNIT_LINK, UNIT_FILE));
        }
        StartSystem::RcLocal { path, content } => {
            let bytes = with_rc_line(content);
            edits.push(Edit::Rewrite { path: path.clone(), bytes });
        }
    }
    edits
}

fn write(path: &str, bytes: impl Into<Vec<u8>>, mode: u32) -> Edit {
    Edit::Write { path: path.to_owned(), bytes: bytes.into(), mode }
}

fn link(path: &str, target: &str) -> Edit {
    Edit::Link { path: path.to_owned(), target: target.to_owned() }
}

/// Adds the report to a start script, before an `exit` at its end.
fn with_rc_line(script: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(script);
    let mut lines: Vec<&str> = text.lines().filter(|line| *line != RC_LINE).collect();
    let end = lines.iter().rposition(|line| line.trim() == "exit 0").unwrap_or(lines.len());
    lines.insert(end, RC_LINE);
    let mut bytes = lines.join("\n").into_bytes();
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use sysclone_protocol::identity::IDENTITY;
    use sysclone_protocol::names::Secret;

    pub(in crate::identity) fn facts() -> IdentityFacts {
        IdentityFacts {
            golden_name: "golden".into(),
            hostname: "n7".into(),
            hosts: Some(b"127.0.1.1 golden\n".to_vec()),
            machine_id: "0123456789abcdef0123456789abcdef".into(),
            random_seed: vec![7; 512],
            has_dbus: true,
            has_systemd_state: true,
            start: StartSystem::Systemd,
            config: CloneConfig {
                server: "https://10.77.0.1:8443".into(),
                token: Secret::new("secret".into()),
                node: "n7".parse().unwrap(),
                job: "1".into(),
                image: "demo@1".parse().unwrap(),
                ca_pem: "PEM".into(),
            },
            agent: b"ELF".to_vec(),
        }
    }

    #[test]
    fn every_edit_is_on_the_declared_list() {
        for edit in plan_identity(&facts()) {
            assert!(IDENTITY.iter().any(|item| item.pattern == edit.path()), "{}", edit.path());
        }
    }

    #[test]
    fn a_systemd_clone_gets_all_of_it() {
        let edits = plan_identity(&facts());
        let paths: Vec<&str> = edits.iter().map(Edit::path).collect();
        assert_eq!(
            paths,
            [
                "/etc/hostname",
                "/etc/hosts",
                "/etc/machine-id",
                "/var/lib/dbus/machine-id",
                "/var/lib/systemd/random-seed",
                AGENT_FILE,
                CONFIG_FILE,
                NOTE_FILE,
                SI_UPDATECLIENT,
                UNIT_FILE,
                UNIT_LINK,
            ]
        );
        assert!(
            edits.contains(&Edit::Rewrite { path: "/etc/hosts".into(), bytes: b"127.0.1.1 n7\n".to_vec() })
        );
        let modes: Vec<(&str, u32)> = edits
            .iter()
            .filter_map(|edit| match edit {
                Edit::Write { path, mode, .. } => Some((path.as_str(), *mode)),
                Edit::Rewrite { .. } | Edit::Link { .. } => None,
            })
            .collect();
        assert!(
            modes.contains(&("/etc/machine-id", 0o444)) && modes.contains(&(CONFIG_FILE, 0o600)),
            "{modes:?}"
        );
    }

    #[test]
    fn what_an_image_does_not_have_is_not_made() {
        let none = IdentityFacts { hosts: None, has_dbus: false, has_systemd_state: false, ..facts() };
        let paths: Vec<String> = plan_identity(&none).iter().map(|edit| edit.path().to_owned()).collect();
        for absent in ["/etc/hosts", "/var/lib/dbus/machine-id", "/var/lib/systemd/random-seed"] {
            assert!(!paths.iter().any(|path| path == absent), "{absent}");
        }
        let other = IdentityFacts { hosts: Some(b"127.0.0.1 localhost\n".to_vec()), ..facts() };
        assert!(!plan_identity(&other).iter().any(|edit| edit.path() == "/etc/hosts"));
    }

    #[test]
    fn a_start_script_gets_one_line_before_its_exit() {
        for (before, after) in [
            ("#!/bin/sh\ntouch /x\nexit 0\n", format!("#!/bin/sh\ntouch /x\n{RC_LINE}\nexit 0\n")),
            ("#!/bin/sh\n", format!("#!/bin/sh\n{RC_LINE}\n")),
        ] {
            let once = with_rc_line(before.as_bytes());
            assert_eq!(String::from_utf8(once.clone()).unwrap(), after);
            assert_eq!(with_rc_line(&once), once);
        }
    }
}
