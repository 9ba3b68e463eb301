//! What a configuration comes to, for somebody who has to know at once: whose sessions count, what
//! is asked of whom, and what is asked of everybody else.

use std::fmt::Write;

use serde_json::Value;
use session_token_filter::extractor::Source;
use session_token_filter::policy::{Access, Forward, Mode, Policy, Rule};
use session_token_filter::provider::{Issuers, Provider};

use crate::clock::duration_text;
use crate::finding::printable;
use crate::plugin::Config;

/// The `match` of each rule in words, by the rule's name.
pub(crate) type Matches = Vec<(String, String)>;

/// What the rules of a configuration match, as it is written.
pub(crate) fn rules(config: Config<'_>) -> Matches {
    let json: Value = serde_json::from_slice(&config.bytes()).unwrap_or_default();
    let rules = json.get("rules").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let named = rules.iter().enumerate().map(|(index, rule)| {
        let name = rule.get("name").and_then(Value::as_str);
        let name = name.map_or_else(|| format!("rules[{index}]"), str::to_owned);
        (name, match_text(rule.get("match").unwrap_or(&Value::Null)))
    });
    named.collect()
}

/// What a rule matches, in words.
pub(crate) fn match_of<'m>(rule: &Rule, matches: &'m Matches) -> &'m str {
    let found = matches.iter().find(|(name, _)| **name == *rule.name);
    // The configuration does not have it: the preset made it.
    found.map_or("the auth server's own routes, see the note", |(_, text)| text)
}

/// The summary, each line indented.
pub(crate) fn of(policy: &Policy, matches: &Matches) -> String {
    let mut text = String::new();
    for provider in &policy.providers {
        write_provider(&mut text, provider);
    }
    let mut rows: Vec<[String; 4]> = Vec::new();
    for (index, rule) in policy.rules.iter().enumerate() {
        let number = index.saturating_add(1);
        rows.push(row(&format!("{number}. {}", rule.name), match_of(rule, matches), rule, policy));
    }
    rows.push(row("default", "everything else", &policy.default, policy));
    // Writing to a String never fails.
    let _ = writeln!(text, "  rules, the first that matches decides:");
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths = [width(0), width(1), width(2)];
    for [name, what, access, rest] in &rows {
        let [first, second, third] = widths;
        let line = format!("    {name:first$}  {what:second$}  {access:third$}  {rest}");
        let _ = writeln!(text, "{}", printable(line.trim_end()));
    }
    text
}

fn write_provider(text: &mut String, provider: &Provider) {
    let mut lines = vec![("issuers", issuers(&provider.issuers))];
    if !provider.audiences.is_empty() {
        lines.push(("audiences", provider.audiences.join(", ")));
    }
    let algorithms: Vec<_> = provider.algorithms.iter().map(|it| it.name()).collect();
    lines.push(("algorithms", algorithms.join(", ")));
    if let Some(limit) = provider.max_lifetime {
        lines.push(("lifetime", format!("at most {}", duration_text(limit))));
    }
    lines.push(("found in", sources(provider)));
    if let Some(inline) = &provider.keys.inline {
        lines.push(("keys", format!("{} in the configuration", inline.len())));
    }
    if let Some(remote) = &provider.keys.remote {
        let from = format!(
            "{}://{}{} through cluster {}; anew after {}, kept {} while fetches fail",
            remote.scheme,
            remote.authority,
            remote.path,
            remote.cluster,
            duration_text(remote.refresh),
            duration_text(remote.stale_if_error)
        );
        lines.push(("keys", from));
    }
    let headers: Vec<_> = provider.claim_headers.iter().map(|it| it.name.as_str()).collect();
    if !headers.is_empty() {
        lines.push(("headers", headers.join(", ")));
    }
    let _ = writeln!(text, "  provider {}", provider.name);
    for (name, value) in lines {
        let _ = writeln!(text, "    {name:10}  {}", printable(&value));
    }
}

fn issuers(issuers: &Issuers) -> String {
    match issuers {
        Issuers::InsecureAny => "any (insecure)".to_owned(),
        Issuers::OneOf(names) => names.join(", "),
    }
}

fn sources(provider: &Provider) -> String {
    let source = |source: &Source| source.to_string();
    provider.sources.iter().map(source).collect::<Vec<_>>().join(", then ")
}

fn row(name: &str, what: &str, rule: &Rule, policy: &Policy) -> [String; 4] {
    let access = access_text(rule.access);
    let mut rest = Vec::new();
    match rule.access {
        Access::Required | Access::Optional => {
            if rule.providers.len() < policy.providers.len() {
                let ids = rule.providers.iter();
                let names = ids.filter_map(|id| policy.providers.get(id.index()));
                let names: Vec<_> = names.map(|provider| &*provider.name).collect();
                rest.push(format!("of {}", names.join(", ")));
            }
            if let Some(age) = &rule.demands.max_auth_age {
                rest.push(format!("logged in within {}", duration_text(age.limit)));
            }
            if rule.demands.require.is_some() {
                rest.push("with claims".to_owned());
            }
            match rule.forward {
                Forward::Bearer => {}
                Forward::VerifyOnly => rest.push("forward: verify_only".to_owned()),
                Forward::Strip => rest.push("forward: strip".to_owned()),
            }
        }
        Access::Public | Access::Denied => {}
    }
    match rule.mode {
        Mode::Enforce => {}
        Mode::Report => rest.push("REPORT ONLY".to_owned()),
    }
    [name.to_owned(), what.to_owned(), access.to_owned(), rest.join("; ")]
}

/// As the configuration writes it.
pub(crate) fn access_text(access: Access) -> &'static str {
    match access {
        Access::Required => "required",
        Access::Optional => "optional",
        Access::Public => "public",
        Access::Denied => "denied",
    }
}

/// `GET, POST a.example /admin and below`
fn match_text(matches: &Value) -> String {
    let list = |name: &str| {
        let texts = matches.get(name).and_then(Value::as_array)?;
        Some(texts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "))
    };
    let path = matches.get("path").and_then(Value::as_object).map(|path| {
        let shape = |name: &str| path.get(name).and_then(Value::as_str);
        let strict = match path.get("strict") {
            Some(Value::Bool(true)) => " (strict)",
            Some(Value::Bool(false)) => " (not strict)",
            Some(_) | None => "",
        };
        let text = match (shape("exact"), shape("prefix"), shape("suffix"), shape("template")) {
            (Some(text), ..) => text.to_owned(),
            (_, Some("/"), ..) => "every path".to_owned(),
            (_, Some(text), ..) => format!("{text} and below"),
            (_, _, Some(text), _) => format!("*{text}"),
            (.., Some(text)) => text.to_owned(),
            (None, None, None, None) => String::new(),
        };
        format!("{text}{strict}")
    });
    let parts: Vec<_> = [list("methods"), list("hosts"), path].into_iter().flatten().collect();
    if parts.is_empty() { "everything".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn matches_are_told_in_words() {
        for (json, text) in [
            (json!(null), "everything"),
            (json!({"methods": ["GET", "PUT"]}), "GET, PUT"),
            (json!({"hosts": ["a.example"], "path": {"exact": "/x"}}), "a.example /x"),
            (json!({"path": {"prefix": "/x"}}), "/x and below"),
            (json!({"path": {"prefix": "/"}}), "every path"),
            (json!({"path": {"suffix": ".css", "strict": true}}), "*.css (strict)"),
            (json!({"path": {"template": "/x/{id}"}}), "/x/{id}"),
        ] {
            assert_eq!(match_text(&json), text);
        }
    }
}
