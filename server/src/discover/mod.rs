//! Discovery: machines that are nobody's get an address on loan and the agent, which says what they are; somebody, or
//! what is already known of nodes, then makes them nodes. Off unless a network's `discovery` says otherwise. Nothing is
//! ever installed on such a machine, and it is told no secret.
//!
//! Whoever is on such a network can say to be any machine. What it can gain by that is that its MAC address becomes
//! that of a node which has none: as with MAC addresses themselves, who must not be there has to be kept off the
//! network.

mod become_node;
mod claims;
mod directory;
mod intake;
mod leases;
mod switch;

pub use become_node::change_discovered;
pub(crate) use directory::{Everybody, is_on};
pub(crate) use intake::token;
pub use intake::{Discovery, Heard, hear};
pub use leases::{Lease, Leases};
pub use switch::{status, switch};
