//! The real daemon, started as its own process on loopback and driven by curl.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod admin;
mod capture;
mod http;
mod life;
mod site;
mod start;
