//! What a clone keeps about where it comes from: the configuration of its one boot report, which goes away with the
//! report, and a note that stays.

use serde::{Deserialize, Serialize};
use sysclone_protocol::names::{ImageRef, NodeName, Secret};

/// The report's configuration, mode 0600.
pub const CONFIG_FILE: &str = "/etc/sysclone/clone.toml";
/// The note that stays, readable by everybody.
pub const NOTE_FILE: &str = "/etc/sysclone/generation";
/// The agent on a clone.
pub const AGENT_FILE: &str = "/usr/lib/sysclone/sysclone-agent";
/// The name by which SystemImager's users know the agent's update.
pub const SI_UPDATECLIENT: &str = "/usr/local/sbin/si_updateclient";
/// The service that reports.
pub const UNIT_FILE: &str = "/etc/systemd/system/sysclone-report.service";
/// What starts the service at boot.
pub const UNIT_LINK: &str = "/etc/systemd/system/multi-user.target.wants/sysclone-report.service";
/// What starts the report on a clone without systemd.
pub const RC_LINE: &str = "/usr/lib/sysclone/sysclone-agent report </dev/null >/dev/null 2>&1 &";

/// Content of [`CONFIG_FILE`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloneConfig {
    /// `https://address:port` of the server.
    pub server: String,
    /// Token of the one report.
    pub token: Secret,
    /// This node's name.
    pub node: NodeName,
    /// The deployment that made this clone.
    pub job: String,
    /// The installed generation.
    pub image: ImageRef,
    /// PEM of the CA that signs the server's certificate.
    pub ca_pem: String,
}

/// Content of [`NOTE_FILE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloneNote {
    /// `name@generation`.
    pub image: String,
    /// This node's name on the server.
    pub node: NodeName,
    /// The deployment that made this clone.
    pub job: String,
}

impl CloneConfig {
    /// The note that stays when this is gone.
    #[must_use]
    pub fn note(&self) -> CloneNote {
        CloneNote { image: self.image.to_string(), node: self.node.clone(), job: self.job.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_goes_through_toml() {
        let config = CloneConfig {
            server: "https://10.77.0.1:8443".into(),
            token: Secret::new("secret".into()),
            node: "target".parse().unwrap(),
            job: "7".into(),
            image: "demo@3".parse().unwrap(),
            ca_pem: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n".into(),
        };
        let text = toml::to_string(&config).unwrap();
        let again: CloneConfig = toml::from_str(&text).unwrap();
        assert_eq!((again.image, again.ca_pem), (config.image.clone(), config.ca_pem.clone()));
        assert_eq!(
            toml::to_string(&config.note()).unwrap(),
            "image = \"demo@3\"\nnode = \"target\"\njob = \"7\"\n"
        );
    }
}
