//! What backends get to see of a request's credentials.
//!
//! After this, outside public rules, a source header holds the verified token, or a scheme that is
//! no source of the rule, or is absent. So does `authorization` with a bearer, wherever the sources
//! are: backends take it for verified. Of the source cookies only those remain whose bare token is
//! the verified one, and only under `verify_only`. No unverified credential goes on.

use std::rc::Rc;

use crate::bytes;
use crate::cookie::StrippedLine;
use crate::credential::{Presented, SourcePlan};
use crate::edits::{CookieEdit, HeaderEdits};
use crate::extractor::HeaderContent;
use crate::policy::Forward;
use crate::request::RequestHead;
use crate::sanitizer::Sanitizer;
use crate::verified_token::VerifiedToken;

/// Takes out the headers that no client may send.
pub fn sanitize<'h>(head: &RequestHead<'h>, sanitizer: &Sanitizer) -> HeaderEdits<'h> {
    let mut edits = HeaderEdits::default();
    for &(name, _) in head.pairs() {
        if sanitizer.removes(name) && !edits.removals.contains(&name) {
            edits.removals.push(name);
        }
    }
    edits
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
    let keeps = |text: Option<&[u8]>| {
        forward == Forward::VerifyOnly && text.is_some_and(|text| bytes::same(text, token.text()))
    };
    remove_source_headers(edits, plan, presented, head, keeps);
    if forward == Forward::Bearer {
        // Setting it takes away what stands there; what is right already stays untouched.
        edits.removals.retain(|name| *name != b"authorization");
        let mut lines = head.values(b"authorization");
        let first_is_right = lines.next().is_some_and(|line| bytes::same(line, token.bearer()));
        if !first_is_right || lines.next().is_some() {
            edits.authorization = Some(Rc::clone(token));
        }
    }
    strip_cookies(edits, plan, presented, |text| keeps(Some(text)));
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
    strip_cookies(edits, plan, presented, |_| false);
}

fn remove_source_headers<'h>(
    edits: &mut HeaderEdits<'h>,
    plan: &SourcePlan,
    presented: &Presented<'h>,
    head: &RequestHead<'h>,
    keeps: impl Fn(Option<&[u8]>) -> bool,
) {
    for (source, tokens) in plan.headers(presented) {
        if keeps(tokens.only()) {
            continue;
        }
        // The name as the request spells it lives as long as the edits.
        for &(name, _) in head.pairs() {
            if name == source && !edits.removals.contains(&name) {
                edits.removals.push(name);
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
        if goes && !edits.removals.contains(&name) {
            edits.removals.push(name);
        }
    }
}

fn strip_cookies<'h>(
    edits: &mut HeaderEdits<'h>,
    plan: &SourcePlan,
    presented: &Presented<'h>,
    keeps: impl Fn(&[u8]) -> bool,
) {
    let mut changed = false;
    let mut lines = Vec::with_capacity(presented.cookie_lines().len());
    for line in presented.cookie_lines() {
        let stripped = line.strip(|cookie| {
            if plan.is_source_cookie(cookie.name) {
                !keeps(&cookie.bare_value())
            } else {
                plan.is_stripped_cookie(cookie.name)
            }
        });
        match stripped {
            StrippedLine::Unchanged => lines.push(line.text().into()),
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
