//! A compiled configuration: everything that a request is decided by, checked and ready.
//!
//! `config::compile` is the only maker; what stands here needs no further check.

use std::rc::Rc;

use crate::login::Login;
use crate::matcher::RuleMatch;
use crate::origin::Origin;
use crate::path::PathPolicy;
use crate::provider::{Provider, ProviderId};
use crate::sanitizer::Sanitizer;

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
    /// How answers look.
    pub responses: ResponsePolicy,
    /// Bounds of the cache of verified tokens.
    pub cache: CacheLimits,
    /// Whether each denial gets a line in the log.
    pub log_denials: bool,
}

/// One rule, with everything that it inherits from `default` filled in.
#[derive(Debug)]
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
    /// matches narrowly, all others match widely.
    pub fn opens(self) -> bool {
        match self {
            Self::Public | Self::Optional => true,
            Self::Required | Self::Denied => false,
        }
    }
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
