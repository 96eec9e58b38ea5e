//! The lab: whole machines, networks and disks on one host, and what drives the product through them.
//!
//! A boot test is short:
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use std::time::Duration;
//! use sysclone_tests::lab::{Bus, Disk, Machine, Network};
//! let network = Network::new()?;
//! let disk = Disk::blank(&network.scratch().join("disk.img"), 6 << 30, Bus::Nvme)?;
//! let mut machine = Machine::spec("node1").disk(disk).nic("52:54:00:77:00:01").netboot().start(&network)?;
//! machine.console().expect("Booting from", Duration::from_secs(60))?;
//! # Ok(())
//! # }
//! ```
//! Everything that the lab puts on the host is taken back when its value is dropped, when a test panics and when
//! the program is interrupted.

pub mod compare;
pub mod cycle;
pub mod golden;
pub mod lab;
pub mod site;
pub mod steps;
