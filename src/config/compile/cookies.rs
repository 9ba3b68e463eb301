//! `cookies`: which cookies a domain shares, which are expired, which no backend sees.

use super::{all, refuse_repeated};
use crate::config::error::Place;
use crate::config::raw;
use crate::config::reader::Field;
use crate::cookie::CookieName;
use crate::policy::{CookiePolicy, OlderDomain, SharedCookie};
use crate::provider::corbado;
use crate::set_cookie::{self, CookieDomain, CookiePath};

/// All of it.
pub(super) fn compile(raw: raw::Cookies<'_>) -> Option<CookiePolicy> {
    let raw::Cookies { share_domain, expire_older_domains, path, strip } = raw;
    let mut shared_domains = Vec::new();
    let shares_something = match &share_domain {
        Field::Absent => false,
        // What it would have shared is not known.
        Field::Bad => true,
        Field::Given(listed) => !listed.value.is_empty(),
    };
    let share_domain = share_domain.read_or(Vec::new(), |listed| {
        let (count, most) = (listed.value.len(), CookiePolicy::MAX_SHARED);
        if count > most {
            listed.error(format!("{count} cookies are too many: at most {most} are possible"));
            return None;
        }
        let mut names = Vec::new();
        all(listed.value.into_iter().map(|raw| shared(raw?, &mut names, &mut shared_domains)))
    });
    let expire_older_domains = expire_older_domains.read_or(Vec::new(), |listed| {
        let mut seen = Vec::new();
        all(listed
            .value
            .iter()
            .map(|text| older(text, shares_something, &shared_domains, &mut seen)))
    });
    let path = path.read_or(CookiePath::default(), |path| {
        path.parse("must begin with \"/\", be printable ASCII without \";\", and end in no space")
    });
    let strip = strip.read_or(Vec::new(), |listed| {
        let mut seen = Vec::new();
        all(listed.value.iter().map(|text| {
            let name = cookie_name(text)?;
            refuse_repeated(&mut seen, name.clone(), &text.place);
            Some(name)
        }))
    });
    Some(CookiePolicy {
        share_domain: share_domain?,
        expire_older_domains: expire_older_domains?,
        path: path?,
        strip: strip?,
    })
}

fn shared<'a>(
    raw: raw::SharedCookie<'a>,
    names: &mut Vec<(CookieName, Place<'a>)>,
    domains: &mut Vec<(CookieDomain, Place<'a>)>,
) -> Option<SharedCookie> {
    let raw::SharedCookie { name, domain, expire_host_only } = raw;
    let name = name.and_then(|text| {
        let name = cookie_name(&text)?;
        refuse_repeated(names, name.clone(), &text.place);
        if set_cookie::is_bound_to_host(&name) {
            text.refuse("can't be shared: browsers take a __Host- cookie only without a domain");
        }
        if is_refresh_token(&name) {
            text.place.warning(
                "every host under the domain would receive this refresh token, and none needs it",
            );
        }
        Some(name)
    });
    let domain = domain.and_then(|text| {
        let domain: CookieDomain = text.parse(DOMAIN_FORM)?;
        if domain.is_one_label() {
            text.refuse("must have two labels or more: browsers take no cookie for all of it");
        }
        domains.push((domain.clone(), text.place));
        Some(domain)
    });
    let expire_host_only = expire_host_only.value_or(false);
    Some(SharedCookie { name: name?, domain: domain?, expire_host_only: expire_host_only? })
}

fn older<'a>(
    text: &raw::Text<'a>,
    shares_something: bool,
    shared: &[(CookieDomain, Place<'_>)],
    seen: &mut Vec<(CookieDomain, Place<'a>)>,
) -> Option<OlderDomain> {
    if text.value.is_empty() {
        if !shares_something {
            text.refuse("needs a share_domain: without one, the session itself is host-only");
        }
        return Some(OlderDomain::HostOnly);
    }
    let domain: CookieDomain = text.parse(DOMAIN_FORM)?;
    refuse_repeated(seen, domain.clone(), &text.place);
    if let Some((_, place)) = shared.iter().find(|(other, _)| *other == domain) {
        text.refuse(&format!("is {} too: what is shared would expire", place.path()));
    }
    Some(OlderDomain::Domain(domain))
}

fn cookie_name(text: &raw::Text<'_>) -> Option<CookieName> {
    text.parse("must be a cookie's name: a token of RFC 9110")
}

/// Whether a preset's vendor keeps its refresh token in a cookie of this name.
fn is_refresh_token(name: &CookieName) -> bool {
    SUPERTOKENS_REFRESH.iter().any(|other| other.as_bytes() == name.as_bytes())
        || corbado::refresh_cookies().contains(name)
}

/// The cookie of SuperTokens' back ends, and the one that its front end writes in header mode.
const SUPERTOKENS_REFRESH: [&str; 2] = ["sRefreshToken", "st-refresh-token"];

const DOMAIN_FORM: &str = "must be a DNS name such as .example.com";
