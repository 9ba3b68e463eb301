//! How the cost grows with the configuration and with what is sent.
//!
//! One thing grows at a time, and the request meets the worst place: the last rule, the last
//! provider, the middle of the cookies.

use serde_json::{Value, json};

use super::BenchError;
use super::callgrind::Callgrind;
use super::contestants::{BASE, Contestant, listener, ours_filter, rules};
use super::site::exchange;
use super::workload::{COOKIE, PATH, Session, Shape, claims, issuer};
use crate::envoy::EnvoyBinary;
use crate::token::Token;

/// What grows, in words, and what is added to a request at each size.
pub(super) struct Growth {
    pub(super) what: &'static str,
    pub(super) sizes: Vec<(usize, f64)>,
}

struct Step {
    what: &'static str,
    size: usize,
    contestant: Contestant,
    session: Session,
    /// More than one if tokens are what grows.
    requests: Vec<Vec<u8>>,
}

pub(super) fn measure(
    binary: &EnvoyBinary,
    session: &Session,
    note: &mut dyn FnMut(&str),
) -> Result<Vec<Growth>, BenchError> {
    let steps = steps(session);
    let base = listener(BASE).header_limits(MAX_HEAD_KIB, 100);
    let listeners = steps.iter().map(|step| &step.contestant.listener).chain([&base]);
    let envoy = Callgrind::start(binary, listeners)?;
    for step in &steps {
        envoy.site.check(&step.contestant, &step.session)?;
        let mut connection = envoy.site.connect(step.contestant.name)?;
        for request in &step.requests {
            exchange(&mut connection, request, 200)?;
        }
    }
    envoy.count(true)?;
    let mut growths: Vec<Growth> = Vec::new();
    let mut last: Option<(&[Vec<u8>], f64)> = None;
    for Step { what, size, contestant, requests, .. } in &steps {
        let requests = sample(requests);
        let base = match &last {
            Some((same, base)) if *same == requests => *base,
            Some(_) | None => envoy.measure(&mut envoy.site.connect(BASE)?, requests)?,
        };
        last = Some((requests, base));
        let mut connection = envoy.site.connect(contestant.name)?;
        let over = envoy.measure(&mut connection, requests)? - base;
        note(&format!("  {size:>6} {what:<36} {over:>9.0} more"));
        match growths.last_mut().filter(|growth| growth.what == *what) {
            Some(growth) => growth.sizes.push((*size, over)),
            None => growths.push(Growth { what, sizes: vec![(*size, over)] }),
        }
    }
    Ok(growths)
}

/// The tokens of a large table that a measurement meets.
fn sample(requests: &[Vec<u8>]) -> &[Vec<u8>] {
    &requests[requests.len().saturating_sub(SAMPLE)..]
}

fn steps(session: &Session) -> Vec<Step> {
    let jwks = session.jwks();
    let mut steps = Vec::new();
    let mut step = |what, (name, size): (&'static str, usize), shape, session: &Session, all| {
        let mut all: Value = all;
        if all.get("rules").is_none() {
            all["rules"] = json!(rules(1));
        }
        let filter = ours_filter("scale", all);
        let listener = listener(name).header_limits(MAX_HEAD_KIB, 100).filter(filter);
        let mut contestant = Contestant::new(name, what, listener);
        contestant.shapes = shape;
        let session = session.clone();
        let requests = vec![contestant.shapes[0].request(PATH, &session.rs256).to_http1()];
        steps.push(Step { what, size, contestant, session, requests });
    };
    for size in [("rules_1", 1), ("rules_10", 10), ("rules_100", 100), ("rules_1000", 1_000)] {
        let all = json!({ "providers": [provider(0, &jwks)], "rules": rules(size.1) });
        step("rules, the last matches", size, PLAIN, session, all);
    }
    for size in [("providers_1", 1), ("providers_8", 8), ("providers_32", 32)] {
        let others = (1..size.1).map(|number| provider(number, &jwks));
        let all: Vec<_> = others.chain([provider(0, &jwks)]).collect();
        step("providers, the last one's token", size, PLAIN, session, json!({ "providers": all }));
    }
    let rich = with_claims(session);
    for size in [("claims_0", 0), ("claims_2", 2), ("claims_10", 10), ("claims_40", 40)] {
        let header =
            |number| json!({ "header": format!("x-claim-{number}"), "claim": claim(number) });
        let mut provider = provider(0, &jwks);
        provider["claim_headers"] = (0..size.1).map(header).collect();
        step("claim headers", size, PLAIN, &rich, json!({ "providers": [provider] }));
    }
    for size in [("cookies_1", 1), ("cookies_8", 8), ("cookies_60", 60)] {
        let all = json!({ "providers": [provider(0, &jwks)] });
        let shape: &[Shape] = match size.1 {
            1 => &[Shape::Large(1)],
            8 => &[Shape::Large(8)],
            _ => &[Shape::Large(60)],
        };
        step("KiB of cookies", size, shape, session, all);
    }
    let (tokens, several) = several_tokens(session);
    for size in [("tokens_1", 1), ("tokens_1000", 1_000), ("tokens_10000", 10_000)] {
        let mut provider = provider(0, &jwks);
        provider["algorithms"] = json!(["ES256"]);
        step("tokens in the cache", size, PLAIN, &several, json!({ "providers": [provider] }));
    }
    for step in steps.iter_mut().filter(|step| step.what == "tokens in the cache") {
        let all = &tokens[tokens.len() - step.size..];
        step.requests =
            all.iter().map(|token| Shape::Plain.request(PATH, token).to_http1()).collect();
    }
    steps
}

/// Number 0 takes the session, the others never see theirs.
fn provider(number: usize, jwks: &Value) -> Value {
    let (issuer, cookie) = match number {
        0 => (issuer(), COOKIE.to_owned()),
        _ => (format!("https://id-{number}.example"), format!("session_{number}")),
    };
    json!({
        "name": format!("provider-{number}"),
        "issuers": [issuer],
        "sources": [
            { "header": { "name": "authorization", "scheme": "Bearer" } },
            { "cookie": { "name": cookie } },
        ],
        "jwks": { "inline": jwks },
    })
}

/// Its token has all claims that any step asks for, so that all tokens have one size.
fn with_claims(session: &Session) -> Session {
    let token = (0..40).fold(Token::new(claims()), |token, number| {
        token.claim(&claim(number), format!("value-{number}"))
    });
    Session { rs256: token.signed_by(&session.rs256_key), ..session.clone() }
}

fn claim(number: usize) -> String {
    format!("claim_{number}")
}

/// Tokens that differ in their user. ES256, because that signs faster.
fn several_tokens(session: &Session) -> (Vec<String>, Session) {
    let token = |number: usize| {
        Token::new(claims())
            .claim("sub", format!("usr-{number:010}"))
            .claim("filling", "x".repeat(200))
            .signed_by(&session.es256_key)
    };
    let tokens: Vec<_> = (0..10_000).map(token).collect();
    let first = tokens.first().cloned().unwrap_or_default();
    (tokens, Session { rs256: first, ..session.clone() })
}

const PLAIN: &[Shape] = &[Shape::Plain];
/// The most that Envoy allows.
const MAX_HEAD_KIB: u32 = 96;
const SAMPLE: usize = 200;
