//! `make soak` in small: a cache with bounds keeps Envoy's memory where it was, and the weighing
//! would notice one without.

use serde_json::json;
use session_token_harness::soak::{self, Plan, Report};

#[test]
fn memory_stays_within_its_bound() {
    let report = run(Plan { cache: Some(json!({ "entries": 1_000 })), ..SHORT });

    assert!(report.is_bounded(), "{report}");
    // The rest was pushed out, and nothing else.
    let inserted = report.counters.misses - report.counters.forged;
    assert_eq!(inserted - report.counters.evicted, 1_000, "{report}");
    assert!(report.counters.hits > 0, "{report}");
}

#[test]
fn a_cache_without_bounds_is_noticed() {
    let unbounded = json!({ "entries": 100_000, "bytes": "512MiB" });
    let report = run(Plan { cache: Some(unbounded), garbage: false, ..SHORT });

    assert!(!report.is_bounded(), "{report}");
    // Not zero in every run: one in ten has a set of the table with a fifth token for four places.
    assert!(report.counters.evicted < 10, "{report}");
}

/// Every token comes once in turn; one that stays takes about 1,300 bytes.
const SHORT: Plan =
    Plan { tokens: 12_000, warm_up: 4_000, requests: 24_000, garbage: true, cache: None };

fn run(plan: Plan) -> Report {
    soak::run(&plan, |_| {}).unwrap_or_else(|error| panic!("{error}"))
}
