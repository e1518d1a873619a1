#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proto_spec_fuzz::run("trunk_unit", bytes));
