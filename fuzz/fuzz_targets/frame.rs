//! See `sysclone_image::fuzz::frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sysclone_image::fuzz::frame(bytes));
