//! Requests with any headers, and what a backend gets of them: the edits are applied to a model of
//! Envoy's header map, and the result is looked at with eyes that know nothing of the filter's.

use std::rc::Rc;

use arbitrary::Arbitrary;
use serde_json::json;
use session_token_filter::config;
use session_token_filter::cookie::CookieName;
use session_token_filter::denial::Denial;
use session_token_filter::edits::HeaderEdit;
use session_token_filter::filter::waiting::StreamId;
use session_token_filter::filter::{Filter, Verdict};
use session_token_filter::policy::Policy;
use session_token_filter::reason::Reason;
use session_token_filter::request::RequestHead;

use crate::keys::ChecksumVerifier;
use crate::model::KeySet;
use crate::pages::{FRIEND, Page, may_send_cookie};
use crate::tokens::{ISSUERS, START, TokenSpec};

/// One request under one of a few configurations.
#[derive(Debug, Arbitrary)]
pub struct Input {
    policy: PolicyKind,
    method: Method,
    path: Vec<PathPiece>,
    authority: Authority,
    has_body: bool,
    lines: Vec<Line>,
    // Last, so that what was found before it came is still what it was.
    page: Page,
}

/// What the operator wants of backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Arbitrary)]
enum PolicyKind {
    Bearer,
    VerifyOnly,
    Strip,
    /// With public rules and foreign bearers let through: only claim headers are looked at.
    Open,
}

#[derive(Clone, Copy, Debug, Arbitrary)]
enum Method {
    Get,
    Post,
    Options,
    Trace,
}

#[derive(Debug, Arbitrary)]
enum PathPiece {
    Known(u8),
    Raw(Vec<u8>),
}

#[derive(Debug, Arbitrary)]
enum Authority {
    Good,
    Absent,
    Raw(Vec<u8>),
}

#[derive(Debug, Arbitrary)]
struct Line {
    name: Name,
    value: Vec<Piece>,
}

#[derive(Debug, Arbitrary)]
enum Name {
    Known(u8),
    Raw(Vec<u8>),
}

#[derive(Debug, Arbitrary)]
enum Piece {
    Token(TokenSpec),
    /// A token as a whole, as it should stand in a header.
    Bearer(TokenSpec),
    /// A whole cookie.
    Cookie(u8, TokenSpec),
    Known(u8),
    Raw(Vec<u8>),
}

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// What became of a request: the reason, or what a backend gets and by which token.
type Outcome = Result<(Pairs, Option<Vec<u8>>), Reason>;

impl Input {
    /// Decides the request twice, the second time with what was remembered of the first.
    ///
    /// # Panics
    /// If the filter does what it must never do.
    pub fn run(self) {
        thread_local! {
            static POLICIES: [[Rc<Policy>; 2]; 4] =
                [PolicyKind::Bearer, PolicyKind::VerifyOnly, PolicyKind::Strip, PolicyKind::Open]
                    .map(|kind| [false, true].map(|only_browsers| kind.load(only_browsers)));
        }
        let policy = POLICIES.with(|all| {
            let both = match self.policy {
                PolicyKind::Bearer => &all[0],
                PolicyKind::VerifyOnly => &all[1],
                PolicyKind::Strip => &all[2],
                PolicyKind::Open => &all[3],
            };
            Rc::clone(&both[usize::from(self.page.only_browsers)])
        });
        let mut filter = Filter::new(policy, 1);
        let pairs = self.pairs();
        let first = self.decide(&mut filter, &pairs);
        match &first {
            Ok((after, token)) => self.check(&pairs, after, token.as_deref()),
            Err(Reason::CrossSite) => assert!(
                !may_send_cookie(&pairs, self.page.only_browsers),
                "no page of another site: {}",
                shown(&pairs)
            ),
            Err(_) => {}
        }
        let second = self.decide(&mut filter, &pairs);
        assert_eq!(first, second, "a request is decided differently the second time");
    }

    fn decide(&self, filter: &mut Filter, pairs: &Pairs) -> Outcome {
        let slices = pairs.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
        let head = RequestHead::new(slices.collect(), self.has_body);
        match filter.on_request(&START, StreamId(1), &head, &ChecksumVerifier::default()) {
            Verdict::Continue(edits) => {
                let mut after = pairs.clone();
                edits.for_each(|edit| apply(&mut after, edit));
                Ok((after, edits.claims.as_ref().map(|token| token.text().to_vec())))
            }
            Verdict::Deny(denial) => {
                check_denial(&denial);
                Err(denial.reason)
            }
            Verdict::Wait => panic!("waits, though all keys are inline"),
        }
    }

