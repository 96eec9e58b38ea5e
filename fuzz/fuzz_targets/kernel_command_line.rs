//! See `sysclone_agent::fuzz::kernel_command_line`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sysclone_agent::fuzz::kernel_command_line(bytes));
