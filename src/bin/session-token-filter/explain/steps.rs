//! What the core finds on its way to a verdict: the rule, the credential, what the token says of
//! itself, and which of the checks passed.
//!
//! Each line comes from the function that the state machine calls for it. Which check refused the
//! request, only the state machine's reason says.

use std::fmt::Write;

use serde_json::Value;
use session_token_filter::authorize::{Expected, Shortfall};
use session_token_filter::bytes::escaped;
use session_token_filter::cookie;
use session_token_filter::credential::{Candidate, Choice, NoCredential, Reading, SourcePlan};
use session_token_filter::csrf::CsrfMode;
use session_token_filter::extractor::{HeaderContent, Source};
use session_token_filter::filter::read_token;
use session_token_filter::json::object::{Member, Object};
use session_token_filter::jwt::algorithm::Algorithm;
use session_token_filter::jwt::base64url;
use session_token_filter::jwt::token::UnverifiedToken;
use session_token_filter::matcher::Host;
use session_token_filter::path::NormalPath;
use session_token_filter::policy::{Access, Policy, Rule};
use session_token_filter::provider::Provider;
use session_token_filter::reason::Reason;
use session_token_filter::request::RequestHead;
use session_token_filter::time::UnixTime;

use crate::clock::{distance_text, duration_text, time_text};
use crate::finding::printable;
use crate::summary::{Matches, access_text, match_of};

/// The way of one request.
pub(crate) struct Steps<'a> {
    policy: &'a Policy,
    head: &'a RequestHead<'a>,
    matches: &'a Matches,
    now: UnixTime,
    /// The rule that decides, and its index; nothing if it came to none.
    rule: Option<(usize, &'a Rule)>,
    plan: Option<SourcePlan>,
    /// What the token is that counts, if it is one.
    token: Option<ChosenToken>,
    is_cookie_borne: bool,
}

/// The text of the token that counts, and to whom it belongs.
struct ChosenToken {
    text: Vec<u8>,
    owner: usize,
}

impl<'a> Steps<'a> {
    pub(crate) fn new(
        policy: &'a Policy,
        head: &'a RequestHead<'a>,
        matches: &'a Matches,
        now: UnixTime,
    ) -> Self {
        let rule = find_rule(policy, head);
        let plan = rule
            .map(|(_, rule)| SourcePlan::new(rule, &policy.providers, &policy.cookies.strip))
            .filter(|_| rule.is_some_and(|(_, rule)| asks(rule.access)));
        let (mut token, mut is_cookie_borne) = (None, false);
        if let Some(plan) = &plan {
            with_choice(policy, head, plan, |choice| {
                if let Some(candidate) = choice.iter().flat_map(Choice::candidates).next() {
                    let (text, owner) = (candidate.text().to_vec(), candidate.owner.index());
                    token = Some(ChosenToken { text, owner });
                    is_cookie_borne = plan.is_cookie_borne(candidate);
                }
            });
        }
        Self { policy, head, matches, now, rule, plan, token, is_cookie_borne }
    }

    /// The name of the rule that decides.
    pub(crate) fn rule(&self) -> Option<&str> {
        self.rule.map(|(_, rule)| &*rule.name)
    }

    /// The name of the key that the token says signed it, and its algorithm.
    pub(crate) fn token_key(&self) -> (Option<String>, Option<Algorithm>) {
        let token = self.token.as_ref().and_then(|it| UnverifiedToken::decode(&it.text).ok());
        let key_id = token.as_ref().and_then(|token| token.key_id().map(str::to_owned));
        (key_id, token.and_then(|token| token.algorithm()))
    }

    /// The rule, the credential and what the token says.
    pub(crate) fn before_the_verdict(&self) -> String {
        let mut text = String::new();
        self.write_rules(&mut text);
        if self.head.is_preflight() {
            line(&mut text, "credential", "none is asked for: this is a CORS preflight");
        } else if let Some(plan) = &self.plan {
            self.write_credential(plan, &mut text);
        }
        text
    }

