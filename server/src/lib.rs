//! The boot server: the daemon `syscloned` and the multi-call command line `sysclone`.

pub mod cli;
pub mod config;
pub mod db;
pub mod dhcp;
pub mod noderange;
pub mod state;
pub mod trust;
pub mod wire;
