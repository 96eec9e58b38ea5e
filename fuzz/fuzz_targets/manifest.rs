//! See `sysclone_image::fuzz::manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sysclone_image::fuzz::manifest(bytes));
