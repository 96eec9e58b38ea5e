//! Networks where another server gives the addresses: the boot part only (PXE 2.1 section 2.2, "proxyDHCP").
//!
//! A client collects offers. One without an address, with the class of PXE (or of HTTP boot), adds the boot file to
//! the other server's address. iPXE is content with that offer; a ROM that is not asks again on the boot server's
//! port, 4011, when it has its address.

use super::answer::{Decision, Destination, Kind, Replied, Silence, known};
use super::boot::{Boot, boot};
use super::client::{Client, Program};
use super::directory::{Directory, Mode, Reservation, ServerFacts};
use super::reply::{Form, Grant, grant};
use super::request::{Request, Type, mac_of};

/// Decides about a datagram that came to the boot server's port.
#[must_use]
pub(super) fn answer_on_boot_port(bytes: &[u8], directory: &dyn Directory, server: &ServerFacts) -> Decision {
    let decide = || -> Result<Decision, Silence> {
        let request = Request::parse(bytes)?;
        let node = known(&request.mac, directory)?;
        match (node.mode, request.message) {
            (Mode::Proxy, Some(Type::Request | Type::Inform)) => {
                reply(&request, &node, server, Form::ProxyAck)
            }
            _ => Err(foreign(&node)),
        }
    };
    decide().unwrap_or_else(|reason| Decision::Silent { reason, mac: mac_of(bytes) })
}

/// Answers a DISCOVER of something that boots; all else on the DHCP port is the other server's.
pub(super) fn offer(
    request: &Request,
    node: &Reservation,
    server: &ServerFacts,
) -> Result<Decision, Silence> {
    match request.message {
        Some(Type::Discover) => reply(request, node, server, Form::ProxyOffer),
        _ => Err(foreign(node)),
    }
}

fn reply(
    request: &Request,
    node: &Reservation,
    server: &ServerFacts,
    form: Form,
) -> Result<Decision, Silence> {
    let client = Client::of(request);
    // Only these know that an offer may come without an address.
    let Client::Booting { program: Program::Pxe | Program::Ipxe | Program::HttpBoot, .. } = client else {
        return Err(foreign(node));
    };
    let boot = boot(client, node, server);
    let Boot::File(file) = &boot else { return Err(foreign(node)) };
    let destination = match (form, request.relay()) {
        (Form::ProxyAck, _) => Destination::Sender,
        (_, Some(relay)) => Destination::Relay(relay),
        (_, None) => Destination::Broadcast,
    };
    let what = Replied {
        kind: Kind::Proxy,
        node: node.node.clone(),
        mac: request.mac,
        ip: node.ip,
        client,
        boot_file: Some(file.name.clone()),
        no_loader: false,
    };
    let bytes = grant(request, &Grant { form, node, boot: &boot, server });
    Ok(Decision::Reply { destination, bytes, what })
}

pub(super) fn foreign(node: &Reservation) -> Silence {
    let mode = match node.mode {
        Mode::Full => "full",
        Mode::Proxy => "proxy",
        Mode::Off => "off",
    };
    Silence::Foreign { node: node.node.clone(), mode }
}
