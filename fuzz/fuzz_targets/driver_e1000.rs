#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| softnet_fuzz::torment("driver_e1000", data));
