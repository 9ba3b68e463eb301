//! Providers: what an operator says about them, and what a preset decides.
//!
//! A preset decides issuers, algorithms and sources, and where its key set is. These fields may be
//! repeated beside it with the values that it gives them; any other value is an error, since it
//! would be ignored. Sources may be fewer: the cookies that are left out are then taken from every
//! request that the provider decides. All other fields are the operator's.

use std::rc::Rc;
use std::time::Duration;

use super::require::claim_path;
use super::supertokens::App;
use super::{all, claim_headers, duration, keys, refuse_repeated, warn_if_set};
use crate::claim_headers::ClaimPath;
use crate::config::error::Place;
use crate::config::raw;
use crate::config::reader::{At, Field};
use crate::config::reserved_headers;
use crate::config::units::MAX_DURATION;
use crate::config::uri::{HttpUri, Scheme as UriScheme};
use crate::cookie::CookieName;
use crate::extractor::{Scheme, Source};
use crate::jwt::algorithm::{Algorithm, AlgorithmSet};
use crate::provider::corbado::{self, Project, ProjectId};
use crate::provider::{Issuers, Provider, supertokens};
use crate::request::HeaderName;

/// All providers, in order.
pub(super) fn compile(raw: Vec<raw::Provider<'_>>) -> Option<Vec<Compiled<'_>>> {
    let mut names = Vec::new();
    for name in raw.iter().filter_map(|provider| provider.name.as_ref()) {
        refuse_repeated(&mut names, name.value, &name.place);
    }
    let token_headers = token_headers(&raw);
    all(raw.into_iter().map(|provider| compile_one(provider, &token_headers)))
}

/// A provider, and what else its preset says.
pub(super) struct Compiled<'a> {
    pub(super) provider: Provider,
    pub(super) app: Option<App<'a>>,
}

/// Who decides about the fields that a preset knows.
pub(super) enum Vendor<'a> {
    Generic,
    Corbado(Project),
    SuperTokens(App<'a>),
    /// A preset in which an error was found.
    Unclear,
}

fn compile_one<'a>(raw: raw::Provider<'a>, token_headers: &[HeaderName]) -> Option<Compiled<'a>> {
    let raw::Provider {
        place,
        name,
        preset,
        issuers,
        insecure_any_issuer,
        audiences,
        algorithms,
        token_types,
        clock_skew,
        max_lifetime,
        max_token_bytes,
        sources,
        on_conflict,
        duplicate_cookies,
        jwks,
        auth_time_claim,
        claim_headers,
    } = raw;
    let vendor = match preset {
        Field::Absent => Vendor::Generic,
        Field::Bad => Vendor::Unclear,
        Field::Given(raw::Preset::Corbado(raw)) => {
            corbado_project(raw).map_or(Vendor::Unclear, Vendor::Corbado)
        }
        Field::Given(raw::Preset::SuperTokens(raw)) => {
            App::compile(*raw).map_or(Vendor::Unclear, Vendor::SuperTokens)
        }
    };
    let name = name.and_then(|name| {
        let well_formed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
        if !(1..=32).contains(&name.value.len()) || !name.value.bytes().all(well_formed) {
            name.refuse("must be 1 to 32 characters of a-z, 0-9, _ and -");
            return None;
        }
        Some(Rc::from(name.value))
    });
    let issuers = compile_issuers(&place, issuers, &insecure_any_issuer, &vendor);
    let audiences = audiences.read_or(Vec::new(), |audiences| {
        Some(audiences.value.into_iter().map(|audience| audience.value.into()).collect())
    });
    let algorithms = compile_algorithms(algorithms, &vendor);
    let token_types = compile_token_types(token_types, &vendor);
    let clock_skew = duration(clock_skew, DEFAULT_CLOCK_SKEW, Duration::ZERO, MAX_CLOCK_SKEW);
    let max_lifetime = match max_lifetime {
        Field::Absent => Some(None),
        given => duration(given, MAX_DURATION, Duration::from_secs(1), MAX_DURATION).map(Some),
    };
    let max_token_bytes =
        max_token_bytes.read_or(DEFAULT_MAX_TOKEN_BYTES, |At { place, value }| {
            let bytes = usize::try_from(value).ok();
            let bytes = bytes.filter(|bytes| (1..=MAX_MAX_TOKEN_BYTES).contains(bytes));
            if bytes.is_none() {
                place.error(format!("{value} must be between 1 and {MAX_MAX_TOKEN_BYTES}"));
            }
            bytes
        });
    let sources = compile_sources(sources, &vendor);
    let keys = jwks
        .and_then(|jwks| keys::compile(jwks, &vendor, algorithms.unwrap_or_else(all_algorithms)));
    let claim_headers = claim_headers
        .read_or(Vec::new(), |headers| claim_headers::compile(headers.value, token_headers));

    let auth_time_claim = match (auth_time_claim, &vendor) {
        (Field::Given(names), _) => Some(Some(claim_path(names))),
        (Field::Absent, Vendor::Generic) => Some(Some(ClaimPath::new(["auth_time"]))),
        // Vendors renew `iat` at every refresh, and have no other claim that tells.
        (Field::Absent, Vendor::Corbado(_) | Vendor::SuperTokens(_) | Vendor::Unclear) => {
            Some(None)
        }
        (Field::Bad, _) => None,
    };

    let (mut stripped_cookies, is_preset) = match &vendor {
        Vendor::Generic => (Vec::new(), false),
        Vendor::Corbado(_) => (corbado::refresh_cookies(), true),
        Vendor::SuperTokens(_) => (supertokens::secret_cookies(), true),
        Vendor::Unclear => return None,
    };
    let looked_at = sources.as_deref().unwrap_or(&[]);
    stripped_cookies.extend(unread_cookies(preset_sources(&vendor), looked_at));
    let app = match vendor {
        Vendor::SuperTokens(app) => Some(app),
        Vendor::Generic | Vendor::Corbado(_) | Vendor::Unclear => None,
    };
    let provider = Provider {
        name: name?,
        issuers: issuers?,
        audiences: audiences?,
        algorithms: algorithms?,
        token_types: token_types?,
        clock_skew: clock_skew?,
        max_lifetime: max_lifetime?,
        max_token_bytes: max_token_bytes?,
        sources: sources?,
        stripped_cookies,
        front_end_cookies: app.as_ref().map_or(Vec::new(), |_| supertokens::front_end_cookies()),
        legacy_cookie: app.as_ref().and_then(|_| supertokens::legacy_cookie()),
        on_conflict: on_conflict.value_or_default()?,
        duplicate_cookies: duplicate_cookies.value_or_default()?,
        keys: keys?,
        strict_key_id: is_preset,
        subject_required: is_preset,
        supertokens: app.as_ref().map(|app| app.demands),
        vendor_answers: app.as_ref().map(|app| app.answers),
        claim_headers: claim_headers?.into(),
        auth_time_claim: auth_time_claim?,
        kept_claims: Rc::default(),
    };
    Some(Compiled { provider, app })
}

