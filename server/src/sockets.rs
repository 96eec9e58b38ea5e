//! All sockets of the daemon; a socket that cannot be opened is said with the key that it comes from.

use std::fs::DirBuilder;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use serde::Deserialize;
use socket2::{Domain, Socket, Type};
use sysclone_exec::{Command, Runner, System, Tool};
use tokio::net::{TcpListener, UnixListener};

use crate::app::App;
use crate::boot::BootNames;
use crate::config::{Config, Listen};
use crate::dhcp;
use crate::dhcp_events::DhcpEvents;
use crate::discover::Everybody;

/// Connections that wait to be accepted: a rack or a row that is switched on at once.
const BACKLOG: i32 = 4096;
/// The addresses are reservations, so the time only decides how soon a change of a definition reaches running nodes.
const LEASE: Duration = Duration::from_secs(12 * 3600);
const IP: Tool = Tool("ip");

/// What the daemon listens on.
pub(crate) struct Sockets {
    pub(crate) http: TcpListener,
    pub(crate) https: TcpListener,
    pub(crate) admin: UnixListener,
    pub(crate) metrics: Option<TcpListener>,
    pub(crate) api: Option<TcpListener>,
    pub(crate) tftp: Option<tftp_server::Server>,
    pub(crate) dhcp: Option<dhcp::Server>,
}

/// Refuses an address that is not this machine's, before anything else is done.
pub(crate) fn check_address(config: &Config) -> Result<()> {
    let address = config.listen.address;
    UdpSocket::bind((address, 0)).map(drop).map_err(|error| match error.kind() {
        ErrorKind::AddrNotAvailable => anyhow!(
            "listen.address in {}: {address} is not an address of this machine; \
             set it to the one that `ip -4 address` shows on the provisioning network",
            config.path.display()
        ),
        _ => anyhow!(error).context(format!("listen.address: using {address}")),
    })
}

impl Sockets {
    /// Opens all.
    ///
    /// # Errors
    /// One cannot be opened.
    pub(crate) fn open(app: &Arc<App>) -> Result<Self> {
        let listen = &app.config.listen;
        let path = &app.config.path;
        let tcp = |key: &str, port: u16| {
            tcp((listen.address, port)).map_err(|error| refused(path, (key, port), listen.address, &error))
        };
        Ok(Self {
            http: tcp("listen.http_port", listen.http_port)?,
            https: tcp("listen.https_port", listen.https_port)?,
            admin: admin_socket(&app.config.run_dir)?,
            metrics: listen.metrics.map(|at| at_address(path, ("listen.metrics", at))).transpose()?,
            api: listen.api.map(|at| at_address(path, ("listen.api", at))).transpose()?,
            tftp: listen.tftp_port.map(|port| tftp(app, port)).transpose()?,
            dhcp: listen.dhcp_port.map(|port| dhcp(app, port)).transpose()?,
        })
    }
}

/// What to do about a port that cannot be taken.
fn refused(path: &Path, (key, port): (&str, u16), address: Ipv4Addr, error: &io::Error) -> anyhow::Error {
    let hint = match error.kind() {
        ErrorKind::AddrInUse => {
            format!(
                "another program has it (`ss -lntup 'sport = :{port}'` shows which); stop that or set {key}"
            )
        }
        ErrorKind::PermissionDenied => {
            "this port needs CAP_NET_BIND_SERVICE: start syscloned by its systemd unit, or as root".to_owned()
        }
        _ => format!("check {key}"),
    };
    anyhow!("{key} in {}: cannot listen on {address}:{port}: {error}; {hint}", path.display())
}

fn tcp((address, port): (Ipv4Addr, u16)) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking().cloexec(), None)?;
    // A restart must not wait for connections of the server before.
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((address, port)).into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// The socket of the command line: for root and the group of the directory. The daemon's lock says that no other one
/// is running, so a socket that is there is a dead one's.
fn admin_socket(run_dir: &Path) -> Result<UnixListener> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(run_dir)
        .with_context(|| format!("creating run_dir {}", run_dir.display()))?;
    let path = run_dir.join("api.sock");
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("removing {}", path.display()));
        }
        Err(_) | Ok(()) => {}
    }
    let listener = UnixListener::bind(&path).with_context(|| format!("listening on {}", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660))
        .with_context(|| format!("protecting {}", path.display()))?;
    Ok(listener)
}

