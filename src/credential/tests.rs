//! The rules of extraction: what a request presents, and whose credential it is. A token here is
//! its issuer's name in a payload that nobody has signed; what verifies is not this module's
//! business.

use serde_json::{Value, json};

use super::*;
use crate::config;
use crate::jwt::test_keys::signing_input;
use crate::policy::Policy;

/// Providers `a`, `b`, ... with these members; each has its name as issuer.
fn policy(providers: &[Value]) -> Policy {
    let whole = providers.iter().zip('a'..).map(|(members, name)| {
        let mut provider = json!({
            "name": name.to_string(), "issuers": [name.to_string()],
            "jwks": { "remote": { "uri": "https://a.example/jwks", "cluster": "a" } },
        });
        for (name, value) in members.as_object().unwrap() {
            provider[name] = value.clone();
        }
        provider
    });
    let configuration = json!({ "providers": whole.collect::<Vec<_>>() }).to_string();
    config::load(configuration.as_bytes()).unwrap().policy
}

fn bearer() -> Value {
    json!({ "header": { "name": "authorization", "scheme": "Bearer" } })
}

fn cookie(name: &str) -> Value {
    json!({ "cookie": { "name": name } })
}

fn sources(sources: &[Value]) -> Value {
    json!({ "sources": sources })
}

/// A token of `issuer`; `id` tells tokens of one issuer apart.
fn token(issuer: &str, id: u8) -> String {
    let payload = json!({ "iss": issuer, "jti": id }).to_string();
    format!("{}.", signing_input(r#"{"alg":"EdDSA"}"#, &payload))
}

fn read<'p>(text: &'p [u8], policy: &Policy) -> Reading<'p> {
    let Ok(token) = UnverifiedToken::decode(text) else { return Reading::Malformed };
    let mut claimants = ProviderSet::default();
    for (index, provider) in policy.providers.iter().enumerate() {
        if provider.claim(&token).is_ok() {
            claimants.insert(ProviderId::new(index).unwrap());
        }
    }
    Reading::Fresh { token: Box::new(token), claimants }
}

/// `a: <token>` for a choice, `a,b: newest` for twins, else the reason; and how often was read.
fn choose(policy: &Policy, lines: &[(&str, &str)]) -> (String, usize) {
    let pairs = lines.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let head = RequestHead::new(pairs.collect(), false);
    let plan = SourcePlan::new(&policy.default, &policy.providers, &policy.cookies.strip);
    let presented = plan.find(&head, |_| None);
    let mut reads = 0;
    let choice = plan.choose(&presented, &policy.providers, |text| {
        reads += 1;
        read(text, policy)
    });
    let name = |id: ProviderId| policy.providers[id.index()].name.to_string();
    let word = match choice {
        Ok(Choice::One(Candidate { owner, reading: Reading::Fresh { token, .. }, .. })) => {
            format!("{}: {}", name(owner), String::from_utf8_lossy(token.text()))
        }
        Ok(Choice::One(_)) => panic!("a credential that can't be read"),
        Ok(Choice::Newest(candidates)) => {
            let owners: Vec<_> = candidates.iter().map(|one| name(one.owner)).collect();
            format!("{}: newest", owners.join(","))
        }
        Err(NoCredential::Absent) => "missing".into(),
        Err(NoCredential::Foreign(reason, _)) => format!("foreign {reason}"),
        Err(NoCredential::Refused(reason, _)) => format!("refused {reason}"),
        Err(NoCredential::LegacySession(owner)) => format!("legacy session of {}", name(owner)),
    };
    (word, reads)
}

/// What is asked, the header lines, and what `choose` says.
type Row<'a> = (&'a str, &'a [(&'a str, String)], &'a str);

