//! Base64url (RFC 4648, section 5), in the two strictnesses that tokens and keys need.
//!
//! Both refuse foreign characters (`+`, `/`, white space) and bits behind the last whole byte: a
//! second spelling of the same bytes would be a second cache key for the same token.

use std::fmt;

use ct_codecs::{Base64UrlSafe, Base64UrlSafeNoPadding, Decoder, Encoder};

/// Encodes without `=`.
pub fn encode(bytes: &[u8]) -> String {
    // Fails only where the length overflows an address, for which there is no memory either.
    Base64UrlSafeNoPadding::encode_to_string(bytes).unwrap_or_default()
}

/// Decodes a part of a token: no `=` (RFC 7515, section 2).
///
/// # Errors
/// [`BadBase64Url`] for anything but the one spelling.
pub fn decode(text: &[u8]) -> Result<Vec<u8>, BadBase64Url> {
    Base64UrlSafeNoPadding::decode_to_vec(text, None).map_err(|_| BadBase64Url)
}

/// Decodes a member of a key: RFC 7517 wants no `=` either, but some publishers pad. All of the
/// padding or none.
///
/// # Errors
/// [`BadBase64Url`] for anything but these two spellings.
pub fn decode_member(text: &str) -> Result<Vec<u8>, BadBase64Url> {
    if text.ends_with('=') {
        Base64UrlSafe::decode_to_vec(text, None).map_err(|_| BadBase64Url)
    } else {
        decode(text.as_bytes())
    }
}

/// The text is not base64url.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadBase64Url;

impl fmt::Display for BadBase64Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not base64url")
    }
}

impl std::error::Error for BadBase64Url {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_for_tokens_two_for_keys() {
        type Bytes = Option<&'static [u8]>;
        let rows: &[(&str, &str, Bytes, Bytes)] = &[
            ("empty", "", Some(b""), Some(b"")),
            ("one byte", "-w", Some(b"\xfb"), Some(b"\xfb")),
            ("two bytes", "-_8", Some(b"\xfb\xff"), Some(b"\xfb\xff")),
            ("one byte, padded", "-w==", None, Some(b"\xfb")),
            ("two bytes, padded", "-_8=", None, Some(b"\xfb\xff")),
            ("too little padding", "-w=", None, None),
            ("too much padding", "-_8==", None, None),
            ("padding after whole bytes", "-_-_=", None, None),
            ("padding alone", "=", None, None),
            ("a whole block of padding", "-_-_====", None, None),
            ("a stray character", "-_-_-", None, None),
            ("stray bits, 2 of them", "-_9", None, None),
            ("stray bits, 4 of them", "-x", None, None),
            ("stray bits, padded", "-x==", None, None),
            ("standard alphabet", "+/8", None, None),
            ("white space", "-_ 8", None, None),
            ("line end", "-_8\n", None, None),
            ("text after the padding", "-w==-w==", None, None),
            ("not ASCII", "-_\u{e9}", None, None),
            ("NUL", "-_8\0", None, None),
        ];
        for (name, text, token, member) in rows {
            assert_eq!(decode(text.as_bytes()).ok().as_deref(), *token, "{name}");
            assert_eq!(decode_member(text).ok().as_deref(), *member, "{name}");
        }
    }

    #[test]
    fn every_last_character_has_one_meaning() {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let accepted = |prefix: &str| {
            (0..=u8::MAX)
                .filter(|last| decode(&[prefix.as_bytes(), &[*last]].concat()).is_ok())
                .count()
        };
        assert_eq!(accepted("AAA"), alphabet.len());
        assert_eq!(accepted("AA"), 16);
        assert_eq!(accepted("A"), 4);
        assert_eq!(accepted(""), 0);
    }
}
