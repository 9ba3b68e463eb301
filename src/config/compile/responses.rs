//! How answers look: realm, login page, origins.

use super::csrf::origins_of;
use super::rule::hosts_of;
use crate::config::error::{Place, quoted};
use crate::config::raw;
use crate::config::reader::Field;
use crate::config::uri::{HttpUri, InvalidUri, Scheme};
use crate::login::{Login, LoginPage, ReturnHosts};
use crate::matcher::{Host, HostPattern};
use crate::origin::Origin;
use crate::path::NormalPath;
use crate::policy::{Access, ResponsePolicy, Rule};

/// `rules` are those and their default, which may keep people from the login page; nothing: an
/// error was found in them. Pages of `allowed_origins`, which may send the session, may read the
/// answer, unless others are listed.
pub(super) fn compile(
    raw: raw::Responses<'_>,
    rules: Option<&(Vec<Rule>, Rule)>,
    allowed_origins: &[Origin],
) -> Option<ResponsePolicy> {
    let raw::Responses { realm, login_url, return_hosts, cors_origins } = raw;
    let realm = realm.read_or(None, |realm| {
        // It stands in quotes in `WWW-Authenticate` (RFC 9110, section 11.5).
        let plain = |byte: u8| (0x20..0x7f).contains(&byte) && !b"\"\\".contains(&byte);
        if realm.value.len() > MAX_REALM_BYTES || !realm.value.bytes().all(plain) {
            realm.refuse(&format!(
                "must be at most {MAX_REALM_BYTES} characters of printable ASCII without \" and \\"
            ));
            return None;
        }
        Some(Some(realm.value.into()))
    });
    let login_place = login_url.as_given().map(|url| url.place);
    let login_url = login_url.read_or(None, |url| LoginUrl::read(&url).map(Some));
    let login = compile_login(login_url, return_hosts);
    if let (Some(Some(login)), Some(place), Some((rules, default))) = (&login, login_place, rules) {
        warn_if_nobody_can_log_in(login, &place, rules, default);
    }
    let cors_origins =
        cors_origins.read_or(allowed_origins.to_vec(), |origins| origins_of(&origins));
    Some(ResponsePolicy { realm: realm?, login: login?, cors_origins: cors_origins? })
}

fn compile_login(
    login_url: Option<Option<LoginUrl>>,
    return_hosts: Field<raw::Texts<'_>>,
) -> Option<Option<Login>> {
    if let (Some(url), Field::Given(hosts)) = (&login_url, &return_hosts)
        && url.as_ref().is_none_or(|url| url.after.is_none())
    {
        hosts.place.warning("decides nothing: there is no {url} in login_url");
    }
    let return_hosts = return_hosts.read_or(None, |hosts| hosts_of(&hosts).map(Some));
    let (login_url, return_hosts) = (login_url?, return_hosts?);
    Some(login_url.map(|LoginUrl { before, after, page }| {
        let return_hosts = match (return_hosts, &page.host) {
            (Some(hosts), _) => ReturnHosts::OneOf(hosts),
            (None, Some(host)) => ReturnHosts::OneOf(vec![host.clone()]),
            (None, None) => ReturnHosts::RequestsOwn,
        };
        Login { before, after, page, return_hosts }
    }))
}

/// `login_url`, in the parts of a [`Login`].
struct LoginUrl {
    before: Box<str>,
    after: Option<Box<str>>,
    page: LoginPage,
}

impl LoginUrl {
    fn read(text: &raw::Text<'_>) -> Option<Self> {
        let found = Self::parse(text.value);
        if let Err(why) = found {
            text.refuse(why);
        }
        found.ok()
    }

    /// # Errors
    /// What the text must or must not, for a message.
    fn parse(url: &str) -> Result<Self, &'static str> {
        // Browsers take a `\` for a `/`, and drop line ends and tabs.
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) || url.contains('\\') {
            return Err(InvalidUri::Byte.demand());
        }
        let (before, after) = match url.split_once(PLACEHOLDER) {
            Some((before, after)) => (before, Some(after)),
            None => (url, None),
        };
        if before.contains(['{', '}']) || after.is_some_and(|after| after.contains(['{', '}'])) {
            return Err("must have no placeholder but one {url}");
        }
        if after.is_some() && !before.contains(['?', '#']) {
            return Err("must have its {url} in the query or fragment");
        }
        let without_fragment = url.split('#').next().unwrap_or_default();
        let uri;
        let (host, target) = if without_fragment.starts_with('/') {
            if without_fragment.starts_with("//") {
                return Err(START);
            }
            (None, without_fragment)
        } else {
            uri = without_fragment.parse::<HttpUri>().map_err(|error| match error {
                InvalidUri::Scheme => START,
                InvalidUri::Byte
                | InvalidUri::Fragment
                | InvalidUri::UserInfo
                | InvalidUri::Host => error.demand(),
            })?;
            match uri.scheme {
                Scheme::Https => {}
                Scheme::Http if uri.is_loopback() => {}
                Scheme::Http => return Err(START),
            }
            let host = Host::read(uri.authority.as_bytes()).ok();
            let host = host.and_then(|host| std::str::from_utf8(host.name()).ok()?.parse().ok());
            let host = host.filter(|host: &HostPattern| host.host().is_some());
            (Some(host.ok_or(InvalidUri::Host.demand())?), &*uri.path)
        };
        let path = target.split('?').next().unwrap_or_default();
        let path =
            NormalPath::from_pattern(path).ok_or("must have no broken escape in its path")?;
        // Browsers take them away: the page would not be known again, and be redirected to itself.
        if path.wide.split(|byte| *byte == b'/').any(|segment| matches!(segment, b"." | b"..")) {
            return Err("must have no segment . or .. in its path");
        }
        Ok(Self {
            before: before.into(),
            after: after.map(Box::from),
            page: LoginPage { host, path },
        })
    }
}

/// The login page has to be public, where these rules decide about it. They don't if it is on a host
/// that no rule names though some name hosts, or to which `return_hosts` does not lead back.
fn warn_if_nobody_can_log_in(login: &Login, place: &Place<'_>, rules: &[Rule], default: &Rule) {
    let LoginPage { host, path } = &login.page;
    let host = host.as_ref().and_then(HostPattern::host);
    let lets_in = |rule: &Rule| match rule.access {
        Access::Public => {
            host.is_none_or(|host| rule.matches.matches_host(host))
                && rule.matches.matches_on_any_host(b"GET", Some(path))
        }
        Access::Required | Access::Optional | Access::Denied => false,
    };
    let is_elsewhere = |host: Host<'_>| {
        let mut of_hosts = rules.iter().filter(|rule| rule.matches.looks_at_host()).peekable();
        !login.return_hosts.contain(host)
            || (of_hosts.peek().is_some() && !of_hosts.any(|rule| rule.matches.matches_host(host)))
    };
    if rules.iter().chain([default]).any(lets_in) || host.is_some_and(is_elsewhere) {
        return;
    }
    let page = String::from_utf8_lossy(&path.narrow);
    place.warning(format!(
        "no public rule covers {}: where these rules decide about it, nobody can log in",
        quoted(&page)
    ));
}

const PLACEHOLDER: &str = "{url}";

const START: &str =
    "must begin with https:// (http:// on loopback and *.localhost only) or with a single /";

/// It stands in every challenge, and a line of headers should stay readable.
const MAX_REALM_BYTES: usize = 128;
