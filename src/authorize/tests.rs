use serde_json::json;

use super::*;
use crate::config;
use crate::kept_claims::ClaimPaths;
use crate::policy::Policy;

/// A policy whose only rule asks for this.
fn policy(require: &Value) -> Policy {
    let configuration = json!({
        "providers": [{
            "name": "main", "issuers": ["https://main.example"],
            "jwks": { "remote": { "uri": "https://main.example/jwks", "cluster": "main" } },
        }],
        "rules": [{ "require": require }],
    });
    let loaded = config::load(configuration.to_string().as_bytes());
    loaded.unwrap_or_else(|errors| panic!("{require}: {errors:?}")).policy
}

fn check(require: &Value, payload: &Value) -> Result<(), Shortfall> {
    let policy = policy(require);
    let claims = policy.providers[0].kept_claims.read(&payload.clone().into());
    let now = UnixTime::from_secs(1_000);
    policy.rules[0].demands.check(&claims, ProviderId::new(0).unwrap(), now, Duration::ZERO)
}

#[test]
fn leaves_hold_by_their_operator() {
    let payload = json!({
        "sub": "u-1", "age": 7, "ratio": 0.5, "whole": 7.0, "ok": true, "none": null, "empty": "",
        "roles": ["admin", "a b", 5, ["x"]], "no_roles": [], "scope": "read write  admin",
        "plan": { "v": "pro", "t": 1 }, "https://a.example/x.y": 1, "huge": u64::MAX,
        "odd": 9_007_199_254_740_993_u64, "negative": -1,
    });
    for (leaf, expected) in [
        (json!({ "claim": "sub", "equals": "u-1" }), true),
        (json!({ "claim": "sub", "equals": "U-1" }), false),
        (json!({ "claim": "sub", "equals": "u-" }), false),
        (json!({ "claim": "age", "equals": 7 }), true),
        (json!({ "claim": "age", "equals": 7.0 }), true),
        (json!({ "claim": "age", "equals": 7.5 }), false),
        (json!({ "claim": "age", "equals": "7" }), false),
        (json!({ "claim": "whole", "equals": 7 }), true),
        (json!({ "claim": "ratio", "equals": 0.5 }), true),
        (json!({ "claim": "negative", "equals": -1.0 }), true),
        (json!({ "claim": "huge", "equals": u64::MAX }), true),
        (json!({ "claim": "huge", "equals": 18_446_744_073_709_551_615.0_f64 }), false),
        (json!({ "claim": "odd", "equals": 9_007_199_254_740_992.0_f64 }), false),
        (json!({ "claim": "ok", "equals": true }), true),
        (json!({ "claim": "ok", "equals": 1 }), false),
        (json!({ "claim": "ok", "equals": "true" }), false),
        (json!({ "claim": "empty", "equals": "" }), true),
        (json!({ "claim": "none", "equals": "" }), false),
        (json!({ "claim": "none", "equals": false }), false),
        (json!({ "claim": "absent", "equals": false }), false),
        (json!({ "claim": "plan", "equals": { "t": 1.0, "v": "pro" } }), true),
        (json!({ "claim": "plan", "equals": { "v": "pro" } }), false),
        (json!({ "claim": "no_roles", "equals": [] }), true),
        (json!({ "claim": "roles", "equals": ["admin", "a b", 5.0, ["x"]] }), true),
        (json!({ "claim": "roles", "equals": ["a b", "admin", 5, ["x"]] }), false),
        (json!({ "claim": ["plan", "v"], "equals": "pro" }), true),
        (json!({ "claim": "plan.v", "equals": "pro" }), false),
        (json!({ "claim": ["sub", "v"], "exists": true }), false),
        (json!({ "claim": "https://a.example/x.y", "equals": 1 }), true),
        (json!({ "claim": "sub", "one_of": ["x", "u-1"] }), true),
        (json!({ "claim": "sub", "one_of": ["x"] }), false),
        (json!({ "claim": "age", "one_of": ["7", 7.0] }), true),
        (json!({ "claim": "absent", "one_of": ["x"] }), false),
        (json!({ "claim": "roles", "contains": "admin" }), true),
        (json!({ "claim": "roles", "contains": "adm" }), false),
        (json!({ "claim": "roles", "contains": "a" }), false),
        (json!({ "claim": "roles", "contains": 5.0 }), true),
        (json!({ "claim": "roles", "contains": "5" }), false),
        (json!({ "claim": "roles", "contains": "x" }), false),
        (json!({ "claim": "no_roles", "contains": "admin" }), false),
        (json!({ "claim": "scope", "contains": "write" }), true),
        (json!({ "claim": "scope", "contains": "admin" }), true),
        (json!({ "claim": "scope", "contains": "Write" }), false),
        (json!({ "claim": "scope", "contains": "rite" }), false),
        (json!({ "claim": "sub", "contains": "u-1" }), true),
        (json!({ "claim": "age", "contains": 7 }), false),
        (json!({ "claim": "plan", "contains": "v" }), false),
        (json!({ "claim": "ok", "contains": true }), false),
        (json!({ "claim": "absent", "contains": "x" }), false),
        (json!({ "claim": "scope", "contains_all": ["write", "read"] }), true),
        (json!({ "claim": "scope", "contains_all": ["write", "delete"] }), false),
        (json!({ "claim": "roles", "contains_all": ["admin", 5] }), true),
        (json!({ "claim": "absent", "contains_all": ["x"] }), false),
        (json!({ "claim": "sub", "exists": true }), true),
        (json!({ "claim": "sub", "exists": false }), false),
        (json!({ "claim": "empty", "exists": true }), true),
        (json!({ "claim": "no_roles", "exists": true }), true),
        (json!({ "claim": "none", "exists": true }), false),
        (json!({ "claim": "none", "exists": false }), true),
        (json!({ "claim": "absent", "exists": true }), false),
        (json!({ "claim": "absent", "exists": false }), true),
    ] {
        assert_eq!(check(&leaf, &payload).is_ok(), expected, "{leaf}");
    }
}

