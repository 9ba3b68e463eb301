//! Claim rules and the age of a login: what could never hold, and where nobody would look.

use serde_json::{Value, json};

use super::*;

fn require(require: Value) -> Value {
    rules(json!([{ "require": require }]))
}

#[test]
fn trees_and_leaves() {
    let leaf = json!({ "claim": "a", "exists": true });
    let nested = |depth: usize| (0..depth).fold(leaf.clone(), |inner, _| json!({ "all": [inner] }));
    let at = |path: &str| format!("rules[0].require.{path}");
    let form = "rules[0].require: must be all, any or not alone, or a claim with one of equals, \
                one_of, contains, contains_all, exists";
    let one = "rules[0].require: must have exactly one of equals, one_of, contains, contains_all, \
               exists";
    let null = "null is the same as a missing claim: write exists: false";
    let needle = "must be one word without spaces; contains_all takes several";
    let kind = "must be a string, a number or a flag";
    refuses(&[
        ("nothing", require(json!({})), &[form]),
        ("a list", require(json!([])), &["rules[0].require: must be an object, not a list"]),
        ("no operator", require(json!({ "claim": "a" })), &[one]),
        ("two operators", require(json!({ "claim": "a", "equals": 1, "exists": true })), &[one]),
        ("no claim", require(json!({ "equals": 1 })), &[form]),
        ("two trees", require(json!({ "all": [leaf], "any": [leaf] })), &[form]),
        ("a tree and a leaf", require(json!({ "not": leaf, "claim": "a", "equals": 1 })), &[form]),
        (
            "empty lists",
            require(json!({ "all": [
                { "all": [] },
                { "any": [] },
                { "claim": "a", "one_of": [] },
                { "claim": "a", "contains_all": [] },
            ] })),
            &[
                &at("all[0].all: must not be empty: it would always hold"),
                &at("all[1].any: must not be empty: it would never hold"),
                &at("all[2].one_of: must not be empty: it would never hold"),
                &at("all[3].contains_all: must not be empty: it would always hold"),
            ],
        ),
        (
            "claims",
            require(json!({ "any": [
                { "claim": [], "exists": true },
                { "claim": "", "exists": true },
                { "claim": ["a", ""], "exists": true },
                { "claim": 1, "exists": true },
            ] })),
            &[
                &at("any[0].claim: must not be empty: name a claim"),
                &at("any[1].claim: \"\" must not be empty"),
                &at("any[2].claim[1]: \"\" must not be empty"),
                &at("any[3].claim: 1 must be a claim's name or a list of names"),
            ],
        ),
        (
            "a flag",
            require(json!({ "not": { "claim": "a", "exists": "yes" } })),
            &[&at("not.exists: \"yes\" must be true or false")],
        ),
        (
            "null",
            require(json!({ "all": [
                { "claim": "a", "equals": null },
                { "claim": "a", "one_of": [1, null] },
            ] })),
            &[&at(&format!("all[0].equals: {null}")), &at(&format!("all[1].one_of[1]: {null}"))],
        ),
        (
            "needles",
            require(json!({ "all": [
                { "claim": "a", "contains": "" },
                { "claim": "a", "contains": "a b" },
                { "claim": "a", "contains_all": ["a", " b", "c\t"] },
                { "claim": "a", "contains": null },
                { "claim": "a", "contains": ["a"] },
                { "claim": "a", "contains_all": [{}] },
            ] })),
            &[
                &at(&format!("all[0].contains: \"\" {needle}")),
                &at(&format!("all[1].contains: \"a b\" {needle}")),
                &at(&format!("all[2].contains_all[1]: \" b\" {needle}")),
                &at(&format!("all[2].contains_all[2]: \"c\\t\" {needle}")),
                &at(&format!("all[3].contains: {kind}")),
                &at(&format!("all[4].contains: {kind}")),
                &at(&format!("all[5].contains_all[0]: {kind}")),
            ],
        ),
        (
            "nine levels",
            require(nested(9)),
            &[&at("all[0].all[0].all[0].all[0].all[0].all[0].all[0].all[0].all: is nested too \
                   deep: at most 8 of all, any, not")],
        ),
        (
            "an unknown operator",
            require(json!({ "claim": "a", "matches": "x" })),
            &[
                "rules[0].require.matches: unknown field; known here: all, any, not, claim, \
                 equals, one_of, contains, contains_all, exists",
                one,
            ],
        ),
    ]);
    warns(&[
        ("eight levels", require(nested(8)), &[]),
        ("a leaf alone", require(leaf.clone()), &[]),
        (
            "all sorts",
            require(json!({ "any": [
            { "claim": ["a", "b"], "equals": { "c": [null] } },
            { "claim": "a", "one_of": ["", 1, false, []] },
            { "claim": "a", "contains_all": ["x", 1, true] },
            { "not": { "claim": "a", "exists": false } },
        ] })),
            &[],
        ),
    ]);
}

