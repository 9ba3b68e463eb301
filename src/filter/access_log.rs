//! What Envoy's access log can show of a request, as values: `telemetry.filter_state`.
//!
//! 1. `sub`, `provider`, `source` and `kid` are those of a credential that was verified for this very
//!    request. A request that is refused for what its rule asks beyond that has them too; any other
//!    refused request has none of them, whatever its token says of itself.
//! 2. `rule` is there as soon as a rule was found, `reason` with every refusal.
//! 3. `verdict` is always there, with the word of the metric that counts the request.
//! 4. What a value lacks is absent, which the access log shows as `-`; so is an empty text.
//! 5. A value is one word of printable ASCII (with `…` after it if it was cut): it can't end a line,
//!    close a quote or begin another field.

use std::rc::Rc;

use crate::bytes::escaped;
use crate::extractor::Source;
use crate::policy::{Policy, StateField};
use crate::reason::Reason;
use crate::stats::Counter;
use crate::verified_token::VerifiedToken;

/// One value of a stream's filter state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateEntry {
    /// Which.
    pub field: StateField,
    /// Its text, escaped.
    pub value: String,
}

impl StateField {
    /// The property that holds it; Envoy puts `wasm.` before it.
    pub const fn property(self) -> &'static str {
        match self {
            Self::Sub => "session_token.sub",
            Self::Provider => "session_token.provider",
            Self::Rule => "session_token.rule",
            Self::Source => "session_token.source",
            Self::Kid => "session_token.kid",
            Self::Reason => "session_token.reason",
            Self::Verdict => "session_token.verdict",
        }
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It goes on, and is counted so.
    Passed(Counter),
    /// It was refused.
    Denied(Reason),
    /// It would have been refused, but for report mode.
    WouldDeny(Reason),
}

/// What has come to light so far while a request is decided.
#[derive(Debug, Default)]
pub(super) struct Trail {
    rule: Option<usize>,
    token: Option<Rc<VerifiedToken>>,
    source: Option<String>,
}

impl Trail {
    /// A rule was found.
    pub(super) fn decided_by(&mut self, rule: usize) {
        self.rule = Some(rule);
    }

    /// A credential from `source` was verified.
    pub(super) fn proven(
        &mut self,
        policy: &Policy,
        token: &Rc<VerifiedToken>,
        source: Option<&Source>,
    ) {
        if policy.filter_state.is_empty() {
            return;
        }
        self.token = Some(Rc::clone(token));
        if policy.filter_state.contains(&StateField::Source) {
            self.source = source.map(|source| match source {
                Source::Header { name, .. } => format!("header:{}", name.as_str()),
                Source::Cookie(name) => format!("cookie:{name}"),
            });
        }
    }

    /// What the configuration wants to be shown, in its order.
    pub(super) fn entries(&self, policy: &Policy, decision: Decision) -> Vec<StateEntry> {
        let fields = policy.filter_state.iter();
        let entry = |field: &StateField| {
            let text = self.text(*field, policy, decision).filter(|text| !text.is_empty())?;
            let value = match text {
                // How the access log writes that there is nothing.
                "-" => r"\x2d".to_owned(),
                text => escaped(text.as_bytes(), MAX_VALUE_BYTES),
            };
            Some(StateEntry { field: *field, value })
        };
        fields.filter_map(entry).collect()
    }

    fn text<'a>(
        &'a self,
        field: StateField,
        policy: &'a Policy,
        decision: Decision,
    ) -> Option<&'a str> {
        let token = self.token.as_deref();
        match field {
            StateField::Sub => token?.subject(),
            StateField::Provider => {
                policy.providers.get(token?.provider().index()).map(|provider| &*provider.name)
            }
            StateField::Rule => {
                Some(&*policy.rules.get(self.rule?).unwrap_or(&policy.default).name)
            }
            StateField::Source => self.source.as_deref(),
            StateField::Kid => token?.key_id(),
            StateField::Reason => match decision {
                Decision::Passed(_) => None,
                Decision::Denied(reason) | Decision::WouldDeny(reason) => Some(reason.word()),
            },
            StateField::Verdict => Some(match decision {
                Decision::Passed(counter) => counter.word(),
                Decision::Denied(_) => "denied",
                Decision::WouldDeny(_) => "would_deny",
            }),
        }
    }
}