#[test]
fn trees_nest_to_eight_levels() {
    let yes = json!({ "claim": "sub", "exists": true });
    let no = json!({ "claim": "sub", "exists": false });
    let missing = json!({ "claim": "suspended", "equals": true });
    let nested = |depth: usize| (0..depth).fold(no.clone(), |inner, _| json!({ "not": inner }));
    for (tree, expected) in [
        (json!({ "all": [yes, yes] }), true),
        (json!({ "all": [yes, no] }), false),
        (json!({ "any": [no, yes] }), true),
        (json!({ "any": [no, no] }), false),
        (json!({ "not": no }), true),
        (json!({ "not": yes }), false),
        (json!({ "not": { "all": [yes, no] } }), true),
        (json!({ "all": [{ "any": [no, yes] }, { "not": { "any": [no] } }] }), true),
        // Plain negation: of the missing claim nothing is true, so its opposite is.
        (json!({ "not": missing }), true),
        (json!({ "all": [{ "claim": "suspended", "exists": true }, { "not": missing }] }), false),
        (nested(7), true),
        (nested(8), false),
    ] {
        assert_eq!(check(&tree, &json!({ "sub": "u" })).is_ok(), expected, "{tree}");
    }
}

#[test]
fn what_is_lacking_is_told_leaf_by_leaf() {
    let failure =
        |claim: &str, expected, actual| ClaimFailure { claim: claim.into(), expected, actual };
    let (value, member) = (Expected::Value, Expected::Member);
    let payload = json!({ "roles": ["user"], "st-ev": { "v": false }, "scope": "read" });
    let roles = || failure("roles", member(json!("admin")), Some(json!(["user"])));
    for (name, require, scope, failures) in [
        ("one", json!({ "claim": "roles", "contains": "admin" }), None, vec![roles()]),
        (
            "all that fail, in order",
            json!({ "all": [
                { "claim": ["st-ev", "v"], "equals": true },
                { "claim": "roles", "contains": "user" },
                { "claim": "roles", "contains": "admin" },
            ] }),
            None,
            vec![failure("st-ev", value(json!(true)), Some(json!(false))), roles()],
        ),
        (
            "alternatives",
            json!({ "any": [
                { "claim": "plan", "one_of": ["pro", "team"] },
                { "claim": "roles", "contains_all": ["admin", "user"] },
            ] }),
            None,
            vec![
                failure("plan", value(json!(["pro", "team"])), None),
                failure("roles", member(json!(["admin", "user"])), Some(json!(["user"]))),
            ],
        ),
        (
            "an alternative that holds fails nothing",
            json!({ "all": [
                { "any": [{ "claim": "plan", "equals": 1 }, { "claim": "roles", "exists": true }] },
                { "claim": "roles", "contains": "admin" },
            ] }),
            None,
            vec![roles()],
        ),
        ("existence", json!({ "claim": "plan", "exists": true }), None, vec![]),
        ("an opposite", json!({ "not": { "claim": "roles", "contains": "user" } }), None, vec![]),
        (
            "scope",
            json!({ "claim": "scope", "contains_all": ["read", "write"] }),
            Some("read write"),
            vec![failure("scope", member(json!(["read", "write"])), Some(json!("read")))],
        ),
        (
            "scopes from all, and of alternatives the first",
            json!({ "all": [
                { "claim": "scope", "contains": "write" },
                { "any": [
                    { "claim": "roles", "contains": "admin" },
                    { "claim": "scope", "contains": "a" },
                    { "claim": "scope", "contains": "b" },
                ] },
            ] }),
            Some("write a"),
            vec![
                failure("scope", member(json!("write")), Some(json!("read"))),
                roles(),
                failure("scope", member(json!("a")), Some(json!("read"))),
                failure("scope", member(json!("b")), Some(json!("read"))),
            ],
        ),
        (
            "a scope that no challenge can hold",
            json!({ "claim": "scope", "contains": "a\"b" }),
            None,
            vec![failure("scope", member(json!("a\"b")), Some(json!("read")))],
        ),
        (
            "another claim's inner scope",
            json!({ "claim": ["app", "scope"], "contains": "a" }),
            None,
            vec![failure("app", member(json!("a")), None)],
        ),
    ] {
        let scope = scope.map(Box::from);
        let found = check(&require, &payload);
        assert_eq!(found, Err(Shortfall::Claims { scope, failures }), "{name}");
        assert_eq!(found.unwrap_err().reason(), Reason::InsufficientClaims);
    }
}