fn corbado_project(raw: raw::Corbado<'_>) -> Option<Project> {
    let raw::Corbado { project_id, frontend_api } = raw;
    let project_id = project_id.and_then(|id| {
        id.parse::<ProjectId>("must begin with \"pro-\", then letters, digits and hyphens")
    });
    let frontend_api = frontend_api.read_or(None, |text| {
        // The tokens' `iss` is this URL itself, so a path would never be right.
        vendor_server(&text, text.value).map(|_| Some(text.value))
    });
    Some(Project::new(project_id?, frontend_api?))
}

/// A server of a vendor's, spelled out as `url`: a scheme and a host, nothing more.
pub(super) fn vendor_server(text: &raw::Text<'_>, url: &str) -> Option<HttpUri> {
    let uri: HttpUri = match url.parse() {
        Ok(uri) => uri,
        Err(error) => {
            keys::refuse_uri(text, error);
            return None;
        }
    };
    if uri.scheme == UriScheme::Http && !uri.is_loopback() {
        text.refuse("must begin with https://; only loopback and *.localhost may use http://");
        return None;
    }
    if &*uri.path != "/" {
        text.refuse("must be a scheme and a host, without a path and a query");
        return None;
    }
    Some(uri)
}

fn compile_issuers(
    place: &Place<'_>,
    issuers: Field<raw::Texts<'_>>,
    insecure_any_issuer: &Field<At<'_, bool>>,
    vendor: &Vendor<'_>,
) -> Option<Issuers> {
    let any = warn_if_set(
        insecure_any_issuer,
        "whatever a token says about its issuer is accepted; only its signature counts",
    );
    let listed = match &issuers {
        Field::Absent => None,
        Field::Bad => return None,
        Field::Given(issuers) => Some(issuers),
    };
    let names = listed.map(|issuers| texts(&issuers.value));
    match (vendor, any?, listed, names) {
        (Vendor::Unclear, ..) => None,
        (Vendor::Corbado(_) | Vendor::SuperTokens(_), any, listed, names) => {
            let (decided, whose) = match vendor {
                Vendor::Corbado(project) => {
                    (project.issuers(), "the issuers of a Corbado project are")
                }
                Vendor::SuperTokens(app) => {
                    (vec![app.issuer()], "the issuer of this SuperTokens app is")
                }
                Vendor::Generic | Vendor::Unclear => return None,
            };
            let contradiction =
                || format!("contradicts the preset: {whose} {}", decided.join(", "));
            if any && let Field::Given(flag) = insecure_any_issuer {
                flag.error(contradiction());
            }
            if let (Some(listed), Some(names)) = (listed, names)
                && (names.iter().any(|name| !decided.contains(name))
                    || decided.iter().any(|name| !names.contains(name)))
            {
                listed.error(contradiction());
            }
            Some(Issuers::OneOf(decided))
        }
        (Vendor::Generic, true, None, _) => Some(Issuers::InsecureAny),
        (Vendor::Generic, true, Some(listed), _) => {
            listed.error("contradicts insecure_any_issuer: true");
            None
        }
        (Vendor::Generic, false, _, Some(names)) => Some(Issuers::OneOf(names)),
        (Vendor::Generic, false, _, None) => {
            place
                .member("issuers")
                .error("is missing: name at least one issuer, or set insecure_any_issuer: true");
            None
        }
    }
}

