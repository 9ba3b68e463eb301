//! Which header names there may be, in one word.
//!
//! Most of what is looked for in a request is not there: headers that no client may send, method
//! overrides, aliases of `authorization`. A pass over 19 pairs for each of these costs 400 to 800
//! instructions in the host's virtual machine; a bit for each name, set while the pairs are read,
//! 15 a header, and one `and` for each question.
//!
//! Never wrong when it says no; a yes may be another name's. Aliases have one bit: it is the same in
//! any ASCII case, and for `-`, `_` and `.`.

use crate::request::fold_name_byte;

/// A set of header names, as seen from afar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NameBits(u64);

impl NameBits {
    /// The bit of one name, and of all its aliases.
    pub const fn of(name: &[u8]) -> Self {
        let (first, last) = match name {
            [] => (0, 0),
            [only] => (*only, *only),
            [first, .., last] => (*first, *last),
        };
        let spread = spread(first, FIRST).wrapping_add(spread(last, LAST));
        Self(1_u64.rotate_left(spread.wrapping_add(low_bits(name.len()))))
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

const fn spread(byte: u8, factor: u32) -> u32 {
    #[allow(clippy::as_conversions, reason = "widens, where `u32::from` is not const")]
    let byte = fold_name_byte(byte) as u32;
    byte.wrapping_mul(factor)
}

#[allow(clippy::as_conversions, reason = "the upper bits make no difference to a bit's place")]
const fn low_bits(length: usize) -> u32 {
    length as u32
}

/// With these the usual headers of browsers and Envoy have other bits than those that are looked
/// for: found by trying all.
const FIRST: u32 = 53;
const LAST: u32 = 29;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_meets_itself_and_its_aliases() {
        for name in ["", "a", "x-user-id", "X_User.ID", "-x-", "_X.", "authorization"] {
            let all = NameBits::of(b"cookie").and(NameBits::of(name.as_bytes()));
            for alias in [name.to_owned(), name.to_ascii_uppercase(), name.replace(['-', '.'], "_")]
            {
                assert!(all.meet(NameBits::of(alias.as_bytes())), "{name:?} {alias:?}");
            }
        }
        assert!(!NameBits::default().meet(NameBits::of(b"")));
    }

    /// What a browser sends and Envoy adds costs no pass.
    #[test]
    fn usual_names_meet_none_that_are_looked_for() {
        let usual = [
            ":authority", ":path", ":method", ":scheme", "cookie", "x-forwarded-proto",
            "x-request-id", "sec-ch-ua", "sec-ch-ua-mobile", "sec-ch-ua-platform", "user-agent",
            "accept", "accept-encoding", "accept-language", "referer", "sec-fetch-site",
            "sec-fetch-mode", "sec-fetch-dest", "priority", "origin", "content-type",
            "content-length", "x-forwarded-for", "traceparent", "if-none-match", "cache-control",
        ];
        for wanted in [
            "authorization", "upgrade", "x-original-url", "x-rewrite-url", "x-user-id",
            "x-http-method-override", "x-http-method", "x-method-override",
        ] {
            for name in usual {
                let [wanted, other] = [wanted, name].map(|name| NameBits::of(name.as_bytes()));
                assert!(!wanted.meet(other), "{name}");
            }
        }
    }
}
