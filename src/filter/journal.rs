//! Lines for the log, as values. Never a token, a cookie, a key or a claim's value.

use std::collections::VecDeque;
use std::fmt::Write;
use std::time::Duration;

use crate::bytes;
use crate::reason::Reason;
use crate::time::UnixTime;

/// A line for the host's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How loud.
    pub level: LogLevel,
    /// One line.
    pub text: String,
}

/// How loud a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// What happened.
    Info,
    /// What an operator should look at.
    Warn,
}

/// What is yet to be logged.
#[derive(Debug)]
pub struct Journal {
    logs_denials: bool,
    lines: VecDeque<LogLine>,
    window_began: UnixTime,
    in_window: u32,
    suppressed: u64,
}

/// What a denial's line tells.
#[derive(Clone, Copy, Debug)]
pub struct DenialRecord<'a> {
    /// Why.
    pub reason: Reason,
    /// The rule's name, if it came to one.
    pub rule: Option<&'a str>,
    /// The provider's name, if the token belongs to one.
    pub provider: Option<&'a str>,
    /// The token's `kid`.
    pub key_id: Option<&'a str>,
    /// The request's method.
    pub method: &'a [u8],
    /// The request's path, without its query.
    pub path: &'a [u8],
}

impl Journal {
    /// An empty journal.
    pub fn new(logs_denials: bool) -> Self {
        Self {
            logs_denials,
            lines: VecDeque::new(),
            window_began: UnixTime::default(),
            in_window: 0,
            suppressed: 0,
        }
    }

    /// Notes what an operator should know.
    pub fn note(&mut self, level: LogLevel, text: String) {
        self.lines.push_back(LogLine { level, text });
    }

    /// Notes a denial, unless too many came within a second.
    pub fn note_denial(&mut self, now: UnixTime, record: &DenialRecord<'_>) {
        if !self.logs_denials {
            return;
        }
        self.turn_window(now);
        if self.in_window >= MAX_DENIALS_PER_WINDOW {
            self.suppressed = self.suppressed.saturating_add(1);
            return;
        }
        self.in_window = self.in_window.saturating_add(1);
        let mut text = format!("reason={}", record.reason);
        let named = [
            ("rule", record.rule.map(str::as_bytes)),
            ("provider", record.provider.map(str::as_bytes)),
            ("kid", record.key_id.map(str::as_bytes)),
            ("method", Some(record.method)),
            ("path", Some(record.path)),
        ];
        for (name, value) in named {
            if let Some(value) = value {
                // Writing to a String never fails.
                let _ = write!(text, " {name}={}", escaped(value));
            }
        }
        self.note(LogLevel::Info, text);
    }

    /// Tells how many denials were left out, once their second is over.
    pub fn turn_window(&mut self, now: UnixTime) {
        if now.since(self.window_began) < WINDOW {
            return;
        }
        self.window_began = now;
        self.in_window = 0;
        if self.suppressed > 0 {
            let text = format!("suppressed={}", std::mem::take(&mut self.suppressed));
            self.note(LogLevel::Info, text);
        }
    }

    /// The next line.
    pub fn poll(&mut self) -> Option<LogLine> {
        self.lines.pop_front()
    }
}

/// Cut, and without a byte that could end the line or look like another field.
pub(super) fn escaped(value: &[u8]) -> String {
    bytes::escaped(value, MAX_VALUE_BYTES)
}

const WINDOW: Duration = Duration::from_secs(1);
/// A flood of refusals must not become a flood of lines.
const MAX_DENIALS_PER_WINDOW: u32 = 10;
/// Clients choose these values.
const MAX_VALUE_BYTES: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(path: &[u8]) -> DenialRecord<'_> {
        DenialRecord {
            reason: Reason::Expired,
            rule: Some("admin"),
            provider: None,
            key_id: Some("k 1\n"),
            method: b"GET",
            path,
        }
    }

    fn texts(journal: &mut Journal) -> Vec<String> {
        std::iter::from_fn(|| journal.poll()).map(|line| line.text).collect()
    }

    #[test]
    fn a_line_has_no_bytes_of_its_own_making() {
        let mut journal = Journal::new(true);
        journal.note_denial(
            UnixTime::from_secs(9),
            &record(&[b"/\xff\r\n".as_slice(), &[b'a'; 100]].concat()),
        );
        let path = format!("/\\xff\\r\\n{}…", "a".repeat(96));
        let expected = format!("reason=expired rule=admin kid=k\\x201\\n method=GET path={path}");
        assert_eq!(texts(&mut journal), [expected]);
    }

    #[test]
    fn ten_lines_a_second_then_a_number() {
        let mut journal = Journal::new(true);
        for _ in 0..25 {
            journal.note_denial(UnixTime::from_secs(9), &record(b"/"));
        }
        assert_eq!(texts(&mut journal).len(), 10);
        journal.turn_window(UnixTime::from_millis(9_999));
        assert!(texts(&mut journal).is_empty());
        journal.turn_window(UnixTime::from_secs(10));
        assert_eq!(texts(&mut journal), ["suppressed=15"]);
        journal.turn_window(UnixTime::from_secs(11));
        assert!(texts(&mut journal).is_empty());
        journal.note_denial(UnixTime::from_secs(11), &record(b"/"));
        assert_eq!(texts(&mut journal).len(), 1);
    }

    #[test]
    fn denials_are_logged_only_if_wanted() {
        let mut journal = Journal::new(false);
        journal.note_denial(UnixTime::from_secs(9), &record(b"/"));
        assert!(texts(&mut journal).is_empty());
    }
}
