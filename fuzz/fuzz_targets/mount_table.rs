//! See `sysclone_agent::fuzz::mount_table`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sysclone_agent::fuzz::mount_table(bytes));
