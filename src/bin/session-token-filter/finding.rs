//! What is found in a file: errors, warnings and notes, each with its place.

use std::fmt;

use crate::yaml::{Node, Spot, member_path};

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// The filter would not do what the file says, or not be there at all.
    Error,
    /// What an operator should look at.
    Warning,
    /// What is good to know.
    Note,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// Something found.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    pub(crate) spot: Spot,
    /// `spec.url`; empty for the whole.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { level, spot, path, text } = self;
        if *spot == Spot::default() {
            write!(f, "{level}: ")?;
        } else {
            write!(f, "{spot}: {level}: ")?;
        }
        if path.is_empty() { f.write_str(text) } else { write!(f, "{path}: {text}") }
    }
}

/// Everything found, in order.
#[derive(Debug, Default)]
pub(crate) struct Findings(pub(crate) Vec<Finding>);

impl Findings {
    pub(crate) fn error(&mut self, spot: Spot, path: &str, text: impl Into<String>) {
        self.add(Level::Error, spot, path, text);
    }

    pub(crate) fn warning(&mut self, spot: Spot, path: &str, text: impl Into<String>) {
        self.add(Level::Warning, spot, path, text);
    }

    pub(crate) fn note(&mut self, spot: Spot, path: &str, text: impl Into<String>) {
        self.add(Level::Note, spot, path, text);
    }

    fn add(&mut self, level: Level, spot: Spot, path: &str, text: impl Into<String>) {
        self.0.push(Finding { level, spot, path: path.to_owned(), text: text.into() });
    }

    pub(crate) fn count(&self, level: Level) -> usize {
        self.0.iter().filter(|finding| finding.level == level).count()
    }
}

/// A value in a manifest, with its path.
#[derive(Clone, Debug)]
pub(crate) struct At<'n> {
    pub(crate) node: &'n Node,
    pub(crate) path: String,
    /// Of its name, if it has one.
    pub(crate) spot: Spot,
}

impl<'n> At<'n> {
    /// A whole document.
    pub(crate) fn root(node: &'n Node) -> Self {
        Self { node, path: String::new(), spot: node.spot }
    }

    /// The member `name`.
    pub(crate) fn get(&self, name: &str) -> Option<Self> {
        let member = self.node.member(name)?;
        Some(Self { node: &member.value, path: member_path(&self.path, name), spot: member.spot })
    }

    /// The first of these members that is there: protobuf's JSON knows two spellings.
    pub(crate) fn get_any(&self, names: [&str; 2]) -> Option<Self> {
        names.iter().find_map(|name| self.get(name))
    }

    /// All members.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&'n str, Self)> + use<'n> {
        let path = self.path.clone();
        self.node.members().iter().map(move |member| {
            let path = member_path(&path, &member.name);
            (member.name.as_str(), Self { node: &member.value, path, spot: member.spot })
        })
    }

    /// All elements.
    pub(crate) fn elements(&self) -> impl Iterator<Item = Self> + use<'n> {
        let path = self.path.clone();
        self.node.elements().iter().enumerate().map(move |(index, node)| {
            let path = format!("{path}[{index}]");
            Self { node, path, spot: node.spot }
        })
    }

    pub(crate) fn text(&self) -> Option<&'n str> {
        self.node.text()
    }

    /// Finds an error here.
    pub(crate) fn error(&self, findings: &mut Findings, text: impl Into<String>) {
        findings.error(self.spot, &self.path, text);
    }

    /// Finds something to warn of.
    pub(crate) fn warning(&self, findings: &mut Findings, text: impl Into<String>) {
        findings.warning(self.spot, &self.path, text);
    }

    /// Refuses members that are not `known`, unless they are nobody's business here.
    pub(crate) fn refuse_unknown(&self, known: &[&str], findings: &mut Findings) {
        for (name, member) in self.members() {
            if !known.contains(&name) {
                let text = match nearest(name, known) {
                    Some(near) => format!("unknown field; did you mean `{near}`?"),
                    None => format!("unknown field; known here: {}", known.join(", ")),
                };
                member.error(findings, text);
            }
        }
    }
}

/// A text on one line, without what a terminal or a log may take for more than text.
pub(crate) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for letter in text.chars() {
        // Beside control characters, those that turn the direction of writing around.
        let is_plain = !letter.is_control()
            && !matches!(letter, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if is_plain {
            printable.push(letter);
        } else {
            printable.extend(letter.escape_default());
        }
    }
    printable
}

/// The candidate that `name` is most likely a misspelling of, if one is near enough.
pub(crate) fn nearest<'c>(name: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let distance = |candidate: &str| {
        strsim::osa_distance(&name.to_ascii_lowercase(), &candidate.to_ascii_lowercase())
    };
    let allowed = name.len().div_ceil(4).min(3);
    let near = candidates.iter().map(|candidate| (distance(candidate), *candidate));
    near.filter(|(distance, _)| *distance <= allowed).min().map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_lines() {
        for (text, expected) in [
            ("plain, ä, …", "plain, ä, …"),
            ("a\n::error::b", "a\\n::error::b"),
            ("\u{1b}[2Ja\u{9b}", "\\u{1b}[2Ja\\u{9b}"),
            ("a\u{202e}b", "a\\u{202e}b"),
        ] {
            assert_eq!(printable(text), expected);
        }
    }

    #[test]
    fn misspelt_names_find_their_own() {
        let known = ["pluginConfig", "pluginName", "url"];
        for (name, expected) in [
            ("pluginconfig", Some("pluginConfig")),
            ("plugin_config", Some("pluginConfig")),
            ("ulr", Some("url")),
            ("zzz", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, &known), expected, "{name}");
        }
    }
}
