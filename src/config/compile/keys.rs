//! Where a provider's keys come from.

use std::rc::Rc;
use std::time::Duration;

use super::provider::Vendor;
use super::{all, duration, refuse_repeated};
use crate::config::error::quoted;
use crate::config::raw;
use crate::config::reader::{Field, Node};
use crate::config::reserved_headers;
use crate::config::units::MAX_DURATION;
use crate::config::uri::{HttpUri, InvalidUri, Scheme};
use crate::jwks::document::{Jwks, JwksError, ParsedJwks};
use crate::jwks::source::{KeySource, RemoteJwks};
use crate::jwt::algorithm::AlgorithmSet;
use crate::request::HeaderName;

/// The keys, of which those count that fit `algorithms`.
pub(super) fn compile(
    raw: raw::Jwks<'_>,
    vendor: &Vendor<'_>,
    algorithms: AlgorithmSet,
) -> Option<KeySource> {
    let raw::Jwks { place, inline, remote } = raw;
    if let (Field::Absent, Field::Absent) = (&inline, &remote) {
        place.error("must have inline, remote, or both: without keys no token can be verified");
        return None;
    }
    let inline = inline.read_or(None, |node| inline_keys(node, algorithms).map(Some));
    let remote = remote.read_or(None, |raw| remote_keys(raw, vendor).map(Some));
    Some(KeySource { inline: inline?, remote: remote? })
}

fn inline_keys(node: Node<'_>, algorithms: AlgorithmSet) -> Option<Rc<Jwks>> {
    let parsed = match node.value.as_str() {
        Some(text) => Jwks::parse(text.as_bytes(), algorithms),
        None => Jwks::from_value(node.value, algorithms),
    };
    match parsed {
        Ok(ParsedJwks { jwks, skipped, beyond_limit }) => {
            for key in skipped {
                node.place.warning(format!("an unusable key is skipped: {key}"));
            }
            if beyond_limit > 0 {
                let usable = jwks.len();
                node.place.warning(format!(
                    "the first {usable} usable keys count; {beyond_limit} after them do not"
                ));
            }
            Some(Rc::new(jwks))
        }
        Err(JwksError::NoUsableKey(skipped)) if !skipped.is_empty() => {
            for key in skipped {
                node.place.error(format!("no usable key: {key}"));
            }
            None
        }
        Err(error) => {
            node.place.error(error.to_string());
            None
        }
    }
}

fn remote_keys(raw: raw::RemoteJwks<'_>, vendor: &Vendor<'_>) -> Option<RemoteJwks> {
    let raw::RemoteJwks { place, uri, cluster, timeout, refresh, stale_if_error, headers } = raw;
    let uri_place = match &uri {
        Field::Given(text) => text.place,
        Field::Absent | Field::Bad => place,
    };
    let given_uri = uri.read_or(None, |text| match text.value.parse::<HttpUri>() {
        Ok(uri) => Some(Some(uri)),
        Err(error) => {
            refuse_uri(&text, error);
            None
        }
    });
    let uri = match (vendor, given_uri?) {
        (Vendor::Generic, Some(uri)) => Some(uri),
        (Vendor::Generic, None) => {
            place.member("uri").error("is missing");
            None
        }
        (Vendor::Corbado(project), given) => {
            let decided = project.jwks_uri();
            let uri = decided.parse().ok();
            if given.is_some() && given != uri {
                uri_place.error(format!("contradicts the preset: the key set is at {decided}"));
            }
            uri
        }
        // The same keys are at a core's own address too.
        (Vendor::SuperTokens(app), given) => given.or_else(|| app.jwks_uri().parse().ok()),
        (Vendor::Unclear, _) => None,
    };
    let cluster = cluster.and_then(|cluster| {
        if cluster.value.bytes().any(|byte| byte.is_ascii_control()) {
            cluster.refuse("must have no control bytes");
            return None;
        }
        Some(cluster.value.into())
    });
    let timeout = duration(timeout, DEFAULT_TIMEOUT, MIN_TIMEOUT, MAX_TIMEOUT);
    let refresh = duration(refresh, DEFAULT_REFRESH, MIN_REFRESH, MAX_DURATION);
    let stale_if_error =
        duration(stale_if_error, DEFAULT_STALE_IF_ERROR, MIN_REFRESH, MAX_DURATION);
    let headers = headers.read_or(Vec::new(), |members| request_headers(members, vendor));
    let headers = headers.map(|headers| with_vendor_headers(headers, vendor));

    let (uri, cluster): (HttpUri, Box<str>) = (uri?, cluster?);
    if uri.scheme == Scheme::Https {
        uri_place.note(&format!(
            "https://{} is reached through the cluster {}, which decides about TLS",
            uri.authority,
            quoted(&cluster)
        ));
    }
    Some(RemoteJwks {
        scheme: uri.scheme.name().into(),
        authority: uri.authority,
        path: uri.path,
        cluster,
        timeout: timeout?,
        refresh: refresh?,
        stale_if_error: stale_if_error?,
        headers: headers?,
    })
}

