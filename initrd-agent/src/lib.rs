//! The agent: one static binary for every role away from the server. `install` runs as the initrd's init and makes a
//! machine a clone, `capture` reads a golden client, `report` says once that a clone runs from its own disk.
//! Threads and blocking I/O throughout.

pub mod client;
pub mod disk;
pub mod drivers;
