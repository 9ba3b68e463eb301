//! `preset.supertokens`: an app's own settings, under their names in the vendor's SDKs.
//!
//! Domains and paths are normalised as the SDKs do it: in lower case, without a default port and a
//! trailing slash; a domain may lack its scheme. What an SDK would silently drop is an error.

use super::provider::vendor_server;
use super::rule::AuthRoutes;
use crate::config::error::Place;
use crate::config::raw;
use crate::config::reader::{At, Field};
use crate::config::uri::Scheme;
use crate::matcher::HostPattern;
use crate::origin::Origin;
use crate::path::{NormalPath, PathPolicy};
use crate::provider::supertokens::{Answers, AntiCsrf, Demands};

/// An app as its SDKs are configured.
#[derive(Clone)]
pub(super) struct App<'a> {
    place: Place<'a>,
    /// Scheme, host and port.
    api_domain: Box<str>,
    host: HostPattern,
    /// Gateway path and base path; empty for the root.
    base_path: Box<str>,
    has_public_auth_routes: bool,
    pub(super) website: Option<Origin>,
    pub(super) demands: Demands,
    pub(super) answers: Answers,
}

impl<'a> App<'a> {
    /// The app, or nothing if an error was found.
    pub(super) fn compile(raw: raw::SuperTokens<'a>) -> Option<Self> {
        let raw::SuperTokens {
            place,
            api_domain,
            website_domain,
            api_base_path,
            api_gateway_path,
            signing_keys,
            anti_csrf,
            session_expired_status,
            invalid_claim_status,
            auth_routes,
        } = raw;
        let base_place = match &api_base_path {
            Field::Given(text) => text.place,
            Field::Absent | Field::Bad => place,
        };
        let api_domain = api_domain.and_then(|text| domain(&text));
        let website = website_domain.read_or(None, |text| {
            let domain = domain(&text)?;
            let origin = domain.text.parse::<Origin>().ok();
            if origin.is_none() {
                text.refuse("must be the origin of a website: a scheme and a host");
            }
            origin.map(Some)
        });
        let gateway_path = api_gateway_path.read_or(String::new(), |text| path(&text));
        let base_path = api_base_path.read_or("/auth".to_owned(), |text| path(&text));
        let base_path = gateway_path.zip(base_path).map(|(gateway, base)| gateway + &base);
        let has_public_auth_routes = auth_routes.value_or(true);
        if let (Some(""), Some(true)) = (base_path.as_deref(), has_public_auth_routes) {
            base_place.error(
                "would make every path of api_domain public: set auth_routes: manual, and write \
                 public rules for the auth server's own routes",
            );
        }
        let answers = answers(session_expired_status, invalid_claim_status);
        let Domain { text, host } = api_domain?;
        Some(Self {
            place,
            api_domain: text,
            host,
            base_path: base_path?.into(),
            has_public_auth_routes: has_public_auth_routes?,
            website: website?,
            demands: Demands {
                signing_keys: signing_keys.value_or_default()?,
                anti_csrf: anti_csrf.value_or_default()?,
            },
            answers: answers?,
        })
    }

    /// What tokens say in `iss`, if they say anything.
    pub(super) fn issuer(&self) -> Box<str> {
        format!("{}{}", self.api_domain, self.base_path).into()
    }

    /// Where the key set is, unless the operator says otherwise.
    pub(super) fn jwks_uri(&self) -> String {
        format!("{}{}/jwt/jwks.json", self.api_domain, self.base_path)
    }

    /// The routes of the auth server, which must see requests as they come.
    pub(super) fn auth_routes(&self) -> Option<AuthRoutes<'a>> {
        self.has_public_auth_routes.then(|| AuthRoutes {
            place: self.place,
            host: self.host.clone(),
            path: self.base_path.clone(),
        })
    }

    /// Sessions that sibling hosts share are for a website on another host: without its origin,
    /// all its writing requests would be cross-site ones.
    pub(super) fn check_shared_sessions(&self, has_share_domain: bool) {
        if has_share_domain && self.website.is_none() && self.demands.anti_csrf == AntiCsrf::None {
            self.place.member("website_domain").error(
                "is missing: with cookies.share_domain and anti_csrf: none, the website's origin \
                 must be known",
            );
        }
    }
}

struct Domain {
    /// Scheme, host, and port if it is not the scheme's default.
    text: Box<str>,
    host: HostPattern,
}

/// What the SDKs' `NormalisedURLDomain` makes of a text.
fn domain(text: &raw::Text<'_>) -> Option<Domain> {
    let lower = text.value.trim().to_ascii_lowercase();
    let with_scheme = if lower.contains("://") {
        lower
    } else {
        let is_address = |host: &str| host.parse::<std::net::Ipv4Addr>().is_ok();
        let host = lower.split([':', '/']).next().unwrap_or_default();
        let scheme =
            if host.starts_with("localhost") || is_address(host) { "http" } else { "https" };
        format!("{scheme}://{lower}")
    };
    let uri = vendor_server(text, &with_scheme)?;
    let default_port = match uri.scheme {
        Scheme::Http => ":80",
        Scheme::Https => ":443",
    };
    let authority = uri.authority.strip_suffix(default_port).unwrap_or(&uri.authority);
    // A pattern for many hosts would make the routes of all of them public.
    let host = uri.host().parse::<HostPattern>().ok().filter(|host| host.host().is_some());
    let Some(host) = host else {
        text.refuse("must have a DNS name or an address as its host");
        return None;
    };
    Some(Domain { text: format!("{}://{authority}", uri.scheme.name()).into(), host })
}

/// What the SDKs' `NormalisedURLPath` makes of a text; the root is empty.
fn path(text: &raw::Text<'_>) -> Option<String> {
    let trimmed = text.value.trim();
    let rooted = match trimmed.strip_prefix('/') {
        Some(_) => trimmed.to_owned(),
        None => format!("/{trimmed}"),
    };
    let is_plain = rooted.bytes().all(|byte| byte.is_ascii_graphic() && !b"?{}".contains(&byte))
        && NormalPath::from_pattern(&rooted)
            .is_some_and(|path| PathPolicy::default().read(&path.narrow).is_ok());
    if !is_plain {
        text.refuse("must be a path such as /auth, without a query and without // and ..");
        return None;
    }
    Some(rooted.strip_suffix('/').unwrap_or(&rooted).to_owned())
}

fn answers(
    session_expired: Field<At<'_, u64>>,
    invalid_claim: Field<At<'_, u64>>,
) -> Option<Answers> {
    let same_place = match (&session_expired, &invalid_claim) {
        (_, Field::Given(at)) | (Field::Given(at), _) => Some(at.place),
        _ => None,
    };
    let status = |field: Field<At<'_, u64>>, default: u16| {
        field.read_or(default, |At { place, value }| {
            let status = u16::try_from(value).ok().filter(|status| (400..=499).contains(status));
            if status.is_none() {
                place.error(format!("{value} must be between 400 and 499"));
            }
            status
        })
    };
    let session_expired_status = status(session_expired, 401);
    let invalid_claim_status = status(invalid_claim, 403);
    let (session_expired_status, invalid_claim_status) =
        (session_expired_status?, invalid_claim_status?);
    if session_expired_status == invalid_claim_status
        && let Some(place) = same_place
    {
        place.error(
            "session_expired_status and invalid_claim_status must differ: the front end tells \
             them apart by nothing else",
        );
        return None;
    }
    Some(Answers { session_expired_status, invalid_claim_status })
}
