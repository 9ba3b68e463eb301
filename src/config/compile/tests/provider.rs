//! Providers, presets, sources.

use serde_json::{Value, json};

use super::*;

#[test]
fn names_of_providers() {
    let named = |name: &str| one(generic(json!({ "name": name })));
    let many = |count: usize| {
        let providers = (0..count).map(|n| generic(json!({ "name": format!("p{n}") })));
        json!({ "providers": providers.collect::<Vec<_>>() })
    };
    let syntax = "must be 1 to 32 characters of a-z, 0-9, _ and -";
    refuses(&[
        ("no providers field", json!({}), &["providers: is missing"]),
        (
            "empty providers",
            json!({ "providers": [] }),
            &["providers: must not be empty: 1 to 32 providers are possible"],
        ),
        (
            "33 providers",
            many(33),
            &["providers: 33 providers are too many: at most 32 are possible"],
        ),
        ("no name", one(generic(json!({ "name": null }))), &["providers[0].name: is missing"]),
        ("empty name", named(""), &[&format!("providers[0].name: \"\" {syntax}")]),
        ("upper case", named("Abc"), &[&format!("providers[0].name: \"Abc\" {syntax}")]),
        ("a dot", named("a.b"), &[&format!("providers[0].name: \"a.b\" {syntax}")]),
        (
            "33 characters",
            named(&"a".repeat(33)),
            &[&format!("providers[0].name: \"{}\" {syntax}", "a".repeat(33))],
        ),
        (
            "two providers with one name",
            json!({ "providers": [generic(json!({})), generic(json!({}))] }),
            &["providers[1].name: is the same as providers[0].name"],
        ),
        (
            "a rule that names an unknown provider",
            rules(json!([{ "providers": ["q", "p", "p"] }])),
            &[
                "rules[0].providers[0]: \"q\" is no provider; did you mean \"p\"?",
                "rules[0].providers[2]: \"p\" is listed twice",
            ],
        ),
        (
            "a default that names an unknown provider",
            top(json!({ "default": { "providers": ["elsewhere"] } })),
            &["default.providers[0]: \"elsewhere\" is no provider; known are \"p\""],
        ),
    ]);
    assert_eq!(loaded("32 providers", &many(32)).policy.default.providers.len(), 32);
}

#[test]
fn fields_of_a_generic_provider() {
    let with = |fields: Value| one(generic(fields));
    refuses(&[
        (
            "no issuers",
            with(json!({ "issuers": null })),
            &["providers[0].issuers: is missing: name at least one issuer, or set \
               insecure_any_issuer: true"],
        ),
        (
            "empty issuers",
            with(json!({ "issuers": [] })),
            &["providers[0].issuers: must not be empty: name at least one issuer, or set \
               insecure_any_issuer: true"],
        ),
        (
            "an empty issuer",
            with(json!({ "issuers": [""] })),
            &["providers[0].issuers[0]: \"\" must not be empty"],
        ),
        (
            "issuers and any issuer",
            with(json!({ "insecure_any_issuer": true })),
            &["providers[0].issuers: contradicts insecure_any_issuer: true"],
        ),
        (
            "symmetric and unknown algorithms",
            with(json!({ "algorithms": ["RS256", "HS256", "none"] })),
            &[
                "providers[0].algorithms[1]: \"HS256\" is symmetric: whoever verifies could sign; \
                 possible are RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA",
                "providers[0].algorithms[2]: \"none\" must be one of RS256, RS384, RS512, PS256, \
                 PS384, PS512, ES256, ES384, EdDSA",
            ],
        ),
        (
            "empty algorithms",
            with(json!({ "algorithms": [] })),
            &["providers[0].algorithms: must not be empty: leave it out for the default"],
        ),
        (
            "a type that is only a prefix",
            with(json!({ "token_types": ["application/"] })),
            &["providers[0].token_types[0]: \"application/\" must name a type"],
        ),
        (
            "an empty audience",
            with(json!({ "audiences": [""] })),
            &["providers[0].audiences[0]: \"\" must not be empty"],
        ),
        (
            "durations",
            with(json!({ "clock_skew": "301s", "max_lifetime": "0s" })),
            &[
                "providers[0].clock_skew: \"301s\" must be at most 5m",
                "providers[0].max_lifetime: \"0s\" must be at least 1s",
            ],
        ),
        (
            "what is no duration",
            with(json!({ "clock_skew": "10", "max_lifetime": 24 })),
            &[
                "providers[0].max_lifetime: 24 must be a string",
                "providers[0].clock_skew: \"10\" must be a duration such as 500ms, 10s or 1h30m",
            ],
        ),
        (
            "no bytes",
            with(json!({ "max_token_bytes": 0 })),
            &["providers[0].max_token_bytes: 0 must be between 1 and 32768"],
        ),
        (
            "too many bytes",
            with(json!({ "max_token_bytes": 32769.0 })),
            &["providers[0].max_token_bytes: 32769 must be between 1 and 32768"],
        ),
        (
            "choices",
            with(json!({ "on_conflict": "last", "duplicate_cookies": "oldest" })),
            &[
                "providers[0].on_conflict: \"last\" must be one of first, reject",
                "providers[0].duplicate_cookies: \"oldest\" must be one of reject, newest",
            ],
        ),
        (
            "a field that is nearly one",
            with(json!({ "issuer": "https://id.example" })),
            &["providers[0].issuer: unknown field; did you mean `issuers`?"],
        ),
    ]);
}

