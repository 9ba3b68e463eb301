//! The part of a browser that the check plays: which cookies go where (RFC 6265bis).
//!
//! A cookie goes along with a request if all hold:
//!
//! 1. It belongs to the request's host, or to a domain that the host is in. Ports don't count.
//! 2. Its path is the request's, or above it.
//! 3. The request comes from a page of the same site, or the cookie is `SameSite=None`.
//!
//! It knows neither dates nor public suffixes: `Max-Age=0`, or any `Expires` without `Max-Age`,
//! ends a cookie, and one site is all of `example.localhost`.

/// The cookies of one browser.
#[derive(Debug, Default)]
pub(super) struct Jar(Vec<Cookie>);

#[derive(Debug)]
struct Cookie {
    name: String,
    value: String,
    /// The host, or the domain without its leading dot.
    domain: String,
    host_only: bool,
    path: String,
    /// Sent with requests of other sites' pages too.
    cross_site: bool,
}

impl Jar {
    /// Keeps what an answer of `host` sets, and drops what it ends.
    pub(super) fn keep(&mut self, host: &str, set_cookie: &str) {
        let mut parts = set_cookie.split(';').map(str::trim);
        let (name, value) = parts.next().and_then(|pair| pair.split_once('=')).unwrap_or_default();
        let mut cookie = Cookie {
            name: name.to_owned(),
            value: value.to_owned(),
            domain: host.to_owned(),
            host_only: true,
            path: "/".to_owned(),
            cross_site: false,
        };
        let (mut ended, mut max_age) = (false, None);
        for part in parts {
            let (attribute, value) = part.split_once('=').unwrap_or((part, ""));
            match attribute.to_ascii_lowercase().as_str() {
                "domain" => {
                    value.trim_start_matches('.').clone_into(&mut cookie.domain);
                    cookie.host_only = false;
                }
                "path" => value.clone_into(&mut cookie.path),
                "samesite" => cookie.cross_site = value.eq_ignore_ascii_case("none"),
                "max-age" => max_age = Some(value != "0"),
                "expires" => ended = true,
                _ => {}
            }
        }
        if !cookie.host_only && !is_within(host, &cookie.domain) {
            return;
        }
        self.0.retain(|kept| {
            (&kept.name, &kept.domain, kept.host_only, &kept.path)
                != (&cookie.name, &cookie.domain, cookie.host_only, &cookie.path)
        });
        if max_age.unwrap_or(!ended) {
            self.0.push(cookie);
        }
    }

    /// The `Cookie` header of a request; empty without cookies.
    pub(super) fn header(&self, host: &str, path: &str, same_site: bool) -> String {
        let pairs = self.0.iter().filter(|cookie| {
            let there = match cookie.host_only {
                true => host == cookie.domain,
                false => is_within(host, &cookie.domain),
            };
            let above = cookie.path.trim_end_matches('/');
            let below = path.strip_prefix(above).is_some_and(|rest| {
                rest.is_empty() || rest.starts_with('/') || rest.starts_with('?')
            });
            there && below && (same_site || cookie.cross_site)
        });
        pairs
            .map(|cookie| format!("{}={}", cookie.name, cookie.value))
            .collect::<Vec<_>>()
            .join("; ")
    }

    /// The value of the first cookie of this name, wherever it belongs.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|cookie| cookie.name == name).map(|cookie| cookie.value.as_str())
    }
}

fn is_within(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_go_where_browsers_send_them() {
        let rows = [
            ("host-only", "a=1; HttpOnly", "api.x.test", "/y", true, "a=1"),
            ("host-only, elsewhere", "a=1", "api2.x.test", "/y", true, ""),
            ("a domain", "a=1; Domain=.x.test; Path=/", "api2.x.test", "/y", true, "a=1"),
            ("a domain, half a label", "a=1; Domain=.x.test", "apix.test", "/y", true, ""),
            ("a foreign domain", "a=1; Domain=y.test", "y.test", "/", true, ""),
            ("a path", "a=1; Path=/auth/r", "api.x.test", "/auth/r?x", true, "a=1"),
            ("another path", "a=1; Path=/auth/r", "api.x.test", "/auth/rs", true, ""),
            ("lax, another site", "a=1; SameSite=Lax", "api.x.test", "/", false, ""),
            ("none, another site", "a=1; SameSite=None", "api.x.test", "/", false, "a=1"),
            ("over", "a=1; Max-Age=0", "api.x.test", "/", true, ""),
            ("expired", "a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "api.x.test", "/", true, ""),
        ];
        for (name, set_cookie, host, path, same_site, sent) in rows {
            let mut jar = Jar::default();
            jar.keep("api.x.test", set_cookie);
            assert_eq!(jar.header(host, path, same_site), sent, "{name}");
        }
    }

    #[test]
    fn a_host_only_cookie_and_its_twin_are_two() {
        let mut jar = Jar::default();
        jar.keep("api.x.test", "a=old");
        jar.keep("api.x.test", "a=new; Domain=.x.test");
        assert_eq!(jar.header("api.x.test", "/", true), "a=old; a=new");
        jar.keep("api.x.test", "a=; Max-Age=0");
        assert_eq!(jar.header("api.x.test", "/", true), "a=new");
    }
}
