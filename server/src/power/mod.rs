//! Power and boot order of nodes, through their BMC or their hypervisor. `target` reads from a node's attributes how
//! it is reached, `machine` speaks to it, `perform` turns a verb into the steps of one node and `run` does many
//! nodes side by side.

mod error;
mod fields;
mod hmc;
mod ipmi;
mod machine;
mod perform;
mod qemu;
mod redfish;
mod run;
mod target;
mod virsh;
mod words;

pub use fields::{BootDevice, BootOrder, BootRequest, PowerAction, Task};
pub(crate) use ipmi::make_home;
pub(crate) use run::{Asked, record_request, run};
