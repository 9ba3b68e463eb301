//! What backends get to see of a request's credentials.
//!
//! After this, outside public rules, a source header holds the verified token, or a scheme that is
//! no source of the rule, or is absent. So does `authorization` with a bearer, wherever the sources
//! are: backends take it for verified. Of the source cookies only those remain whose bare token is
//! the verified one, and only under `verify_only`. No unverified credential goes on.

use std::rc::Rc;

use crate::bytes;
use crate::cookie::{self, StrippedLine};
use crate::cookie_roles::{CookieRole, KnownCookie};
use crate::credential::{Presented, SourcePlan};
use crate::edits::{CookieEdit, HeaderEdits};
use crate::extractor::HeaderContent;
use crate::policy::Forward;
use crate::request::RequestHead;
use crate::sanitizer::Sanitizer;
use crate::verified_token::VerifiedToken;

/// Takes out the headers that no client may send.
pub fn sanitize<'h>(edits: &mut HeaderEdits<'h>, head: &RequestHead<'h>, sanitizer: &Sanitizer) {
    if !sanitizer.may_remove(head.names()) {
        return;
    }
    for &(name, _) in head.pairs() {
        if sanitizer.removes(name) {
            remove(edits, name);
        }
    }
}

/// Puts the verified `token` where the rule wants it, and takes every other credential away.
pub fn forward_verified<'h>(
    edits: &mut HeaderEdits<'h>,
    token: &Rc<VerifiedToken>,
    forward: Forward,
    plan: &SourcePlan,
    presented: &Presented<'h>,
    head: &RequestHead<'h>,
) {
    let kept = match forward {
        Forward::VerifyOnly => Some(token.text()),
        Forward::Bearer | Forward::Strip => None,
    };
    remove_source_headers(edits, plan, presented, head, |text| {
        kept.zip(text).is_some_and(|(kept, text)| bytes::same(text, kept))
    });
    if forward == Forward::Bearer {
        // Setting it takes away what stands there; what is right already stays untouched.
        edits.removals.retain(|name| *name != b"authorization");
        let mut lines = head.values(b"authorization");
        let first_is_right = lines.next().is_some_and(|line| bytes::same(line, token.bearer()));
        if !first_is_right || lines.next().is_some() {
            edits.authorization = Some(Rc::clone(token));
        }
    }
    strip_cookies(edits, presented, head, kept);
    // A claim's header that is about to be set needs no removal.
    edits.removals.retain(|name| !token.claim_headers().any(|(set, _)| set.as_bytes() == *name));
    edits.claims = Some(Rc::clone(token));
}

/// Takes away everything that looks like a credential of the rule's providers. `keeps_header` is
/// asked for each header's token whether it may stay (`insecure_forward_foreign`).
pub fn forward_without_credential<'h>(
    edits: &mut HeaderEdits<'h>,
    plan: &SourcePlan,
    presented: &Presented<'h>,
    head: &RequestHead<'h>,
    keeps_header: impl Fn(Option<&[u8]>) -> bool,
) {
    remove_source_headers(edits, plan, presented, head, keeps_header);
    strip_cookies(edits, presented, head, None);
}

fn remove_source_headers<'h>(
    edits: &mut HeaderEdits<'h>,
    plan: &SourcePlan,
    presented: &Presented<'h>,
    head: &RequestHead<'h>,
    keeps: impl Fn(Option<&[u8]>) -> bool,
) {
    if !plan.may_meet(head.names()) {
        return;
    }
    for (source, token) in plan.headers(presented) {
        if keeps(token) {
            continue;
        }
        // The name as the request spells it lives as long as the edits.
        for &(name, _) in head.pairs() {
            if name == source {
                remove(edits, name);
            }
        }
    }
    for &(name, line) in head.pairs() {
        let goes = if name == b"authorization" {
            match plan.unread_bearer(line) {
                HeaderContent::OtherScheme => false,
                HeaderContent::Token(text) => !keeps(Some(text)),
                HeaderContent::Several => true,
            }
        } else {
            plan.is_alias_of_source(name)
        };
        if goes {
            remove(edits, name);
        }
    }
}

