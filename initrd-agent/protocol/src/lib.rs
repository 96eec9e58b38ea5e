//! The vocabulary that server, agent and tools share: names, disk layouts, install plans and wire messages.
//! Nothing here does I/O, so everything here can be tested by value.

pub mod agent;
pub mod boot;
pub mod cmdline;
pub mod discover;
pub mod identity;
pub mod inventory;
pub mod layout;
pub mod names;
pub mod plan;
pub mod task;
pub mod update;
