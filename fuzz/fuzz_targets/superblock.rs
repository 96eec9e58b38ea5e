//! See `sysclone_agent::fuzz::superblock`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sysclone_agent::fuzz::superblock(bytes));
