//! See `tftp_server::fuzz::tftp_packet`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tftp_server::fuzz::tftp_packet(bytes));