    fn write_rules(&self, text: &mut String) {
        let Some((decides, rule)) = self.rule else {
            line(text, "rule", "none was looked for: the request can't be compared with rules");
            return;
        };
        // Of very many, those that follow are enough to see why.
        let left_out = decides.saturating_sub(MAX_RULES);
        if left_out > 0 {
            line(text, "rule", &format!("1. to {left_out}. do not match"));
        }
        let earlier = self.policy.rules.iter().take(decides).enumerate();
        for (index, earlier) in earlier.skip(left_out) {
            let number = index.saturating_add(1);
            let what = match_of(earlier, self.matches);
            let why = self.why_not(earlier);
            line(text, "rule", &format!("{number}. {} ({what}): no, {why}", earlier.name));
        }
        let what = if decides < self.policy.rules.len() {
            format!(
                "{}. {} ({})",
                decides.saturating_add(1),
                rule.name,
                match_of(rule, self.matches)
            )
        } else {
            "default (everything else)".to_owned()
        };
        line(text, "rule", &format!("{what} decides: {}", access_text(rule.access)));
    }

    /// Why an earlier rule does not decide.
    fn why_not(&self, rule: &Rule) -> &'static str {
        let Some((host, path)) = compared(self.policy, self.head) else { return "not compared" };
        if !rule.matches.matches_host(host) {
            return "another host";
        }
        // With another method it would: nothing else stands against it.
        let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT"];
        let fits =
            |method: &&str| rule.matches.matches_on_any_host(method.as_bytes(), path.as_ref());
        if rule.matches.looks_at_method() && methods.iter().any(fits) {
            "another method"
        } else {
            "another path"
        }
    }

    fn write_credential(&self, plan: &SourcePlan, text: &mut String) {
        let Some((_, rule)) = self.rule else { return };
        let mut seen: Vec<&Source> = Vec::new();
        let providers = rule.providers.iter();
        for provider in providers.filter_map(|id| self.policy.providers.get(id.index())) {
            for source in &provider.sources {
                if !seen.contains(&source) {
                    seen.push(source);
                    line(text, "looked in", &format!("{source}: {}", found(source, self.head)));
                }
            }
        }
        let providers = &self.policy.providers;
        with_choice(self.policy, self.head, plan, |choice| match choice {
            Ok(choice) => {
                for candidate in choice.candidates() {
                    self.write_candidate(plan, candidate, text);
                }
            }
            Err(why) => {
                line(text, "credential", &no_credential(why));
                // What it says of itself tells why it is nobody's.
                for source in seen {
                    for found in texts(source, self.head) {
                        if let Ok(token) = UnverifiedToken::decode(&found) {
                            let with_audience = providers.iter().any(|it| !it.audiences.is_empty());
                            self.write_token(&token, with_audience, text);
                        }
                    }
                }
            }
        });
    }

    fn write_candidate(&self, plan: &SourcePlan, candidate: &Candidate<'_>, text: &mut String) {
        let source = plan.source_of(candidate).map(ToString::to_string).unwrap_or_default();
        let Some(provider) = self.policy.providers.get(candidate.owner.index()) else { return };
        line(text, "credential", &format!("from {source}, of provider {}", provider.name));
        if let Reading::Fresh { token, .. } = &candidate.reading {
            self.write_token(token, !provider.audiences.is_empty(), text);
        }
    }

    /// What a token says of itself; nothing of it is proven.
    fn write_token(&self, token: &UnverifiedToken<'_>, with_audience: bool, text: &mut String) {
        let header = |name| token.unproven_header(name).and_then(Member::as_str);
        let told = ["alg", "kid", "typ"].into_iter().filter_map(|name| {
            Some(format!("{name} {}", escaped(header(name)?.as_bytes(), MAX_SHOWN)))
        });
        line(text, "token", &format!("header: {}", told.collect::<Vec<_>>().join(", ")));
        let issuer = token.unproven_claim("iss").map_or("none".to_owned(), shown_member);
        line(text, "token", &format!("iss {issuer}"));
        if with_audience {
            let audience = token.unproven_claim("aud").map_or("none".to_owned(), shown_member);
            line(text, "token", &format!("aud {audience}"));
        }
        let times = token.times();
        for (name, time) in
            [("iat", times.issued_at), ("nbf", times.not_before), ("exp", times.expires_at)]
        {
            if let Some(time) = time {
                let distance = distance_text(time, self.now);
                line(text, "token", &format!("{name} {}, {distance}", time_text(time)));
            }
        }
    }

    /// The checks in their order, up to the one that refused.
    pub(crate) fn checks(&self, reason: Option<Reason>, signature: Signature) -> String {
        let mut text = String::new();
        let (Some(token), Some((_, rule))) = (&self.token, self.rule) else { return text };
        let Some(provider) = self.policy.providers.get(token.owner) else { return text };
        if self.head.is_preflight() || reason.map(Stage::of) == Some(Stage::Credential) {
            return text;
        }
        for stage in Stage::CHECKS {
            let Some(what) = self.passed(stage, provider, rule, signature) else { continue };
            if reason.map(Stage::of) == Some(stage) {
                let word = reason.map(Reason::word).unwrap_or_default();
                line(&mut text, "check", &format!("NO  {}: {word}", stage.name()));
                if stage == Stage::Demands {
                    self.write_shortfall(token, provider, rule, &mut text);
                }
                break;
            }
            let is_open =
                signature == Signature::Assumed && matches!(stage, Stage::Key | Stage::Signature);
            let mark = if is_open { "?  " } else { "ok " };
            line(&mut text, "check", &format!("{mark} {}: {what}", stage.name()));
        }
        text
    }

    /// What a passed check says; nothing if it is not made.
    fn passed(
        &self,
        stage: Stage,
        provider: &Provider,
        rule: &Rule,
        signature: Signature,
    ) -> Option<String> {
        match stage {
            Stage::Request | Stage::Rule | Stage::Credential => None,
            Stage::Site => Some(self.site().into()),
            Stage::AntiCsrf => provider.supertokens.is_some().then(|| "as anti_csrf asks".into()),
            Stage::Dates => {
                Some(format!("clocks may differ by {}", duration_text(provider.clock_skew)))
            }
            Stage::Algorithm => Some("one of the provider's".into()),
            Stage::Key | Stage::Signature if signature == Signature::Assumed => {
                Some("not checked; give the key set with --jwks".into())
            }
            Stage::Key => Some("the key set has it".into()),
            Stage::Signature => Some("that key's".into()),
            Stage::Claims => Some("type, audience and structure are as the provider wants".into()),
            Stage::Demands => {
                let asks = rule.demands.require.is_some() || rule.demands.max_auth_age.is_some();
                asks.then(|| "met".into())
            }
        }
    }

    /// Whether a page of another site may have sent it.
    fn site(&self) -> &'static str {
        if !self.is_cookie_borne {
            return "a header held it, which no page of another site sends";
        }
        let admits = self.head.line().is_ok_and(|line| self.policy.csrf.admits(self.head, line));
        match self.policy.csrf.mode {
            CsrfMode::InsecureOff => "not looked at: csrf.mode is insecure_off",
            CsrfMode::Enforce | CsrfMode::Report if admits => "no page of another site sent it",
            CsrfMode::Report => "a page of another site sent it, which is only counted",
            CsrfMode::Enforce => "a page of another site sent it",
        }
    }

    /// What of the rule's demands is not met; it names claims that the configuration names.
    fn write_shortfall(
        &self,
        token: &ChosenToken,
        provider: &Provider,
        rule: &Rule,
        text: &mut String,
    ) {
        let Some(payload) = payload(&token.text) else { return };
        let Some(id) = rule.providers.iter().find(|id| id.index() == token.owner) else { return };
        let kept = provider.kept_claims.read(&payload);
        match rule.demands.check(&kept, *id, self.now, provider.clock_skew) {
            Ok(()) => {}
            Err(Shortfall::AuthAge { max_age, claim }) => {
                let limit = duration_text(max_age);
                line(text, "", &format!("{claim} must be a login within {limit}"));
            }
            Err(Shortfall::Claims { failures, scope: _ }) => {
                for failure in failures {
                    let says = failure.actual.as_ref().map_or("nothing".to_owned(), shown);
                    let wants = match &failure.expected {
                        Expected::Value(value) => format!("must be {}", shown(value)),
                        Expected::Member(value) => format!("must contain {}", shown(value)),
                    };
                    let claim = &failure.claim;
                    line(text, "", &format!("{claim} {wants}; the token says {says}"));
                }
            }
        }
    }
}

