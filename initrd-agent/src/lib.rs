//! The agent: one static binary for every role away from the server. `install` runs as the initrd's init and makes a
//! machine a clone, `discover` says what a machine is that is nobody's, `capture` reads a golden client, `report` says once that a clone runs from its own disk.
//! Threads and blocking I/O throughout.

pub mod capture;
pub mod client;
pub mod clock;
pub mod clone_config;
pub mod console;
pub mod discover;
pub mod disk;
pub mod drivers;
pub mod failure;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod identity;
pub mod init;
pub mod initramfs;
pub mod install;
pub mod network;
pub mod report;
pub mod session;
pub mod tools;
pub mod update;