fn compile_algorithms(
    algorithms: Field<raw::Texts<'_>>,
    vendor: &Vendor<'_>,
) -> Option<AlgorithmSet> {
    match vendor {
        Vendor::Generic => algorithms.read_or(default_algorithms(), |names| {
            let set = all(names.value.iter().map(algorithm))?;
            Some(set.into_iter().collect())
        }),
        Vendor::Corbado(_) | Vendor::SuperTokens(_) => {
            let (decided, signer) = match vendor {
                Vendor::SuperTokens(_) => (supertokens::algorithms(), "SuperTokens"),
                Vendor::Corbado(_) | Vendor::Generic | Vendor::Unclear => {
                    (corbado::algorithms(), "Corbado")
                }
            };
            algorithms.read_or(decided, |names| {
                all(names.value.iter().map(|name| {
                    let fits = name.value.parse().is_ok_and(|name| decided.contains(name));
                    if !fits {
                        name.refuse(&format!(
                            "contradicts the preset: {signer} signs with RS256 only"
                        ));
                    }
                    fits.then_some(())
                }))?;
                Some(decided)
            })
        }
        Vendor::Unclear => {
            // The vendor is unknown, the names are not.
            if let Field::Given(names) = algorithms {
                all(names.value.iter().map(algorithm))?;
            }
            None
        }
    }
}

fn algorithm(name: &raw::Text<'_>) -> Option<Algorithm> {
    let names = Algorithm::ALL.map(Algorithm::name).join(", ");
    let why = if name.value.starts_with("HS") {
        format!("is symmetric: whoever verifies could sign; possible are {names}")
    } else {
        format!("must be one of {names}")
    };
    name.parse(&why)
}

fn compile_token_types(types: Field<raw::Texts<'_>>, vendor: &Vendor<'_>) -> Option<Vec<Box<str>>> {
    let default = match vendor {
        Vendor::SuperTokens(_) => vec!["jwt".into()],
        Vendor::Generic | Vendor::Corbado(_) | Vendor::Unclear => {
            vec!["jwt".into(), "at+jwt".into()]
        }
    };
    types.read_or(default, |types| {
        let names = all(types.value.iter().map(token_type))?;
        if let Vendor::SuperTokens(_) = vendor
            && names.iter().any(|name| **name != *"jwt")
        {
            types.error("contradicts the preset: the typ of SuperTokens' sessions is JWT");
        }
        Some(names)
    })
}

/// RFC 7515, section 4.1.9: `application/` is left out, and media types know no case.
fn token_type(text: &raw::Text<'_>) -> Option<Box<str>> {
    let name = text.value.to_ascii_lowercase();
    let name = name.strip_prefix("application/").unwrap_or(&name);
    if name.is_empty() {
        text.refuse("must name a type");
        return None;
    }
    Some(name.into())
}

fn compile_sources(
    sources: Field<At<'_, Vec<raw::Source<'_>>>>,
    vendor: &Vendor<'_>,
) -> Option<Vec<Source>> {
    let possible = preset_sources(vendor);
    let vendor_name = match vendor {
        Vendor::Corbado(_) => Some("Corbado"),
        Vendor::SuperTokens(_) => Some("SuperTokens"),
        Vendor::Generic | Vendor::Unclear => None,
    };
    let default = match vendor_name {
        Some(_) => possible.clone(),
        None => vec![Source::bearer()],
    };
    sources.read_or(default, |At { place, value }| {
        let mut seen = Vec::new();
        let sources = all(value.into_iter().map(|source| compile_source(source, &mut seen)))?;
        if let Some(name) = vendor_name
            && sources.iter().any(|source| !possible.contains(source))
        {
            let possible: Vec<_> = possible.iter().map(ToString::to_string).collect();
            place.error(format!(
                "contradicts the preset: {name}'s sessions are in {}; some of these may be listed, \
                 no others",
                possible.join(", ")
            ));
        }
        Some(sources)
    })
}

