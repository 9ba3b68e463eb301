//! What the README says of fields and reasons, which tests hold against the code: it is written
//! once, for people, editors and this program alike.

/// The rows of all tables whose first column is called `first`, as cells.
pub(crate) fn rows(first: &str) -> Vec<Vec<&'static str>> {
    let mut rows = Vec::new();
    let mut inside = false;
    for line in README.lines() {
        let Some(line) = line.strip_prefix('|') else {
            inside = false;
            continue;
        };
        let line = line.trim_end().trim_end_matches('|');
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let name = cells.first().copied().unwrap_or_default();
        if name == first {
            inside = true;
        } else if inside && !name.starts_with("---") {
            rows.push(cells);
        }
    }
    rows
}

/// The row about `` `name` `` in a table whose first column is called `first`.
pub(crate) fn row(first: &str, name: &str) -> Option<Vec<&'static str>> {
    let quoted = format!("`{name}`");
    rows(first).into_iter().find(|cells| cells.first().is_some_and(|cell| *cell == quoted))
}

/// A cell without the marks of a link: `[access log](#log)` is `access log`.
pub(crate) fn without_links(cell: &str) -> String {
    let mut text = String::new();
    let mut rest = cell;
    while let Some((before, link)) = rest.split_once('[') {
        let parts = link.split_once("](").and_then(|(label, rest)| {
            let (_, rest) = rest.split_once(')')?;
            (!label.contains(']')).then_some((label, rest))
        });
        text.push_str(before);
        match parts {
            Some((label, after)) => {
                text.push_str(label);
                rest = after;
            }
            None => {
                text.push('[');
                rest = link;
            }
        }
    }
    text.push_str(rest);
    text
}

const README: &str = include_str!("../../../README.md");

#[cfg(test)]
mod tests {
    use session_token_filter::reason::Reason;

    use super::*;

    #[test]
    fn every_reason_has_a_row() {
        for reason in Reason::ALL {
            assert!(row("reason", reason.word()).is_some_and(|cells| cells.len() == 4), "{reason}");
        }
        assert_eq!(row("reason", "nothing"), None);
    }

    #[test]
    fn links_become_their_words() {
        for (cell, text) in [
            ("a [b c](#d) e", "a b c e"),
            ("`[]` and [x](https://y/) [z]", "`[]` and x [z]"),
            ("[`[JWT]`]", "[`[JWT]`]"),
            ("plain", "plain"),
        ] {
            assert_eq!(without_links(cell), text);
        }
    }
}
