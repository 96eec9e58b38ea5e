//! The boot server: the daemon `syscloned` and the multi-call command line `sysclone`.

pub mod cli;
pub mod config;
pub mod dhcp;
pub mod noderange;
pub mod wire;