/// Where a vendor's sessions are; nothing without a preset.
fn preset_sources(vendor: &Vendor<'_>) -> Vec<Source> {
    match vendor {
        Vendor::Corbado(_) => corbado::sources(),
        Vendor::SuperTokens(_) => supertokens::sources(),
        Vendor::Generic | Vendor::Unclear => Vec::new(),
    }
}

/// The cookies of a preset in which the operator's sources don't look. Nobody verifies what they
/// hold, so no backend may see them: service to service, the header alone counts.
fn unread_cookies(preset: Vec<Source>, sources: &[Source]) -> impl Iterator<Item = CookieName> {
    let unread = preset.into_iter().filter(|source| !sources.contains(source));
    unread.filter_map(|source| source.cookie().cloned())
}

/// What two equal sources have in common: the name, and of headers the scheme.
type SourceKey = (Box<str>, Option<String>);

fn compile_source<'a>(
    raw: raw::Source<'a>,
    seen: &mut Vec<(SourceKey, Place<'a>)>,
) -> Option<Source> {
    match raw {
        raw::Source::Header { place, name, scheme } => {
            let name = name.and_then(|name| source_header(&name));
            let is_authorization = name == Some(HeaderName::authorization());
            let scheme = match scheme {
                Field::Absent if is_authorization => Some(Scheme::bearer()),
                Field::Absent => {
                    let scheme = place.member("header").member("scheme");
                    let text = "is missing: only for authorization it is Bearer by default; \"\" \
                                stands for the whole value";
                    // Without a name there is no telling whether it may be left out.
                    if name.is_some() {
                        scheme.error(text);
                    }
                    None
                }
                Field::Bad => None,
                // One spelling of one scheme, so that equal sources are equal.
                Field::Given(text) if text.value.eq_ignore_ascii_case("bearer") => {
                    Some(Scheme::bearer())
                }
                Field::Given(text) => text.parse("must be a scheme such as Bearer, or \"\""),
            };
            let (name, scheme) = (name?, scheme?);
            let key = format!("{scheme:?}").to_ascii_lowercase();
            refuse_repeated(seen, (name.as_str().into(), Some(key)), &place);
            Some(Source::Header { name, scheme })
        }
        raw::Source::Cookie { place, name } => {
            let name = name?;
            let key = (name.value.into(), None);
            let name = name.parse("must be a cookie's name: a token of RFC 9110")?;
            refuse_repeated(seen, key, &place);
            Some(Source::Cookie(name))
        }
    }
}

fn source_header(text: &raw::Text<'_>) -> Option<HeaderName> {
    let name: HeaderName = text.parse("must be a header's name: a token of RFC 9110")?;
    if matches!(name.as_str(), "cookie" | "set-cookie") {
        text.refuse("is no source: name the cookie itself, as in cookie: { name: session }");
        return None;
    }
    if name.as_str() == "host" || reserved_headers::is_connection_header(&name) {
        text.refuse("is no source: HTTP needs it for itself");
        return None;
    }
    Some(name)
}

/// The headers in which some provider looks for tokens.
fn token_headers(providers: &[raw::Provider<'_>]) -> Vec<HeaderName> {
    let sources = providers.iter().filter_map(|provider| provider.sources.as_given());
    let headers = sources.flat_map(|sources| &sources.value).filter_map(|source| match source {
        raw::Source::Header { place: _, name, scheme: _ } => name.as_ref()?.value.parse().ok(),
        raw::Source::Cookie { place: _, name: _ } => None,
    });
    headers.collect()
}

fn texts(list: &[raw::Text<'_>]) -> Vec<Box<str>> {
    list.iter().map(|text| text.value.into()).collect()
}

fn default_algorithms() -> AlgorithmSet {
    [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa].into_iter().collect()
}

/// What inline keys are read for where the provider's own list has an error: nothing more is then
/// said about them than must be.
fn all_algorithms() -> AlgorithmSet {
    Algorithm::ALL.into_iter().collect()
}

/// Machines that follow a time server differ by less.
const DEFAULT_CLOCK_SKEW: Duration = Duration::from_secs(10);

/// Beyond it, `exp` says little: vendors' sessions live five minutes.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(300);

/// Browsers hold no larger cookie than half of it.
const DEFAULT_MAX_TOKEN_BYTES: usize = 8_192;

/// With more than 60 KiB of headers Envoy answers 431 itself.
const MAX_MAX_TOKEN_BYTES: usize = 32_768;
