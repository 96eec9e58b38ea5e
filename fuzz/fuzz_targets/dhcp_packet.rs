//! See `sysclone_server::fuzz::dhcp_packet`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sysclone_server::fuzz::dhcp_packet(bytes));
