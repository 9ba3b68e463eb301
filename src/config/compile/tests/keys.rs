//! Key sets and claim headers.

use serde_json::{Value, json};

use super::*;

#[test]
fn remote_key_sets() {
    let with = |fields: Value| {
        let base = json!({ "uri": "https://id.example/keys", "cluster": "keys" });
        one(generic(json!({ "jwks": { "remote": merged(base, fields) } })))
    };
    let at = "providers[0].jwks.remote";
    refuses(&[
        (
            "no key source",
            one(generic(json!({ "jwks": {} }))),
            &[
                "providers[0].jwks: must have inline, remote, or both: without keys no token can be \
               verified",
            ],
        ),
        ("no uri", with(json!({ "uri": null })), &[&format!("{at}.uri: is missing")]),
        ("no cluster", with(json!({ "cluster": null })), &[&format!("{at}.cluster: is missing")]),
        (
            "an empty cluster",
            with(json!({ "cluster": "" })),
            &[&format!("{at}.cluster: \"\" must not be empty")],
        ),
        (
            "another scheme",
            with(json!({ "uri": "ftp://id.example/keys" })),
            &[&format!("{at}.uri: \"ftp://id.example/keys\" must begin with https:// or http://")],
        ),
        (
            "user info is not shown",
            with(json!({ "uri": "https://user:secret@id.example/keys" })),
            &[&format!("{at}.uri: must have no user info")],
        ),
        (
            "a fragment",
            with(json!({ "uri": "https://id.example/keys#a" })),
            &[&format!("{at}.uri: \"https://id.example/keys#a\" must have no fragment")],
        ),
        (
            "times",
            with(json!({ "timeout": "99ms", "refresh": "999ms", "stale_if_error": "0s" })),
            &[
                &format!("{at}.timeout: \"99ms\" must be at least 100ms"),
                &format!("{at}.refresh: \"999ms\" must be at least 1s"),
                &format!("{at}.stale_if_error: \"0s\" must be at least 1s"),
            ],
        ),
        (
            "long times",
            with(json!({ "timeout": "6m", "refresh": "99999h" })),
            &[
                &format!("{at}.timeout: \"6m\" must be at most 5m"),
                &format!("{at}.refresh: \"99999h\" must be at most 8784h"),
            ],
        ),
        (
            "headers, of which no value is shown",
            with(json!({ "headers": {
                ":path": "secret", "Host": "secret", "TE": "secret", "x-a": "secret\r\n",
                "x-b": ["secret"], "X-C": "1", "x-c": "2",
            } })),
            &[
                &format!("{at}.headers[\":path\"]: its name must be a token of RFC 9110"),
                &format!("{at}.headers.Host: the host is the uri's"),
                &format!("{at}.headers.TE: Envoy sets this header itself"),
                &format!("{at}.headers.x-a: its value must have no control bytes"),
                &format!("{at}.headers.x-b: must be a string"),
                &format!("{at}.headers.x-c: is the same as {at}.headers.X-C"),
            ],
        ),
        (
            "a secret in place of headers is not shown",
            with(json!({ "headers": "Bearer secret" })),
            &[&format!("{at}.headers: must be an object, not a string")],
        ),
    ]);
    let notes = loaded("https", &with(json!({}))).notes;
    assert_eq!(
        notes,
        ["providers[0].jwks.remote.uri: https://id.example is reached through the cluster \
          \"keys\", which decides about TLS"]
    );
    assert!(loaded("http", &one(generic(json!({})))).notes.is_empty());
}

#[test]
fn inline_key_sets() {
    let with = |inline: Value| one(generic(json!({ "jwks": { "inline": inline } })));
    let weak = json!({ "kty": "oct", "kid": "old", "k": "AAAA" });
    let for_encryption = merged(ed25519(), json!({ "kid": null, "use": "enc" }));
    let all_unusable = json!({ "keys": [weak, for_encryption] });
    let at = "providers[0].jwks.inline";
    let unusable = [
        format!("{at}: no usable key: keys[0] (kid \"old\"): a symmetric key (`kty` is `oct`)"),
        format!("{at}: no usable key: keys[1]: `use` is not `sig`"),
    ];
    let unusable: Vec<_> = unusable.iter().map(String::as_str).collect();
    refuses(&[
        ("no keys", with(json!({ "keys": [] })), &[&format!("{at}: `keys` is empty")]),
        ("no set", with(json!({ "kty": "RSA" })), &[&format!("{at}: no member `keys`")]),
        (
            "a number",
            with(json!(5)),
            &[&format!("{at}: 5 must be a string with JSON or an object")],
        ),
        (
            "text that is no JSON",
            with(json!("{")),
            &[&format!("{at}: not JSON: line 1, column 1: EOF while parsing an object")],
        ),
        ("no usable key", with(all_unusable.clone()), &unusable),
        ("no usable key, as text", with(json!(all_unusable.to_string())), &unusable),
        (
            "a key for another algorithm",
            one(generic(json!({
                "algorithms": ["RS256"], "jwks": { "inline": { "keys": [ed25519()] } },
            }))),
            &[&format!(
                "{at}: no usable key: keys[0] (kid \"good\"): fits no algorithm that is allowed"
            )],
        ),
    ]);
    let mixed = json!({ "keys": [weak, ed25519(), for_encryption] });
    let warnings = [
        format!(
            "{at}: an unusable key is skipped: keys[0] (kid \"old\"): a symmetric key (`kty` \
                 is `oct`)"
        ),
        format!("{at}: an unusable key is skipped: keys[2]: `use` is not `sig`"),
    ];
    let warnings: Vec<_> = warnings.iter().map(String::as_str).collect();
    warns(&[
        ("usable", with(json!({ "keys": [ed25519()] })), &[]),
        ("usable, as text", with(json!(json!({ "keys": [ed25519()] }).to_string())), &[]),
        ("some unusable", with(mixed), &warnings),
    ]);
}

