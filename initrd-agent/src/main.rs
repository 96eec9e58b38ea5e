//! Entry point of the agent binary.
fn main() {}
