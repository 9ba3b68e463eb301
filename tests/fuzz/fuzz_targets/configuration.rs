//! Configurations, as JSON or as a Struct: never a panic; what is refused says why, and what is
//! taken makes a filter that decides requests.

#![no_main]

use libfuzzer_sys::fuzz_target;
use session_token_filter::config::{self, Loaded};
use session_token_filter::filter::Filter;
use session_token_filter::filter::waiting::StreamId;
use session_token_filter::policy::CacheLimits;
use session_token_filter::request::RequestHead;
use session_token_filter::time::UnixTime;
use session_token_fuzz::keys::ChecksumVerifier;

fuzz_target!(|text: &[u8]| {
    match config::load(text) {
        Ok(Loaded { mut policy, warnings, notes: _ }) => {
            assert!(!policy.providers.is_empty(), "no provider");
            for rule in policy.rules.iter().chain([&policy.default]) {
                assert!(!rule.providers.is_empty(), "{}: no provider", rule.name);
            }
            for warning in warnings {
                assert!(!warning.to_string().is_empty(), "an empty warning");
            }
            // A table for a million tokens is not what is looked for here.
            policy.cache = CacheLimits { entries: policy.cache.entries.min(10), ..policy.cache };
            decide(Filter::new(policy, 1));
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "refused without a reason");
            for error in errors {
                assert!(!error.text.is_empty(), "an empty error at {}", error.path);
            }
        }
    }
});

fn decide(mut filter: Filter) {
    let now = UnixTime::from_secs(1_700_000_000);
    filter.on_tick(now);
    while filter.poll_fetch(now).is_some() {}
    for path in ["/", "/admin/x", "/a.css", "/orders/1"] {
        let pairs: [(&str, &str); 5] = [
            (":method", "GET"),
            (":path", path),
            (":authority", "www.example.com"),
            ("authorization", "Bearer e30.e30."),
            ("cookie", "cbo_session_token=e30.e30."),
        ];
        let pairs = pairs.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let head = RequestHead::new(pairs.to_vec(), false);
        // Which answer is right, other targets say.
        let _ = filter.on_request(&now, StreamId(1), &head, &ChecksumVerifier::default());
        let _ = filter.removes_trailer(b"x-user-id");
    }
}