#[test]
fn sources() {
    let with = |sources: Value| one(generic(json!({ "sources": sources })));
    let bearer = json!({ "header": { "name": "authorization", "scheme": "Bearer" } });
    let cookie = json!({ "cookie": { "name": "session" } });
    refuses(&[
        (
            "none",
            with(json!([])),
            &["providers[0].sources: must not be empty: leave it out for the default"],
        ),
        (
            "neither and both",
            with(json!([{}, merged(bearer.clone(), cookie.clone()), "cookie"])),
            &[
                "providers[0].sources[0]: must have exactly one of header, cookie",
                "providers[0].sources[1]: must have exactly one of header, cookie",
                "providers[0].sources[2]: must be an object, not a string",
            ],
        ),
        (
            "equal ones",
            with(json!([
                bearer, cookie, { "header": { "name": "Authorization", "scheme": "bearer" } },
                cookie, { "header": { "name": "x-t", "scheme": "DPoP" } },
                { "header": { "name": "X-T", "scheme": "dpop" } },
            ])),
            &[
                "providers[0].sources[2]: is the same as providers[0].sources[0]",
                "providers[0].sources[3]: is the same as providers[0].sources[1]",
                "providers[0].sources[5]: is the same as providers[0].sources[4]",
            ],
        ),
        (
            "names",
            with(json!([
                { "header": { "name": ":path", "scheme": "" } }, { "cookie": { "name": "a b" } },
                { "header": { "name": "cookie", "scheme": "" } }, { "cookie": {} },
                { "header": { "name": "Host", "scheme": "" } },
                { "header": { "name": "connection", "scheme": "" } },
            ])),
            &[
                "providers[0].sources[3].cookie.name: is missing",
                "providers[0].sources[0].header.name: \":path\" must be a header's name: a token \
                 of RFC 9110",
                "providers[0].sources[1].cookie.name: \"a b\" must be a cookie's name: a token of \
                 RFC 9110",
                "providers[0].sources[2].header.name: \"cookie\" is no source: name the cookie \
                 itself, as in cookie: { name: session }",
                "providers[0].sources[4].header.name: \"Host\" is no source: HTTP needs it for \
                 itself",
                "providers[0].sources[5].header.name: \"connection\" is no source: HTTP needs it \
                 for itself",
            ],
        ),
        (
            "schemes",
            with(json!([
                { "header": { "name": "x-token" } },
                { "header": { "name": "x-token", "scheme": "a b" } },
            ])),
            &[
                "providers[0].sources[0].header.scheme: is missing: only for authorization it is \
                 Bearer by default; \"\" stands for the whole value",
                "providers[0].sources[1].header.scheme: \"a b\" must be a scheme such as Bearer, \
                 or \"\"",
            ],
        ),
    ]);
}