#[test]
fn claim_headers() {
    let with = |headers: Value| one(generic(json!({ "claim_headers": headers })));
    let named = |name: &str| with(json!([{ "header": name, "claim": "sub" }]));
    let at = "providers[0].claim_headers[0]";
    let two = |second: &str| {
        with(json!([{ "header": "x-user-id", "claim": "sub" }, { "header": second, "claim": "b" }]))
    };
    refuses(&[
        (
            "authorization",
            named("Authorization"),
            &[&format!(
                "{at}.header: \"Authorization\" can't be a claim header: it belongs to HTTP \
                 itself (RFC 9110, 9111, 9112)"
            )],
        ),
        (
            "cookie",
            named("cookie"),
            &[&format!(
                "{at}.header: \"cookie\" can't be a claim header: it belongs to cookies (RFC 6265)"
            )],
        ),
        (
            "host",
            named("host"),
            &[&format!(
                "{at}.header: \"host\" can't be a claim header: it belongs to HTTP itself (RFC \
                 9110, 9111, 9112)"
            )],
        ),
        (
            "a pseudo header",
            named(":path"),
            &[&format!(
                "{at}.header: \":path\" can't be a claim header: it is a pseudo header of HTTP"
            )],
        ),
        (
            "hop-by-hop, under an alias",
            named("transfer_encoding"),
            &[&format!(
                "{at}.header: \"transfer_encoding\" can't be a claim header: it belongs to \
                 hop-by-hop: of one connection, not of the request (RFC 9110, section 7.6.1)"
            )],
        ),
        (
            "Envoy's",
            named("x.envoy.original.path"),
            &[&format!(
                "{at}.header: \"x.envoy.original.path\" can't be a claim header: it belongs to \
                 Envoy or gRPC"
            )],
        ),
        (
            "no token",
            named("x user"),
            &[&format!("{at}.header: \"x user\" must be a header's name: a token of RFC 9110")],
        ),
        (
            "the same header twice",
            two("X-User-Id"),
            &["providers[0].claim_headers[1].header: is the same as \
               providers[0].claim_headers[0].header"],
        ),
        (
            "its alias",
            two("x_user.id"),
            &["providers[0].claim_headers[1].header: is the same as \
               providers[0].claim_headers[0].header"],
        ),
        (
            "a header with tokens of another provider",
            json!({ "providers": [
                generic(json!({ "claim_headers": [{ "header": "x_token", "claim": "sub" }] })),
                generic(json!({ "name": "q", "sources": [
                    { "header": { "name": "X-Token", "scheme": "" } },
                ] })),
            ] }),
            &[&format!(
                "{at}.header: \"x_token\" can't be a claim header: a provider looks for tokens \
                 there"
            )],
        ),
        (
            "the whole payload as a string",
            with(json!([{ "header": "x-all", "claim": [] }])),
            &[&format!(
                "{at}.claim: is the whole payload: its encoding must be json or base64url_json"
            )],
        ),
        (
            "claims",
            with(json!([{ "header": "x-a", "claim": "" }, { "header": "x-b", "claim": ["a", 1] },
                { "header": "x-c", "claim": {} }, { "header": "x-d" }])),
            &[
                "providers[0].claim_headers[0].claim: \"\" must not be empty",
                "providers[0].claim_headers[1].claim[1]: 1 must be a string",
                "providers[0].claim_headers[2].claim: must be a claim's name or a list of names, \
                 not an object",
                "providers[0].claim_headers[3].claim: is missing",
            ],
        ),
        (
            "encoding",
            with(json!([{ "header": "x-a", "claim": "a", "encoding": "base64" }])),
            &[&format!(
                "{at}.encoding: \"base64\" must be one of string, csv, json, base64url_json"
            )],
        ),
    ]);
    let shared = json!([{ "header": "x-user-id", "claim": "sub" }]);
    let two_providers = json!({ "providers": [
        generic(json!({ "claim_headers": shared })),
        generic(json!({ "name": "q", "claim_headers": shared })),
    ] });
    warns(&[("two providers may set one header", two_providers, &[])]);
}
