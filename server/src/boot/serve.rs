//! What a name in the boot name space means to a client: a file of the list, or a configuration made for it now.
//!
//! The default answer to every network boot is the machine's own disk. Only a node that is armed, with a ticket that
//! has not expired, at the address that is the node's, gets the agent.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use sysclone_bootloaders::netboot::{ClientKey, ConfigRequest, Loader, recognise, render};
use sysclone_protocol::names::Mac;
use tftp_server::{Files, Opening};

use super::entry::{Ticketed, boot_entry, boot_folder, discovery_entry, discovery_folder};
use super::files::BootFile;
use crate::app::App;
use crate::db::{DbError, Job, NewEvent};
use crate::define::{Node, Snapshot};
use crate::deploy::{advance, armed_word, booted_again};
use crate::discover::is_on;
use crate::state::{Input, State};

/// What Open Firmware fetches first. It does not go on to the next device when what it started gives up, but it does
/// when there is nothing to start.
const OPEN_FIRMWARE: &str = "grub2/powerpc-ieee1275/core.elf";

/// Something that has a name.
#[derive(Debug, Clone)]
pub enum Found {
    /// A file of the boot directory.
    File(BootFile),
    /// A configuration, made for this request.
    Config(Bytes),
}

/// Who asks for a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// Its address.
    pub peer: IpAddr,
    /// Whether the answer is used: only then does the node count as booting.
    pub boots: bool,
}

/// The boot name space.
#[derive(Clone)]
pub struct BootNames(pub Arc<App>);

impl BootNames {
    /// Finds `name` for a client.
    ///
    /// # Errors
    /// The database failed. A client that is refused a configuration by an error goes on to its disk.
    pub async fn find(&self, name: &str, asker: Asker) -> Result<Option<Found>, DbError> {
        // By TFTP the same names are good as by HTTP, so that a loader's configuration needs no two forms.
        let name = name.trim_start_matches('/');
        let name = name.strip_prefix("boot/").unwrap_or(name);
        if name == OPEN_FIRMWARE && asker.boots && !self.is_to_boot(asker.peer).await? {
            return Ok(None);
        }
        if let Some(file) = self.0.boot_files.now().get(name) {
            return Ok(Some(Found::File(file.clone())));
        }
        let Some(request) = recognise(name) else { return Ok(None) };
        let snapshot = self.0.known.now();
        let node = match &request.client {
            ClientKey::Mac(mac) => snapshot.by_mac(mac),
            ClientKey::Ip(ip) => snapshot.by_ip(*ip),
            ClientKey::Uuid(uuid) => snapshot.by_uuid(&uuid.to_string()),
        };
        let Some(node) = node else {
            if let Some(text) = self.discovery(&snapshot, &request, asker).await {
                return Ok(Some(Found::Config(text.into())));
            }
            tracing::info!(name, peer = %asker.peer, "a boot configuration was asked for that belongs to no node");
            return Ok(None);
        };
        let text = self.configuration((&snapshot, node), &request, asker).await?;
        Ok(Some(Found::Config(text.into())))
    }

    /// The configuration of a machine that is to be discovered: at the address that it was lent, and nowhere else.
    async fn discovery(&self, snapshot: &Snapshot, request: &ConfigRequest, asker: Asker) -> Option<String> {
        let IpAddr::V4(peer) = asker.peer.to_canonical() else { return None };
        let lease = self.0.discovery.leases.at(peer)?;
        let network = snapshot.network_of(peer).filter(|network| is_on(network))?;
        let is_same = match &request.client {
            ClientKey::Mac(mac) => *mac == lease.mac,
            ClientKey::Ip(ip) => *ip == lease.ip,
            ClientKey::Uuid(_) => false,
        };
        if !is_same || snapshot.by_ip(peer).is_some() {
            return None;
        }
        let folder = discovery_folder(&lease);
        if !self.0.boot_files.now().has_kernel(folder) {
            let text = format!(
                "{} cannot be discovered, there is nothing in boot_dir that it could boot: sysclone-image-builder \
                 build --arch {folder}",
                lease.mac
            );
            let event = NewEvent { node: None, actor: "server", kind: "discovery-refused", text };
            self.0.record_refusal(event).await;
            return None;
        }
        let entry = discovery_entry(&self.0, (&lease, network), request.loader)
            .inspect_err(|error| tracing::error!(mac = %lease.mac, %error, "it cannot be discovered"))
            .ok()?;
        if asker.boots {
            let text = format!("{} boots to be discovered ({})", lease.mac, seen(request.loader, asker.peer));
            let event = NewEvent { node: None, actor: "server", kind: "discovery-boot", text };
            self.0.record_refusal(event).await;
        }
        Some(render(request.loader, &entry))
    }

    /// Whether the machine at this address has something to do at its network boot. Nobody's machine is one that may.
    async fn is_to_boot(&self, peer: IpAddr) -> Result<bool, DbError> {
        let IpAddr::V4(ip) = peer.to_canonical() else { return Ok(true) };
        let snapshot = self.0.known.now();
        let Some(node) = snapshot.by_ip(ip) else { return Ok(true) };
        let Some(mut job) = self.0.db.current_job(node.name.as_str()).await? else { return Ok(false) };
        if job.state.is_running() {
            self.booted_again(&mut job, (Loader::Grub2, peer)).await;
        }
        Ok(is_armed(&job))
    }

