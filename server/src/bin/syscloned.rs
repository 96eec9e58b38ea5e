//! The daemon `syscloned`. Wiring only.

fn main() {}
