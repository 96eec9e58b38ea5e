//! DHCPv4 for known machines: every node has its reservation, strangers get silence, or an address on loan where the
//! administrator wants them to be discovered.
//!
//! [`answer`] is the whole protocol as a pure function of one packet and the [`Directory`]; [`Server`] is the socket
//! around it. Nodes have no leases that would have to be stored: an address belongs to its node for as long as the node is
//! defined, so a restart forgets nothing. What strangers are lent is the directory's business.

mod answer;
mod boot;
mod client;
mod counters;
mod directory;
mod limit;
mod proxy;
mod reply;
mod request;
mod serve;

pub use answer::{Decision, Destination, Kind, Replied, Silence, answer};
pub use client::{Architecture, Client, Program};
pub use counters::{Counters, Counts};
pub use directory::{Asks, Directory, Lent, Mode, NetBoot, Reservation, ServerFacts, Step};
pub use request::ParseError;
pub use serve::{DhcpError, Events, Listen, Server};

#[cfg(test)]
mod tests;
