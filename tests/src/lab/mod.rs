//! Machines, networks, consoles, daemons and disks, each with a deadline on everything that waits.

mod bmc;
pub mod cleanup;
mod disk;
mod firmware;
mod machine;
mod network;
mod process;
mod qmp;
mod ssh;
mod transcript;
pub mod volumes;
pub mod wait;

pub use bmc::Bmc;
pub use disk::{Bus, Disk, Loop, Mount};
pub use firmware::Uefi;
pub use machine::{Machine, Spec};
pub use network::Network;
pub use process::{Exit, Process, Readiness};
pub use ssh::Ssh;
pub use transcript::Transcript;