/// How far the signature was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signature {
    Verified,
    /// There are no keys to verify it with.
    Assumed,
}

/// Where on the way a request can be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Request,
    Rule,
    Credential,
    Site,
    AntiCsrf,
    Dates,
    Algorithm,
    Key,
    Signature,
    Claims,
    Demands,
}

impl Stage {
    /// Those that a credential goes through, in order.
    const CHECKS: [Self; 8] = [
        Self::Site,
        Self::AntiCsrf,
        Self::Dates,
        Self::Algorithm,
        Self::Key,
        Self::Signature,
        Self::Claims,
        Self::Demands,
    ];

    /// Where this reason arises once there is a credential.
    fn of(reason: Reason) -> Self {
        match reason {
            Reason::MalformedRequest | Reason::AmbiguousPath | Reason::MethodNotAllowed => {
                Self::Request
            }
            Reason::DeniedByRule => Self::Rule,
            Reason::Missing
            | Reason::Malformed
            | Reason::IssuerEmpty
            | Reason::IssuerMismatch
            | Reason::MultipleCredentials
            | Reason::ConflictingCredentials
            | Reason::DuplicateCookie
            | Reason::LegacySession => Self::Credential,
            Reason::CrossSite => Self::Site,
            Reason::AntiCsrf => Self::AntiCsrf,
            Reason::NoExpiry | Reason::Expired | Reason::NotYetValid => Self::Dates,
            Reason::AlgorithmNotAllowed => Self::Algorithm,
            Reason::UnknownKey | Reason::KeysUnavailable => Self::Key,
            Reason::BadSignature | Reason::Overloaded => Self::Signature,
            Reason::TypeNotAllowed
            | Reason::IssuedInFuture
            | Reason::LifetimeTooLong
            | Reason::AudienceMismatch
            | Reason::NotASession => Self::Claims,
            Reason::StaleSession | Reason::InsufficientClaims => Self::Demands,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Rule => "rule",
            Self::Credential => "credential",
            Self::Site => "site",
            Self::AntiCsrf => "anti-CSRF",
            Self::Dates => "dates",
            Self::Algorithm => "algorithm",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Claims => "claims",
            Self::Demands => "the rule's demands",
        }
    }
}

