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

/// The interface that a machine was booted from, and its place in the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uplink {
    /// The interface.
    pub boot_mac: Option<Mac>,
    /// Its address and prefix length.
    pub address: Option<(Ipv4Addr, u8)>,
    /// Default gateway.
    pub gateway: Option<Ipv4Addr>,
}

/// What the loader tells the agent on a machine that is nobody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoverArgs {
    /// `https://address:port` of the server.
    pub server: String,
    /// All that it is good for is to say what this machine is.
    pub token: Secret,
    /// Where the machine is in the network.
    pub uplink: Uplink,
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

impl Uplink {
    fn words(&self) -> Vec<String> {
        let address = self.address.map(|(address, prefix)| format!("sysclone.ip={address}/{prefix}"));
        let gateway = self.gateway.map(|gateway| format!("sysclone.gateway={gateway}"));
        address.into_iter().chain(gateway).collect()
    }

    fn parse(cmdline: &str) -> Result<Self, CmdlineError> {
        let find = |word: &str| find(cmdline, word);
        let address = find("sysclone.ip").map(|text| {
            let (ip, prefix) = text.split_once('/')?;
            Some((ip.parse().ok()?, prefix.parse().ok().filter(|p| *p <= 32)?))
        });
        Ok(Self {
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

/// The value of the last `word=value`.
fn find<'a>(cmdline: &'a str, word: &str) -> Option<&'a str> {
    cmdline.split_ascii_whitespace().rev().find_map(|w| w.strip_prefix(word)?.strip_prefix('='))
}

fn need<'a>(cmdline: &'a str, word: &'static str) -> Result<&'a str, CmdlineError> {
    find(cmdline, word).ok_or(CmdlineError::Missing(word))
}

fn invalid(word: &'static str, value: &str) -> CmdlineError {
    CmdlineError::Invalid { word, value: value.to_owned() }
}

/// The word that says that a machine is to be discovered, with its token.
const DISCOVER: &str = "sysclone.discover";

impl DiscoverArgs {
    /// Renders the words in the order that a person reads them.
    #[must_use]
    pub fn render(&self) -> String {
        let mut words = vec![format!("sysclone.server={}", self.server)];
        words.extend(self.uplink.words());
        words.push(format!("{DISCOVER}={}", self.token.reveal()));
        words.extend(self.uplink.boot_mac.map(|mac| format!("BOOTIF=01-{}", mac.dashed())));
        words.join(" ")
    }

    /// Reads them back out of a whole kernel command line; none when this machine is not to be discovered.
    ///
    /// # Errors
    /// A required word is missing or a value is malformed.
    pub fn parse(cmdline: &str) -> Result<Option<Self>, CmdlineError> {
        let Some(token) = find(cmdline, DISCOVER) else { return Ok(None) };
        Ok(Some(Self {
            server: need(cmdline, "sysclone.server")?.to_owned(),
            token: Secret::new(token.to_owned()),
            uplink: Uplink::parse(cmdline)?,
        }))
    }
}

impl BootArgs {
    /// Where the machine is in the network.
    #[must_use]
    pub fn uplink(&self) -> Uplink {
        Uplink { boot_mac: self.boot_mac, address: self.address, gateway: self.gateway }
    }

    /// Renders the words in the order that a person reads them.
    #[must_use]
    pub fn render(&self) -> String {
        let mut words =
            vec![format!("sysclone.server={}", self.server), format!("sysclone.node={}", self.node)];
        words.extend(self.uplink().words());
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
        let node = need(cmdline, "sysclone.node")?;
        let Uplink { boot_mac, address, gateway } = Uplink::parse(cmdline)?;
        Ok(Self {
            server: need(cmdline, "sysclone.server")?.to_owned(),
            node: node.parse().map_err(|_| invalid("sysclone.node", node))?,
            ticket: Secret::new(need(cmdline, "sysclone.ticket")?.to_owned()),
            boot_mac,
            address,
            gateway,
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
    fn a_machine_that_is_nobodys_has_no_ticket() {
        let args = DiscoverArgs {
            server: "https://10.77.0.1:8443".into(),
            token: Secret::new("abc".into()),
            uplink: args().uplink(),
        };
        let line = format!("quiet {} console=ttyS0", args.render());
        assert_eq!(DiscoverArgs::parse(&line).unwrap(), Some(args));
        assert!(BootArgs::parse(&line).is_err());
        assert_eq!(DiscoverArgs::parse("quiet").unwrap(), None);
    }

    #[test]
    fn missing_and_malformed_words_are_named() {
        assert_eq!(BootArgs::parse("quiet"), Err(CmdlineError::Missing("sysclone.node")));
        let bad = args().render().replace("10.77.0.12/24", "10.77.0.12/33");
        assert!(matches!(BootArgs::parse(&bad), Err(CmdlineError::Invalid { word: "sysclone.ip", .. })));
    }
}
