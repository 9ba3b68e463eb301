//! Any headers through a whole configuration: never a panic, and no unverified credential reaches a
//! backend.

#![no_main]

use libfuzzer_sys::fuzz_target;
use session_token_fuzz::requests::Input;

fuzz_target!(|input: Input| input.run());
