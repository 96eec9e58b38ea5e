//! HTTP as this server speaks it: connections, ranges, and the plain service for boot files and packs.

mod connections;
mod plain;
mod range;
mod respond;

pub use connections::{LocalUser, Peer, serve_tcp, serve_tls, serve_unix};
pub use plain::plain_router;
pub use range::{Wanted, parse_range};
