//! See `sysclone_image::fuzz::manifest_delta`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sysclone_image::fuzz::manifest_delta(bytes));
