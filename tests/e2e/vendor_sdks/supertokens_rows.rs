//! Requests to an application with `supertokens-node`, and what it answers.
//!
//! A row without a reason is one on which the filter agrees, to the byte. Those with one are the
//! differences on purpose; in none of them does the filter accept a token that the SDK would not.

use serde_json::{Value, json};
use session_token_harness::client::Request;
use session_token_harness::keys::{Algorithm, SigningKey, base64url};
use session_token_harness::token::{Token, supertokens_claims, tampered, unix_now};

use super::supertokens_core::{ISSUER, Keys, USER};

/// What an application or the filter answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Said {
    Session,
    Unauthorised,
    TryRefresh,
}

use Said::{Session, TryRefresh, Unauthorised};

/// What it is, the request, what the SDK says, and what the filter says if that is something else,
/// with the reason.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) request: Request,
    pub(super) sdk: Said,
    pub(super) filter: Differs,
}

/// What the filter says, and why.
type Differs = Option<(Said, &'static str)>;

impl Row {
    fn new(name: impl Into<String>, request: Request, sdk: Said) -> Self {
        Self { name: name.into(), request, sdk, filter: None }
    }

    fn but(mut self, filter: Said, why: &'static str) -> Self {
        self.filter = Some((filter, why));
        self
    }
}

/// Rotating keys, no protection against CSRF.
pub(super) fn plain(keys: &Keys) -> Vec<Row> {
    [agreed_tokens(keys), disputed_tokens(keys), carriers(keys)].into_iter().flatten().collect()
}

/// Every token as bearer and as cookie.
fn both_ways(tokens: Vec<(&str, String, Said, Differs)>) -> Vec<Row> {
    let row = |(name, token, sdk, filter): &(&str, String, _, _), carrier: &str| {
        let request = if carrier == "bearer" { bearer(token) } else { cookie(token) };
        Row { name: format!("{name}, as {carrier}"), request, sdk: *sdk, filter: *filter }
    };
    tokens.iter().flat_map(|token| [row(token, "bearer"), row(token, "cookie")]).collect()
}

fn agreed_tokens(keys: &Keys) -> Vec<Row> {
    let key = &keys.dynamic;
    let signed = |token: Token| token.signed_by(key);
    let with = |claim: &str, value: Value| signed(session().claim(claim, value));
    let without = |claim: &str| with(claim, Value::Null);
    let header = |name: &str, value: Value| signed(session().header(name, value));
    let version = |version: &str| session().header("version", version);
    let good = signed(session());
    let now = unix_now();
    let rows = [
        ("version 5", good.clone(), Session),
        ("version 4", signed(version("4")), Session),
        ("version 3", signed(version("3")), Session),
        ("version 6, not there yet", signed(version("6")), Session),
        ("no version", header("version", Value::Null), Session),
        (
            "version 3 without rsub and tId",
            signed(version("3").claim("rsub", Value::Null).claim("tId", Value::Null)),
            Session,
        ),
        ("version 4 without rsub", signed(version("4").claim("rsub", Value::Null)), Session),
        ("no tId", without("tId"), Session),
        ("no issuer", without("iss"), Session),
        ("no stt", without("stt"), Session),
        ("its own claims", with("st-role", json!({"v": ["admin"], "t": 1})), Session),
        (
            "exp with a fraction",
            with("exp", json!(f64::from(u32::try_from(now).unwrap()) + 300.5)),
            Session,
        ),
        ("no antiCsrfToken", without("antiCsrfToken"), Session),
        ("antiCsrfToken is a number", with("antiCsrfToken", json!(1)), Session),
        ("tId is a number", with("tId", json!(1)), Session),
        ("parentRefreshTokenHash1 is a number", with("parentRefreshTokenHash1", json!(1)), Session),
        ("the first after a refresh", with("parentRefreshTokenHash1", json!("old")), Session),
        ("no JWT", "invalid".to_owned(), Unauthorised),
        ("two parts", good.rsplit_once('.').unwrap().0.to_owned(), Unauthorised),
        ("four parts", format!("{good}.x"), Unauthorised),
        ("payload is no JSON", Token::with_payload("x").signed_by(key), Unauthorised),
        ("typ jwt", header("typ", json!("jwt")), Unauthorised),
        ("typ at+jwt", header("typ", json!("at+jwt")), Unauthorised),
        ("no typ", header("typ", Value::Null), Unauthorised),
        ("no kid", header("kid", Value::Null), Unauthorised),
        ("version is a number", header("version", json!(5)), Unauthorised),
        ("version 2, and a kid", signed(version("2")), Unauthorised),
        ("version is empty", signed(version("")), Unauthorised),
        ("version is a word", signed(version("five")), Unauthorised),
        ("version is negative", signed(version("-5")), Unauthorised),
        ("an OAuth2 access token", with("stt", json!(1)), Unauthorised),
        ("an OAuth2 ID token", with("stt", json!(2)), Unauthorised),
        ("stt is a string", with("stt", json!("0")), Unauthorised),
        ("stt is null", signed(with_null("stt")), Unauthorised),
        ("no sub", without("sub"), Unauthorised),
        ("sub is a number", with("sub", json!(1)), Unauthorised),
        ("no exp", without("exp"), Unauthorised),
        ("exp is null", signed(with_null("exp")), Unauthorised),
        ("exp is a string", with("exp", json!((now + 300).to_string())), Unauthorised),
        ("no iat", without("iat"), Unauthorised),
        ("iat is a string", with("iat", json!(now.to_string())), Unauthorised),
        ("no sessionHandle", without("sessionHandle"), Unauthorised),
        ("sessionHandle is a number", with("sessionHandle", json!(1)), Unauthorised),
        ("no refreshTokenHash1", without("refreshTokenHash1"), Unauthorised),
        ("refreshTokenHash1 is null", signed(with_null("refreshTokenHash1")), Unauthorised),
        ("version 5 without rsub", without("rsub"), Unauthorised),
        ("version 5, rsub is a number", with("rsub", json!(1)), Unauthorised),
        ("version 10 without rsub", signed(version("10").claim("rsub", Value::Null)), Unauthorised),
        (
            "expired, without sessionHandle",
            signed(session().claim("exp", now - 100).claim("sessionHandle", Value::Null)),
            Unauthorised,
        ),
        ("bad signature, stt 1", tampered(&with("stt", json!(1))), Unauthorised),
        ("expired", with("exp", json!(now - 100)), TryRefresh),
        ("expires now", with("exp", json!(now)), TryRefresh),
        ("not yet valid", with("nbf", json!(now + 100)), TryRefresh),
        ("bad signature", tampered(&good), TryRefresh),
        ("no signature", session().with_signature(key, b""), TryRefresh),
        (
            "another key under our kid",
            session().signed_by(&SigningKey::generate(Algorithm::RS256, key.kid())),
            TryRefresh,
        ),
        ("an unknown kid", session().signed_by(&key.with_kid("d-unknown")), TryRefresh),
        ("the static key", session().signed_by(&keys.fixed), TryRefresh),
        (
            "the static key under the rotating key's kid",
            session().signed_by(&keys.fixed.with_kid(key.kid())),
            TryRefresh,
        ),
        ("alg none", session().header("kid", key.kid()).unsigned(), TryRefresh),
        (
            "HS256 with the public key",
            session().signed_hs256(key.public_pem().as_bytes(), key.kid()),
            TryRefresh,
        ),
        (
            "RS512 of the same key",
            session().signed_by(&key.with_algorithm(Algorithm::RS512)),
            TryRefresh,
        ),
        ("ES256", session().signed_by(&SigningKey::new(Algorithm::ES256, key.kid())), TryRefresh),
    ];
    both_ways(rows.into_iter().map(|(name, token, sdk)| (name, token, sdk, None)).collect())
}

fn disputed_tokens(keys: &Keys) -> Vec<Row> {
    let key = &keys.dynamic;
    let signed = |token: Token| token.signed_by(key);
    let with = |claim: &str, value: Value| signed(session().claim(claim, value));
    let good = signed(session());
    let now = unix_now();
    let only_digits = "a version is decimal digits; the SDK's parseInt reads what it can";
    let strict = "what does not decode is nobody's token; the SDK's JWT library refuses it later";
    let lax = "a token has one spelling; the SDK's decoder forgives";
    both_ways(vec![
        (
            "an issuer of another domain",
            with("iss", json!("https://x.example/auth")),
            Session,
            Some((Unauthorised, "the SDK does not look at iss")),
        ),
        (
            "a legacy session, version 2",
            legacy(key),
            Session,
            Some((Unauthorised, "legacy versions are not accepted")),
        ),
        (
            "version 5x",
            signed(session().header("version", "5x")),
            Session,
            Some((Unauthorised, only_digits)),
        ),
        (
            "version +5",
            signed(session().header("version", "+5")),
            Session,
            Some((Unauthorised, only_digits)),
        ),
        (
            "sub empty",
            with("sub", json!("")),
            Session,
            Some((Unauthorised, "a session has a user")),
        ),
        (
            "iat in 100 s",
            with("iat", json!(now + 100)),
            Session,
            Some((TryRefresh, "nobody issues in the future")),
        ),
        (
            "exp twice",
            {
                let claims = claims().to_string();
                let claims = format!(r#"{{"exp":1,{}"#, claims.trim_start_matches('{'));
                signed(Token::with_payload(claims).header("version", "5"))
            },
            Session,
            Some((Unauthorised, lax)),
        ),
        ("padded signature", format!("{good}=="), Session, Some((Unauthorised, lax))),
        (
            "kid is a number",
            signed(session().header("kid", 1)),
            TryRefresh,
            Some((Unauthorised, "a kid is a string")),
        ),
        (
            "crit",
            signed(session().header("crit", json!(["x"])).header("x", 1)),
            TryRefresh,
            Some((Unauthorised, strict)),
        ),
        ("exp before 1970", with("exp", json!(-1)), TryRefresh, Some((Unauthorised, strict))),
        ("nbf is a string", with("nbf", json!("1")), TryRefresh, Some((Unauthorised, strict))),
    ])
}

/// Where tokens are, and how often.
fn carriers(keys: &Keys) -> Vec<Row> {
    let key = &keys.dynamic;
    let good = session().signed_by(key);
    let other = session().claim("sessionHandle", "other").signed_by(key);
    let expired = session().claim("exp", unix_now() - 100).signed_by(key);
    let foreign = Token::new(json!({"iss": "https://x.example", "sub": "x"})).signed_by(key);
    let get = || Request::get("/");
    let authorization = |value: String| get().header("authorization", value);
    let cookies = |value: String| get().header("cookie", value);
    let one_value = "identical twins say the same thing";
    vec![
        Row::new("nothing", get(), Unauthorised),
        Row::new("other cookies", cookies("a=b; sRefreshToken=x".into()), Unauthorised),
        Row::new("Basic", authorization("Basic dTpw".into()), Unauthorised),
        Row::new("an empty bearer", authorization("Bearer ".into()), Unauthorised),
        Row::new("an empty cookie", cookie(""), Unauthorised),
        Row::new("a cookie without =", cookies("sAccessToken".into()), Unauthorised),
        Row::new(
            "another case of the cookie",
            cookies(format!("saccesstoken={good}")),
            Unauthorised,
        ),
        Row::new("two spaces", authorization(format!("Bearer  {good}")), Session),
        Row::new("among other cookies", cookies(format!("a=b; sAccessToken={good}; c")), Session),
        Row::new("a quoted cookie", cookie(&format!("\"{good}\"")), Session),
        Row::new("an encoded cookie", cookie(&good.replace('.', "%2E")), Session),
        Row::new("a POST by cookie", posted(cookie_line(&good)), Session),
        Row::new("both, the same", bearer(&good).header("cookie", cookie_line(&good)), Session),
        Row::new("both, different", bearer(&good).header("cookie", cookie_line(&other)), Session),
        Row::new(
            "bearer, expired cookie",
            bearer(&good).header("cookie", cookie_line(&expired)),
            Session,
        ),
        Row::new(
            "expired bearer, cookie",
            bearer(&expired).header("cookie", cookie_line(&good)),
            TryRefresh,
        ),
        Row::new(
            "foreign bearer, cookie",
            bearer(&foreign).header("cookie", cookie_line(&good)),
            Session,
        ),
        Row::new("foreign bearer", bearer(&foreign), Unauthorised),
        Row::new(
            "Basic and a cookie",
            authorization("Basic dTpw".into()).header("cookie", cookie_line(&good)),
            Session,
        ),
        Row::new("two cookies, different", twins(&good, &other), TryRefresh),
        Row::new("two cookies, the second expired", twins(&good, &expired), TryRefresh),
        Row::new("two cookies, the first expired", twins(&expired, &good), TryRefresh),
        Row::new(
            "a bearer and two cookies",
            twins(&good, &other).header("authorization", format!("Bearer {good}")),
            Session,
        ),
        Row::new(
            "sIdRefreshToken",
            cookies(format!("sIdRefreshToken=x; sAccessToken={good}")),
            TryRefresh,
        ),
        Row::new(
            "sIdRefreshToken, empty",
            cookies(format!("sIdRefreshToken=; sAccessToken={good}")),
            TryRefresh,
        ),
        Row::new(
            "sIdRefreshToken without =",
            cookies(format!("sIdRefreshToken; sAccessToken={good}")),
            Session,
        ),
        Row::new(
            "sIdRefreshToken and a bearer",
            bearer(&good).header("cookie", "sIdRefreshToken=x"),
            TryRefresh,
        ),
        Row::new("sIdRefreshToken alone", cookies("sIdRefreshToken=x".into()), TryRefresh),
        Row::new("bearer, in lower case", authorization(format!("bearer {good}")), Unauthorised)
            .but(Session, "schemes have no case (RFC 9110, section 11.1)"),
        Row::new("two cookies, the same", twins(&good, &good), TryRefresh).but(Session, one_value),
        Row::new("a cookie and an empty one", twins(&good, ""), TryRefresh)
            .but(Session, "an empty cookie is none"),
        Row::new("two cookies of garbage", twins("a", "b"), Unauthorised)
            .but(TryRefresh, "duplicates are looked at before what is in them"),
        Row::new(
            "two bearers",
            bearer(&good).header("authorization", format!("Bearer {other}")),
            Session,
        )
        .but(TryRefresh, "Node drops the second header line, another server the first"),
        Row::new("OPTIONS", Request::new("OPTIONS", "/"), Session)
            .but(Unauthorised, "only preflights need no session"),
    ]
}

/// `VIA_CUSTOM_HEADER`: cookie-borne requests that are no GET need a `rid`, whatever it is.
pub(super) fn custom_header(keys: &Keys) -> Vec<Row> {
    let good = session().signed_by(&keys.dynamic);
    let expired = session().claim("exp", unix_now() - 100).signed_by(&keys.dynamic);
    let no_session = session().claim("stt", 1).signed_by(&keys.dynamic);
    let by_cookie =
        |method: &str, token: &str| Request::new(method, "/").header("cookie", cookie_line(token));
    vec![
        Row::new("GET", by_cookie("GET", &good), Session),
        Row::new("POST", by_cookie("POST", &good), TryRefresh),
        Row::new("PUT", by_cookie("PUT", &good), TryRefresh),
        Row::new("DELETE", by_cookie("DELETE", &good), TryRefresh),
        Row::new("POST with rid", by_cookie("POST", &good).header("rid", "anti-csrf"), Session),
        Row::new("POST with another rid", by_cookie("POST", &good).header("rid", "x"), Session),
        Row::new("POST with an empty rid", by_cookie("POST", &good).header("rid", ""), Session),
        Row::new(
            "POST with anti-csrf",
            by_cookie("POST", &good).header("anti-csrf", "x"),
            TryRefresh,
        ),
        Row::new("POST by bearer", posted_bearer(&good), Session),
        Row::new("expired POST without rid", by_cookie("POST", &expired), TryRefresh),
        Row::new(
            "expired POST with rid",
            by_cookie("POST", &expired).header("rid", "x"),
            TryRefresh,
        ),
        Row::new("POST of no session without rid", by_cookie("POST", &no_session), Unauthorised),
        Row::new("POST without a cookie", Request::new("POST", "/"), Unauthorised),
    ]
}

/// `VIA_TOKEN`: they need the value of the token's own claim.
pub(super) fn anti_csrf_token(keys: &Keys) -> Vec<Row> {
    let protected = session().claim("antiCsrfToken", "value").signed_by(&keys.dynamic);
    let unprotected = session().signed_by(&keys.dynamic);
    let forged = tampered(&protected);
    let by_cookie =
        |method: &str, token: &str| Request::new(method, "/").header("cookie", cookie_line(token));
    let post = |token: &str, value: &str| by_cookie("POST", token).header("anti-csrf", value);
    vec![
        Row::new("GET", by_cookie("GET", &protected), Session),
        Row::new("GET, token without the claim", by_cookie("GET", &unprotected), Session),
        Row::new("POST", by_cookie("POST", &protected), TryRefresh),
        Row::new("POST with rid", by_cookie("POST", &protected).header("rid", "x"), TryRefresh),
        Row::new("POST with the value", post(&protected, "value"), Session),
        Row::new(
            "DELETE with the value",
            by_cookie("DELETE", &protected).header("anti-csrf", "value"),
            Session,
        ),
        Row::new("POST with another value", post(&protected, "other"), TryRefresh),
        Row::new("POST with another case", post(&protected, "Value"), TryRefresh),
        Row::new("POST with an empty value", post(&protected, ""), TryRefresh),
        Row::new("POST, token without the claim", post(&unprotected, "value"), TryRefresh),
        Row::new("POST, neither", by_cookie("POST", &unprotected), TryRefresh),
        Row::new("POST, both empty", post(&unprotected, ""), TryRefresh),
        Row::new("forged POST with the value", post(&forged, "value"), TryRefresh),
        Row::new("POST by bearer", posted_bearer(&protected), Session),
        Row::new("POST by bearer, token without the claim", posted_bearer(&unprotected), Session),
    ]
}

/// Keys that never rotate.
pub(super) fn static_keys(keys: &Keys) -> Vec<Row> {
    both_ways(vec![
        ("the static key", session().signed_by(&keys.fixed), Session, None),
        ("the rotating key", session().signed_by(&keys.dynamic), TryRefresh, None),
        (
            "another key under its kid",
            session().signed_by(&keys.dynamic.with_kid(keys.fixed.kid())),
            TryRefresh,
            None,
        ),
    ])
}

pub(super) fn session() -> Token {
    Token::supertokens(ISSUER, USER)
}

fn claims() -> Value {
    supertokens_claims(ISSUER, USER)
}

fn with_null(claim: &str) -> Token {
    let mut claims = claims();
    claims[claim] = Value::Null;
    Token::new(claims).header("version", "5")
}

/// Before version 3: no `kid`, other claims, and a header in padded base64.
fn legacy(key: &SigningKey) -> String {
    let milliseconds = unix_now() * 1000;
    let claims = json!({
        "userId": USER,
        "userData": {},
        "sessionHandle": "handle",
        "refreshTokenHash1": "hash",
        "timeCreated": milliseconds,
        "expiryTime": milliseconds + 3_600_000,
    });
    let header = base64url(br#"{"alg":"RS256","typ":"JWT","version":"2"}"#);
    let input = format!("{header}=.{}", base64url(claims.to_string().as_bytes()));
    format!("{input}.{}", base64url(&key.sign(input.as_bytes())))
}

fn bearer(token: &str) -> Request {
    Request::get("/").header("authorization", format!("Bearer {token}"))
}

fn posted_bearer(token: &str) -> Request {
    Request::new("POST", "/").header("authorization", format!("Bearer {token}"))
}

fn cookie(token: &str) -> Request {
    Request::get("/").header("cookie", cookie_line(token))
}

fn posted(cookies: String) -> Request {
    Request::new("POST", "/").header("cookie", cookies)
}

fn twins(first: &str, second: &str) -> Request {
    Request::get("/").header("cookie", format!("{}; {}", cookie_line(first), cookie_line(second)))
}

fn cookie_line(token: &str) -> String {
    format!("sAccessToken={token}")
}
