//! A TFTP server that only gives files: RFC 1350 with the options of RFC 2347, 2348, 2349 and 7440, on tokio.
//!
//! It serves bytes in memory that a [`Files`] hands out by name. There is no file system below it, so no name can leave
//! the served set, and nothing can be written. It knows nothing of nodes, boot loaders or databases.
//!
//! - [`Server`] listens; each transfer has its own socket and task.
//! - [`Files`] decides what a name means for a peer; [`Events`] hears how each transfer ended.
//! - [`packet`] is the wire format, pure; it is public so that test clients can speak it.

mod events;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod negotiate;
pub mod packet;
mod rtt;
mod sender;
mod server;
mod session;

pub use events::{Events, Failure, Outcome, Transfer};
pub use server::{Files, Opening, Server, ServerError};
