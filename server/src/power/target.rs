//! How a node's attributes say that it is reached.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use sysclone_protocol::names::{Mac, Secret};

use crate::db::Attributes;

/// Port of RMCP+ (IPMI 2.0, 13.1.2).
const IPMI_PORT: u16 = 623;
const HTTPS_PORT: u16 = 443;
const HTTP_PORT: u16 = 80;
const SSH_PORT: u16 = 22;

/// A BMC with user name and password.
#[derive(Debug, Clone)]
pub(super) struct Bmc {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) password: Secret,
}

/// A BMC that speaks Redfish.
#[derive(Debug, Clone)]
pub(super) struct RedfishBmc {
    /// The node, for advice.
    pub(super) node: String,
    pub(super) host: String,
    pub(super) port: u16,
    /// Without, everybody on the way can read the password.
    pub(super) tls: bool,
    pub(super) user: String,
    pub(super) password: Secret,
    /// SHA-256 of its certificate.
    pub(super) fingerprint: Option<String>,
    /// The system's id, where a BMC has several.
    pub(super) system: Option<String>,
}

/// A libvirt domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Domain {
    /// The hypervisor, as `virsh -c` takes it.
    pub(super) uri: String,
    pub(super) name: String,
}

/// What a partition's firmware is told for a network boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NetworkBoot {
    pub(super) mac: Mac,
    pub(super) server: Ipv4Addr,
    pub(super) client: Ipv4Addr,
    pub(super) gateway: Ipv4Addr,
    pub(super) mask: Ipv4Addr,
}

/// What has partitions in its hands. Both have the same commands, with other options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Console {
    Hmc,
    /// The managed system's own I/O partition; its partitions have no profiles.
    Ivm,
}

impl Console {
    /// As people say it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Hmc => "HMC",
            Self::Ivm => "IVM",
        }
    }

    /// The login that each has from the factory.
    fn user(self) -> &'static str {
        match self {
            Self::Hmc => "hscroot",
            Self::Ivm => "padmin",
        }
    }
}

/// A logical partition, and the HMC or IVM that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lpar {
    pub(super) console: Console,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    /// Its number on the managed system.
    pub(super) id: u32,
    pub(super) profile: String,
    /// The managed system.
    pub(super) system: String,
    /// None while the definition does not say it.
    pub(super) boot: Option<NetworkBoot>,
}

/// The way to one machine.
#[derive(Debug, Clone)]
pub(super) enum Target {
    Hmc(Lpar),
    Ipmi(Bmc),
    Redfish(RedfishBmc),
    Qemu { socket: PathBuf },
    Virsh(Domain),
}

/// The methods, as `power` and `mgt` name them.
const METHODS: &str = "ipmi, redfish, kvm, hmc, ivm or qemu";

/// User name and password of a method, for nodes that have none of their own.
pub(super) type Defaults<'a> = &'a dyn Fn(&str) -> Option<(String, Secret)>;

