//! A compiled configuration: everything that a request is decided by, checked and ready.
//!
//! `config::compile` is the only maker; what stands here needs no further check.

use std::rc::Rc;

use crate::authorize::Demands;
use crate::cookie::CookieName;
use crate::csrf::CsrfPolicy;
use crate::login::Login;
use crate::matcher::RuleMatch;
use crate::origin::Origin;
use crate::path::PathPolicy;
use crate::provider::{Provider, ProviderId};
use crate::sanitizer::Sanitizer;
use crate::set_cookie::{CookieDomain, CookiePath};

/// What the operator wants.
#[derive(Debug)]
pub struct Policy {
    /// In the order of the configuration; at least one, at most `ProviderId::MAX_PROVIDERS`.
    pub providers: Vec<Provider>,
    /// The first whose match holds decides.
    pub rules: Vec<Rule>,
    /// Decides where no rule matches; its `matches` is empty and takes everything.
    pub default: Rule,
    /// Headers that no client may send.
    pub sanitizer: Sanitizer,
    /// Which paths are too ambiguous to decide; `None` when no rule looks at paths.
    pub paths: Option<PathPolicy>,
    /// What becomes of cookies besides credentials.
    pub cookies: CookiePolicy,
    /// What a page of another site may not send.
    pub csrf: CsrfPolicy,
    /// How answers look.
    pub responses: ResponsePolicy,
    /// Bounds of the cache of verified tokens.
    pub cache: CacheLimits,
    /// Whether each denial gets a line in the log.
    pub log_denials: bool,
    /// What the access log can show of each request, each once.
    pub filter_state: Vec<StateField>,
}

impl Policy {
    /// The rule at `index`; the default's is behind the last.
    pub fn rule(&self, index: usize) -> &Rule {
        self.rules.get(index).unwrap_or(&self.default)
    }
}

/// One rule, with everything that it inherits from `default` filled in.
#[derive(Clone, Debug)]
pub struct Rule {
    /// For logs; `rules[3]` when the configuration gives none, `default` for the default.
    pub name: Rc<str>,
    /// Which requests it decides.
    pub matches: RuleMatch,
    /// What it asks of them.
    pub access: Access,
    /// What backends get.
    pub forward: Forward,
    /// Whose sessions count, in order; never empty.
    pub providers: Vec<ProviderId>,
    /// What it asks of a valid token.
    pub demands: Demands,
    /// What follows from a refusal.
    pub mode: Mode,
    /// Leave a bearer that belongs to no provider in place where no credential is needed.
    pub insecure_forward_foreign: bool,
}

/// `access`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Only with a verified credential.
    #[default]
    Required,
    /// Without a credential or with a verified one.
    Optional,
    /// Nothing is looked at.
    Public,
    /// Nobody.
    Denied,
}

impl Access {
    /// Whether a rule with this access lets requests through that others would refuse: such a rule
    /// matches narrowly, all others match widely. In report mode every rule does.
    pub fn opens(self, mode: Mode) -> bool {
        match (self, mode) {
            (Self::Public | Self::Optional, Mode::Enforce) | (_, Mode::Report) => true,
            (Self::Required | Self::Denied, Mode::Enforce) => false,
        }
    }
}

/// `mode`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// A refusal is an answer.
    #[default]
    Enforce,
    /// A refusal is counted, and the request goes on with nothing but its headers sanitised. What
    /// comes before a rule is known (a malformed request, an ambiguous path, TRACE) is refused all
    /// the same.
    Report,
}

/// `forward`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forward {
    /// The token in `Authorization`, and nowhere else.
    #[default]
    Bearer,
    /// The verified credential stays where it is.
    VerifyOnly,
    /// No credential at all.
    Strip,
}

/// `cookies`
#[derive(Debug, Default)]
pub struct CookiePolicy {
    /// Cookies that responses set for a whole domain; at most `MAX_SHARED`, no two of one name.
    pub share_domain: Vec<SharedCookie>,
    /// For which domains a source cookie is expired that a request carries more than once.
    pub expire_older_domains: Vec<OlderDomain>,
    /// The path of what expires it.
    pub path: CookiePath,
    /// Cookies that no backend may see, but on public rules.
    pub strip: Vec<CookieName>,
}

impl CookiePolicy {
    /// So many shared cookies are possible.
    pub const MAX_SHARED: usize = 32;
}

/// One entry of `share_domain`.
#[derive(Debug)]
pub struct SharedCookie {
    /// Which cookie.
    pub name: CookieName,
    /// The domain that it gets.
    pub domain: CookieDomain,
    /// Whether its host-only twin is expired whenever it is set.
    pub expire_host_only: bool,
}

/// One entry of `expire_older_domains`.
#[derive(Debug, PartialEq, Eq)]
pub enum OlderDomain {
    /// `""`: the host-only twin of a shared cookie.
    HostOnly,
    /// This domain.
    Domain(CookieDomain),
}

/// How answers look that the filter gives itself.
#[derive(Debug, Default)]
pub struct ResponsePolicy {
    /// The `realm` of challenges.
    pub realm: Option<Box<str>>,
    /// Where navigations are sent that lack a session; nothing: nowhere.
    pub login: Option<Login>,
    /// Pages of these origins may read our answers (CORS).
    pub cors_origins: Vec<Origin>,
}

/// Bounds of the cache of verified tokens, per worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// How many tokens; 0: nothing is cached.
    pub entries: usize,
    /// How many bytes they may take together.
    pub bytes: usize,
}

/// One entry of `telemetry.filter_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateField {
    /// Whose session it is.
    Sub,
    /// Which provider accepted it.
    Provider,
    /// The rule that decided.
    Rule,
    /// Where the credential was found.
    Source,
    /// The name of the key that signed it.
    Kid,
    /// Why the request was refused.
    Reason,
    /// What became of the request.
    Verdict,
}

impl StateField {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Sub,
        Self::Provider,
        Self::Rule,
        Self::Source,
        Self::Kid,
        Self::Reason,
        Self::Verdict,
    ];

    /// The word in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sub => "sub",
            Self::Provider => "provider",
            Self::Rule => "rule",
            Self::Source => "source",
            Self::Kid => "kid",
            Self::Reason => "reason",
            Self::Verdict => "verdict",
        }
    }
}