#[test]
fn demands_are_for_required_rules() {
    let leaf = json!({ "claim": "a", "exists": true });
    let demands = json!({ "require": leaf, "max_auth_age": "15m" });
    let with = |access: &str| {
        let rule =
            merged(demands.clone(), json!({ "access": access, "match": { "methods": ["GET"] } }));
        rules(json!([rule]))
    };
    let inherited = |access: &str| {
        let rule = merged(demands.clone(), json!({ "match": { "methods": ["GET"] } }));
        let guarded = json!({ "access": "required", "match": { "methods": ["PUT"] } });
        merged(rules(json!([rule, guarded])), json!({ "default": { "access": access } }))
    };
    let both = |why: &str| {
        ["require", "max_auth_age"]
            .map(|it| format!("rules[0].{it}: is for required rules only: {why}"))
    };
    let optional = both("on an optional one an anonymous caller would skip it");
    let public = both("a public one looks at no token");
    let denied = both("a denied one looks at no token");
    let [optional, public, denied] =
        [&optional, &public, &denied].map(|it| it.each_ref().map(|it| &**it));
    refuses(&[
        ("optional", with("optional"), &optional),
        ("public", with("public"), &public),
        ("denied", with("denied"), &denied),
        ("optional by default", inherited("optional"), &optional),
        ("public by default", inherited("public"), &public),
        ("denied by default", inherited("denied"), &denied),
        (
            "access has an error itself",
            with("open"),
            &["rules[0].access: \"open\" must be one of required, optional, public, denied"],
        ),
        (
            "in the default",
            top(json!({ "default": demands })),
            &[
                "default.max_auth_age: unknown field; known here: access, forward, providers, mode, \
                 insecure_forward_foreign",
                "default.require: unknown field; known here: access, forward, providers, mode, \
                 insecure_forward_foreign",
            ],
        ),
    ]);
    warns(&[
        ("required", with("required"), &[]),
        ("required by default", inherited("required"), &[]),
    ]);
}

#[test]
fn the_age_of_a_login_is_told_by_a_claim() {
    let both = |fields: Value| json!([corbado(fields), generic(json!({}))]);
    let with = |providers: Value, rule: Value| json!({ "providers": providers, "rules": [rule] });
    let rule = |fields: Value| merged(json!({ "max_auth_age": "15m" }), fields);
    let missing = "rules[0].max_auth_age: provider \"c\" has no auth_time_claim: its vendor renews \
                   iat at every refresh, so name the claim that tells when the user logged in";
    let age = |age: Value| rules(json!([{ "max_auth_age": age }]));
    refuses(&[
        ("a preset among all", with(both(json!({})), rule(json!({}))), &[missing]),
        (
            "a preset by name",
            with(both(json!({})), rule(json!({ "providers": ["p", "c"] }))),
            &[missing],
        ),
        (
            "no duration",
            age("15".into()),
            &["rules[0].max_auth_age: \"15\" must be a duration such as 500ms, 10s or 1h30m"],
        ),
        (
            "too short",
            age("999ms".into()),
            &["rules[0].max_auth_age: \"999ms\" must be at least 1s"],
        ),
        ("a number", age(15.into()), &["rules[0].max_auth_age: 15 must be a string"]),
        (
            "no path",
            one(generic(json!({ "auth_time_claim": [] }))),
            &["providers[0].auth_time_claim: must not be empty: name a claim"],
        ),
        (
            "no name",
            one(generic(json!({ "auth_time_claim": true }))),
            &["providers[0].auth_time_claim: true must be a claim's name or a list of names"],
        ),
    ]);
    let note = json!({ "auth_time_claim": ["login", "at"] });
    warns(&[
        (
            "another provider's rule",
            with(both(json!({})), rule(json!({ "providers": ["p"] }))),
            &[],
        ),
        ("a preset with a claim", with(both(note), rule(json!({}))), &[]),
    ]);
}

#[test]
fn numbers_that_manifests_do_not_keep() {
    let with = |test: Value| rules(json!([{ "require": merged(json!({ "claim": "id" }), test) }]));
    let of = |at: &str| {
        format!(
            "rules[0].require.{at}: numbers beyond 2^53 are rounded by Istio, Envoy Gateway and \
             Struct: have the issuer write a string, and compare that"
        )
    };
    let (equals, second, needle) = (of("equals"), of("one_of[1]"), of("contains"));
    warns(&[
        ("the largest", with(json!({ "equals": 9_007_199_254_740_991_u64 })), &[]),
        ("the least", with(json!({ "equals": -9_007_199_254_740_991_i64 })), &[]),
        ("a text", with(json!({ "equals": "9007199254740993" })), &[]),
        ("too large", with(json!({ "equals": 9_007_199_254_740_992_u64 })), &[&equals]),
        ("too small", with(json!({ "equals": -9_007_199_254_740_993_i64 })), &[&equals]),
        ("a double", with(json!({ "equals": 1e16 })), &[&equals]),
        ("one of several", with(json!({ "one_of": [1, u64::MAX] })), &[&second]),
        ("a member", with(json!({ "contains": u64::MAX })), &[&needle]),
    ]);
}
