//! The daemon's configuration file: what it may say, its defaults, and errors that name key and file.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

/// The commented configuration that is shipped; `syscloned --print-config` prints it.
pub const SHIPPED: &str = include_str!("../sysclone.toml");

/// Where the configuration is looked for when nothing else is said.
pub const DEFAULT_PATH: &str = "/etc/sysclone/sysclone.toml";

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path} (`syscloned --print-config` prints one to start from)")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML, has an unknown key, or a value of the wrong type.
    #[error("the configuration {path} is not valid: {source}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What and where.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A key has a value that cannot work, or is missing.
    #[error("{key} in {path}: {problem}")]
    Key {
        /// The file.
        path: PathBuf,
        /// The key, dotted.
        key: &'static str,
        /// What is wrong and what to do.
        problem: String,
    },
}

/// A configuration that was checked as far as that is possible without looking at the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file it came from, for messages.
    pub path: PathBuf,
    /// Database, keys, store.
    pub state_dir: PathBuf,
    /// Socket.
    pub run_dir: PathBuf,
    /// Boot files.
    pub boot_dir: PathBuf,
    /// Log filter.
    pub log: String,
    /// Addresses and ports.
    pub listen: Listen,
    /// How long tickets are valid.
    pub ticket_life: Duration,
    /// Base URLs that serve packs beside this server, best first.
    pub pack_sources: Vec<String>,
    /// How golden clients are reached.
    pub ssh: Ssh,
}

/// Addresses and ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// The server's address on the provisioning network.
    pub address: Ipv4Addr,
    /// The interface that has it, when given.
    pub interface: Option<String>,
    /// DHCP, none when switched off.
    pub dhcp_port: Option<u16>,
    /// TFTP, none when switched off.
    pub tftp_port: Option<u16>,
    /// Boot files and packs.
    pub http_port: u16,
    /// Agents.
    pub https_port: u16,
    /// Metrics for Prometheus, none when switched off.
    pub metrics: Option<SocketAddrV4>,
    /// Administration by programs with tokens, over TLS; none when switched off.
    pub api: Option<SocketAddrV4>,
}

/// How golden clients are reached.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ssh {
    /// Login name.
    pub user: String,
    /// Port of the golden clients' ssh server.
    pub port: u16,
    /// Private key file.
    pub identity: Option<PathBuf>,
}

impl Default for Ssh {
    fn default() -> Self {
        Self { user: "root".into(), port: 22, identity: None }
    }
}

impl Config {
    /// The image store.
    #[must_use]
    pub fn store_dir(&self) -> PathBuf {
        self.state_dir.join("store")
    }
}

impl Listen {
    /// Where agents reach the server.
    #[must_use]
    pub fn agent_url(&self) -> String {
        format!("https://{}:{}", self.address, self.https_port)
    }

    /// Where packs are.
    #[must_use]
    pub fn pack_url(&self) -> String {
        format!("http://{}:{}/packs", self.address, self.http_port)
    }
}

/// The file as written; every key may be left out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    state_dir: PathBuf,
    run_dir: PathBuf,
    boot_dir: PathBuf,
    log: String,
    listen: FileListen,
    deploy: FileDeploy,
    ssh: Ssh,
}

