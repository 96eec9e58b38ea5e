//! See `sysclone_image::fuzz::pack_index`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sysclone_image::fuzz::pack_index(bytes));