fn asks(access: Access) -> bool {
    match access {
        Access::Required | Access::Optional => true,
        Access::Public | Access::Denied => false,
    }
}

/// What rules compare; nothing if the request has nothing like it.
fn compared<'h>(
    policy: &Policy,
    head: &RequestHead<'h>,
) -> Option<(Host<'h>, Option<NormalPath<'h>>)> {
    let line = head.line().ok()?;
    let host = Host::read(line.authority).ok()?;
    let path = policy.paths.as_ref().map(|paths| paths.read(line.path)).transpose().ok()?;
    Some((host, path))
}

/// The rule that decides; the default's index is behind the last.
fn find_rule<'p>(policy: &'p Policy, head: &RequestHead<'_>) -> Option<(usize, &'p Rule)> {
    let (host, path) = compared(policy, head)?;
    let method = head.method();
    if method.eq_ignore_ascii_case(b"TRACE") {
        return None;
    }
    let found = policy.rules.iter().position(|it| it.matches.matches(host, method, path.as_ref()));
    let index = found.unwrap_or(policy.rules.len());
    Some((index, policy.rule(index)))
}

/// What stands at a source.
fn found(source: &Source, head: &RequestHead<'_>) -> String {
    let contents = contents(source, head);
    let all: Vec<_> = contents
        .iter()
        .map(|content| match content {
            Content::OtherScheme => "another scheme".to_owned(),
            Content::Several => "several credentials".to_owned(),
            Content::Text(text) if text.is_empty() => "nothing like a token".to_owned(),
            Content::Text(text) => format!("something of {} bytes", text.len()),
        })
        .collect();
    if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
}

