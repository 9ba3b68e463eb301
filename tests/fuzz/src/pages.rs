//! Which page a browser says it sends a request from, and whether that page may send the session's
//! cookie: the rule of the contract, said a second time and apart from the filter.

use arbitrary::Arbitrary;

/// Beside the request's own, the one page that may send the cookie.
pub const FRIEND: &str = "https://friend.example";

/// What a browser would send of itself; the first of each is nothing.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub struct Page {
    /// Whether a request that no browser sends has no use for the cookie.
    pub only_browsers: bool,
    origin: Origin,
    fetch_site: FetchSite,
    /// Whether it opens a WebSocket.
    upgrades: bool,
}

#[derive(Clone, Copy, Debug, Arbitrary)]
enum Origin {
    Absent,
    Foreign,
    Own,
    Friend,
    Null,
}

#[derive(Clone, Copy, Debug, Arbitrary)]
enum FetchSite {
    Absent,
    CrossSite,
    SameSite,
    SameOrigin,
    None,
}

impl Page {
    /// Its header lines.
    pub fn lines(self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        let origin = match self.origin {
            Origin::Absent => None,
            Origin::Foreign => Some("https://evil.example"),
            Origin::Own => Some("https://www.example"),
            Origin::Friend => Some(FRIEND),
            Origin::Null => Some("null"),
        };
        let fetch_site = match self.fetch_site {
            FetchSite::Absent => None,
            FetchSite::CrossSite => Some("cross-site"),
            FetchSite::SameSite => Some("same-site"),
            FetchSite::SameOrigin => Some("same-origin"),
            FetchSite::None => Some("none"),
        };
        let upgrade = self.upgrades.then_some("websocket");
        [("origin", origin), ("sec-fetch-site", fetch_site), ("upgrade", upgrade)]
            .into_iter()
            .filter_map(|(name, value)| Some((name.into(), value?.into())))
    }
}

/// Whether a request with these headers may carry the session in a cookie alone.
pub fn may_send_cookie(pairs: &[(Vec<u8>, Vec<u8>)], only_browsers: bool) -> bool {
    let all = |name: &str| -> Vec<&[u8]> {
        let lines = pairs.iter().filter(|(other, _)| other == name.as_bytes());
        lines.map(|(_, value)| value.as_slice()).collect()
    };
    let changes = pairs.iter().any(|(name, _)| {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase().replace(['_', '.'], "-");
        ["upgrade", "x-http-method-override", "x-http-method", "x-method-override"]
            .contains(&name.as_str())
    });
    if !changes && [&b"GET"[..], b"HEAD", b"OPTIONS"].contains(&all(":method")[0]) {
        return true;
    }
    let (sites, origins) = (all("sec-fetch-site"), all("origin"));
    if !sites.is_empty() && sites.iter().all(|site| [&b"same-origin"[..], b"none"].contains(site)) {
        return true;
    }
    match origins.as_slice() {
        [] => sites.is_empty() && !only_browsers,
        [origin] => {
            let origin = origin.to_ascii_lowercase();
            let scheme = all(":scheme").last().copied().unwrap_or_default();
            origin == FRIEND.as_bytes() && only_browsers
                || own_origins(all(":authority")[0], scheme).contains(&origin)
        }
        _ => false,
    }
}

/// All ways to write the origin of a request's own page, in lower case. Behind a TLS terminator the
/// request itself says `http`; a page of `http` speaks for no request that says `https`.
fn own_origins(authority: &[u8], scheme: &[u8]) -> Vec<Vec<u8>> {
    let authority = authority.to_ascii_lowercase();
    let authority = authority.strip_suffix(b":").unwrap_or(&authority);
    let mut all = Vec::new();
    for (own, port) in [("https://", ":443"), ("http://", ":80")] {
        if own == "http://" && !scheme.eq_ignore_ascii_case(b"http") {
            continue;
        }
        let host = authority.strip_suffix(port.as_bytes()).unwrap_or(authority);
        if !host.is_empty() {
            all.extend([
                [own.as_bytes(), host].concat(),
                [own.as_bytes(), host, port.as_bytes()].concat(),
            ]);
        }
    }
    all
}
