//! Definitions: what administrators say about nodes, images and networks. Text in the database, checked here when it is
//! written, and read into types once for all who use it ([`Snapshot`]).

mod attributes;
mod change;
mod directory;
mod disk_rules;
mod inherit;
mod members;
mod network;
mod node;
mod perl;
mod ranges;
mod rename;
pub mod schema;
mod snapshot;

pub use attributes::AttributeError;
pub use change::apply_changes;
pub use directory::Known;
pub use disk_rules::{DiskRule, RuleError, parse_disk_rules};
pub use inherit::Inherited;
pub use members::add_members;
pub use network::{Network, Site};
pub use node::{Node, Serial};
pub use rename::rename;
#[cfg(test)]
pub(crate) use snapshot::Definitions;
pub use snapshot::{Placed, Snapshot};