fn check(policy: &Policy, rows: &[Row<'_>]) {
    for (name, lines, expected) in rows {
        let lines: Vec<_> = lines.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(choose(policy, &lines).0, *expected, "{name}");
    }
}

fn authorization(value: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {value}"))
}

fn cookies(value: String) -> (&'static str, String) {
    ("cookie", value)
}

#[test]
fn one_provider_with_a_header_and_a_cookie() {
    let policy = policy(&[sources(&[bearer(), cookie("s")])]);
    let (t, u, f, nobodys) = (token("a", 1), token("a", 2), token("z", 1), token("", 1));
    let (is_t, is_u) = (&*format!("a: {t}"), &*format!("a: {u}"));
    let quoted = format!("s=\"{}\"", t.replace('.', "%2e"));
    check(
        &policy,
        &[
            ("nothing", &[], "missing"),
            ("T in the header", &[authorization(&t)], is_t),
            ("T in the cookie", &[cookies(format!("s={t}"))], is_t),
            ("T in both", &[authorization(&t), cookies(format!("s={t}"))], is_t),
            ("T, U", &[authorization(&t), cookies(format!("s={u}"))], is_t),
            ("U, T", &[authorization(&u), cookies(format!("s={t}"))], is_u),
            ("T, garbage", &[authorization(&t), cookies("s=x".into())], is_t),
            ("garbage, T", &[authorization("x"), cookies(format!("s={t}"))], is_t),
            ("F, T", &[authorization(&f), cookies(format!("s={t}"))], is_t),
            ("F", &[authorization(&f)], "foreign issuer_mismatch"),
            ("no issuer", &[authorization(&nobodys)], "foreign issuer_empty"),
            ("garbage in the header", &[authorization("x")], "foreign malformed"),
            ("no token in the header", &[("authorization", "Bearer".into())], "foreign malformed"),
            ("F in the cookie", &[cookies(format!("s={f}"))], "refused issuer_mismatch"),
            ("no issuer in the cookie", &[cookies(format!("s={nobodys}"))], "refused issuer_empty"),
            ("garbage in the cookie", &[cookies("s=x".into())], "refused malformed"),
            ("F, garbage in the cookie", &[authorization(&f), cookies("s=x".into())], {
                "refused malformed"
            }),
            ("another scheme", &[("authorization", "Basic x".into())], "missing"),
            (
                "another scheme, T",
                &[("authorization", "Basic x".into()), cookies(format!("s={t}"))],
                is_t,
            ),
            ("two in one header, T", &[authorization("x,Bearer y"), cookies(format!("s={t}"))], {
                "refused multiple_credentials"
            }),
            ("two header lines", &[authorization(&t), authorization(&t)], {
                "refused multiple_credentials"
            }),
            ("twins of the same bytes", &[cookies(format!("s={t}; s={t}"))], is_t),
            ("twins, one quoted and escaped", &[cookies(format!("s={t}; {quoted}"))], is_t),
            ("twins in two lines", &[cookies(format!("s={t}")), cookies(format!("s={u}"))], {
                "refused duplicate_cookie"
            }),
            ("twins, one garbage", &[cookies(format!("s={t}; s=x"))], "refused duplicate_cookie"),
            ("twins of garbage", &[cookies("s=x; s=y".into())], "refused duplicate_cookie"),
            ("T, twins", &[authorization(&t), cookies(format!("s={t}; s={u}"))], is_t),
            ("F, twins", &[authorization(&f), cookies(format!("s={t}; s={u}"))], {
                "refused duplicate_cookie"
            }),
            ("an empty twin", &[cookies(format!("s=; s; s=\"\"; s={t}"))], is_t),
            ("empty", &[cookies("s=".into())], "missing"),
            ("no equals sign", &[cookies("s".into())], "missing"),
            ("another name", &[cookies(format!("S={t}; sX={t}; __Host-s={t}"))], "missing"),
        ],
    );
}

#[test]
fn a_token_belongs_to_the_first_that_claims_it() {
    let shared = sources(&[bearer(), cookie("s")]);
    let mut also_b = shared.clone();
    also_b["issuers"] = json!(["c", "b"]);
    let policy = policy(&[shared.clone(), also_b, shared]);
    let [a, b, c, z] = ["a", "b", "c", "z"].map(|issuer| token(issuer, 1));
    for (name, lines, expected, reads) in [
        ("first", vec![authorization(&a)], format!("a: {a}"), 1),
        ("second", vec![authorization(&b)], format!("b: {b}"), 1),
        ("claimed by two", vec![authorization(&c)], format!("b: {c}"), 1),
        ("nobody's", vec![authorization(&z)], "foreign issuer_mismatch".into(), 1),
        (
            "the second's header, the first's cookie",
            { vec![authorization(&b), cookies(format!("s={a}"))] },
            format!("a: {a}"),
            2,
        ),
        (
            "the second's twice",
            vec![authorization(&b), cookies(format!("s={c}"))],
            { format!("b: {b}") },
            2,
        ),
        (
            "nobody's header, the second's cookie",
            { vec![authorization(&z), cookies(format!("s={b}"))] },
            format!("b: {b}"),
            2,
        ),
    ] {
        let lines: Vec<_> = lines.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(choose(&policy, &lines), (expected, reads), "{name}");
    }
}

#[test]
fn a_cookie_of_one_provider_is_not_anothers() {
    let policy = policy(&[sources(&[cookie("one")]), sources(&[cookie("two")])]);
    let [a, b] = ["a", "b"].map(|issuer| token(issuer, 1));
    check(
        &policy,
        &[
            ("each its own", &[cookies(format!("two={b}; one={a}"))], &format!("a: {a}")),
            ("the second alone", &[cookies(format!("two={b}"))], &format!("b: {b}")),
            ("exchanged", &[cookies(format!("one={b}"))], "refused issuer_mismatch"),
            ("bad first", &[cookies(format!("one=x; two={b}"))], "refused malformed"),
            ("bad second", &[cookies(format!("one={a}; two=x"))], &format!("a: {a}")),
        ],
    );
}

#[test]
fn conflicts_are_between_tokens_that_belong_to_somebody() {
    let mut strict = sources(&[bearer(), cookie("one")]);
    strict["on_conflict"] = json!("reject");
    let policy = policy(&[strict, sources(&[bearer(), cookie("two")])]);
    let (a, a2, b, z) = (token("a", 1), token("a", 2), token("b", 1), token("z", 1));
    let is_a = &*format!("a: {a}");
    check(
        &policy,
        &[
            ("alone", &[authorization(&a)], is_a),
            ("the same twice", &[authorization(&a), cookies(format!("one={a}"))], is_a),
            ("another of its own", &[authorization(&a), cookies(format!("one={a2}"))], {
                "refused conflicting_credentials"
            }),
            ("another provider's", &[authorization(&a), cookies(format!("two={b}"))], {
                "refused conflicting_credentials"
            }),
            ("chosen is the lenient one's", &[authorization(&b), cookies(format!("one={a}"))], {
                "refused conflicting_credentials"
            }),
            ("foreign", &[authorization(&a), cookies(format!("two={z}"))], is_a),
            ("garbage", &[authorization(&a), cookies("one=x".into())], is_a),
            ("at a source of another", &[authorization(&a), cookies(format!("two={a2}"))], is_a),
            ("among twins", &[authorization(&a), cookies(format!("one=x; one={a2}"))], {
                "refused conflicting_credentials"
            }),
        ],
    );
}

#[test]
fn newest_takes_four_twins() {
    let mut newest = sources(&[bearer(), cookie("s")]);
    newest["duplicate_cookies"] = json!("newest");
    let mut strict = newest.clone();
    strict["on_conflict"] = json!("reject");
    let (t, z) = (token("a", 1), token("z", 1));
    let twins = |count: u8| {
        let pairs: Vec<_> = (0..count).map(|id| format!("s={}", token("a", id))).collect();
        cookies(pairs.join("; "))
    };
    check(
        &policy(&[newest.clone()]),
        &[
            ("two", &[twins(2)], "a,a: newest"),
            ("four", &[twins(4)], "a,a,a,a: newest"),
            ("five", &[twins(5)], "refused duplicate_cookie"),
            ("a thousand", &[twins(255)], "refused duplicate_cookie"),
            ("one foreign, one garbage", &[cookies(format!("s={z}; s=x; s={t}"))], "a: newest"),
            ("none ours", &[cookies(format!("s=x; s={z}"))], "refused malformed"),
            ("a header first", &[authorization(&t), twins(5)], &format!("a: {t}")),
            ("a foreign header", &[authorization(&z), twins(2)], "a,a: newest"),
        ],
    );
    check(
        &policy(&[strict]),
        &[
            ("twins do not conflict with each other", &[twins(2)], "a,a: newest"),
            ("a foreign header does not", &[authorization(&z), twins(2)], "a,a: newest"),
        ],
    );
    // Where providers share a cookie, the one that restricts decides.
    let shared = policy(&[newest, sources(&[cookie("s")])]);
    check(&shared, &[("shared", &[twins(2)], "refused duplicate_cookie")]);
}

#[test]
fn a_plan_knows_what_is_its_own() {
    let policy = policy(&[sources(&[
        json!({ "header": { "name": "X-Token", "scheme": "" } }),
        cookie("s"),
    ])]);
    let plan = SourcePlan::new(&policy.default, &policy.providers, &policy.cookies.strip);
    assert!(plan.is_source_header(b"x-token") && !plan.is_source_header(b"authorization"));
    let known = |line: &str| {
        let head = RequestHead::new(vec![(b"cookie", line.as_bytes())], false);
        plan.find(&head, |_| None).cookies().iter().map(|known| known.role).collect::<Vec<_>>()
    };
    let source = CookieRole::Source { place: 1, is_withheld: false };
    assert_eq!(known("S; s=x; x=s; =s; s; \u{a0}s=x"), [source, source, CookieRole::Stripped]);
    check(
        &policy,
        &[
            ("whole value", &[("x-token", token("a", 1))], &format!("a: {}", token("a", 1))),
            ("a scheme is part of it", &[("x-token", format!("Bearer {}", token("a", 1)))], {
                "foreign malformed"
            }),
            ("empty", &[("x-token", " ".into())], "missing"),
            ("two lines", &[("x-token", token("a", 1)), ("x-token", "x".into())], {
                "refused multiple_credentials"
            }),
        ],
    );
}

#[test]
fn a_token_in_a_header_too_is_the_headers() {
    let a = token("a", 1);
    let (bearer_line, cookie_line) = (format!("Bearer {a}"), format!("s={a}"));
    let other = format!("Bearer {}", token("a", 2));
    let (header, session) = ("header authorization", "cookie s");
    for (name, order, lines, expected) in [
        ("the cookie alone", vec![cookie("s"), bearer()], vec![("cookie", &cookie_line)], session),
        (
            "both, the cookie first",
            vec![cookie("s"), bearer()],
            vec![("cookie", &cookie_line), ("authorization", &bearer_line)],
            header,
        ),
        (
            "both, the header first",
            vec![bearer(), cookie("s")],
            vec![("cookie", &cookie_line), ("authorization", &bearer_line)],
            header,
        ),
        (
            "another in the header",
            vec![cookie("s"), bearer()],
            vec![("cookie", &cookie_line), ("authorization", &other)],
            session,
        ),
    ] {
        let policy = policy(&[sources(&order)]);
        let pairs = lines.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let head = RequestHead::new(pairs.collect(), false);
        let plan = SourcePlan::new(&policy.default, &policy.providers, &policy.cookies.strip);
        let presented = plan.find(&head, |_| None);
        let choice = plan.choose(&presented, &policy.providers, |text| read(text, &policy));
        let Ok(Choice::One(candidate)) = choice else { panic!("{name}") };
        assert_eq!(plan.source_of(&candidate).unwrap().to_string(), expected, "{name}");
    }
}
