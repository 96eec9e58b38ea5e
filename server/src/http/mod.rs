//! HTTP as this server speaks it: connections, ranges, and the plain service for boot files and packs.

mod connections;
mod content;
mod exchange;
mod heading;
mod plain;
mod range;
mod respond;

pub use connections::{LocalUser, Peer, serve_tcp, serve_tls, serve_unix};
pub use exchange::serve_plain;
pub use range::{Wanted, parse_range};
