//! What the README shows of the command line is what it says.

use std::fs;
use std::path::PathBuf;

use serde_json::json;
use session_token_harness::keys::{Algorithm, SigningKey};
use session_token_harness::token::Token;

use super::kinds::{CONFIGURATION, Kind};
use super::{Run, root, run_in};

#[test]
fn what_it_shows_is_real() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("readme");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("envoy")).unwrap();
    fs::copy(root().join("envoy/one-host.yaml"), folder.join("envoy/one-host.yaml")).unwrap();
    let manifest = Kind::named("WasmPlugin").wrap(&CONFIGURATION.replace("/admin", "admin"));
    let manifest = manifest.replace("oci://", "").replace("FAIL_CLOSE", "FAIL_OPEN");
    fs::write(folder.join("session.yaml"), manifest).unwrap();
    // As a browser's developer tools copy them.
    let token = Token::new(json!({
        "iss": "http://auth.example.localhost:8081", "sub": "usr-1", "plan": "pro",
        "iat": 1_769_860_800_u64, "exp": 1_769_861_100_u64,
    }));
    let token = token.signed_by(&SigningKey::generate(Algorithm::RS256, "k1"));
    let headers = format!("origin: https://shop.example\ncookie: cbo_session_token={token}\n");
    fs::write(folder.join("headers.txt"), headers).unwrap();

    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let mut count = 0;
    for block in readme.split("\n```text shown\n").skip(1) {
        let block = block.split("\n```").next().unwrap();
        let (command, shown) = block.split_once('\n').unwrap();
        let words = command.strip_prefix("$ cargo run -- ").unwrap();
        let words: Vec<_> = words.split(' ').collect();
        let Run { out, err, .. } = run_in(&folder, &words, "");
        assert_eq!(out.trim_end(), shown, "{command}: {err}\n{out}");
        count += 1;
    }
    assert_eq!(count, 3);
}