    fn check(&self, before: &Pairs, after: &Pairs, token: Option<&[u8]>) {
        if let Some(token) = token {
            let good = self.tokens().find(|spec| *spec.text() == *token);
            let good = good.expect("what is accepted was presented");
            let keys = KeySet::INLINE.names(good.key_id(), good.issuer() == VENDOR);
            assert!(
                good.is_signed() && good.is_timely(START) && keys == Some(good.material()),
                "accepted, which it must not be: {good:?}"
            );
            assert!([VENDOR, FIXED].contains(&good.issuer()), "nobody's token: {good:?}");
            assert!(
                stands_in_header(before, token) || may_send_cookie(before, self.page.only_browsers),
                "a page of another site sent the cookie: {}",
                shown(before)
            );
        }
        for (name, value) in after.iter().filter(|(name, _)| folded(name) == b"x-user-id") {
            assert!(
                token.is_some() && name == b"x-user-id" && value == b"user",
                "a claim header that no token makes: {}",
                value.escape_ascii()
            );
        }
        let untouched = |pairs: &Pairs| {
            // Backends may take `_` and `.` for `-`.
            let touched = |name: &[u8]| {
                let name = folded(name);
                TOUCHED.contains(&&*name) || name == b"x-user-id"
            };
            pairs.iter().filter(|(name, _)| !touched(name)).cloned().collect::<Vec<_>>()
        };
        assert!(untouched(before) == untouched(after), "other headers stay as they are");
        assert!(other_cookies(before) == other_cookies(after), "other cookies stay");
        if self.policy == PolicyKind::Open {
            return;
        }
        let may_stay = |text: &[u8]| {
            self.policy == PolicyKind::VerifyOnly && token.is_some_and(|token| token == text)
        };
        for (name, value) in after {
            let shown = value.escape_ascii();
            match name.as_slice() {
                b"authorization" => {
                    let ours = token.is_some_and(|token| {
                        let bearer = [b"Bearer ", token].concat();
                        self.policy == PolicyKind::Bearer && *value == bearer
                    });
                    let stays = bearer_token(value).is_some_and(may_stay);
                    assert!(ours || stays || !mentions_bearer(value), "goes on: {shown}");
                }
                b"x-session" => {
                    let value = trimmed(value);
                    assert!(value.is_empty() || may_stay(value), "goes on: {shown}");
                }
                b"cookie" => {
                    for (cookie, value) in cookies(value) {
                        let ours = OUR_COOKIES.contains(&cookie);
                        assert!(!ours || may_stay(&bare(value)), "a cookie goes on: {shown}");
                        assert!(ours || !resembles_ours(cookie), "a lookalike goes on: {shown}");
                    }
                }
                _ => assert!(folded(name) != b"x-session", "an alias goes on: {shown}"),
            }
        }
        if self.policy == PolicyKind::Bearer && token.is_some() {
            let lines = after.iter().filter(|(name, _)| name == b"authorization").count();
            assert_eq!(lines, 1, "one Authorization line with the verified token");
        }
    }

    fn tokens(&self) -> impl Iterator<Item = TokenSpec> + '_ {
        self.lines.iter().flat_map(|line| &line.value).filter_map(|piece| match piece {
            Piece::Token(token) | Piece::Bearer(token) | Piece::Cookie(_, token) => Some(*token),
            Piece::Known(_) | Piece::Raw(_) => None,
        })
    }

    fn pairs(&self) -> Pairs {
        let method: &[u8] = match self.method {
            Method::Get => b"GET",
            Method::Post => b"POST",
            Method::Options => b"OPTIONS",
            Method::Trace => b"TRACE",
        };
        let path = self.path.iter().map(|piece| match piece {
            PathPiece::Known(which) => chosen(PATHS, *which),
            PathPiece::Raw(bytes) => bytes,
        });
        let path = path.collect::<Vec<_>>().concat();
        let mut pairs = vec![
            (b":method".to_vec(), method.to_vec()),
            (b":path".to_vec(), if path.is_empty() { b"/".to_vec() } else { path }),
        ];
        match &self.authority {
            Authority::Good => pairs.push((b":authority".to_vec(), b"www.example".to_vec())),
            Authority::Absent => {}
            Authority::Raw(bytes) => pairs.push((b":authority".to_vec(), bytes.clone())),
        }
        pairs.extend(self.lines.iter().map(|line| (line.name.bytes(), line.value())));
        pairs.extend(self.page.lines());
        pairs
    }
}

impl PolicyKind {
    fn load(self, only_browsers: bool) -> Rc<Policy> {
        let mut configuration = self.configuration();
        if only_browsers {
            configuration["csrf"] = json!({"missing_origin": "deny", "allowed_origins": [FRIEND]});
        }
        let text = configuration.to_string();
        Rc::new(config::load(text.as_bytes()).expect("a good configuration").policy)
    }

