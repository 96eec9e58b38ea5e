//! The interfaces: agents over TLS, administrators over the unix socket.

mod admin;
mod agent;
mod agent_auth;
mod audit;
mod capture;
mod describe;
mod discover;
mod error;
mod event_stream;
mod events;
mod extract;
mod images;
mod metrics;
mod packs;
mod permit;
mod power;
mod probe;
mod remote;
mod routes;
mod secrets;
mod stream;
mod tokens;
mod update;
mod user;

pub use admin::admin_router;
pub use agent::agent_router;
pub use metrics::metrics_router;
