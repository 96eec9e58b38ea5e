//! See `sysclone_image::fuzz::manifest_fields`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sysclone_image::fuzz::manifest_fields(bytes));
