//! The state machine, driven by a list of operations and held against a model after each.

#![no_main]

use libfuzzer_sys::fuzz_target;
use session_token_fuzz::operations::Input;

fuzz_target!(|input: Input| input.run());