impl Default for File {
    fn default() -> Self {
        Self {
            state_dir: "/var/lib/sysclone".into(),
            run_dir: "/run/sysclone".into(),
            boot_dir: "/usr/lib/sysclone/boot".into(),
            log: "info".into(),
            listen: FileListen::default(),
            deploy: FileDeploy::default(),
            ssh: Ssh::default(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileListen {
    address: Option<Ipv4Addr>,
    interface: Option<String>,
    dhcp_port: u16,
    tftp_port: u16,
    http_port: u16,
    https_port: u16,
    metrics: Option<SocketAddrV4>,
    api: Option<SocketAddrV4>,
}

impl Default for FileListen {
    fn default() -> Self {
        Self {
            address: None,
            interface: None,
            dhcp_port: 67,
            tftp_port: 69,
            http_port: 8080,
            https_port: 8443,
            metrics: None,
            api: None,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileDeploy {
    ticket_hours: u64,
    pack_sources: Vec<String>,
}

impl Default for FileDeploy {
    fn default() -> Self {
        Self { ticket_hours: 24, pack_sources: Vec::new() }
    }
}

/// Reads and checks a configuration file.
///
/// # Errors
/// It cannot be read, says something unknown, or a value cannot work.
pub fn load_config(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    parse_config(&text, path)
}

/// Checks a configuration; `path` is for messages only.
///
/// # Errors
/// It says something unknown, or a value cannot work.
pub fn parse_config(text: &str, path: &Path) -> Result<Config, ConfigError> {
    let file: File = toml::from_str(text)
        .map_err(|source| ConfigError::Syntax { path: path.to_owned(), source: Box::new(source) })?;
    let wrong = |key, problem: String| ConfigError::Key { path: path.to_owned(), key, problem };
    for (key, dir) in
        [("state_dir", &file.state_dir), ("run_dir", &file.run_dir), ("boot_dir", &file.boot_dir)]
    {
        if !dir.is_absolute() {
            return Err(wrong(key, format!("'{}' must be an absolute path", dir.display())));
        }
    }
    // One century: longer is a slip of the keyboard, and cannot overflow.
    if !(1..=876_000).contains(&file.deploy.ticket_hours) {
        return Err(wrong("deploy.ticket_hours", "must be at least 1 and at most 876000".into()));
    }
    for source in &file.deploy.pack_sources {
        check_pack_source(source).map_err(|problem| wrong("deploy.pack_sources", problem))?;
    }
    let listen = check_listen(file.listen, &wrong)?;
    Ok(Config {
        path: path.to_owned(),
        state_dir: file.state_dir,
        run_dir: file.run_dir,
        boot_dir: file.boot_dir,
        log: file.log,
        listen,
        ticket_life: Duration::from_secs(file.deploy.ticket_hours * 3600),
        pack_sources: file.deploy.pack_sources,
        ssh: file.ssh,
    })
}

fn check_pack_source(source: &str) -> Result<(), String> {
    let uri: axum::http::Uri = source.parse().map_err(|error| format!("'{source}': {error}"))?;
    // Agents trust no authority but this server's, and packs are encrypted anyway.
    match (uri.scheme_str(), uri.host(), uri.query()) {
        (Some("http"), Some(_), None) => Ok(()),
        _ => Err(format!("'{source}' must be http://address[:port]/path, to which /<pack> is added")),
    }
}

fn check_listen(
    file: FileListen,
    wrong: &dyn Fn(&'static str, String) -> ConfigError,
) -> Result<Listen, ConfigError> {
    let Some(address) = file.address else {
        let problem = "must be set: this server's IPv4 address on the provisioning network";
        return Err(wrong("listen.address", problem.into()));
    };
    if address.is_unspecified() || address.is_multicast() || address.is_broadcast() {
        return Err(wrong("listen.address", format!("'{address}' is not the address of one machine")));
    }
    for (key, port) in [("listen.http_port", file.http_port), ("listen.https_port", file.https_port)] {
        if port == 0 {
            return Err(wrong(key, "cannot be 0".into()));
        }
    }
    if file.http_port == file.https_port {
        return Err(wrong("listen.https_port", "is the same as listen.http_port".into()));
    }
    if let Some(at) = file.api
        && (at.ip().is_unspecified() || at.port() == 0)
    {
        // The certificate names the address that programs use.
        return Err(wrong("listen.api", format!("'{at}' is not an address of this machine and a port")));
    }
    let some = |port: u16| (port != 0).then_some(port);
    Ok(Listen {
        address,
        interface: file.interface,
        dhcp_port: some(file.dhcp_port),
        tftp_port: some(file.tftp_port),
        http_port: file.http_port,
        https_port: file.https_port,
        metrics: file.metrics,
        api: file.api,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        parse_config(text, Path::new("/etc/x.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_shipped_file_says_the_defaults_and_lacks_the_address_only() {
        let error = parse(SHIPPED).unwrap_err();
        assert!(error.starts_with("listen.address in /etc/x.toml: must be set"), "{error}");
        let shipped = parse(&SHIPPED.replace("#address = ", "address = ")).unwrap();
        assert_eq!(shipped, parse("[listen]\naddress = '10.0.0.1'").unwrap());
        let all = SHIPPED.replace("#address", "address").replace("#interface", "interface");
        let all = parse(&all.replace("#identity", "identity").replace("#pack_sources", "pack_sources"));
        let all = all.unwrap();
        assert_eq!(all.pack_sources, ["http://10.0.1.5/packs"]);
        assert_eq!(all.listen.interface.as_deref(), Some("eth1"));
        assert!(all.ssh.identity.is_some());
    }

    #[test]
    fn errors_name_the_key_and_the_file() {
        for (text, expected) in [
            ("listen.adress = '10.0.0.1'", "adress"),
            ("stat_dir = '/x'", "stat_dir"),
            ("listen.address = 'server'", "address"),
            ("state_dir = 'x'\nlisten.address = '10.0.0.1'", "state_dir in"),
            ("listen.address = '0.0.0.0'", "listen.address in"),
            ("listen.address = '10.0.0.1'\nlisten.http_port = 0", "listen.http_port in"),
            ("listen.address = '10.0.0.1'\nlisten.http_port = 8443", "listen.https_port in"),
            ("listen.address = '10.0.0.1'\nlisten.api = '0.0.0.0:8444'", "listen.api in"),
            ("listen.address = '10.0.0.1'\ndeploy.ticket_hours = 0", "deploy.ticket_hours in"),
            ("listen.address = '10.0.0.1'\ndeploy.pack_sources = ['cache/packs']", "deploy.pack_sources in"),
            ("listen.address = '10.0.0.1'\ndeploy.pack_sources = ['https://c/p']", "must be http://"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected) && error.contains("/etc/x.toml"), "{text}: {error}");
        }
    }

    #[test]
    fn port_zero_switches_dhcp_and_tftp_off() {
        let config = parse("[listen]\naddress='10.0.0.1'\ndhcp_port=0\ntftp_port=0").unwrap();
        assert_eq!((config.listen.dhcp_port, config.listen.tftp_port), (None, None));
    }
}
