//! Base64url (RFC 4648, section 5), in the two strictnesses that tokens and keys need.
//!
//! Both refuse foreign characters (`+`, `/`, white space) and bits behind the last whole byte: a
//! second spelling of the same bytes would be a second cache key for the same token.
//!
//! The decoder looks values up in a table. What it decodes is sent by clients or public, so it need
//! not take the same time for all bytes; one that does takes twelve times as many instructions.

use std::fmt;

use ct_codecs::{Base64UrlSafeNoPadding, Encoder};

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
    let (blocks, last) = text.as_chunks::<4>();
    let mut bytes = vec![0; text.len().div_ceil(4).saturating_mul(3)];
    let (wholes, _) = bytes.as_chunks_mut::<3>();
    let mut seen = 0;
    for (whole, block) in wholes.iter_mut().zip(blocks) {
        let (values, word) = read(*block);
        seen |= values;
        *whole = word;
    }
    let mut length = blocks.len().saturating_mul(3);
    if !last.is_empty() {
        // What is missing reads as zeros, which is what must stand behind the last whole byte.
        let mut block = [b'A'; 4];
        block.iter_mut().zip(last).for_each(|(place, byte)| *place = *byte);
        let (values, [first, second, third]) = read(block);
        seen |= values;
        let (rest, stray) = match last {
            [_, _] => ([first, 0], second | third),
            [_, _, _] => ([first, second], third),
            _ => return Err(BadBase64Url),
        };
        if stray != 0 {
            return Err(BadBase64Url);
        }
        if let Some(place) = wholes.last_mut() {
            let [first, second] = rest;
            *place = [first, second, 0];
        }
        length = length.saturating_add(last.len().saturating_sub(1));
    }
    if seen & u32::from(FOREIGN) != 0 {
        return Err(BadBase64Url);
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// Decodes a member of a key: RFC 7517 wants no `=` either, but some publishers pad. All of the
/// padding or none.
///
/// # Errors
/// [`BadBase64Url`] for anything but these two spellings.
pub fn decode_member(text: &str) -> Result<Vec<u8>, BadBase64Url> {
    let unpadded = text.strip_suffix("==").or_else(|| text.strip_suffix('='));
    match unpadded {
        Some(unpadded) if text.len().is_multiple_of(4) => decode(unpadded.as_bytes()),
        Some(_) => Err(BadBase64Url),
        None => decode(text.as_bytes()),
    }
}

/// The values of four characters together, and the three bytes that they stand for. A call for each
/// four, and turning a whole word around, made a token's parts 14,000 instructions dearer.
#[inline(always)]
#[allow(clippy::indexing_slicing, reason = "the table has a value for every byte")]
fn read([a, b, c, d]: [u8; 4]) -> (u32, [u8; 3]) {
    let value = |byte: u8| u32::from(VALUES[usize::from(byte)]);
    let [a, b, c, d] = [value(a), value(b), value(c), value(d)];
    let low = |bits: u32| {
        let [low, ..] = bits.to_le_bytes();
        low
    };
    (a | b | c | d, [low(a << 2 | b >> 4), low(b << 4 | c >> 2), low(c << 6 | d)])
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

/// Set in the value of what is no character of the alphabet.
const FOREIGN: u8 = 0x80;

#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "at compile time, where each of them would be an error"
)]
static VALUES: [u8; 256] = {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut values = [FOREIGN; 256];
    let mut value = 0;
    while value < alphabet.len() {
        values[alphabet[value] as usize] = value as u8;
        value += 1;
    }
    values
};

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use ct_codecs::{Base64UrlSafe, Decoder};

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
    fn another_decoder_agrees() {
        // Mostly whole texts with one foreign byte or none, of all lengths.
        let mut state = 1_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        for length in (0..60).cycle().take(20_000) {
            let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let mut pick = |_| alphabet[usize::try_from(random(64)).unwrap()];
            let mut text: Vec<u8> = (0..length).map(&mut pick).collect();
            if random(2) == 0 && length > 0 {
                let place = usize::try_from(random(length)).unwrap();
                text[place] = u8::try_from(random(128)).unwrap();
            }
            let text = String::from_utf8(text).unwrap();
            let other = Base64UrlSafeNoPadding::decode_to_vec(&text, None).ok();
            assert_eq!(decode(text.as_bytes()).ok(), other, "{text:?}");
            for padded in [format!("{text}="), format!("{text}==")] {
                let other = Base64UrlSafe::decode_to_vec(&padded, None).ok();
                assert_eq!(decode_member(&padded).ok(), other, "{padded:?}");
            }
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
