//! The shipped configurations and the demo around them: every case of the page, in the oldest and
//! in the newest Envoy. Needs the finished module (`make build`) and the ports of the demo.

use session_token_harness::demo::{Demo, check};
use session_token_harness::envoy::EnvoyBinary;

/// One test: both Envoys need the same ports.
#[test]
fn every_case_of_the_page_is_as_expected_in_both_envoys() {
    for binary in [EnvoyBinary::oldest(), EnvoyBinary::newest()] {
        let binary = binary.unwrap_or_else(|error| panic!("{error}"));
        let demo = Demo::start_in(&binary).unwrap_or_else(|error| panic!("{error}"));
        let report = check(&demo);
        println!("{}: {report}", binary.origin());
        assert_eq!(report.failed(), 0, "see above: {}", binary.origin());
    }
}
