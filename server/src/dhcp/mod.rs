//! DHCPv4 for known machines: every node has its reservation, strangers get silence.
//!
//! [`answer`] is the whole protocol as a pure function of one packet and the [`Directory`]; [`Server`] is the socket
//! around it. There are no leases to store: an address belongs to its node for as long as the node is defined, so a
//! restart forgets nothing.

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
pub use directory::{Directory, Mode, NetBoot, Reservation, ServerFacts};
pub use request::ParseError;
pub use serve::{DhcpError, Events, Listen, Server};

#[cfg(test)]
mod tests;
