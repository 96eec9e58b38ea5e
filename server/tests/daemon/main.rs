//! The real daemon, started as its own process on loopback and driven by curl.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod admin;
mod api;
mod bmc;
mod capture;
mod discover;
mod hmc;
mod hmc_sshd;
mod http;
mod images;
mod judge;
mod killed;
mod killed_verbs;
mod life;
mod metrics;
mod policy;
mod power;
mod probe;
mod redfish;
mod remote;
mod site;
mod start;
mod token;
mod update;
