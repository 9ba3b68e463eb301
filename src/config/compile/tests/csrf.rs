//! `csrf`: origins and modes.

use serde_json::{Value, json};

use super::*;

#[test]
fn origins_and_modes() {
    let with = |csrf: Value| top(json!({ "csrf": csrf }));
    let form = "must be an origin: scheme://host[:port], without path, query and user info";
    let bad = [
        "null",
        "https://a/",
        "https://a/b",
        "https://a?b",
        "https://a#b",
        "https://u@a",
        "a.example",
        "*",
        "https://a.*.example",
        "",
    ];
    let errors: Vec<_> = bad
        .iter()
        .enumerate()
        .map(|(n, text)| format!("csrf.allowed_origins[{n}]: {text:?} {form}"))
        .collect();
    let errors: Vec<_> = errors.iter().map(String::as_str).collect();
    refuses(&[
        ("origins", with(json!({ "allowed_origins": bad })), &errors),
        (
            "modes",
            with(json!({ "mode": "off", "missing_origin": "report" })),
            &[
                "csrf.mode: \"off\" must be one of enforce, report, insecure_off",
                "csrf.missing_origin: \"report\" must be one of allow, deny",
            ],
        ),
        (
            "an unknown field",
            with(json!({ "origins": [] })),
            &["csrf.origins: unknown field; known here: mode, allowed_origins, missing_origin"],
        ),
    ]);
    let acts = "csrf.mode: pages of other sites may act with a session's cookie";
    warns(&[
        ("nothing", with(json!({})), &[]),
        ("enforce", with(json!({ "mode": "enforce" })), &[]),
        ("report", with(json!({ "mode": "report" })), &[&format!("{acts}: they are only counted")]),
        ("off", with(json!({ "mode": "insecure_off" })), &[&format!("{acts}: nobody looks")]),
    ]);
}
