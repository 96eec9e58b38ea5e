//! Makes a written image one machine of its own, as `sysclone_protocol::identity` lists it: what to change is decided
//! from facts ([`plan_identity`]), then done relative to the clone's root.

mod apply;
mod facts;
mod hosts;
mod keys;
mod plan;

pub use apply::apply_edits;
pub(crate) use apply::remove_file;
pub use facts::{FactsError, StartSystem, check_image, gather};
pub use keys::{KEYGEN, make_host_keys};
pub use plan::{Edit, IdentityFacts, plan_identity};
