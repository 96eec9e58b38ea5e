//! See `sysclone_agent::fuzz::partition_table`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sysclone_agent::fuzz::partition_table(bytes));