    async fn configuration(
        &self,
        (snapshot, node): (&Snapshot, &Node),
        request: &ConfigRequest,
        asker: Asker,
    ) -> Result<String, DbError> {
        let app = &self.0;
        let mut job = app.db.current_job(node.name.as_str()).await?;
        if let Some(running) = job.as_mut().filter(|job| asker.boots && job.state.is_running())
            && self.is_node(node, asker.peer).await
        {
            self.booted_again(running, (request.loader, asker.peer)).await;
        }
        let ticketed = match &job {
            Some(job) if is_armed(job) && self.is_node(node, asker.peer).await => {
                let ticket = app.keys.ticket.ticket(&job.id, &job.nonce);
                let attributes = snapshot.attributes(node.name.as_str()).cloned().unwrap_or_default();
                let headline = armed_word(&job.work, &attributes);
                let folder = boot_folder(app, snapshot, job).await?;
                Some(Ticketed {
                    ticket,
                    boot_mac: request_mac(request),
                    loader: request.loader,
                    folder,
                    headline,
                })
            }
            Some(_) | None => None,
        };
        let entry = boot_entry(app, snapshot, node, ticketed.as_ref()).or_else(|error| {
            tracing::error!(node = %node.name, %error, "the node's configuration cannot be made, it gets local boot");
            boot_entry(app, snapshot, node, None)
        });
        let text = entry.map(|entry| render(request.loader, &entry)).unwrap_or_default();
        if let Some(job) = job.filter(|_| asker.boots && ticketed.is_some()) {
            self.note(&job, &Input::LoaderSeen, (request.loader, asker.peer)).await;
        }
        Ok(text)
    }

    /// A ticket is given to the node's own address only. Whoever asks from elsewhere gets the harmless answer.
    async fn is_node(&self, node: &Node, peer: IpAddr) -> bool {
        let Some(ip) = node.ip else { return true };
        let peer = peer.to_canonical();
        if peer == IpAddr::V4(ip) {
            return true;
        }
        let name = node.name.as_str();
        let text = format!(
            "its boot configuration was asked for from {peer}, its address is {ip}: local boot was answered; if \
             another DHCP server gives it that address, chdef -t node -o {name} ip={peer}"
        );
        let event = NewEvent { node: Some(name), actor: "server", kind: "boot-refused", text };
        self.0.record_refusal(event).await;
        false
    }

    /// A machine that boots in the middle of its installation. When that cannot be recorded, it gets no ticket.
    async fn booted_again(&self, job: &mut Job, (loader, peer): (Loader, IpAddr)) {
        match booted_again(&self.0, job, &seen(loader, peer)).await {
            Ok(moved) => *job = moved,
            Err(error) => tracing::warn!(node = %job.node, %error, "the network boot could not be recorded"),
        }
    }

    /// Telling the state is not worth failing a boot for.
    async fn note(&self, job: &Job, input: &Input, (loader, peer): (Loader, IpAddr)) {
        let note = seen(loader, peer);
        match advance(&self.0, &job.id, input, ("server", &note)).await {
            Ok(moved) if !moved.changed && moved.state == State::Booting => {
                let node = Some(job.node.as_str());
                let text = format!(
                    "fetched its network boot configuration again ({note}): what it fetched before did not become an \
                     agent; the machine's console says why"
                );
                self.0.record_refusal(NewEvent { node, actor: "server", kind: "boot-repeated", text }).await;
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(node = %job.node, %error, "the network boot could not be recorded");
            }
        }
    }
}

fn seen(loader: Loader, peer: IpAddr) -> String {
    let loader = match loader {
        Loader::Ipxe => "iPXE",
        Loader::Pxelinux => "PXELINUX",
        Loader::Grub2 => "GRUB",
        Loader::Petitboot => "Petitboot",
        Loader::Yaboot => "yaboot",
    };
    format!("{loader} from {}", peer.to_canonical())
}

/// Whether a job waits for its node to boot, with a ticket that is good.
pub(crate) fn is_armed(job: &Job) -> bool {
    job.state.awaits_ticket() && job.expires_at > Timestamp::now()
}

fn request_mac(request: &ConfigRequest) -> Option<Mac> {
    match request.client {
        ClientKey::Mac(mac) => Some(mac),
        ClientKey::Ip(_) | ClientKey::Uuid(_) => None,
    }
}

impl Files for BootNames {
    fn open<'a>(&'a self, name: &'a str, peer: SocketAddr) -> Opening<'a> {
        Box::pin(async move {
            match self.find(name, Asker { peer: peer.ip(), boots: true }).await {
                Ok(Some(Found::File(file))) => Some(file.bytes),
                Ok(Some(Found::Config(text))) => Some(text),
                Ok(None) => None,
                Err(error) => {
                    tracing::error!(name, %peer, %error, "a boot file could not be found");
                    None
                }
            }
        })
    }
}