/// Reads the way to a node. `open` makes passwords readable.
///
/// # Errors
/// What is missing, and how to set it.
pub(super) fn read_target(
    node: &str,
    attributes: &Attributes,
    defaults: Defaults<'_>,
    open: &dyn Fn(&str) -> Result<Secret, String>,
) -> Result<Target, String> {
    let get = |attr: &str| attributes.get(attr).map(|value| value.trim()).filter(|value| !value.is_empty());
    let Some(method) = get("power").or_else(|| get("mgt")) else {
        return Err(format!("mgt is not set: `chdef {node} mgt=ipmi` (methods are {METHODS})"));
    };
    let login = |method: &str| {
        let own = get("bmcusername").map(str::to_owned);
        let default = defaults(method);
        let user = own.or_else(|| default.as_ref().map(|(user, _)| user.clone())).unwrap_or_default();
        match (get("bmcpassword"), default) {
            (Some(text), _) => Ok((user, open(text)?)),
            (None, Some((_, password))) => Ok((user, password)),
            (None, None) => Err(missing(node, "bmcpassword", "<password>")),
        }
    };
    match method {
        "ipmi" => {
            let host = get("bmc").ok_or_else(|| missing(node, "bmc", "<address of its BMC>"))?;
            let (host, port) = host_and_port(host, get("bmcport"), IPMI_PORT)?;
            let (user, password) = login("ipmi")?;
            Ok(Target::Ipmi(Bmc { host, port, user, password }))
        }
        "redfish" => {
            let bmc = get("bmc").ok_or_else(|| missing(node, "bmc", "<address of its BMC>"))?;
            let (tls, host) = match bmc.strip_prefix("http://") {
                Some(host) => (false, host),
                None => (true, bmc.strip_prefix("https://").unwrap_or(bmc)),
            };
            let standard = if tls { HTTPS_PORT } else { HTTP_PORT };
            let (host, port) = host_and_port(host.trim_end_matches('/'), get("bmcport"), standard)?;
            let (user, password) = login("redfish")?;
            let fingerprint = get("bmcfingerprint").map(str::to_owned);
            let system = get("redfishsystem").map(str::to_owned);
            let node = node.to_owned();
            Ok(Target::Redfish(RedfishBmc { node, host, port, tls, user, password, fingerprint, system }))
        }
        "hmc" | "ivm" => {
            let hcp = get("hcp").ok_or_else(|| missing(node, "hcp", "<address of its HMC>"))?;
            let (host, port) = console_and_port(hcp)?;
            let console = if method == "ivm" { Console::Ivm } else { Console::Hmc };
            let id = get("id").and_then(|id| id.parse().ok());
            let id = id.ok_or_else(|| missing(node, "id", "<number of its partition>"))?;
            let name = |attr, what| get(attr).map(str::to_owned).ok_or_else(|| missing(node, attr, what));
            let profile = name("pprofile", "<profile>")?;
            let system = name("parent", "<managed system>")?;
            if [&profile, &system]
                .into_iter()
                .any(|name| name.starts_with('-') || name.contains(char::is_control))
            {
                return Err("pprofile and parent are names: no '-' in front, no control characters".into());
            }
            let user = defaults(method).map(|(user, _)| user).filter(|user| !user.is_empty());
            let user = user.unwrap_or_else(|| console.user().to_owned());
            Ok(Target::Hmc(Lpar { console, host, port, user, id, profile, system, boot: None }))
        }
        "qemu" => {
            let socket = get("qmpsocket").ok_or_else(|| missing(node, "qmpsocket", "<path>"))?;
            Ok(Target::Qemu { socket: PathBuf::from(socket) })
        }
        "kvm" => {
            let uri = match get("vmhost") {
                None => "qemu:///system".to_owned(),
                Some(uri) if uri.contains("://") => uri.to_owned(),
                Some(host) => format!("qemu+ssh://root@{host}/system?no_tty=1"),
            };
            Ok(Target::Virsh(Domain { uri, name: node.to_owned() }))
        }
        other => Err(format!(
            "power method '{other}' is not known here: `chdef {node} power=<method>`, methods are {METHODS}"
        )),
    }
}

fn missing(node: &str, attr: &str, value: &str) -> String {
    format!("{attr} is not set: `chdef {node} {attr}={value}`")
}

/// `host`, or `host` with the port in `bmcport`. In xCAT's tables `bmcport` says which network plug a BMC uses (0
/// shared, 1 dedicated, `0 2`…); no BMC listens on those ports, so a small number or several words are not a port.
fn host_and_port(host: &str, bmcport: Option<&str>, default: u16) -> Result<(String, u16), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.starts_with('-') || !host.chars().all(plain) {
        return Err(format!("bmc='{host}' is neither an address nor a host name"));
    }
    let port = bmcport.and_then(|text| text.parse::<u16>().ok()).filter(|port| *port > 9).unwrap_or(default);
    Ok((host.to_owned(), port))
}

