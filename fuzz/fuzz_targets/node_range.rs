//! See `sysclone_server::fuzz::node_range`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sysclone_server::fuzz::node_range(bytes));
