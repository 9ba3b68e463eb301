//! Which requests a rule decides: by host, method and path.
//!
//! A rule that opens matches narrowly, a rule that restricts matches widely. Narrow: paths and
//! methods are compared exactly. Wide: in any ASCII case, one trailing slash ignored, every escape
//! decoded; Express serves `/admin` for `/ADMIN/`. Hosts know no case in both.

use std::fmt;
use std::str::FromStr;

use crate::bytes::{self, ByteSet};
use crate::path::{NormalPath, without_trailing_slash};
use crate::request::is_token_byte;

/// The `match` of a rule.
#[derive(Clone, Debug)]
pub struct RuleMatch {
    hosts: Vec<HostPattern>,
    methods: Vec<Method>,
    method_width: Width,
    path: Option<PathPattern>,
}

impl RuleMatch {
    /// Matches what all given parts match; an empty part matches everything.
    pub fn new(
        hosts: Vec<HostPattern>,
        methods: Vec<Method>,
        method_width: Width,
        path: Option<PathPattern>,
    ) -> Self {
        Self { hosts, methods, method_width, path }
    }

    /// Matches every request.
    pub fn everything() -> Self {
        Self::new(Vec::new(), Vec::new(), Width::Wide, None)
    }

    /// Whether the host plays a part.
    pub fn looks_at_host(&self) -> bool {
        !self.hosts.is_empty()
    }

    /// Whether the path plays a part.
    pub fn looks_at_path(&self) -> bool {
        self.path.is_some()
    }

    /// Whether the method plays a part.
    pub fn looks_at_method(&self) -> bool {
        !self.methods.is_empty()
    }

    /// Whether this rule decides the request. Without a path (no rule looks at it), a pattern for
    /// paths matches nothing.
    pub fn matches(&self, host: Host<'_>, method: &[u8], path: Option<&NormalPath<'_>>) -> bool {
        self.matches_host(host) && self.matches_on_any_host(method, path)
    }

    /// Whether the host is no reason against this rule.
    pub fn matches_host(&self, host: Host<'_>) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|pattern| pattern.matches(host))
    }

    /// As `matches`, whatever the host.
    pub fn matches_on_any_host(&self, method: &[u8], path: Option<&NormalPath<'_>>) -> bool {
        (self.methods.is_empty()
            || self.methods.iter().any(|name| name.matches(method, self.method_width)))
            && self
                .path
                .as_ref()
                .is_none_or(|pattern| path.is_some_and(|path| pattern.matches(path)))
    }

    /// What it matches on this host alone; nothing if it matches nothing there.
    pub fn on_host(&self, host: &HostPattern) -> Option<Self> {
        let matches_there =
            self.hosts.is_empty() || self.hosts.iter().any(|pattern| pattern.covers(host));
        matches_there.then(|| Self { hosts: vec![host.clone()], ..self.clone() })
    }

    /// The hosts, if all that it matches are known by their names.
    pub fn named_hosts(&self) -> Option<impl Iterator<Item = Host<'_>>> {
        let all = !self.hosts.is_empty() && self.hosts.iter().all(|host| host.host().is_some());
        all.then(|| self.hosts.iter().filter_map(HostPattern::host))
    }

    /// What all paths that it matches begin with, in any ASCII case: whole segments, decoded and
    /// without a trailing slash.
    pub fn leading_segments(&self) -> Vec<u8> {
        self.path.as_ref().and_then(PathPattern::leading_segments).unwrap_or_default()
    }

    /// Whether everything that `later` matches is matched by this one too, as far as that can be
    /// told from the patterns' texts: a rule after it would never decide.
    pub fn covers(&self, later: &Self) -> bool {
        let hosts = self.hosts.is_empty()
            || (!later.hosts.is_empty()
                && later.hosts.iter().all(|host| self.hosts.iter().any(|own| own.covers(host))));
        let methods = self.methods.is_empty()
            || (!later.methods.is_empty()
                && self.method_width.covers(later.method_width)
                && later.methods.iter().all(|method| self.methods.contains(method)));
        let path = match (&self.path, &later.path) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(later)) => own.covers(later),
        };
        hosts && methods && path
    }
}

/// How a pattern compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// Exactly.
    Narrow,
    /// In every spelling that a server might take for the same.
    Wide,
}

impl Width {
    fn covers(self, other: Self) -> bool {
        self == Self::Wide || other == Self::Narrow
    }
}