#[test]
fn a_login_is_recent_enough_or_nobody_can_tell() {
    let mut paths = ClaimPaths::default();
    let path = crate::claim_headers::ClaimPath::new(["app", "auth_time"]);
    let (ours, other) = (ProviderId::new(0).unwrap(), ProviderId::new(1).unwrap());
    let claims = vec![(ours, paths.keep(&path))];
    let max_auth_age = Some(MaxAuthAge { limit: Duration::from_secs(60), claims });
    let demands = Demands { max_auth_age, require: None };
    let now = UnixTime::from_secs(1_000);
    for (auth_time, skew, expected) in [
        (json!(1_000), 0, true),
        (json!(940), 0, true),
        (json!(940.0), 0, true),
        (json!(939.999), 0, false),
        (json!(939), 0, false),
        (json!(930), 10, true),
        (json!(929), 10, false),
        (json!(1_010), 10, true),
        (json!(1_011), 10, false),
        (json!(1_001), 0, false),
        (json!("990"), 0, false),
        (json!(-1), 0, false),
        (json!(1_000_000_000_000_u64), 0, false),
        (json!(true), 0, false),
        (json!([990]), 0, false),
        (json!(null), 0, false),
    ] {
        let claims = paths.read(&json!({ "app": { "auth_time": auth_time } }).into());
        let found = demands.check(&claims, ours, now, Duration::from_secs(skew));
        assert_eq!(found.is_ok(), expected, "{auth_time} with {skew} s");
    }
    let missing = paths.read(&json!({ "auth_time": 1_000 }).into());
    let found = demands.check(&missing, ours, now, Duration::ZERO).unwrap_err();
    let max_age = Duration::from_secs(60);
    assert_eq!(found, Shortfall::AuthAge { max_age, claim: "app".into() });
    assert_eq!(found.reason(), Reason::StaleSession);
    let fresh = paths.read(&json!({ "app": { "auth_time": 1_000 } }).into());
    assert!(demands.check(&fresh, other, now, Duration::ZERO).is_err(), "not of this rule");
}
