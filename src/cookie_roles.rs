//! What the cookies of a request are to a rule: each is looked up once, to find and to strip.
//!
//! 1. The cookie of a source holds a token for it; its name is compared exactly.
//! 2. One on a list, and one that only some servers take for a source's or for one on a list, holds
//!    nothing for us, and must not reach a backend either.
//! 3. All others are none of our business. Most of them are shorter than any name that counts, which
//!    one comparison tells: reading a name costs 150 instructions in the host's virtual machine.

use crate::bytes;
use crate::cookie::{CookieName, Segment};

/// What a cookie is to a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieRole {
    /// It holds a token.
    Source {
        /// The place of its source among the rule's.
        place: usize,
        /// Whether it goes even where the verified credential stays.
        is_withheld: bool,
    },
    /// It goes.
    Stripped,
}

/// A cookie that has a role.
#[derive(Clone, Copy, Debug)]
pub struct KnownCookie<'h> {
    /// The cookie.
    pub segment: Segment<'h>,
    /// Which of the request's `cookie` lines holds it.
    pub line: usize,
    /// Its role.
    pub role: CookieRole,
}

/// The names that count on one rule.
#[derive(Debug, Default)]
pub struct CookieRoles {
    /// Those of sources first.
    roles: Vec<(CookieName, CookieRole)>,
    /// As long as the shortest of them.
    shortest: usize,
}

impl CookieRoles {
    /// The roles of sources' cookies, with the places of the sources, and of cookies that go.
    /// `withheld` go even where they are sources'.
    pub fn new<'n>(
        sources: impl Iterator<Item = (&'n CookieName, usize)>,
        stripped: Vec<CookieName>,
        withheld: &[CookieName],
    ) -> Self {
        let mut roles: Vec<_> = sources
            .map(|(name, place)| {
                let is_withheld = withheld.contains(name);
                (name.clone(), CookieRole::Source { place, is_withheld })
            })
            .collect();
        for name in stripped {
            // Each name once: each is compared with every cookie that is long enough.
            if !roles.iter().any(|(other, _)| *other == name) {
                roles.push((name, CookieRole::Stripped));
            }
        }
        let lengths = roles.iter().map(|(name, _)| name.as_bytes().len());
        let shortest = lengths.min().unwrap_or(usize::MAX);
        Self { roles, shortest }
    }

    /// Whether no cookie in so short a segment has a role.
    pub fn are_longer_than(&self, segment: Segment<'_>) -> bool {
        segment.len() < self.shortest
    }

    /// The role of a cookie of this name.
    pub fn role_of(&self, name: &[u8]) -> Option<CookieRole> {
        if name.len() < self.shortest {
            return None;
        }
        let exact = self.roles.iter().find(|(own, _)| bytes::same(own.as_bytes(), name));
        let role = exact.map(|(_, role)| *role);
        role.or_else(|| {
            let resembles = self.roles.iter().any(|(own, _)| own.resembles(name));
            resembles.then_some(CookieRole::Stripped)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cookie::segments;

    #[test]
    fn a_cookie_has_the_role_of_its_name() {
        let name = |text: &str| text.parse::<CookieName>().unwrap();
        let (session, twin, refresh) = (name("session"), name("twin_2"), name("refresh_token"));
        let roles = CookieRoles::new(
            [(&session, 3), (&twin, 4)].into_iter(),
            vec![twin.clone(), refresh.clone(), refresh],
            std::slice::from_ref(&twin),
        );
        let source = |place, is_withheld| Some(CookieRole::Source { place, is_withheld });
        let stripped = Some(CookieRole::Stripped);
        for (name, expected) in [
            ("session", source(3, false)),
            ("twin_2", source(4, true)),
            ("refresh_token", stripped),
            ("\u{a0}session", stripped),
            ("twin.2", stripped),
            ("refresh%5ftoken", stripped),
            ("Session", None),
            ("sessions", None),
            ("twin", None),
            ("", None),
        ] {
            assert_eq!(roles.role_of(name.as_bytes()), expected, "{name:?}");
        }
        let too_short = |line: &'static [u8]| {
            segments(line).next().is_some_and(|segment| roles.are_longer_than(segment))
        };
        assert!(too_short(b"a=b") && too_short(b"twin") && !too_short(b"twin=x"));
        assert_eq!(CookieRoles::default().role_of(b"session"), None);
    }
}