/// `sub` has at most 255 ASCII characters (OpenID Connect Core, section 2).
const MAX_VALUE_BYTES: usize = 255;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config;
    use crate::verified_token::tests::accept;

    fn policy(fields: &[&str]) -> Policy {
        let remote = json!({ "remote": { "uri": "https://a.example/", "cluster": "a" } });
        let configuration = json!({
            "providers": (0..4).map(|index| json!({
                "name": format!("p{index}"), "issuers": [format!("i{index}")], "jwks": remote,
            })).collect::<Vec<_>>(),
            "rules": [{ "name": "orders", "match": { "methods": ["GET"] } }],
            "telemetry": { "filter_state": fields },
        });
        config::load(configuration.to_string().as_bytes()).unwrap().policy
    }

    fn all() -> Vec<&'static str> {
        StateField::ALL.map(StateField::name).to_vec()
    }

    /// What the access log would show: `sub=u kid=k`.
    fn shown(trail: &Trail, policy: &Policy, decision: Decision) -> String {
        let entries = trail.entries(policy, decision);
        let words = entries.iter().map(|entry| format!("{}={}", entry.field.name(), entry.value));
        words.collect::<Vec<_>>().join(" ")
    }

    fn proven(policy: &Policy, header: serde_json::Value, payload: serde_json::Value) -> Trail {
        let mut trail = Trail::default();
        trail.decided_by(1);
        let token = Rc::new(accept(&header, &payload, &json!({})).unwrap());
        trail.proven(policy, &token, Some(&Source::bearer()));
        trail
    }

    #[test]
    fn a_property_is_named_after_its_field() {
        for field in StateField::ALL {
            assert_eq!(field.property(), format!("session_token.{}", field.name()));
        }
    }

    #[test]
    fn what_is_known_is_shown_as_it_was_decided() {
        let policy = policy(&all());
        let nothing = Trail::default();
        let mut found = Trail::default();
        found.decided_by(0);
        let known = proven(&policy, json!({ "kid": "k" }), json!({ "sub": "u", "exp": 2_000 }));
        let session = "sub=u provider=p3 rule=default source=header:authorization kid=k";
        for (trail, decision, expected) in [
            (
                &nothing,
                Decision::Denied(Reason::MalformedRequest),
                "reason=malformed_request verdict=denied".to_owned(),
            ),
            (
                &found,
                Decision::Denied(Reason::BadSignature),
                "rule=orders reason=bad_signature verdict=denied".into(),
            ),
            (
                &found,
                Decision::WouldDeny(Reason::Missing),
                "rule=orders reason=missing verdict=would_deny".into(),
            ),
            (&known, Decision::Passed(Counter::Allowed), format!("{session} verdict=allowed")),
            (
                &known,
                Decision::Denied(Reason::InsufficientClaims),
                format!("{session} reason=insufficient_claims verdict=denied"),
            ),
        ] {
            assert_eq!(shown(trail, &policy, decision), expected);
        }
    }

    #[test]
    fn a_verdict_has_the_word_of_its_metric() {
        let policy = policy(&["verdict"]);
        for (counter, expected) in [
            (Counter::Allowed, "verdict=allowed"),
            (Counter::AllowedPublic, "verdict=allowed_public"),
            (Counter::AllowedOptional, "verdict=allowed_optional"),
            (Counter::AllowedPreflight, "verdict=allowed_preflight"),
        ] {
            assert_eq!(shown(&Trail::default(), &policy, Decision::Passed(counter)), expected);
        }
    }

    #[test]
    fn only_what_is_wanted_is_shown_in_the_order_of_wishes() {
        for (fields, expected) in
            [(&[][..], ""), (&["kid", "sub"], "kid=k sub=u"), (&["reason"], "")]
        {
            let policy = policy(fields);
            let trail = proven(&policy, json!({ "kid": "k" }), json!({ "sub": "u", "exp": 2_000 }));
            assert_eq!(shown(&trail, &policy, Decision::Passed(Counter::Allowed)), expected);
        }
    }

    #[test]
    fn no_value_makes_a_line_of_its_own() {
        let policy = policy(&["sub", "kid"]);
        for (name, sub, expected) in [
            ("a new line", json!("u\r\nsub=admin"), r"sub=u\r\nsub=admin"),
            ("another field", json!("u kid=x"), r"sub=u\x20kid=x"),
            ("a quote", json!("u\" \"x"), "sub=u\\\"\\x20\\\"x"),
            ("an escape", json!(r"u\n"), r"sub=u\\n"),
            ("controls", json!("\0\u{1b}[2K"), r"sub=\x00\x1b[2K"),
            ("a letter beyond ASCII", json!("ü\u{202e}"), r"sub=\xc3\xbc\xe2\x80\xae"),
            ("the sign for nothing", json!("-"), r"sub=\x2d"),
            ("empty", json!(""), ""),
            ("a number", json!(7), ""),
        ] {
            let trail = proven(&policy, json!({}), json!({ "sub": sub, "exp": 2_000 }));
            let shown = shown(&trail, &policy, Decision::Passed(Counter::Allowed));
            assert_eq!(shown, expected, "{name}");
        }
        for (length, expected) in [(255, "a".repeat(255)), (256, format!("{}…", "a".repeat(255)))]
        {
            let payload = json!({ "sub": "a".repeat(length), "exp": 2_000 });
            let trail = proven(&policy, json!({}), payload);
            let shown = shown(&trail, &policy, Decision::Passed(Counter::Allowed));
            assert_eq!(shown, format!("sub={expected}"));
        }
    }
}
