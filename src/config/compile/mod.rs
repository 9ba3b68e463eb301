//! From the configuration as written to a [`Policy`]: what fields may hold, and how they fit
//! together.
//!
//! Nothing here stops at the first error. A part in which one was found becomes `None`; the others
//! are looked at all the same.

use std::rc::Rc;
use std::time::Duration;

use self::supertokens::App;
use super::error::Place;
use super::raw;
use super::reader::{At, Field};
use super::units::{self, InvalidDuration};
use crate::csrf::METHOD_OVERRIDES;
use crate::kept_claims::ClaimPaths;
use crate::origin::Origin;
use crate::path::PathPolicy;
use crate::policy::{CacheLimits, CookiePolicy, Policy, ResponsePolicy, Rule, StateField};
use crate::provider::{Provider, ProviderId};
use crate::request::HeaderName;
use crate::sanitizer::Sanitizer;

mod claim_headers;
mod cookies;
mod csrf;
mod keys;
mod provider;
mod require;
mod responses;
mod rule;
mod supertokens;

/// The policy, or nothing if an error was found in it.
pub(super) fn compile(raw: raw::Root<'_>) -> Option<Policy> {
    let raw::Root {
        providers,
        rules,
        default,
        cookies,
        csrf,
        responses,
        paths,
        insecure_public_by_default,
        insecure_keep_override_headers,
        cache,
        telemetry,
    } = raw;

    let providers = providers.map(|At { place, value }| {
        if value.len() > ProviderId::MAX_PROVIDERS {
            let (count, most) = (value.len(), ProviderId::MAX_PROVIDERS);
            place.error(format!("{count} providers are too many: at most {most} are possible"));
        }
        value
    });
    let mut names = rule::ProviderNames::new(providers.as_deref());
    let providers = providers.and_then(provider::compile);

    let path_policy = paths.read_or(PathPolicy::default(), path_policy);
    let public = warn_if_set(
        &insecure_public_by_default,
        "a configuration that protects no path would be accepted",
    );
    let (providers, apps) = providers.map(split_apps).unzip();
    names.learn_auth_times(providers.as_deref());
    let apps = apps.unwrap_or_default();
    let auth_routes = apps
        .iter()
        .filter_map(|(name, id, app)| Some((Rc::clone(name), *id, app.auth_routes()?)))
        .collect();
    let paths = path_policy.unwrap_or_default();
    let mut kept_claims = ClaimPaths::default();
    let rules = rule::compile(rules, default, &names, paths, auth_routes, public, &mut kept_claims);

    let keep_override_headers = warn_if_set(
        &insecure_keep_override_headers,
        "backends that heed x-original-url, x-http-method-override and their like may see another \
         path or method than the rules did",
    );
    let csrf = csrf::compile(csrf, websites(&apps));
    let allowed_origins = csrf.as_ref().map(|csrf| &*csrf.allowed_origins).unwrap_or_default();
    let default_responses =
        ResponsePolicy { cors_origins: allowed_origins.to_vec(), ..ResponsePolicy::default() };
    let cookies = cookies.read_or(CookiePolicy::default(), cookies::compile);
    let mut responses = responses.read_or(default_responses, |responses| {
        responses::compile(responses, rules.as_ref(), allowed_origins)
    });
    if let Some(responses) = &mut responses {
        csrf::add_origins(&mut responses.cors_origins, websites(&apps));
    }
    let shares = cookies.as_ref().is_some_and(|cookies| !cookies.share_domain.is_empty());
    for (_, _, app) in &apps {
        app.check_shared_sessions(shares);
    }
    let cache = cache.read_or(DEFAULT_CACHE, cache_limits);
    let telemetry = telemetry.read_or((Vec::new(), true), telemetry_policy);

    let (mut providers, (rules, default)) = (providers?, rules?);
    let kept_claims = Rc::new(kept_claims);
    for provider in &mut providers {
        provider.kept_claims = Rc::clone(&kept_claims);
    }
    let claim_headers = providers.iter().flat_map(|provider| &*provider.claim_headers);
    let mut unwanted: Vec<_> = claim_headers.map(|header| header.name.clone()).collect();
    if !keep_override_headers? {
        unwanted.extend(override_headers(&rules));
    }
    let looks_at_path = rules.iter().any(|rule| rule.matches.looks_at_path());
    let (filter_state, log_denials) = telemetry?;
    Some(Policy {
        providers,
        rules,
        default,
        sanitizer: Sanitizer::new(unwanted),
        paths: if looks_at_path { Some(path_policy?) } else { None },
        cookies: cookies?,
        csrf: csrf?,
        responses: responses?,
        cache: cache?,
        log_denials,
        filter_state,
    })
}

/// An app of the preset `supertokens`, and the provider that it makes.
type ProviderApp<'a> = (Rc<str>, ProviderId, App<'a>);

fn split_apps(compiled: Vec<provider::Compiled<'_>>) -> (Vec<Provider>, Vec<ProviderApp<'_>>) {
    let mut providers = Vec::with_capacity(compiled.len());
    let mut apps = Vec::new();
    for (index, provider::Compiled { provider, app }) in compiled.into_iter().enumerate() {
        if let (Some(id), Some(app)) = (ProviderId::new(index), app) {
            apps.push((Rc::clone(&provider.name), id, app));
        }
        providers.push(provider);
    }
    (providers, apps)
}

