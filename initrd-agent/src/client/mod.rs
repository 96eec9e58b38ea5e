//! Talking to the server: TLS that trusts one CA whatever the clock says, calls that wait for a server that is
//! away, packs from several sources.

mod api;
mod call;
mod connector;
mod low_water;
mod packs;
mod ranges;
mod retry;
mod sources;
mod validity;
mod verifier;

pub use api::{Client, Parent};
pub use call::CallError;
pub use packs::{HttpPacks, UploadSink};
pub use retry::{Backoff, Patience};