/// The host of a request's `:authority`, without port and trailing dot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host<'h>(&'h [u8]);

impl<'h> Host<'h> {
    /// Reads an authority (RFC 3986, section 3.2).
    ///
    /// # Errors
    /// `MalformedAuthority` with user info, `%`, `,` or another byte that no host has, an empty
    /// name or label, an IPv6 address not in its canonical form, or a port above 65535.
    pub fn read(authority: &'h [u8]) -> Result<Self, MalformedAuthority> {
        let (host, port) = match authority {
            [b'[', ..] => {
                let end = authority.iter().position(|byte| *byte == b']');
                let end = end.and_then(|at| at.checked_add(1)).ok_or(MalformedAuthority)?;
                authority.split_at_checked(end).ok_or(MalformedAuthority)?
            }
            _ => split_name(authority)?,
        };
        match port {
            [] => {}
            [b':', digits @ ..] if is_port(digits) => {}
            _ => return Err(MalformedAuthority),
        }
        if let [b'[', address @ .., b']'] = host {
            let text = std::str::from_utf8(address).map_err(|_| MalformedAuthority)?;
            let parsed = text.parse::<std::net::Ipv6Addr>().map_err(|_| MalformedAuthority)?;
            // One address has many spellings, and a rule only one (RFC 5952).
            let is_canonical = parsed.to_string().eq_ignore_ascii_case(text);
            return if is_canonical { Ok(Self(host)) } else { Err(MalformedAuthority) };
        }
        Ok(Self(host.strip_suffix(b".").unwrap_or(host)))
    }

    /// The name or address, as sent.
    pub fn name(self) -> &'h [u8] {
        self.0
    }

    /// Whether the host never leaves this machine: `localhost`, `*.localhost` (RFC 6761, section
    /// 6.3) or a loopback address.
    pub fn is_loopback(self) -> bool {
        let Ok(name) = std::str::from_utf8(self.0) else { return false };
        let name = name.to_ascii_lowercase();
        let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        name == "localhost"
            || name.ends_with(".localhost")
            || address
                .unwrap_or(&name)
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

/// The authority names no host that rules could be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedAuthority;

/// One entry of `hosts`: a name or address, or `*.` before a name, for one or more labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    /// In lower case; of a wildcard, what follows the `*`, with its dot.
    name: Box<[u8]>,
    wildcard: bool,
}

impl HostPattern {
    /// Whether `host` is this one, or one of these.
    pub fn matches(&self, host: Host<'_>) -> bool {
        let Host(host) = host;
        if !self.wildcard {
            return bytes::same_in_any_case(host, &self.name);
        }
        host.split_at_checked(host.len().saturating_sub(self.name.len()))
            .is_some_and(|(labels, end)| !labels.is_empty() && end.eq_ignore_ascii_case(&self.name))
    }

    /// The host, unless this stands for many.
    pub fn host(&self) -> Option<Host<'_>> {
        (!self.wildcard).then_some(Host(&self.name))
    }

    fn covers(&self, other: &Self) -> bool {
        match (self.wildcard, other.wildcard) {
            (false, false) => self.name == other.name,
            (false, true) => false,
            (true, false) => self.matches(Host(&other.name)),
            (true, true) => other.name.ends_with(&self.name),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wildcard = if self.wildcard { "*" } else { "" };
        write!(f, "{wildcard}{}", self.name.escape_ascii())
    }
}

impl FromStr for HostPattern {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (wildcard, name) = match text.strip_prefix('*') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let labels = if wildcard { name.strip_prefix('.').ok_or(InvalidHost)? } else { name };
        // A request's host may have further bytes; in a pattern they are slips (`www.*.example`).
        let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.[:]".contains(&byte);
        match Host::read(labels.as_bytes()) {
            // A port or a trailing dot would never be found in a request's host.
            Ok(Host(host))
                if host == labels.as_bytes()
                    && host.iter().copied().all(is_name_byte)
                    && !(wildcard && host.contains(&b'[')) =>
            {
                Ok(Self { name: name.to_ascii_lowercase().into_bytes().into(), wildcard })
            }
            _ => Err(InvalidHost),
        }
    }
}

/// The text is no DNS name, no address and no `*.` with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidHost;

/// One entry of `methods`. `GET` includes `HEAD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method(Box<str>);

