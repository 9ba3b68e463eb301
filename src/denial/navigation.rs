//! Whether a person waits for a page: a browser's navigation, as opposed to a script's request.
//!
//! 1. With `Sec-Fetch-Mode`, it is one if every value is `navigate` (Fetch Metadata; an iframe's
//!    and a prefetched document's are navigations too).
//! 2. With any other `Sec-Fetch-*` field it is none.
//! 3. Without (plain HTTP, old browsers), it is one if `Accept` prefers `text/html` to the JSON that
//!    it would get instead (RFC 9110, section 12.5.1): by a higher quality or, at the same
//!    quality, by a range that is more specific. `*/*` prefers nothing.
//!
//! Caveat: parameters of media types, such as `charset` and `level`, play no part.

use crate::request::RequestHead;

/// See the module.
pub(super) fn is_navigation(head: &RequestHead<'_>) -> bool {
    let mut modes = head.values(b"sec-fetch-mode").peekable();
    if modes.peek().is_some() {
        return modes.all(|mode| mode == b"navigate");
    }
    !head.pairs().iter().any(|(name, _)| name.starts_with(b"sec-fetch-")) && prefers_html(head)
}

fn prefers_html(head: &RequestHead<'_>) -> bool {
    let [mut html, mut json, mut problem] = [Fit::default(); 3];
    let ranges = head.values(b"accept").flat_map(|line| split_unquoted(line, b','));
    for range in ranges.filter_map(Range::read) {
        html.improve(&range, b"text", b"html");
        json.improve(&range, b"application", b"json");
        problem.improve(&range, b"application", b"problem+json");
    }
    let rank = |fit: Fit| (fit.quality, fit.specificity);
    html.quality > 0 && rank(html) > rank(json) && rank(html) > rank(problem)
}

/// How well a media type is liked. The most specific range that matches it decides.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    /// How many of a type's two names the range spells out.
    specificity: u8,
    /// In thousandths.
    quality: u16,
}

impl Fit {
    fn improve(&mut self, range: &Range<'_>, main: &[u8], sub: &[u8]) {
        let specificity = if range.sub == b"*" {
            if range.main == b"*" {
                0
            } else if range.main.eq_ignore_ascii_case(main) {
                1
            } else {
                return;
            }
        } else if range.main.eq_ignore_ascii_case(main) && range.sub.eq_ignore_ascii_case(sub) {
            2
        } else {
            return;
        };
        *self = (*self).max(Self { specificity, quality: range.quality });
    }
}

/// One element of `Accept`.
struct Range<'h> {
    main: &'h [u8],
    sub: &'h [u8],
    quality: u16,
}

impl<'h> Range<'h> {
    /// Nothing, if it is not well-formed.
    fn read(text: &'h [u8]) -> Option<Self> {
        let mut parts = split_unquoted(text, b';').map(<[u8]>::trim_ascii);
        let (main, sub) = split_once(parts.next()?, b'/')?;
        let mut quality = MAX_QUALITY;
        for part in parts {
            if let Some((b"q" | b"Q", value)) = split_once(part, b'=') {
                quality = read_quality(value)?;
            }
        }
        Some(Self { main, sub, quality })
    }
}

/// A `qvalue` (RFC 9110, section 12.4.2), in thousandths.
fn read_quality(text: &[u8]) -> Option<u16> {
    let (whole, digits) = match text {
        [whole] => (whole, [].as_slice()),
        [whole, b'.', digits @ ..] if digits.len() <= 3 => (whole, digits),
        _ => return None,
    };
    let digits = digits.iter().copied().chain(std::iter::repeat(b'0')).take(3);
    let fraction = digits.into_iter().try_fold(0_u16, |sum, digit| {
        let digit = char::from(digit).to_digit(10).and_then(|digit| u16::try_from(digit).ok())?;
        Some(sum.saturating_mul(10).saturating_add(digit))
    })?;
    match (whole, fraction) {
        (b'0', fraction) => Some(fraction),
        (b'1', 0) => Some(MAX_QUALITY),
        _ => None,
    }
}

/// The parts of `text` between separators that stand in no quoted-string.
fn split_unquoted(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |byte| {
        let was_escaped = is_escaped;
        is_escaped = is_quoted && !was_escaped && *byte == b'\\';
        if *byte == b'"' && !was_escaped {
            is_quoted = !is_quoted;
        }
        *byte == separator && !is_quoted
    })
}