/// The texts that stand there where a token should be.
fn texts(source: &Source, head: &RequestHead<'_>) -> Vec<Vec<u8>> {
    let text = |content| match content {
        Content::Text(text) => Some(text),
        Content::OtherScheme | Content::Several => None,
    };
    contents(source, head).into_iter().filter_map(text).collect()
}

/// What a header or a cookie of a source's name holds.
enum Content {
    OtherScheme,
    Several,
    Text(Vec<u8>),
}

fn contents(source: &Source, head: &RequestHead<'_>) -> Vec<Content> {
    match source {
        Source::Header { name, scheme } => head
            .values(name.as_bytes())
            .map(|value| match scheme.read(value) {
                HeaderContent::OtherScheme => Content::OtherScheme,
                HeaderContent::Several => Content::Several,
                HeaderContent::Token(text) => Content::Text(text.to_vec()),
            })
            .collect(),
        Source::Cookie(name) => {
            let segments = head.values(b"cookie").flat_map(cookie::segments);
            let cookies = segments.map(|segment| segment.cookie());
            let own = cookies.filter(|cookie| cookie.name == name.as_bytes());
            own.map(|cookie| Content::Text(cookie.bare_value().into_owned())).collect()
        }
    }
}

fn no_credential(why: NoCredential) -> String {
    match why {
        NoCredential::Absent => "none".to_owned(),
        NoCredential::Foreign(reason, _) => format!("none of ours: {reason}"),
        NoCredential::Refused(reason, _) => format!("refused: {reason}"),
        NoCredential::LegacySession(_) => "a session of long ago".to_owned(),
    }
}

/// Chooses the credential as the filter does that has verified nothing before.
fn with_choice(
    policy: &Policy,
    head: &RequestHead<'_>,
    plan: &SourcePlan,
    look: impl FnOnce(Result<Choice<'_>, NoCredential>),
) {
    let presented = plan.find(head, |_| None);
    let providers = &policy.providers;
    look(plan.choose(&presented, providers, |text| read_token(text, providers)));
}

/// The payload of a compact token.
fn payload(text: &[u8]) -> Option<Object> {
    let part = text.split(|byte| *byte == b'.').nth(1)?;
    Object::parse(base64url::decode(part).ok()?)
}

fn shown_member(member: Member<'_>) -> String {
    match member {
        Member::Text(text) => shown(&text.into()),
        Member::Value(value) => shown(value),
    }
}

/// A claim as JSON.
fn shown(value: &Value) -> String {
    let json = value.to_string();
    let text: String = json.chars().take(MAX_SHOWN).collect();
    if text.len() < json.len() { text + "…" } else { text }
}

fn line(text: &mut String, what: &str, rest: &str) {
    // Writing to a String never fails.
    let _ = writeln!(text, "  {what:10}  {}", printable(rest));
}

const MAX_SHOWN: usize = 200;
const MAX_RULES: usize = 20;
