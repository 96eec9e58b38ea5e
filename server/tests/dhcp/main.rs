//! The DHCP server in a network namespace of its own, asked by clients that others wrote: udhcpc, dhclient, bootpc,
//! perfdhcp and iPXE. Needs root.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod clients;
mod net;
mod proxy;
