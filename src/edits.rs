//! Header changes as data: what the core returns and the adapter applies.

use std::borrow::Cow;
use std::rc::Rc;

use crate::verified_token::VerifiedToken;

/// What to change about a request's headers before it goes on.
///
/// Holds slices of the request and shared tokens, nothing of the filter's own.
#[derive(Debug, Default)]
pub struct HeaderEdits<'h> {
    /// Headers that go, by the names that they came under.
    pub removals: Vec<&'h [u8]>,
    /// Set `authorization` to this token.
    pub authorization: Option<Rc<VerifiedToken>>,
    /// Set the headers that carry this token's claims.
    pub claims: Option<Rc<VerifiedToken>>,
    /// What becomes of the `cookie` lines.
    pub cookies: CookieEdit<'h>,
}

/// What becomes of the `cookie` lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CookieEdit<'h> {
    /// They stay.
    #[default]
    None,
    /// This line instead.
    Line(Cow<'h, [u8]>),
    /// These lines instead; none: no `cookie` header.
    Lines(Vec<Cow<'h, [u8]>>),
}

/// What to change about a response's headers before it goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseEdits<'h> {
    /// Whether all `set-cookie` lines go that are there.
    pub removes_set_cookies: bool,
    /// The lines that come, in order.
    pub set_cookies: Vec<Cow<'h, [u8]>>,
}

impl ResponseEdits<'_> {
    /// Hands each change to `apply`, in order.
    pub fn for_each(&self, mut apply: impl FnMut(HeaderEdit<'_>)) {
        if self.removes_set_cookies {
            apply(HeaderEdit::Remove(b"set-cookie"));
        }
        for line in &self.set_cookies {
            apply(HeaderEdit::Add(b"set-cookie", line));
        }
    }
}

/// One change, in the order in which they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderEdit<'e> {
    /// No header of this name.
    Remove(&'e [u8]),
    /// One header of this name, whatever there was.
    Set(&'e [u8], &'e [u8]),
    /// One header more.
    Add(&'e [u8], &'e [u8]),
}

impl HeaderEdits<'_> {
    /// Hands each change to `apply`, in order.
    pub fn for_each(&self, mut apply: impl FnMut(HeaderEdit<'_>)) {
        for name in &self.removals {
            apply(HeaderEdit::Remove(name));
        }
        if let Some(token) = &self.authorization {
            apply(HeaderEdit::Set(b"authorization", token.bearer()));
        }
        if let Some(token) = &self.claims {
            for (name, value) in token.claim_headers() {
                apply(HeaderEdit::Set(name.as_bytes(), value));
            }
        }
        match &self.cookies {
            CookieEdit::None => {}
            CookieEdit::Line(line) => apply(HeaderEdit::Set(b"cookie", line)),
            // Setting collapses all lines of the name into one.
            CookieEdit::Lines(lines) => match lines.as_slice() {
                [] => apply(HeaderEdit::Remove(b"cookie")),
                [only] => apply(HeaderEdit::Set(b"cookie", only)),
                several => {
                    apply(HeaderEdit::Remove(b"cookie"));
                    for line in several {
                        apply(HeaderEdit::Add(b"cookie", line));
                    }
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verified_token::tests::verified;

    fn told(for_each: impl FnOnce(&mut dyn FnMut(HeaderEdit<'_>))) -> Vec<String> {
        let mut told = Vec::new();
        for_each(&mut |edit| {
            told.push(match edit {
                HeaderEdit::Remove(name) => format!("-{}", name.escape_ascii()),
                HeaderEdit::Set(name, value) => {
                    format!("{}={}", name.escape_ascii(), value.escape_ascii())
                }
                HeaderEdit::Add(name, value) => {
                    format!("+{}={}", name.escape_ascii(), value.escape_ascii())
                }
            });
        });
        told
    }

    #[test]
    fn cookie_lines_are_set_alone_and_added_together() {
        for (name, cookies, expected) in [
            ("untouched", CookieEdit::None, vec![]),
            ("no line", CookieEdit::Lines(vec![]), vec!["-cookie"]),
            ("one line", CookieEdit::Line(b"a=b".into()), vec!["cookie=a=b"]),
            ("one of several", CookieEdit::Lines(vec![b"a=b".into()]), vec!["cookie=a=b"]),
            ("two lines", CookieEdit::Lines(vec![b"a=\xff".into(), b"c".into()]), {
                vec!["-cookie", "+cookie=a=\\xff", "+cookie=c"]
            }),
        ] {
            let edits = HeaderEdits { cookies, ..HeaderEdits::default() };
            assert_eq!(told(|apply| edits.for_each(apply)), expected, "{name}");
        }
    }

    #[test]
    fn set_cookie_lines_are_added_one_by_one() {
        for (name, removes_set_cookies, expected) in [
            ("instead", true, vec!["-set-cookie", "+set-cookie=a=\\xff", "+set-cookie=b"]),
            ("besides", false, vec!["+set-cookie=a=\\xff", "+set-cookie=b"]),
        ] {
            let set_cookies = vec![b"a=\xff".into(), b"b".into()];
            let edits = ResponseEdits { removes_set_cookies, set_cookies };
            assert_eq!(told(|apply| edits.for_each(apply)), expected, "{name}");
        }
        assert!(told(|apply| ResponseEdits::default().for_each(apply)).is_empty());
    }

    #[test]
    fn removals_come_before_what_is_set() {
        let token = Rc::new(verified("u"));
        let edits = HeaderEdits {
            removals: vec![b"x_a", b"x-b"],
            authorization: Some(Rc::clone(&token)),
            claims: Some(Rc::clone(&token)),
            cookies: CookieEdit::None,
        };
        let bearer = format!("authorization={}", token.bearer().escape_ascii());
        assert_eq!(
            told(|apply| edits.for_each(apply)),
            ["-x_a".to_owned(), "-x-b".to_owned(), bearer]
        );
    }
}