/// The origins of the apps' websites.
fn websites(apps: &[ProviderApp<'_>]) -> impl Iterator<Item = Origin> {
    apps.iter().filter_map(|(_, _, app)| app.website.clone())
}

fn path_policy(raw: raw::Paths<'_>) -> Option<PathPolicy> {
    let raw::Paths { insecure_allow } = raw;
    let mut policy = PathPolicy::default();
    for form in insecure_allow.given().map(|forms| forms.value).unwrap_or_default() {
        if let Some(parsed) = form.parse(r#"must be one of "//", ";", "%2f", "%5c", "\\""#) {
            policy.allow(parsed);
            form.place.warning(format!(
                "paths with {:?} are decided, though backends may read them in another way",
                form.value
            ));
        }
    }
    Some(policy)
}

fn cache_limits(raw: raw::Cache<'_>) -> Option<CacheLimits> {
    let raw::Cache { entries, bytes } = raw;
    let entries = entries.read_or(DEFAULT_CACHE.entries, |At { place, value }| {
        let entries = usize::try_from(value).ok().filter(|entries| *entries <= MAX_CACHE_ENTRIES);
        if entries.is_none() {
            place.error(format!("{value} must be at most {MAX_CACHE_ENTRIES}; 0 is off"));
        }
        entries
    });
    let bytes = bytes.read_or(DEFAULT_CACHE.bytes, |text| {
        let Ok(bytes) = units::parse_size(text.value) else {
            text.refuse("must be a size such as 64KiB or 16MiB");
            return None;
        };
        let bytes = usize::try_from(bytes).ok();
        let bytes = bytes.filter(|bytes| (MIN_CACHE_BYTES..=MAX_CACHE_BYTES).contains(bytes));
        if bytes.is_none() {
            text.refuse("must be between 64KiB and 512MiB; entries: 0 turns the cache off");
        }
        bytes
    });
    Some(CacheLimits { entries: entries?, bytes: bytes? })
}

/// What the access log can show, and whether denials are logged.
fn telemetry_policy(raw: raw::Telemetry<'_>) -> Option<(Vec<StateField>, bool)> {
    let raw::Telemetry { filter_state, log_denials } = raw;
    let filter_state = filter_state.read_or(Vec::new(), |fields| {
        let mut seen = Vec::new();
        for At { place, value } in &fields.value {
            refuse_repeated(&mut seen, *value, place);
        }
        Some(fields.value.into_iter().map(|field| field.value).collect())
    });
    Some((filter_state?, log_denials.value_or(true)?))
}

/// Headers by which some backends let a client name another path or method than the request's.
fn override_headers(rules: &[Rule]) -> impl Iterator<Item = HeaderName> {
    let looks_at_path = rules.iter().any(|rule| rule.matches.looks_at_path());
    let looks_at_method = rules.iter().any(|rule| rule.matches.looks_at_method());
    let of_path = PATH_OVERRIDES.iter().filter(move |_| looks_at_path);
    let of_method = METHOD_OVERRIDES.iter().filter(move |_| looks_at_method);
    of_path.chain(of_method).filter_map(|name| name.parse().ok())
}

/// A flag that makes something insecure: false if absent, a warning if true.
fn warn_if_set(flag: &Field<At<'_, bool>>, what_follows: &str) -> Option<bool> {
    if let Field::Given(At { place, value: true }) = flag {
        place.warning(what_follows);
    }
    flag.value_or(false)
}

/// A duration within bounds.
fn duration(
    field: Field<raw::Text<'_>>,
    default: Duration,
    least: Duration,
    most: Duration,
) -> Option<Duration> {
    field.read_or(default, |text| {
        let duration = match units::parse_duration(text.value) {
            Ok(duration) => duration,
            Err(InvalidDuration::Form) => {
                text.refuse("must be a duration such as 500ms, 10s or 1h30m");
                return None;
            }
            Err(InvalidDuration::TooLong) => units::MAX_DURATION.saturating_mul(2),
        };
        if duration < least {
            text.refuse(&format!("must be at least {}", units::duration_text(least)));
            return None;
        }
        if duration > most {
            text.refuse(&format!("must be at most {}", units::duration_text(most)));
            return None;
        }
        Some(duration)
    })
}

/// All of `items`, each looked at, or nothing if one is missing.
fn all<T>(items: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let mut found = Some(Vec::new());
    for item in items {
        match (&mut found, item) {
            (Some(found), Some(item)) => found.push(item),
            (_, None) => found = None,
            (None, Some(_)) => {}
        }
    }
    found
}

/// `name` stands for something of which there must be one only; finds an error if it is taken.
fn refuse_repeated<'n, T: PartialEq>(seen: &mut Vec<(T, Place<'n>)>, name: T, place: &Place<'n>) {
    match seen.iter().find(|(other, _)| *other == name) {
        Some((_, first)) => place.error(format!("is the same as {}", first.path())),
        None => seen.push((name, *place)),
    }
}

const DEFAULT_CACHE: CacheLimits = CacheLimits { entries: 10_000, bytes: 16 << 20 };

/// More entries than this take longer to look through than a signature to check.
const MAX_CACHE_ENTRIES: usize = 1_000_000;

/// Less holds no useful number of tokens.
const MIN_CACHE_BYTES: usize = 64 << 10;

/// Half of what V8 gives a virtual machine, which a worker shares among plugins.
const MAX_CACHE_BYTES: usize = 512 << 20;

/// Symfony and IIS take the path from these.
const PATH_OVERRIDES: [&str; 2] = ["x-original-url", "x-rewrite-url"];

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests;