/// Removes `name` once, or seldom more than once: a name has thousands of aliases, and a client
/// that sends them all must not have each compared with all others.
fn remove<'h>(edits: &mut HeaderEdits<'h>, name: &'h [u8]) {
    if !edits.removals.iter().rev().take(LATEST_REMOVALS).any(|other| *other == name) {
        edits.removals.push(name);
    }
}

const LATEST_REMOVALS: usize = 16;

/// Takes out the cookies that have a role, but for those of sources that hold `kept`.
fn strip_cookies<'h>(
    edits: &mut HeaderEdits<'h>,
    presented: &Presented<'h>,
    head: &RequestHead<'h>,
    kept: Option<&[u8]>,
) {
    let goes = |known: &&KnownCookie<'h>| match (known.role, kept) {
        (CookieRole::Source { is_withheld: false, .. }, Some(kept)) => {
            !bytes::same(&known.segment.cookie().bare_value(), kept)
        }
        (CookieRole::Source { .. } | CookieRole::Stripped, _) => true,
    };
    let mut known = presented.cookies();
    if known.is_empty() {
        return;
    }
    let mut all = head.values(b"cookie");
    if let (Some(only), None) = (all.next(), all.next()) {
        let dropped = known.iter().filter(goes).map(|known| known.segment);
        edits.cookies = match cookie::strip(only, dropped) {
            StrippedLine::Unchanged => CookieEdit::None,
            StrippedLine::Rest(rest) => CookieEdit::Line(rest),
            StrippedLine::Gone => CookieEdit::Lines(Vec::new()),
        };
        return;
    }
    let mut changed = false;
    let mut lines = Vec::new();
    for (index, line) in head.values(b"cookie").enumerate() {
        let (of_line, rest) = known.split_at(known.partition_point(|it| it.line <= index));
        known = rest;
        let dropped = of_line.iter().filter(goes).map(|known| known.segment);
        match cookie::strip(line, dropped) {
            StrippedLine::Unchanged => lines.push(line.into()),
            StrippedLine::Rest(rest) => {
                changed = true;
                lines.push(rest);
            }
            StrippedLine::Gone => changed = true,
        }
    }
    if changed {
        edits.cookies = CookieEdit::Lines(lines);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config;
    use crate::edits::HeaderEdit;
    use crate::verified_token::tests::verified;

    /// What a backend gets of `cookie` and other lines: by `forward` with the token of `verified`
    /// proven, or with nothing proven and `foreign` headers kept.
    fn forwarded(
        forward: Option<Forward>,
        foreign: bool,
        lines: &[(&str, Vec<u8>)],
    ) -> Vec<String> {
        let configuration = json!({ "providers": [{
            "name": "main", "issuers": ["https://main.example"],
            "sources": [
                { "header": { "name": "authorization", "scheme": "Bearer" } },
                { "header": { "name": "x-token", "scheme": "" } },
                { "cookie": { "name": "s" } },
                { "cookie": { "name": "t" } },
            ],
            "claim_headers": [{ "header": "x-user-id", "claim": "sub" }],
            "jwks": { "remote": { "uri": "https://main.example/", "cluster": "a" } },
        }, {
            "name": "partner", "issuers": ["https://partner.example"],
            "sources": [
                { "header": { "name": "authorization", "scheme": "Partner" } },
                { "header": { "name": "x-partner", "scheme": "" } },
                { "cookie": { "name": "p" } },
            ],
            "jwks": { "remote": { "uri": "https://partner.example/", "cluster": "a" } },
        }], "default": { "providers": ["main"] } });
        let policy = config::load(configuration.to_string().as_bytes()).unwrap().policy;
        let plan = SourcePlan::new(&policy.default, &policy.providers, &policy.cookies.strip);
        let pairs = lines.iter().map(|(name, value)| (name.as_bytes(), value.as_slice()));
        let head = RequestHead::new(pairs.collect(), false);
        let presented = plan.find(&head, |_| None);
        let mut edits = HeaderEdits::default();
        sanitize(&mut edits, &head, &policy.sanitizer);
        match forward {
            Some(forward) => {
                let token = Rc::new(verified("u"));
                forward_verified(&mut edits, &token, forward, &plan, &presented, &head);
            }
            None => forward_without_credential(&mut edits, &plan, &presented, &head, |_| foreign),
        }
        let mut left: Vec<(String, Vec<u8>)> =
            lines.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
        edits.for_each(|edit| {
            let (HeaderEdit::Remove(name) | HeaderEdit::Set(name, _) | HeaderEdit::Add(name, _)) =
                edit;
            if !matches!(edit, HeaderEdit::Add(..)) {
                left.retain(|(other, _)| other.as_bytes() != name);
            }
            if let HeaderEdit::Set(_, value) | HeaderEdit::Add(_, value) = edit {
                left.push((String::from_utf8(name.into()).unwrap(), value.into()));
            }
        });
        left.iter().map(|(name, value)| format!("{name}: {}", value.escape_ascii())).collect()
    }

    /// No unverified credential goes on; every other byte does.
    #[test]
    fn the_invariant_holds_by_forward() {
        let text = String::from_utf8(verified("u").text().into()).unwrap();
        let with_token = |text_with_t: &str| text_with_t.replace('T', &text);
        // `T` stands for the token. A header's and a cookie's name come first.
        for (name, lines, on_bearer, on_verify_only, on_strip) in [
            (
                "right already",
                vec!["authorization: Bearer T"],
                vec!["authorization: Bearer T"],
                { vec!["authorization: Bearer T"] },
                vec![],
            ),
            (
                "spelled otherwise",
                vec!["authorization: bearer  T"],
                { vec!["authorization: Bearer T"] },
                vec!["authorization: bearer  T"],
                vec![],
            ),
            (
                "another scheme",
                vec!["authorization: Basic x", "cookie: s=T"],
                { vec!["authorization: Bearer T"] },
                vec!["authorization: Basic x", "cookie: s=T"],
                vec!["authorization: Basic x"],
            ),
            (
                "another token",
                vec!["authorization: Bearer x", "cookie: s=T"],
                { vec!["authorization: Bearer T"] },
                vec!["cookie: s=T"],
                vec![],
            ),
            (
                "joined",
                vec!["authorization: Bearer T,Bearer T", "cookie: s=T"],
                { vec!["authorization: Bearer T"] },
                vec!["cookie: s=T"],
                vec![],
            ),
            (
                "in another header",
                vec!["x-token: T"],
                vec!["authorization: Bearer T"],
                { vec!["x-token: T"] },
                vec![],
            ),
            (
                "another in that",
                vec!["x-token: x", "cookie: s=T"],
                { vec!["authorization: Bearer T"] },
                vec!["cookie: s=T"],
                vec![],
            ),
            (
                "two cookies",
                vec!["cookie: a=b; s=T; t=T"],
                { vec!["authorization: Bearer T", "cookie: a=b"] },
                vec!["cookie: a=b; s=T; t=T"],
                vec!["cookie: a=b"],
            ),
            (
                "one is another",
                vec!["cookie: s=T; t=x;  a=b;"],
                { vec!["authorization: Bearer T", "cookie: a=b;"] },
                vec!["cookie: s=T;  a=b;"],
                vec!["cookie: a=b;"],
            ),
        ] {
            let lines: Vec<_> = lines
                .iter()
                .map(|line| line.split_once(": ").unwrap())
                .map(|(name, value)| (name, with_token(value).into_bytes()))
                .collect();
            for (forward, expected) in [
                (Forward::Bearer, on_bearer),
                (Forward::VerifyOnly, on_verify_only),
                (Forward::Strip, on_strip),
            ] {
                // The order of different names means nothing.
                let mut found = forwarded(Some(forward), false, &lines);
                found.sort_unstable();
                let expected: Vec<_> = expected.into_iter().map(with_token).collect();
                assert_eq!(found, expected, "{name} {forward:?}");
            }
        }
    }

    #[test]
    fn cookie_lines_stay_byte_for_byte() {
        for (name, lines, expected) in [
            ("none of ours", vec![b"a=\xff;;  b".as_slice()], vec!["cookie: a=\\xff;;  b"]),
            ("ours alone", vec![b"s=x"], vec![]),
            ("ours without a value", vec![b"s; t="], vec![]),
            ("in the first line", vec![b"s=x; a=\xff", b"b=c"], {
                vec!["cookie: a=\\xff", "cookie: b=c"]
            }),
            ("in the last line", vec![b"b=c;", b"t=x"], vec!["cookie: b=c;"]),
            ("in all lines", vec![b"s=x", b"t=x;"], vec![]),
            ("between", vec![b"a=\"s=1\";s=x ;b = c"], vec!["cookie: a=\\\"s=1\\\";b = c"]),
        ] {
            let lines: Vec<_> = lines.iter().map(|line| ("cookie", line.to_vec())).collect();
            assert_eq!(forwarded(None, false, &lines), expected, "{name}");
        }
    }

    #[test]
    fn a_name_is_removed_once_and_a_flood_of_aliases_in_one_pass() {
        let sanitizer = Sanitizer::new(["x-a-b-c-d-e-f-g-h".parse().unwrap()]);
        let alias = |number: usize| {
            let spelled = (0..8).map(|at| {
                let separator = [b'-', b'_', b'.'][number / 3_usize.pow(at) % 3];
                [separator, b"abcdefgh"[usize::try_from(at).unwrap()]]
            });
            [b"x".to_vec(), spelled.flatten().collect()].concat()
        };
        let names: Vec<_> = (0..2_000).map(alias).collect();
        let head = RequestHead::new(names.iter().map(|name| (&**name, &b""[..])).collect(), false);
        let mut edits = HeaderEdits::default();
        sanitize(&mut edits, &head, &sanitizer);
        assert_eq!(edits.removals, names);
        let same = vec![(names[0].as_slice(), &b""[..]); 2_000];
        let mut edits = HeaderEdits::default();
        sanitize(&mut edits, &RequestHead::new(same, false), &sanitizer);
        assert_eq!(edits.removals, [&names[0]]);
    }

    #[test]
    fn nothing_unproven_goes_on() {
        let lines = |names: &[(&'static str, &str)]| -> Vec<(&'static str, Vec<u8>)> {
            names.iter().map(|(name, value)| (*name, value.as_bytes().to_vec())).collect()
        };
        let all = lines(&[
            ("authorization", "Bearer x"),
            ("x-token", "x"),
            ("cookie", "s=x; a=b"),
            ("x-user-id", "admin"),
            ("x_user.id", "admin"),
            ("x-other", "1"),
        ]);
        assert_eq!(forwarded(None, false, &all), ["x-other: 1", "cookie: a=b"]);
        // insecure_forward_foreign is about headers; cookies of ours go all the same.
        let foreign = ["authorization: Bearer x", "x-token: x", "x-other: 1", "cookie: a=b"];
        assert_eq!(forwarded(None, true, &all), foreign);
        let basic = lines(&[("authorization", "Basic x")]);
        assert_eq!(forwarded(None, false, &basic), ["authorization: Basic x"]);
    }
    #[test]
    fn nothing_goes_on_that_only_other_providers_would_verify() {
        let sent = [
            ("authorization", "Partner x"),
            ("x-partner", "x"),
            ("X_Partner", "x"),
            ("cookie", "p=x; a=b; p.=x"),
        ];
        let lines = sent.map(|(name, value)| (name, value.as_bytes().to_vec()));
        for (forward, authorization) in [
            (None, "authorization: Partner x"),
            (Some(Forward::VerifyOnly), "authorization: Partner x"),
            (Some(Forward::Strip), "authorization: Partner x"),
        ] {
            let mut found = forwarded(forward, true, &lines);
            found.retain(|line| !line.starts_with("x-user-id: "));
            assert_eq!(found, [authorization, "cookie: a=b; p.=x"], "{forward:?}");
        }
    }
}
