//! The server on loopback: read from by clients that others wrote, and packet by packet.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod clients;
mod packets;
mod support;
