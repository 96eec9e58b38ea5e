//! See `sysclone_server::fuzz::definition`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sysclone_server::fuzz::definition(bytes));