    fn configuration(self) -> serde_json::Value {
        let forward = match self {
            Self::Bearer | Self::Open => "bearer",
            Self::VerifyOnly => "verify_only",
            Self::Strip => "strip",
        };
        let mut rules = vec![
            json!({"match": {"path": {"prefix": "/optional"}}, "access": "optional"}),
            json!({"match": {"path": {"template": "/denied/{x}"}, "methods": ["POST"]},
                   "access": "denied"}),
        ];
        if self == Self::Open {
            rules.insert(0, json!({"match": {"path": {"prefix": "/public"}}, "access": "public"}));
        }
        let claims = json!([{"header": "X-User-Id", "claim": "sub"}]);
        json!({
            "providers": [
                {"name": "fixed", "issuers": [ISSUERS[FIXED]], "algorithms": ["EdDSA"],
                 "sources": [{"header": {"name": "authorization", "scheme": "Bearer"}},
                             {"header": {"name": "x-session", "scheme": ""}},
                             {"cookie": {"name": "fixed"}}],
                 "duplicate_cookies": "newest", "claim_headers": claims,
                 "jwks": {"inline": KeySet::INLINE.document(FIXED)}},
                {"name": "vendor", "preset": {"corbado": {"project_id": "pro-1"}},
                 "claim_headers": claims,
                 "jwks": {"inline": KeySet::INLINE.document(VENDOR)}},
            ],
            "rules": rules,
            "cache": {"entries": 20, "bytes": "64KiB"},
            "responses": {"login_url": "/login?to={url}", "return_hosts": ["www.example"],
                          "cors_origins": ["https://www.example"], "realm": "fuzz"},
            "default": {"forward": forward, "insecure_forward_foreign": self == Self::Open},
        })
    }
}

impl Name {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Known(which) => chosen(NAMES, *which).to_vec(),
            // Envoy's header map knows no upper case.
            Self::Raw(bytes) => bytes.to_ascii_lowercase(),
        }
    }
}

impl Line {
    fn value(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for piece in &self.value {
            match piece {
                Piece::Token(token) => bytes.extend_from_slice(&token.text()),
                Piece::Bearer(token) => {
                    bytes.extend_from_slice(b"Bearer ");
                    bytes.extend_from_slice(&token.text());
                }
                Piece::Cookie(which, token) => {
                    bytes.extend_from_slice(chosen(&OUR_COOKIES, *which));
                    bytes.push(b'=');
                    bytes.extend_from_slice(&token.text());
                    bytes.push(b';');
                }
                Piece::Known(which) => bytes.extend_from_slice(chosen(PIECES, *which)),
                Piece::Raw(raw) => bytes.extend_from_slice(raw),
            }
        }
        bytes
    }
}

/// No request makes an answer that Envoy could not send, or a redirect to anywhere else.
fn check_denial(denial: &Denial) {
    for (name, value) in &denial.headers {
        let is_sound = value.iter().all(|byte| (0x20..0x7f).contains(byte));
        assert!(is_sound, "{name}: {}", value.escape_ascii());
    }
    let mut locations = denial.headers.iter().filter(|(name, _)| *name == "location");
    let Some((_, location)) = locations.next() else {
        assert!((400..=503).contains(&denial.status), "{}", denial.status);
        return;
    };
    assert!([302, 303].contains(&denial.status) && locations.next().is_none());
    let url = location.strip_prefix(b"/login?to=").expect("the login page");
    let host = url.to_ascii_lowercase();
    assert!(url.is_empty() || host.starts_with(b"https%3a%2f%2fwww.example"));
    let is_inert = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%".contains(byte);
    assert!(url.iter().all(is_inert), "{}", location.escape_ascii());
}

/// Envoy's header map: removing takes all lines of a name, setting leaves one.
fn apply(pairs: &mut Pairs, edit: HeaderEdit<'_>) {
    match edit {
        HeaderEdit::Remove(name) => pairs.retain(|(other, _)| other != name),
        HeaderEdit::Set(name, value) => {
            pairs.retain(|(other, _)| other != name);
            pairs.push((name.to_vec(), value.to_vec()));
        }
        HeaderEdit::Add(name, value) => pairs.push((name.to_vec(), value.to_vec())),
    }
}

