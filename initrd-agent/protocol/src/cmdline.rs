//! The kernel command line of a network boot: written by the server's loader configurations, read by the agent.

use std::net::Ipv4Addr;

use crate::names::{Mac, NodeName, Secret};

/// What the loader tells the agent. Everything else the agent asks the server for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootArgs {
    /// `https://address:port` of the server.
    pub server: String,
    /// The node this boot is for.
    pub node: NodeName,
    /// One-time ticket.
    pub ticket: Secret,
    /// Interface the machine was booted from.
    pub boot_mac: Option<Mac>,
    /// Address and prefix length of that interface.
    pub address: Option<(Ipv4Addr, u8)>,
    /// Default gateway, when the server is not on the same network or the site wants one.
    pub gateway: Option<Ipv4Addr>,
}

/// Why a kernel command line is not a sysclone boot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CmdlineError {
    /// A required word is not there.
    #[error("the kernel command line has no {0}=… ; was this kernel started by the sysclone boot server?")]
    Missing(&'static str),
    /// A word has a value that cannot be read.
    #[error("the kernel command line has {word}={value}, which is not valid")]
    Invalid {
        /// The word.
        word: &'static str,
        /// Its value.
        value: String,
    },
}

impl BootArgs {
    /// Renders the words in the order that a person reads them.
    #[must_use]
    pub fn render(&self) -> String {
        let mut words =
            vec![format!("sysclone.server={}", self.server), format!("sysclone.node={}", self.node)];
        if let Some((address, prefix)) = self.address {
            words.push(format!("sysclone.ip={address}/{prefix}"));
        }
        if let Some(gateway) = self.gateway {
            words.push(format!("sysclone.gateway={gateway}"));
        }
        words.push(format!("sysclone.ticket={}", self.ticket.reveal()));
        if let Some(mac) = self.boot_mac {
            words.push(format!("BOOTIF=01-{}", mac.dashed()));
        }
        words.join(" ")
    }

    /// Reads them back out of a whole kernel command line; the last of a repeated word counts.
    ///
    /// # Errors
    /// A required word is missing or a value is malformed.
    pub fn parse(cmdline: &str) -> Result<Self, CmdlineError> {
        let find = |word: &str| {
            cmdline.split_ascii_whitespace().rev().find_map(|w| w.strip_prefix(word)?.strip_prefix('='))
        };
        let need = |word: &'static str| find(word).ok_or(CmdlineError::Missing(word));
        let invalid = |word, value: &str| CmdlineError::Invalid { word, value: value.to_owned() };
        let node = need("sysclone.node")?;
        let address = find("sysclone.ip").map(|text| {
            let (ip, prefix) = text.split_once('/')?;
            Some((ip.parse().ok()?, prefix.parse().ok().filter(|p| *p <= 32)?))
        });
        Ok(Self {
            server: need("sysclone.server")?.to_owned(),
            node: node.parse().map_err(|_| invalid("sysclone.node", node))?,
            ticket: Secret::new(need("sysclone.ticket")?.to_owned()),
            boot_mac: match find("BOOTIF") {
                Some(text) => Some(
                    text.strip_prefix("01-").unwrap_or(text).parse().map_err(|_| invalid("BOOTIF", text))?,
                ),
                None => None,
            },
            address: match address {
                Some(None) => return Err(invalid("sysclone.ip", find("sysclone.ip").unwrap_or_default())),
                Some(found) => found,
                None => None,
            },
            gateway: match find("sysclone.gateway") {
                Some(text) => Some(text.parse().map_err(|_| invalid("sysclone.gateway", text))?),
                None => None,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> BootArgs {
        BootArgs {
            server: "https://10.77.0.1:8443".into(),
            node: "target".parse().unwrap(),
            ticket: Secret::new("abc-_123".into()),
            boot_mac: Some("52:54:00:77:00:02".parse().unwrap()),
            address: Some((Ipv4Addr::new(10, 77, 0, 12), 24)),
            gateway: None,
        }
    }

    #[test]
    fn what_is_rendered_is_read_back() {
        let line = format!("BOOT_IMAGE=kernel quiet {} console=ttyS0", args().render());
        assert_eq!(BootArgs::parse(&line).unwrap(), args());
    }

    #[test]
    fn a_loader_that_appends_its_own_bootif_wins() {
        let line = format!("{} BOOTIF=01-52-54-00-77-00-09", args().render());
        assert_eq!(BootArgs::parse(&line).unwrap().boot_mac.unwrap().to_string(), "52:54:00:77:00:09");
    }

    #[test]
    fn missing_and_malformed_words_are_named() {
        assert_eq!(BootArgs::parse("quiet"), Err(CmdlineError::Missing("sysclone.node")));
        let bad = args().render().replace("10.77.0.12/24", "10.77.0.12/33");
        assert!(matches!(BootArgs::parse(&bad), Err(CmdlineError::Invalid { word: "sysclone.ip", .. })));
    }
}
