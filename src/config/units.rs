//! Durations and sizes, as an operator writes them.
//!
//! A duration is `500ms`, `10s`, `5m`, `1h`, or several of these from the greatest unit to the
//! smallest: `1h30m`. A size is a number and `KiB`, `MiB` or `GiB`. Whole numbers only, no white
//! space, no sign; a number without a unit is refused, since everybody reads it differently.

use std::time::Duration;

/// Longer durations are typing errors: no key set and no session outlives a year unseen.
pub(super) const MAX_DURATION: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Reads a duration.
///
/// # Errors
/// `InvalidDuration` if the text has another form or is longer than [`MAX_DURATION`].
pub(super) fn parse_duration(text: &str) -> Result<Duration, InvalidDuration> {
    let mut rest = text;
    let mut millis = 0_u64;
    let mut smallest_unit = u64::MAX;
    while !rest.is_empty() {
        let (number, tail) = split_number(rest).ok_or(InvalidDuration::Form)?;
        let end = tail.bytes().position(|byte| byte.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let unit = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(InvalidDuration::Form),
        };
        if unit >= smallest_unit {
            return Err(InvalidDuration::Form);
        }
        smallest_unit = unit;
        millis = millis.saturating_add(number.saturating_mul(unit));
        rest = tail;
    }
    if text.is_empty() {
        return Err(InvalidDuration::Form);
    }
    let duration = Duration::from_millis(millis);
    if duration > MAX_DURATION { Err(InvalidDuration::TooLong) } else { Ok(duration) }
}

/// Why a text is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InvalidDuration {
    /// It has another form.
    Form,
    /// It is longer than [`MAX_DURATION`].
    TooLong,
}

/// Reads a size, in bytes.
///
/// # Errors
/// `InvalidSize` if the text has another form or exceeds 64 bits.
pub(super) fn parse_size(text: &str) -> Result<u64, InvalidSize> {
    let (number, unit) = split_number(text).ok_or(InvalidSize)?;
    let unit: u64 = match unit {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(InvalidSize),
    };
    number.checked_mul(unit).ok_or(InvalidSize)
}

/// The text is no number with `KiB`, `MiB` or `GiB` behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InvalidSize;

/// A duration in the form that [`parse_duration`] reads, for messages.
pub(super) fn duration_text(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, millis) in [("h", 3_600_000_u64), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        let (count, remainder) =
            (rest.checked_div(millis).unwrap_or(0), rest.checked_rem(millis).unwrap_or(0));
        rest = remainder;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// The digits that `text` begins with, and what follows them.
fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_in_descending_order() {
        for (text, millis) in [
            ("500ms", 500),
            ("0s", 0),
            ("0ms", 0),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1h30m", 5_400_000),
            ("1h0m1s1ms", 3_601_001),
            ("90s", 90_000),
            ("8784h", 31_622_400_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "10",
            "s",
            "10 s",
            " 10s",
            "10s ",
            "-1s",
            "+1s",
            "1.5s",
            "1d",
            "1H",
            "10sec",
            "1m1h",
            "1s1s",
            "1h30",
            "1ms1s",
            "18446744073709551616s",
            "\u{661}s",
            "1\u{b5}s",
        ] {
            assert_eq!(parse_duration(text), Err(InvalidDuration::Form), "{text:?}");
        }
        for text in ["8784h1ms", "18446744073709551615h", "18446744073709551615ms"] {
            assert_eq!(parse_duration(text), Err(InvalidDuration::TooLong), "{text:?}");
        }
    }

    #[test]
    fn durations_are_shown_as_they_are_written() {
        for text in ["0s", "500ms", "10s", "5m", "1h30m", "1h1s1ms"] {
            assert_eq!(duration_text(parse_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn sizes_have_a_binary_unit() {
        for (text, bytes) in [
            ("64KiB", 65_536),
            ("16MiB", 16_777_216),
            ("1GiB", 1_073_741_824),
            ("0KiB", 0),
            ("17179869183GiB", 17_179_869_183 << 30),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "16",
            "16B",
            "16kb",
            "16MB",
            "16 MiB",
            "16mib",
            "-1KiB",
            "1.5MiB",
            "MiB",
            "1MiB1KiB",
            "17179869184GiB",
        ] {
            assert_eq!(parse_size(text), Err(InvalidSize), "{text:?}");
        }
    }
}