/// `hcp`: a host, `host:port` where a firewall forwards ssh, or an IPv6 address, with a port in brackets.
fn console_and_port(hcp: &str) -> Result<(String, u16), String> {
    let (host, port) = match hcp.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or_default())),
        None => match hcp.split_once(':') {
            Some((host, port)) if !port.contains(':') => (host, Some(port)),
            _ => (hcp, None),
        },
    };
    let wrong = || {
        format!("hcp='{hcp}' is no address, host name or host:port of an HMC: `chdef <node> hcp=<address>`")
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || host.starts_with('-') || !host.chars().all(plain) {
        return Err(wrong());
    }
    match port.map(str::parse) {
        None => Ok((host.to_owned(), SSH_PORT)),
        Some(Ok(port @ 1..)) => Ok((host.to_owned(), port)),
        Some(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)], default: Option<(&str, &str)>) -> Result<Target, String> {
        let attributes = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let defaults =
            |_: &str| default.map(|(user, password)| (user.to_owned(), Secret::new(password.to_owned())));
        read_target("n1", &attributes, &defaults, &|text| Ok(Secret::new(text.to_owned())))
    }

    #[test]
    fn a_bmc_has_attributes_of_its_own_or_those_of_the_method() {
        let own = [("mgt", "ipmi"), ("bmc", "10.0.0.9"), ("bmcusername", "u"), ("bmcpassword", "p")];
        let Ok(Target::Ipmi(bmc)) = read(&own, Some(("USERID", "default"))) else { panic!() };
        assert_eq!((bmc.user.as_str(), bmc.password.reveal(), bmc.port), ("u", "p", 623));
        let Ok(Target::Ipmi(bmc)) = read(&own[..2], Some(("USERID", "default"))) else { panic!() };
        assert_eq!((bmc.user.as_str(), bmc.password.reveal()), ("USERID", "default"));
        assert!(!format!("{bmc:?}").contains("default"), "the password can be printed");
    }

    #[test]
    fn what_is_missing_is_named_with_the_command_that_sets_it() {
        for (pairs, expected) in [
            (&[][..], "mgt is not set: `chdef n1 mgt=ipmi`"),
            (&[("mgt", "ipmi")], "bmc is not set: `chdef n1 bmc="),
            (&[("mgt", "ipmi"), ("bmc", "b")], "bmcpassword is not set"),
            (&[("mgt", "ipmi"), ("bmc", "-I")], "neither an address"),
            (&[("mgt", "qemu")], "qmpsocket is not set"),
            (&[("mgt", "hmc")], "hcp is not set: `chdef n1 hcp="),
            (&[("mgt", "hmc"), ("hcp", "h"), ("id", "x")], "id is not set"),
            (&[("mgt", "blade")], "power method 'blade' is not known"),
        ] {
            let error = read(pairs, None).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn redfish_is_spoken_over_tls_unless_the_address_says_otherwise() {
        for (bmc, expected) in [
            ("10.0.0.9", ("10.0.0.9", 443, true)),
            ("https://bmc1/", ("bmc1", 443, true)),
            ("http://10.0.0.9", ("10.0.0.9", 80, false)),
        ] {
            let Ok(Target::Redfish(found)) = read(&[("mgt", "redfish"), ("bmc", bmc)], Some(("u", "p")))
            else {
                panic!("{bmc}")
            };
            assert_eq!((found.host.as_str(), found.port, found.tls), expected);
        }
    }

    #[test]
    fn an_hmc_is_a_host_with_or_without_a_port() {
        for (hcp, expected) in [
            ("hmc1", ("hmc1", 22)),
            ("10.0.1.9:2022", ("10.0.1.9", 2022)),
            ("fd00::9", ("fd00::9", 22)),
            ("[fd00::9]:2022", ("fd00::9", 2022)),
        ] {
            let (host, port) = console_and_port(hcp).unwrap();
            assert_eq!((host.as_str(), port), expected);
        }
        for hcp in ["-oProxyCommand=x", "hmc1:", "hmc1:0", "hmc1:ssh", "hmc 1", ":22", "[fd00::9]2022"] {
            assert!(console_and_port(hcp).unwrap_err().contains("hcp='"), "{hcp}");
        }
    }

    #[test]
    fn hmc_and_ivm_have_logins_of_their_own_from_the_factory() {
        for (method, user, console) in [("hmc", "hscroot", Console::Hmc), ("ivm", "padmin", Console::Ivm)] {
            let own = [("mgt", method), ("hcp", "h"), ("id", "3"), ("pprofile", "p"), ("parent", "s")];
            let Ok(Target::Hmc(lpar)) = read(&own, None) else { panic!("{method}") };
            assert_eq!((lpar.user.as_str(), lpar.console), (user, console));
        }
    }

    #[test]
    fn power_wins_over_mgt() {
        let both = [("mgt", "ipmi"), ("power", "kvm"), ("vmhost", "hv1")];
        let Ok(Target::Virsh(domain)) = read(&both, None) else { panic!() };
        assert_eq!(domain.uri, "qemu+ssh://root@hv1/system?no_tty=1");
    }

    #[test]
    fn xcats_meaning_of_bmcport_is_no_udp_port() {
        for (text, port) in [("0", 623), ("1", 623), ("0 2", 623), ("9001", 9001), ("", 623)] {
            assert_eq!(host_and_port("b", Some(text), IPMI_PORT).unwrap().1, port, "{text}");
        }
    }
}
