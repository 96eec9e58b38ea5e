//! Running machines, reached by ssh: commands, files, the agent.

mod agents;
mod copy;
mod known_hosts;
mod place;
mod run;
mod ssh;

pub(crate) use agents::{install_agents, place_only};
pub(crate) use copy::copy;
pub(crate) use known_hosts::remember_host_keys;
pub(crate) use place::{PlaceError, place_agent};
pub(crate) use run::run;
pub(crate) use ssh::{Remote, RemoteCommand, SshError};
