//! The real daemon, started as its own process on loopback and driven by curl.

mod admin;
mod capture;
mod http;
mod life;
mod site;
mod start;