impl Method {
    fn matches(&self, method: &[u8], width: Width) -> bool {
        let equals = |name: &str| match width {
            Width::Narrow => name.as_bytes() == method,
            Width::Wide => name.as_bytes().eq_ignore_ascii_case(method),
        };
        equals(&self.0) || (&*self.0 == "GET" && equals("HEAD"))
    }
}

impl FromStr for Method {
    type Err = InvalidMethod;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let well_formed =
            text.bytes().all(|byte| is_token_byte(byte) && !byte.is_ascii_lowercase());
        if text.is_empty() || !well_formed {
            return Err(InvalidMethod);
        }
        Ok(Self(text.into()))
    }
}

/// The text is no token in upper case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidMethod;

/// The `path` of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    shape: PathShape,
    /// In the form and case of `width`.
    text: Box<[u8]>,
    width: Width,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PathShape {
    Exact,
    /// Without its trailing slash.
    Prefix,
    Suffix,
    /// `{name}` stands for one non-empty segment.
    Template,
}

impl PathPattern {
    /// Exactly `path`.
    ///
    /// # Errors
    /// As all of these: `InvalidPath` if no request can have such a path.
    pub fn exact(path: &str, width: Width) -> Result<Self, InvalidPath> {
        let text = pattern_text(path, width)?;
        let text = match width {
            Width::Narrow => text,
            Width::Wide => without_trailing_slash(&text).into(),
        };
        Ok(Self { shape: PathShape::Exact, text, width })
    }

    /// `path` and everything below it: `/a` is `/a`, `/a/` and `/a/b`, not `/ab`.
    ///
    /// # Errors
    /// `InvalidPath`
    pub fn prefix(path: &str, width: Width) -> Result<Self, InvalidPath> {
        let text = pattern_text(path, width)?;
        let text = without_trailing_slash(&text).into();
        Ok(Self { shape: PathShape::Prefix, text, width })
    }

    /// Every path that ends in `end`.
    ///
    /// # Errors
    /// `InvalidPath`
    pub fn suffix(end: &str, width: Width) -> Result<Self, InvalidPath> {
        if end.is_empty() {
            return Err(InvalidPath::Empty);
        }
        let text = pattern_text(&format!("/a{end}"), width)?;
        Ok(Self { shape: PathShape::Suffix, text: text.get(2..).unwrap_or_default().into(), width })
    }

    /// `/orders/{id}`: each `{name}` takes one non-empty segment.
    ///
    /// # Errors
    /// `InvalidPath`
    pub fn template(template: &str, width: Width) -> Result<Self, InvalidPath> {
        for segment in template.split('/') {
            let inner = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            let braces = |text: &str| text.contains(['{', '}']);
            if inner.map_or_else(|| braces(segment), |name| name.is_empty() || braces(name)) {
                return Err(InvalidPath::Placeholder);
            }
        }
        // Decoded they would look like a placeholder.
        let lower = template.to_ascii_lowercase();
        if lower.contains("%7b") || lower.contains("%7d") {
            return Err(InvalidPath::Placeholder);
        }
        Ok(Self { shape: PathShape::Template, ..Self::exact(template, width)? })
    }

    fn leading_segments(&self) -> Option<Vec<u8>> {
        let start = match self.shape {
            PathShape::Exact | PathShape::Prefix => &*self.text,
            PathShape::Suffix => return None,
            PathShape::Template => {
                let placeholder = self.text.windows(2).position(|pair| pair == b"/{");
                self.text.get(..placeholder.unwrap_or(self.text.len()))?
            }
        };
        let decoded = match self.width {
            Width::Narrow => {
                NormalPath::from_pattern(std::str::from_utf8(start).ok()?)?.wide.into_owned()
            }
            Width::Wide => start.to_vec(),
        };
        Some(without_trailing_slash(&decoded).to_vec())
    }

    fn matches(&self, path: &NormalPath<'_>) -> bool {
        match self.width {
            Width::Narrow => self.matches_text(&path.narrow),
            Width::Wide => self.matches_text(match self.shape {
                PathShape::Suffix => &path.wide,
                PathShape::Exact | PathShape::Prefix | PathShape::Template => {
                    without_trailing_slash(&path.wide)
                }
            }),
        }
    }