fn at_address(path: &Path, (key, at): (&str, SocketAddrV4)) -> Result<TcpListener> {
    let (address, port) = (*at.ip(), at.port());
    tcp((address, port)).map_err(|error| refused(path, (key, port), address, &error))
}

fn tftp(app: &Arc<App>, port: u16) -> Result<tftp_server::Server> {
    let address = app.config.listen.address;
    let names = Arc::new(BootNames(Arc::clone(app)));
    let bound = tftp_server::Server::bind((IpAddr::V4(address), port).into(), names);
    bound.map(|server| server.with_events(Arc::clone(&app.counters) as _)).map_err(|error| match error {
        tftp_server::ServerError::Bind { source, .. } => {
            refused(&app.config.path, ("listen.tftp_port", port), address, &source)
        }
        other => anyhow!(other),
    })
}

fn dhcp(app: &Arc<App>, port: u16) -> Result<dhcp::Server> {
    let Listen { address, http_port, .. } = &app.config.listen;
    let interface = provisioning_interface(&app.config.listen);
    if interface.is_none() {
        tracing::warn!(%address, "the interface of listen.address was not found, set listen.interface");
    }
    let facts = dhcp::ServerFacts { address: *address, http_port: *http_port, lease: LEASE };
    let listen = dhcp::Listen { interface, port };
    let directory: Arc<dyn dhcp::Directory> = Arc::new(Everybody(Arc::clone(app)));
    let server = dhcp::Server::bind(&listen, facts, directory).map_err(|error| match error {
        dhcp::DhcpError::Bind { source, port: refused_port, .. } if refused_port == port => {
            refused(&app.config.path, ("listen.dhcp_port", port), *address, &source)
        }
        // The port beside another DHCP server's, which nobody can choose.
        dhcp::DhcpError::Bind { source, port, .. } => {
            anyhow!("UDP port {port}, which machines ask beside another DHCP server, cannot be used: {source}; end \
                     the program that has it")
        }
    })?;
    Ok(server
        .with_events(Arc::new(DhcpEvents(Arc::clone(app))))
        .with_counters(Arc::clone(&app.counters.dhcp)))
}

/// The interface of the provisioning network: as configured, else the one with the server's address.
pub(crate) fn provisioning_interface(listen: &Listen) -> Option<String> {
    listen.interface.clone().or_else(|| interface_of(listen.address))
}

#[derive(Deserialize)]
struct Interface {
    #[serde(default)]
    ifname: String,
}

/// The interface that has an address, as iproute2 says; it prints empty objects for those that have not.
fn interface_of(address: Ipv4Addr) -> Option<String> {
    let command = Command::new(IP).args(["-json", "address", "show", "to", &format!("{address}/32")]);
    let output =
        System.run(&command).inspect_err(|error| tracing::warn!(%error, "asking for interfaces")).ok()?;
    parse_interfaces(&output.stdout)
}

fn parse_interfaces(json: &[u8]) -> Option<String> {
    let interfaces: Vec<Interface> = serde_json::from_slice(json).ok()?;
    interfaces.into_iter().map(|interface| interface.ifname).find(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interface_of_an_address_is_found() {
        // ip -json address show to 10.0.0.1/32 (iproute2 6.1)
        let json = br#"[{},{"ifindex":3,"ifname":"eth1","addr_info":[{"local":"10.0.0.1"}]}]"#;
        assert_eq!(parse_interfaces(json).as_deref(), Some("eth1"));
        assert_eq!(parse_interfaces(b"[{}]"), None);
        assert_eq!(parse_interfaces(b""), None);
        assert_eq!(interface_of(Ipv4Addr::LOCALHOST).as_deref(), Some("lo"));
    }

    #[test]
    fn a_port_in_use_names_its_key_and_what_to_do() {
        let error = io::Error::from(ErrorKind::AddrInUse);
        let text = refused(Path::new("/etc/x.toml"), ("listen.http_port", 8080), Ipv4Addr::LOCALHOST, &error)
            .to_string();
        assert!(
            text.starts_with("listen.http_port in /etc/x.toml: cannot listen on 127.0.0.1:8080"),
            "{text}"
        );
        assert!(text.contains("ss -lntup"), "{text}");
    }
}
