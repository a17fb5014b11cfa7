#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wgpu_rnn_fuzz::entries::npz(bytes));
