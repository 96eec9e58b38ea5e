//! The boot server: the daemon `syscloned` and the multi-call command line `sysclone`.
//!
//! [`daemon`] opens everything and serves; [`app`] is what its parts share. Requests come in by [`dhcp`], [`boot`] and
//! [`http`] (loaders, packs) and by [`api`] (agents, administrators); they are decided in [`define`], [`deploy`],
//! [`discover`], [`capture`], [`update`], [`images`], [`remote`] and [`power`]; `probe` looks whether all is ready, [`metrics`] counts; what must
//! last is in [`db`], [`trust`] and the image store. [`cli`] talks to the daemon by [`wire`].

pub mod api;
pub mod app;
pub mod boot;
pub mod capture;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod db;
pub mod define;
pub mod deploy;
pub mod dhcp;
mod dhcp_events;
pub mod discover;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod http;
pub mod images;
pub mod metrics;
pub mod noderange;
pub mod policy;
pub mod power;
mod probe;
pub mod remote;
pub mod said;
mod sockets;
pub mod state;
pub mod trust;
pub mod update;
pub mod wire;
