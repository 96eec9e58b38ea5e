//! The command line `sysclone`. Wiring only.

fn main() {}