/// Finds that a text is no URI. What stands before an `@` may be a password, and is not shown.
pub(super) fn refuse_uri(text: &raw::Text<'_>, error: InvalidUri) {
    if text.value.contains('@') {
        text.error(error.demand());
    } else {
        text.refuse(error.demand());
    }
}

/// Headers for the fetch. Their values may be secrets: no message shows them.
fn request_headers<'a>(
    members: Vec<(&'a str, Node<'a>)>,
    vendor: &Vendor<'_>,
) -> Option<Vec<Header>> {
    let mut seen = Vec::new();
    all(members.into_iter().map(|(name, Node { place, value })| {
        let parsed = name.parse::<HeaderName>().ok();
        match &parsed {
            None => place.error("its name must be a token of RFC 9110"),
            Some(name) if name.as_str() == "host" => place.error("the host is the uri's"),
            Some(name) if reserved_headers::is_connection_header(name) => {
                place.error("Envoy sets this header itself");
            }
            Some(name) => refuse_repeated(&mut seen, name.clone(), &place),
        }
        let Some(value) = value.as_str() else {
            place.error("must be a string");
            return None;
        };
        if value.bytes().any(|byte| byte.is_ascii_control()) {
            place.error("its value must have no control bytes");
            return None;
        }
        let (name, value): Header = (parsed?, value.into());
        let decided = vendor_headers(vendor);
        if decided.iter().any(|(other, decided)| *other == name && *decided != value) {
            place.error("contradicts the preset, which sends the project_id here");
        }
        Some((name, value))
    }))
}

type Header = (HeaderName, Box<str>);

/// What the vendor's own SDKs send.
fn vendor_headers(vendor: &Vendor<'_>) -> Vec<Header> {
    match vendor {
        Vendor::Corbado(project) => project
            .jwks_headers()
            .into_iter()
            .filter_map(|(name, value)| Some((name.parse().ok()?, value.into())))
            .collect(),
        Vendor::Generic | Vendor::SuperTokens(_) | Vendor::Unclear => Vec::new(),
    }
}

fn with_vendor_headers(mut headers: Vec<Header>, vendor: &Vendor<'_>) -> Vec<Header> {
    for header in vendor_headers(vendor) {
        if !headers.contains(&header) {
            headers.push(header);
        }
    }
    headers
}

/// Envoy's own default for key sets is of this order.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// A shorter one ends before a handshake does.
const MIN_TIMEOUT: Duration = Duration::from_millis(100);

/// Requests wait as long, and browsers give up sooner.
const MAX_TIMEOUT: Duration = Duration::from_secs(300);

const DEFAULT_REFRESH: Duration = Duration::from_secs(600);

/// The clock of fetches is a tick, and a key server is no backend.
const MIN_REFRESH: Duration = Duration::from_secs(1);

/// A night in which nobody looks at a broken key server.
const DEFAULT_STALE_IF_ERROR: Duration = Duration::from_secs(24 * 60 * 60);
