//! What is found while a configuration is read: errors, warnings and notes, each with its place.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

/// Something that makes a configuration unusable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where: `rules[2].match.path.prefix`; empty for the configuration as a whole.
    pub path: String,
    /// What is wrong, with the offending text.
    pub text: String,
}

/// Something that an operator should know, and that keeps nothing from working.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigWarning {
    /// Where: `rules[2].match.path.prefix`; empty for the configuration as a whole.
    pub path: String,
    /// What to know.
    pub text: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_finding(f, &self.path, &self.text)
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_finding(f, &self.path, &self.text)
    }
}

fn write_finding(f: &mut fmt::Formatter<'_>, path: &str, text: &str) -> fmt::Result {
    match path {
        "" => f.write_str(text),
        path => write!(f, "{path}: {text}"),
    }
}

/// Everything found so far, in order. All of it is told, not only the first.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) errors: RefCell<Vec<ConfigError>>,
    pub(super) warnings: RefCell<Vec<ConfigWarning>>,
    pub(super) notes: RefCell<Vec<String>>,
    /// Those of all places.
    pub(super) paths: RefCell<Vec<String>>,
}

/// A place in the configuration, at which something can be found.
///
/// It owns nothing, so that what holds places has nothing to drop: code for that was 12 kB of the
/// module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// Where its path is among the findings'.
    index: usize,
    findings: &'a Findings,
}

impl<'a> Place<'a> {
    /// The configuration as a whole.
    pub(super) fn root(findings: &'a Findings) -> Self {
        Self::new(String::new(), findings)
    }

    fn new(path: String, findings: &'a Findings) -> Self {
        let mut paths = findings.paths.borrow_mut();
        let index = paths.len();
        paths.push(path);
        Self { index, findings }
    }

    /// The member `name` of the object here.
    pub(super) fn member(&self, name: &str) -> Self {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        let path = self.path();
        let path = if name.is_empty() || !name.bytes().all(plain) {
            format!("{path}[{}]", quoted(name))
        } else if path.is_empty() {
            shortened(name)
        } else {
            format!("{path}.{}", shortened(name))
        };
        Self::new(path, self.findings)
    }

    /// The element `index` of the list here.
    pub(super) fn element(&self, index: usize) -> Self {
        Self::new(format!("{}[{index}]", self.path()), self.findings)
    }

    /// Where this is, for messages about other places.
    pub(super) fn path(&self) -> String {
        self.findings.paths.borrow().get(self.index).cloned().unwrap_or_default()
    }

    /// Finds an error here.
    pub(super) fn error<'t>(&self, text: impl Into<Cow<'t, str>>) {
        self.add_error(text.into());
    }

    #[inline(never)]
    fn add_error(&self, text: Cow<'_, str>) {
        let error = ConfigError { path: self.path(), text: text.into_owned() };
        self.findings.errors.borrow_mut().push(error);
    }

    /// Finds something to warn of.
    pub(super) fn warning<'t>(&self, text: impl Into<Cow<'t, str>>) {
        self.add_warning(text.into());
    }

    #[inline(never)]
    fn add_warning(&self, text: Cow<'_, str>) {
        let warning = ConfigWarning { path: self.path(), text: text.into_owned() };
        self.findings.warnings.borrow_mut().push(warning);
    }

    /// Finds something to tell.
    pub(super) fn note(&self, text: &str) {
        self.findings.notes.borrow_mut().push(format!("{}: {text}", self.path()));
    }
}

/// A text from the configuration in a message: quoted, on one line, of bounded length.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", shortened(text))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// How many characters of a text are shown. A longer line of the log would hide the others.
const MAX_SHOWN: usize = 120;

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_like_the_configuration() {
        let findings = Findings::default();
        let root = Place::root(&findings);
        root.error("is empty");
        let rule = root.member("rules").element(2).member("match");
        rule.member("path").error("a");
        rule.member("x y").error("b");
        rule.member("").error("c");
        root.member("a\nb").warning("d");
        rule.member(&"k".repeat(300)).note("e");
        let errors: Vec<String> =
            findings.errors.borrow().iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "is empty",
                "rules[2].match.path: a",
                "rules[2].match[\"x y\"]: b",
                "rules[2].match[\"\"]: c",
            ]
        );
        assert_eq!(findings.warnings.borrow()[0].to_string(), "[\"a\\nb\"]: d");
        let long = format!("rules[2].match.{}…: e", "k".repeat(MAX_SHOWN));
        assert_eq!(findings.notes.borrow()[0], long);
    }

    #[test]
    fn shown_texts_are_short_and_on_one_line() {
        assert_eq!(quoted("a\n\"b\""), "\"a\\n\\\"b\\\"\"");
        assert_eq!(quoted(&"ä".repeat(121)), format!("\"{}…\"", "ä".repeat(120)));
        assert_eq!(quoted(&"ä".repeat(120)), format!("\"{}\"", "ä".repeat(120)));
    }
}
