//! Network boot configurations, rendered per request: [`recognise`] says which loader asks for which machine,
//! [`render`] writes what that loader must read. Pure; who the machine is and what it shall do comes from outside.
//!
//! Values reach the writers only as checked types ([`BootPath`], [`KernelArgs`], [`Headline`]), so nothing that an
//! administrator, a node or a network client chose can end a line or a quotation in a loader's language.

mod grub2;
mod ipxe;
mod petitboot;
mod pxelinux;
mod request;
mod value;
mod yaboot;

pub use request::{ClientKey, ConfigRequest, Loader, recognise};
pub use value::{BootPath, Headline, HttpServer, KernelArgs, ValueError};

/// What one machine shall do when it boots from the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The node's state as `nodeset … stat` prints it (`sysclone debian12-x86_64`, `boot`).
    pub headline: Headline,
    /// What the loader does.
    pub action: Action,
}

/// What a loader is told to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Go on to the machine's own disk. The answer for every machine that is not armed.
    Local,
    /// Start the agent.
    Install(Install),
}

/// The kernel and initrd that start the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Install {
    /// The server that has the files.
    pub http: HttpServer,
    /// Kernel, relative to the server's boot name space (`x86_64/kernel`).
    pub kernel: BootPath,
    /// Initrd, relative to the server's boot name space (`x86_64/initrd.img`).
    pub initrd: BootPath,
    /// Kernel command line.
    pub args: KernelArgs,
}

/// The configuration that makes `loader` do what `entry` says.
#[must_use]
pub fn render(loader: Loader, entry: &Entry) -> String {
    match loader {
        Loader::Ipxe => ipxe::render(entry),
        Loader::Pxelinux => pxelinux::render(entry),
        Loader::Grub2 => grub2::render(entry),
        Loader::Petitboot => petitboot::render(entry),
        Loader::Yaboot => yaboot::render(entry),
    }
}