    fn matches_text(&self, path: &[u8]) -> bool {
        match self.shape {
            PathShape::Exact => self.equals(path, &self.text),
            PathShape::Prefix => {
                path.split_at_checked(self.text.len()).is_some_and(|(start, rest)| {
                    matches!(rest, [] | [b'/', ..]) && self.equals(start, &self.text)
                })
            }
            PathShape::Suffix => path
                .len()
                .checked_sub(self.text.len())
                .and_then(|at| path.get(at..))
                .is_some_and(|end| self.equals(end, &self.text)),
            PathShape::Template => {
                let mut segments = path.split(|byte| *byte == b'/');
                let mut patterns = self.text.split(|byte| *byte == b'/');
                loop {
                    match (segments.next(), patterns.next()) {
                        (None, None) => return true,
                        (Some(segment), Some([b'{', ..])) if !segment.is_empty() => {}
                        (Some(segment), Some(text)) if self.equals(segment, text) => {}
                        _ => return false,
                    }
                }
            }
        }
    }

    fn equals(&self, part: &[u8], text: &[u8]) -> bool {
        match self.width {
            Width::Narrow => bytes::same(part, text),
            Width::Wide => bytes::same_in_any_case(part, text),
        }
    }

    /// Whether everything that `later` matches is matched by this one too; errs on the side of no.
    fn covers(&self, later: &Self) -> bool {
        if !self.width.covers(later.width) {
            return false;
        }
        // What is compared in different forms is compared in the wider one.
        let (own, other) = match self.width {
            Width::Narrow => (self.text.to_vec(), later.text.to_vec()),
            Width::Wide => (self.text.to_ascii_lowercase(), later.text.to_ascii_lowercase()),
        };
        match (self.shape, later.shape) {
            (PathShape::Prefix, PathShape::Exact | PathShape::Prefix | PathShape::Template) => {
                other
                    .strip_prefix(own.as_slice())
                    .is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
            }
            (PathShape::Prefix, PathShape::Suffix) => own.is_empty(),
            (PathShape::Suffix, PathShape::Exact | PathShape::Suffix) => other.ends_with(&own),
            (PathShape::Exact, PathShape::Exact) | (PathShape::Template, PathShape::Template) => {
                own == other
            }
            (PathShape::Exact | PathShape::Template | PathShape::Suffix, _) => false,
        }
    }
}

/// Why no request can have such a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidPath {
    /// It does not begin with `/`.
    NoLeadingSlash,
    /// It has nothing to compare.
    Empty,
    /// A broken escape.
    Escape,
    /// A query or a fragment, which play no part.
    Query,
    /// A `{` or `}` that is escaped, or does not stand around a whole segment with a name.
    Placeholder,
}

/// A pattern in the form that `width` compares.
fn pattern_text(path: &str, width: Width) -> Result<Box<[u8]>, InvalidPath> {
    if !path.starts_with('/') {
        return Err(InvalidPath::NoLeadingSlash);
    }
    if path.contains(['?', '#']) {
        return Err(InvalidPath::Query);
    }
    let NormalPath { narrow, wide } = NormalPath::from_pattern(path).ok_or(InvalidPath::Escape)?;
    Ok(match width {
        Width::Narrow => narrow,
        Width::Wide => wide,
    }
    .into_owned()
    .into())
}

fn is_port(digits: &[u8]) -> bool {
    digits.is_empty()
        || (digits.iter().all(u8::is_ascii_digit)
            && std::str::from_utf8(digits).is_ok_and(|text| text.parse::<u16>().is_ok()))
}

/// A name, or an IPv4 address, and what begins at the first colon. No label is empty: a dot stands
/// neither first nor behind another.
fn split_name(authority: &[u8]) -> Result<(&[u8], &[u8]), MalformedAuthority> {
    let mut before = b'.';
    let mut length = 0_usize;
    for byte in authority {
        match *byte {
            b'.' if before == b'.' => return Err(MalformedAuthority),
            b'.' => {}
            b':' => break,
            byte if !LABEL_BYTES.contains(byte) => return Err(MalformedAuthority),
            _ => {}
        }
        before = *byte;
        length = length.saturating_add(1);
    }
    if length == 0 { Err(MalformedAuthority) } else { Ok(authority.split_at(length)) }
}

/// What labels of a host and parts of an IPv4 address are made of: RFC 3986's unreserved bytes and,
/// except for the comma, its `sub-delims`.
static LABEL_BYTES: ByteSet = ByteSet::alphanumeric().and(b"-_~!$&'()*+;=");

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
