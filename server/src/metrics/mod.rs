//! What a Prometheus server is told: counts and sizes, no names of nodes, images or people, and nothing secret.

mod collect;
mod counters;
mod text;

pub use collect::render;
pub use counters::{Answered, Counters};