fn split_once(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == separator)?;
    let (before, rest) = text.split_at_checked(at)?;
    Some((before, rest.get(1..)?))
}

const MAX_QUALITY: u16 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn navigates(lines: &[(&str, &str)]) -> bool {
        let pairs = lines.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        is_navigation(&RequestHead::new(pairs.collect(), false))
    }

    #[test]
    fn browsers_say_so() {
        let (mode, html) = ("sec-fetch-mode", ("accept", "text/html"));
        for (name, lines, expected) in [
            ("navigate", vec![(mode, "navigate")], true),
            ("navigate, whatever it accepts", vec![(mode, "navigate"), ("accept", "*/*")], true),
            ("an iframe", vec![(mode, "navigate"), ("sec-fetch-dest", "iframe")], true),
            ("a prefetch", vec![(mode, "navigate"), ("sec-purpose", "prefetch")], true),
            ("twice", vec![(mode, "navigate"), (mode, "navigate")], true),
            ("fetch", vec![(mode, "cors"), html], false),
            ("same-origin", vec![(mode, "same-origin"), html], false),
            ("no-cors", vec![(mode, "no-cors"), html], false),
            ("a WebSocket", vec![(mode, "websocket"), html], false),
            ("both", vec![(mode, "navigate"), (mode, "cors"), html], false),
            ("both in a line", vec![(mode, "navigate, cors"), html], false),
            ("another case", vec![(mode, "Navigate"), html], false),
            ("empty", vec![(mode, ""), html], false),
            ("bytes", vec![(mode, "\u{ff}"), html], false),
            ("without a mode", vec![("sec-fetch-site", "none"), html], false),
            ("without any", vec![html], true),
            ("another sec", vec![("sec-ch-ua", "x"), html], true),
            ("nothing at all", vec![], false),
        ] {
            assert_eq!(navigates(&lines), expected, "{name}");
        }
    }

    #[test]
    fn accept_may_prefer_html() {
        for (accept, expected) in [
            // Firefox, Safari; Chrome; Internet Explorer.
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,\
                 image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7",
                true,
            ),
            ("text/html, application/xhtml+xml, */*", true),
            // curl and fetch; axios.
            ("*/*", false),
            ("application/json, text/plain, */*", false),
            ("", false),
            ("text/html", true),
            ("TEXT/Html", true),
            ("text/html;charset=utf-8", true),
            ("text/*", true),
            ("text/*, */*", true),
            ("text/plain", false),
            ("application/xhtml+xml", false),
            ("text/html, application/json", false),
            ("application/json, text/html", false),
            ("application/problem+json, text/html", false),
            ("text/html, application/*", true),
            ("text/html;q=0.9, application/*", false),
            ("text/html, application/json;q=0.9", true),
            ("text/html ; q=1.000 , application/json\t;\tq=0.999", true),
            ("text/html;q=0.8, application/json;q=0.9", false),
            ("text/html;Q=0.8, application/json;Q=0.7", true),
            ("text/html;q=0", false),
            ("text/html;q=0.000, */*", false),
            ("text/*;q=0.1, text/html;q=0", false),
            ("text/html;q=0.001", true),
            ("text/html;q=1., application/json;q=0.", true),
            ("text/html;q=0.1, text/html", true),
            ("text/html;q=1.001", false),
            ("text/html;q=2", false),
            ("text/html;q=-1", false),
            ("text/html;q=0.1234", false),
            ("text/html;q=", false),
            ("text/html;q=.5", false),
            ("text/html;q=0.5x", false),
            ("text/html;q =1", true),
            ("text/html;x=\"a,b;q=0\"", true),
            ("text/html;x=\"\\\";q=0\"", true),
            ("text/html;x=\"", true),
            ("x/y;z=\"text/html,text/html", false),
            ("x/y;z=\"a\",text/html", true),
            ("text", false),
            ("html", false),
            ("text/html/x", false),
            (",, ,text/html,", true),
            (";q=1", false),
            ("*/html", false),
        ] {
            assert_eq!(navigates(&[("accept", accept)]), expected, "{accept}");
        }
        assert!(navigates(&[("accept", "application/json;q=0.5"), ("accept", "text/html")]));
        assert!(!navigates(&[("accept", "text/html"), ("accept", "application/json")]));
    }
}