#[test]
fn presets_decide() {
    let with = |fields: Value| one(corbado(fields));
    let preset = |corbado: Value| with(json!({ "preset": { "corbado": corbado } }));
    let issuers = "contradicts the preset: the issuers of a Corbado project are \
                   https://pro-1.frontendapi.corbado.io, \
                   https://pro-1.frontendapi.cloud.corbado.io, http://auth.localhost";
    let remote = |fields: Value| {
        with(json!({ "jwks": { "remote": merged(json!({ "cluster": "keys" }), fields) } }))
    };
    refuses(&[
        (
            "algorithms",
            with(json!({ "algorithms": ["HS256", "RS256", "ES256"] })),
            &[
                "providers[0].algorithms[0]: \"HS256\" contradicts the preset: Corbado signs with \
                 RS256 only",
                "providers[0].algorithms[2]: \"ES256\" contradicts the preset: Corbado signs with \
                 RS256 only",
            ],
        ),
        (
            "other issuers",
            with(json!({ "issuers": ["https://evil.example"] })),
            &[&format!("providers[0].issuers: {issuers}")],
        ),
        (
            "fewer issuers",
            with(json!({ "issuers": ["http://auth.localhost"] })),
            &[&format!("providers[0].issuers: {issuers}")],
        ),
        (
            "any issuer",
            with(json!({ "insecure_any_issuer": true })),
            &[&format!("providers[0].insecure_any_issuer: {issuers}")],
        ),
        (
            "sources",
            with(json!({ "sources": [{ "cookie": { "name": "session" } }] })),
            &["providers[0].sources: contradicts the preset: Corbado's sessions are in header \
               authorization, cookie cbo_session_token, cookie cbo_short_session; some of these \
               may be listed, no others"],
        ),
        (
            "uri",
            remote(json!({ "uri": "https://evil.example/keys" })),
            &["providers[0].jwks.remote.uri: contradicts the preset: the key set is at \
               http://auth.localhost/.well-known/jwks"],
        ),
        (
            "the project's header",
            remote(json!({ "headers": { "X-Corbado-ProjectID": "pro-2" } })),
            &["providers[0].jwks.remote.headers.X-Corbado-ProjectID: contradicts the preset, \
               which sends the project_id here"],
        ),
        ("no jwks", with(json!({ "jwks": null })), &["providers[0].jwks: is missing"]),
        (
            "no vendor",
            with(json!({ "preset": {} })),
            &["providers[0].preset: must name exactly one vendor: corbado, supertokens"],
        ),
        (
            "another vendor",
            with(json!({ "preset": { "keycloak": {} } })),
            &[
                "providers[0].preset.keycloak: unknown field; known here: corbado, supertokens",
                "providers[0].preset: must name exactly one vendor: corbado, supertokens",
            ],
        ),
        (
            "two vendors",
            with(json!({ "preset": {
                "corbado": { "project_id": "pro-1" },
                "supertokens": { "api_domain": "https://api.example.com" },
            } })),
            &["providers[0].preset: must name exactly one vendor: corbado, supertokens"],
        ),
        (
            "project_id",
            preset(json!({ "project_id": "1234" })),
            &["providers[0].preset.corbado.project_id: \"1234\" must begin with \"pro-\", then \
               letters, digits and hyphens"],
        ),
        (
            "no project_id",
            preset(json!({ "project": "pro-1" })),
            &[
                "providers[0].preset.corbado.project_id: is missing",
                "providers[0].preset.corbado.project: unknown field; known here: project_id, \
                 frontend_api",
            ],
        ),
        (
            "frontend_api over http",
            preset(json!({ "project_id": "pro-1", "frontend_api": "http://auth.example.com" })),
            &["providers[0].preset.corbado.frontend_api: \"http://auth.example.com\" must begin \
               with https://; only loopback and *.localhost may use http://"],
        ),
        (
            "frontend_api with a path",
            preset(json!({ "project_id": "pro-1", "frontend_api": "https://a.example//" })),
            &[
                "providers[0].preset.corbado.frontend_api: \"https://a.example//\" must be a scheme \
               and a host, without a path and a query",
            ],
        ),
        (
            "frontend_api without a scheme",
            preset(json!({ "project_id": "pro-1", "frontend_api": "auth.example.com" })),
            &["providers[0].preset.corbado.frontend_api: \"auth.example.com\" must begin with \
               https:// or http://"],
        ),
    ]);
    let same = with(json!({
        "algorithms": ["RS256"],
        "insecure_any_issuer": false,
        "issuers": [
            "http://auth.localhost", "https://pro-1.frontendapi.corbado.io",
            "https://pro-1.frontendapi.cloud.corbado.io",
        ],
        "sources": [
            { "header": { "name": "authorization" } },
            { "cookie": { "name": "cbo_session_token" } },
            { "cookie": { "name": "cbo_short_session" } },
        ],
        "jwks": { "remote": {
            "cluster": "keys", "uri": "http://auth.localhost/.well-known/jwks",
            "headers": { "x-corbado-projectid": "pro-1" },
        } },
    }));
    warns(&[("the same values are no contradiction", same, &[])]);
}
