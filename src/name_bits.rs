//! Which header names there may be, in one word.
//!
//! Most of what is looked for in a request is not there: headers that no client may send, method
//! overrides, aliases of `authorization`. A pass over 19 pairs for each of these costs 400 to 800
//! instructions in the host's virtual machine; a bit for each name, set while the pairs are read,
//! 15 a header, and one `and` for each question.
//!
//! Never wrong when it says no; a yes may be another name's.

/// A set of header names, as seen from afar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NameBits(u64);

impl NameBits {
    /// The bit of a header's name.
    #[inline]
    pub const fn of(name: &[u8]) -> Self {
        let (first, last) = match name {
            [] => (0, 0),
            [only] => (*only, *only),
            [first, .., last] => (*first, *last),
        };
        let place = spread(first, FIRST).wrapping_add(spread(last, LAST));
        Self(1_u64.rotate_left(place.wrapping_add(low_bits(name.len()))))
    }

    /// The bits of a name that is looked for, and of all its aliases: in any ASCII case, and with
    /// `-`, `_` and `.` as one character.
    pub const fn of_aliases(name: &[u8]) -> Self {
        match name {
            // Three bytes at an end are one, which `of` does not know.
            [b'-' | b'_' | b'.', ..] | [.., b'-' | b'_' | b'.'] => Self(u64::MAX),
            _ => Self::of(name),
        }
    }

    /// Both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether a name may be in both.
    pub const fn meet(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// Letters differ from each other in their lower five bits, and not by case.
#[allow(clippy::as_conversions, reason = "widens, where `u32::from` is not const")]
const fn spread(byte: u8, factor: u32) -> u32 {
    ((byte & 0x1f) as u32).wrapping_mul(factor)
}

#[allow(clippy::as_conversions, reason = "the upper bits make no difference to a bit's place")]
const fn low_bits(length: usize) -> u32 {
    length as u32
}

/// With these the usual headers of browsers and Envoy have other bits than those that are looked
/// for: found by trying all.
const FIRST: u32 = 8;
const LAST: u32 = 42;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_meets_itself_and_its_aliases() {
        for name in ["", "a", "x-user-id", "X_User.ID", "-x-", "x_", "_X.", "authorization"] {
            let all = NameBits::of(b"cookie").and(NameBits::of_aliases(name.as_bytes()));
            for alias in [
                name.to_owned(),
                name.to_ascii_uppercase(),
                name.replace(['-', '.'], "_"),
                name.replace(['-', '_'], "."),
                name.replace(['.', '_'], "-"),
            ] {
                assert!(all.meet(NameBits::of(alias.as_bytes())), "{name:?} {alias:?}");
            }
        }
        assert!(!NameBits::default().meet(NameBits::of_aliases(b"_")));
    }

    /// What a browser sends and Envoy adds costs no pass.
    #[test]
    fn usual_names_meet_none_that_are_looked_for() {
        let usual = [
            ":authority",
            ":path",
            ":method",
            ":scheme",
            "cookie",
            "x-forwarded-proto",
            "x-request-id",
            "sec-ch-ua",
            "sec-ch-ua-mobile",
            "sec-ch-ua-platform",
            "user-agent",
            "accept",
            "accept-encoding",
            "accept-language",
            "referer",
            "sec-fetch-site",
            "sec-fetch-mode",
            "sec-fetch-dest",
            "priority",
            "origin",
            "content-type",
            "content-length",
            "x-forwarded-for",
            "traceparent",
            "if-none-match",
            "cache-control",
        ];
        for wanted in [
            "authorization",
            "upgrade",
            "x-original-url",
            "x-rewrite-url",
            "x-user-id",
            "x-http-method-override",
            "x-http-method",
            "x-method-override",
        ] {
            for name in usual {
                let bits = NameBits::of_aliases(wanted.as_bytes());
                assert!(!bits.meet(NameBits::of(name.as_bytes())), "{name} {wanted}");
            }
        }
    }
}
