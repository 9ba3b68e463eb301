//! Key sets: never a panic, never an empty set, never more keys than count, and what is selected
//! fits.

#![no_main]

use libfuzzer_sys::fuzz_target;
use session_token_filter::jwks::document::{
    Jwks, JwksError, MAX_CANDIDATES, MAX_KEYS, ParsedJwks, Selection,
};
use session_token_filter::jwt::algorithm::{Algorithm, AlgorithmSet};

fuzz_target!(|document: &[u8]| {
    let all = AlgorithmSet::from_iter(Algorithm::ALL);
    let few = AlgorithmSet::from_iter([Algorithm::Rs256, Algorithm::Es384]);
    check(document, all);
    check(document, few);
});

fn check(document: &[u8], allowed: AlgorithmSet) {
    match Jwks::parse(document, allowed) {
        Ok(ParsedJwks { jwks, skipped, beyond_limit }) => {
            assert!((1..=MAX_KEYS).contains(&jwks.len()) && !jwks.is_empty(), "{}", jwks.len());
            assert!(beyond_limit == 0 || jwks.len() == MAX_KEYS, "{beyond_limit} not looked at");
            assert!(skipped.is_sorted_by(|one, next| one.index < next.index), "{skipped:?}");
            for algorithm in Algorithm::ALL {
                for key_id in [None, Some("1"), Some("")] {
                    check_selection(&jwks, key_id, algorithm);
                }
            }
        }
        Err(JwksError::NoUsableKey(skipped)) => {
            for skipped in skipped {
                assert!(!skipped.to_string().is_empty(), "{skipped:?}");
            }
        }
        Err(error) => assert!(!error.to_string().is_empty(), "{error:?}"),
    }
}

fn check_selection(jwks: &Jwks, key_id: Option<&str>, algorithm: Algorithm) {
    for strict in [false, true] {
        let Selection::Candidates(candidates) = jwks.select(key_id, algorithm, strict) else {
            continue;
        };
        let keys: Vec<_> = candidates.into_iter().collect();
        assert!((1..=MAX_CANDIDATES).contains(&keys.len()), "{} candidates", keys.len());
        assert!(!strict || keys.len() == 1 && key_id.is_some(), "not strict: {keys:?}");
        for key in keys {
            assert!(key.algorithms().contains(algorithm), "{algorithm}: {key:?}");
            assert!(key.key_id().is_none_or(|own| key_id.is_none_or(|id| id == own)), "{key:?}");
        }
    }
}
