//! A proxy-wasm HTTP filter for Envoy: it finds the session token of a request, verifies it against
//! a cached key set, moves it into `Authorization: Bearer`, strips its cookie, and only then lets
//! Envoy route the request.
//!
//! Everything but `host` is a pure core: no clock, no network, no randomness; inputs are arguments,
//! outputs are values. Modules stand here in layers, each importing only those above it: what all
//! speak of, a request's parts, tokens and keys, whose they are, and last what is decided by them.
//!
//! | question | module |
//! | --- | --- |
//! | What happens to a request, step by step? | [`filter`] |
//! | Where are paths, hosts and methods compared with rules? | [`path`], [`matcher`], [`rule_index`] |
//! | Where are cookies found and taken out? | [`cookie`], [`forward`] |
//! | Where do answers get other cookies? | [`set_cookie`], [`filter::responses`] |
//! | Which of several tokens counts? | [`credential`] |
//! | May a page of another site have sent it? | [`csrf`] |
//! | Where is a token verified? | [`jwt::token`], [`jwt::signature`]; step by step: `filter::verification` |
//! | Where do keys come from, and for how long are they good? | [`jwks`] |
//! | What must a token claim? | [`provider`]; for a rule: [`authorize`] |
//! | What do backends see? | [`forward`], [`claim_headers`] |
//! | Where does a reason become an answer? | [`denial`] |
//! | Where is the configuration checked? | [`config`] |

// What everything else speaks of.
pub mod bytes;
pub mod json;
pub mod name_bits;
pub mod reason;
pub mod request;
pub mod time;

// A request, as it is met.
pub mod cookie;
pub mod cookie_roles;
pub mod csrf;
pub mod extractor;
pub mod login;
pub mod matcher;
pub mod origin;
pub mod path;
pub mod rule_index;
pub mod sanitizer;
pub mod set_cookie;

// Tokens and keys.
pub mod claim_headers;
pub mod jwks;
pub mod jwt;
pub mod kept_claims;

// Whose sessions, and what an operator wants of them.
pub mod authorize;
pub mod config;
pub mod policy;
pub mod provider;

// A decision, and what follows from it.
pub mod bad_signatures;
pub mod credential;
pub mod denial;
pub mod edits;
pub mod filter;
pub mod forward;
pub mod stats;
pub mod token_cache;
pub mod verified_token;

#[cfg(target_arch = "wasm32")]
mod host;
