//! What one machine is told at its network boot.

use sysclone_bootloaders::netboot::{Action, Entry, Headline, HttpServer, Install, Loader, ValueError};
use sysclone_protocol::cmdline::{BootArgs, DiscoverArgs, Uplink};
use sysclone_protocol::names::{Mac, Secret};

use crate::app::App;
use crate::db::{Attributes, DbError, Job, Work};
use crate::define::{Network, Node, Serial, Snapshot};
use crate::discover::{self, Lease};
use crate::wire::ObjectType;

/// What starts the agent on an armed node.
#[derive(Debug, Clone)]
pub struct Ticketed {
    /// The one-time ticket.
    pub ticket: Secret,
    /// The interface that asks, when the request says it.
    pub boot_mac: Option<Mac>,
    /// Who asks: GRUB unpacks a kernel itself.
    pub loader: Loader,
    /// Where its kernel and initrd are in the boot name space.
    pub folder: String,
    /// What it does, for whoever reads the configuration or the loader's menu.
    pub headline: String,
}

/// The entry of a node: with a ticket it starts the agent, without one the machine goes on to its disk.
///
/// # Errors
/// The kernel command line holds something that not every loader can carry; `nodeset` finds that first.
pub fn boot_entry(
    app: &App,
    snapshot: &Snapshot,
    node: &Node,
    ticketed: Option<&Ticketed>,
) -> Result<Entry, ValueError> {
    let Some(ticketed) = ticketed else {
        return Ok(Entry { headline: Headline::new("boot"), action: Action::Local });
    };
    let name = node.name.as_str();
    let arch = arch(snapshot, name);
    let folder = &ticketed.folder;
    let listen = &app.config.listen;
    let args = arguments(app, snapshot, node, (&arch, ticketed));
    Ok(Entry {
        headline: Headline::new(&ticketed.headline),
        action: Action::Install(Install {
            http: HttpServer(std::net::SocketAddrV4::new(listen.address, listen.http_port)),
            kernel: kernel_name(app, folder, ticketed.loader).parse()?,
            initrd: format!("{folder}/initrd.img").parse()?,
            args: args.parse()?,
        }),
    })
}

/// Where the kernel and initrd are for a machine that is nobody's. What it runs is not known better than that.
pub(super) fn discovery_folder(lease: &Lease) -> &'static str {
    if lease.is_power { "ppc64le" } else { "x86_64" }
}

/// The entry of a machine that is nobody's and is to be discovered.
///
/// # Errors
/// There is no kernel for it.
pub(super) fn discovery_entry(
    app: &App,
    (lease, network): (&Lease, &Network),
    loader: Loader,
) -> Result<Entry, ValueError> {
    let listen = &app.config.listen;
    let folder = discovery_folder(lease);
    let uplink = Uplink {
        boot_mac: Some(lease.mac),
        address: Some((lease.ip, network.prefix)),
        gateway: network.gateway,
    };
    let token = discover::token(app, lease);
    let args = DiscoverArgs { server: listen.agent_url(), token, uplink };
    let console = console(folder, Serial::default());
    let args = format!("{} {console} {PANIC} {}", args.render(), network.kernel_args);
    Ok(Entry {
        headline: Headline::new("discovery"),
        action: Action::Install(Install {
            http: HttpServer(std::net::SocketAddrV4::new(listen.address, listen.http_port)),
            kernel: kernel_name(app, folder, loader).parse()?,
            initrd: format!("{folder}/initrd.img").parse()?,
            args: args.parse()?,
        }),
    })
}

/// A kernel that cannot go on, mostly because its initrd did not come whole, restarts the machine after this many
/// seconds: the ticket is still good, and the server hears that it begins again.
const PANIC: &str = "panic=30";

/// Where the kernel is that a node is booted with: that of its image when the image's `bootkernel` says so, else ours.
///
/// # Errors
/// The database failed.
pub(super) async fn boot_folder(app: &App, snapshot: &Snapshot, job: &Job) -> Result<String, DbError> {
    let name = job.node.as_str();
    let provmethod = || snapshot.attributes(name)?.get("provmethod").cloned();
    // What works from memory runs on the same machine, for which the same kernel is the right one.
    let image = match &job.work {
        Work::Install(image) => Some(image.name.to_string()),
        Work::Tasks(_) => provmethod(),
    };
    if let Some(image) = image {
        let image = image.split('@').next().unwrap_or_default().to_owned();
        let mut objects = app.db.objects(ObjectType::Osimage, Some(std::slice::from_ref(&image))).await?;
        let folder = image_folder(&image);
        let golden = objects.remove(&image).is_some_and(|attributes| is_golden(&attributes));
        if golden && app.boot_files.now().has_kernel(&folder) {
            return Ok(folder);
        }
    }
    Ok(arch(snapshot, name))
}

/// Whether an osimage's machines boot with its own kernel.
pub(crate) fn is_golden(attributes: &Attributes) -> bool {
    attributes.get("bootkernel").is_some_and(|value| value == "golden")
}

/// Where `sysclone image boot-files` puts what it makes of an image.
pub(crate) fn image_folder(image: &str) -> String {
    format!("image/{image}")
}

fn arch(snapshot: &Snapshot, node: &str) -> String {
    let attributes = snapshot.attributes(node);
    attributes.and_then(|attributes| attributes.get("arch").cloned()).unwrap_or_else(|| "x86_64".to_owned())
}

fn kernel_name(app: &App, folder: &str, loader: Loader) -> String {
    let packed = format!("{folder}/kernel.gz");
    if loader == Loader::Grub2 && app.boot_files.now().get(&packed).is_some() {
        packed
    } else {
        format!("{folder}/kernel")
    }
}

fn arguments(app: &App, snapshot: &Snapshot, node: &Node, (arch, ticketed): (&str, &Ticketed)) -> String {
    let placed = snapshot.placed(node.name.as_str()).and_then(Result::ok);
    let args = BootArgs {
        server: app.config.listen.agent_url(),
        node: node.name.clone(),
        ticket: ticketed.ticket.clone(),
        boot_mac: ticketed.boot_mac.or(node.macs.first().copied()),
        address: placed.map(|placed| (placed.ip, placed.network.prefix)),
        gateway: placed.and_then(|placed| placed.network.gateway),
    };
    let console = console(arch, node.serial.unwrap_or_default());
    format!("{} {console} {PANIC} {}", args.render(), node.kernel_args)
}

/// The last console is the one that the agent talks to; a POWER machine's is the hypervisor's.
fn console(arch: &str, serial: Serial) -> String {
    match arch {
        "ppc64" | "ppc64le" => "console=tty0 console=hvc0".to_owned(),
        _ => format!("console=tty0 console=ttyS{},{}", serial.port, serial.speed),
    }
}
