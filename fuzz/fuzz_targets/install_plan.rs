//! See `sysclone_agent::fuzz::install_plan`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sysclone_agent::fuzz::install_plan(bytes));