fn shown(pairs: &Pairs) -> String {
    let line = |(name, value): &(Vec<u8>, Vec<u8>)| {
        format!("{}: {}", name.escape_ascii(), value.escape_ascii())
    };
    pairs.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Whether the token came in a source that only the site's own script or no browser writes.
fn stands_in_header(pairs: &Pairs, token: &[u8]) -> bool {
    let mut sources = pairs
        .iter()
        .filter(|(name, _)| [b"authorization".as_slice(), b"x-session"].contains(&name.as_slice()));
    sources.any(|(_, value)| value.windows(token.len()).any(|part| part == token))
}

/// Whether a server could find a bearer in the value, Envoy's joined lines included.
fn mentions_bearer(value: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|part| {
        let part = trimmed(part);
        let word = part.split(|byte| !byte.is_ascii_alphanumeric()).next().unwrap_or_default();
        // `Bearer-x` is another scheme.
        let next = part.get(word.len());
        word.eq_ignore_ascii_case(b"bearer") && next.is_none_or(|next| b" \t:=".contains(next))
    })
}

fn bearer_token(value: &[u8]) -> Option<&[u8]> {
    let value = trimmed(value);
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| trimmed(rest))
}

fn cookies(line: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    line.split(|byte| *byte == b';').map(|segment| {
        let mut parts = segment.splitn(2, |byte| *byte == b'=');
        let mut part = || trimmed(parts.next().unwrap_or_default());
        (part(), part())
    })
}

/// Whether a server may take the name for one of ours.
fn resembles_ours(name: &[u8]) -> bool {
    OUR_COOKIES.iter().any(|own| {
        let own = std::str::from_utf8(own).expect("a name in ASCII");
        own.parse::<CookieName>().expect("a cookie's name").resembles(name)
    })
}

/// All cookies that are neither ours nor like ours, in order.
fn other_cookies(pairs: &Pairs) -> Vec<(Vec<u8>, Vec<u8>)> {
    let lines = pairs.iter().filter(|(name, _)| name == b"cookie");
    let all = lines.flat_map(|(_, line)| cookies(line));
    all.filter(|(name, value)| !resembles_ours(name) && !(name.is_empty() && value.is_empty()))
        .map(|(name, value)| (name.to_vec(), value.to_vec()))
        .collect()
}

/// A cookie's value without quotes and escapes.
fn bare(value: &[u8]) -> Vec<u8> {
    let quoted = value.len() >= 2 && value.starts_with(b"\"") && value.ends_with(b"\"");
    let value = if quoted { &value[1..value.len() - 1] } else { value };
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < value.len() {
        let digits = value.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let escape = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match (value[at], escape) {
            (b'%', Some(digits)) => {
                bytes.push(u8::from_str_radix(digits, 16).expect("hexadecimal digits"));
                at += 3;
            }
            (byte, _) => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
    bytes
}

fn folded(name: &[u8]) -> Vec<u8> {
    name.iter()
        .map(|byte| if b"_.".contains(byte) { b'-' } else { byte.to_ascii_lowercase() })
        .collect()
}

fn trimmed(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

fn chosen<'a>(from: &[&'a [u8]], which: u8) -> &'a [u8] {
    from[usize::from(which) % from.len()]
}

/// The places in `ISSUERS`.
const VENDOR: usize = 2;
const FIXED: usize = 3;

const OUR_COOKIES: [&[u8]; 5] = [
    b"fixed",
    b"cbo_session_token",
    b"cbo_short_session",
    b"cbo_refresh_token",
    b"cbo_long_session",
];

const TOUCHED: [&[u8]; 8] = [
    b"authorization",
    b"cookie",
    b"x-session",
    b"x-original-url",
    b"x-rewrite-url",
    b"x-http-method-override",
    b"x-http-method",
    b"x-method-override",
];

const NAMES: &[&[u8]] = &[
    b"authorization",
    b"cookie",
    b"x-session",
    b"x-user-id",
    b"x_user.id",
    b"origin",
    b"access-control-request-method",
    b"content-type",
    b"x-http-method-override",
    b"x-original-url",
    b"cookie2",
    b":path",
    b"sec-fetch-mode",
    b"accept",
    b"sec-fetch-site",
    b"upgrade",
    b":scheme",
    b"x_http.method",
];

const PATHS: &[&[u8]] = &[
    b"/",
    b"/public",
    b"/optional",
    b"/denied/x",
    b"?",
    b"%2e",
    b"%2F",
    b"..",
    b";",
    b"%41",
    b"#",
    b"%25",
];

const PIECES: &[&[u8]] = &[
    b";",
    b"=",
    b" ",
    b",",
    b"\"",
    b"%2E",
    b"%",
    b"\t",
    b"; a=b",
    b"Bearer",
    b"bEARER ",
    b"Basic x",
    b"fixed=",
    b"cbo_session_token=",
    b"cbo_refresh_token=x",
    b"e30.e30.",
    b"\xff\xfe",
    b"\0",
    b"application/grpc",
    b"https://www.example",
    b"navigate",
    b"text/html",
    b"*/*",
    b";q=0.5",
    b"https://evil.example",
    b"http://www.example",
    b"https",
    b"http",
    b":443",
    b"same-origin",
    b"cross-site",
];
