//! See `sysclone_agent::fuzz::message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sysclone_agent::fuzz::message(bytes));
