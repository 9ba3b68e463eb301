//! Headers with a meaning of their own, which no claim may take.
//!
//! A claim header is removed from every request and then written. A name that HTTP, a browser, a
//! proxy or Envoy gives a meaning would break requests that have nothing to do with sessions, or
//! let a claim's value be taken for something else (`x-forwarded-for: <claim>`). Names are compared
//! with `-`, `_` and `.` taken as one character, as everywhere. Vendors' own conventions for users'
//! names, such as `x-forwarded-user`, are no such header: HTTP and Envoy know nothing of them.

use crate::request::HeaderName;

/// Whose header this is, if it has a meaning of its own.
pub(super) fn owner(name: &HeaderName) -> Option<&'static str> {
    let folded = name.folded();
    RESERVED
        .iter()
        .find(|group| {
            group.names.iter().any(|name| name.as_bytes() == &*folded)
                || group.prefixes.iter().any(|prefix| folded.starts_with(prefix.as_bytes()))
        })
        .map(|group| group.owner)
}

/// Whether the header belongs to one connection or frames the message, so that no filter may
/// read a token from it, and no fetch may set it (RFC 9110, section 7.6.1; RFC 9112, section 6).
pub(super) fn is_connection_header(name: &HeaderName) -> bool {
    CONNECTION.contains(&name.as_str())
}

const CONNECTION: [&str; 9] = [
    "connection",
    "content-length",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

struct Group {
    owner: &'static str,
    names: &'static [&'static str],
    prefixes: &'static [&'static str],
}

/// In the folded form, with `-`.
const RESERVED: [Group; 8] = [
    Group {
        owner: "hop-by-hop: of one connection, not of the request (RFC 9110, section 7.6.1)",
        names: &CONNECTION,
        prefixes: &["proxy-"],
    },
    Group {
        owner: "HTTP itself (RFC 9110, 9111, 9112)",
        names: &[
            "accept",
            "age",
            "allow",
            "authentication-info",
            "authorization",
            "cache-control",
            "close",
            "content-disposition",
            "content-encoding",
            "content-language",
            "content-location",
            "content-range",
            "content-type",
            "date",
            "etag",
            "expect",
            "expires",
            "from",
            "host",
            "last-modified",
            "location",
            "max-forwards",
            "mime-version",
            "pragma",
            "range",
            "referer",
            "retry-after",
            "server",
            "user-agent",
            "vary",
            "via",
            "warning",
            "www-authenticate",
        ],
        prefixes: &["accept-", "if-"],
    },
    Group {
        owner: "cookies (RFC 6265)",
        names: &["cookie", "cookie2", "set-cookie", "set-cookie2"],
        prefixes: &[],
    },
    Group {
        owner: "an extension of HTTP that the IANA registry lists",
        names: &[
            "alt-svc",
            "alt-used",
            // RFC 9842, RFC 9530 and the older RFC 3230.
            "available-dictionary",
            "content-digest",
            "dictionary-id",
            "digest",
            "repr-digest",
            "want-content-digest",
            "want-digest",
            "want-repr-digest",
            // RFC 4918, WebDAV.
            "dav",
            "depth",
            "destination",
            "if",
            "lock-token",
            "overwrite",
            "timeout",
            "capsule-protocol",
            "dpop",
            "early-data",
            "idempotency-key",
            "link",
            "prefer",
            "preference-applied",
            "priority",
            "signature",
            "signature-input",
            "slug",
            "strict-transport-security",
        ],
        prefixes: &[],
    },
    Group {
        owner: "browsers (the Fetch and HTML standards)",
        names: &[
            "device-memory",
            "dnt",
            "downlink",
            "ect",
            "last-event-id",
            "origin",
            "ping-from",
            "ping-to",
            "purpose",
            "rtt",
            "save-data",
            "service-worker",
            "service-worker-navigation-preload",
            "upgrade-insecure-requests",
            "x-content-type-options",
            "x-frame-options",
            "x-requested-with",
        ],
        prefixes: &["access-control-", "cross-origin-", "sec-"],
    },
    Group {
        owner: "proxies, to say where a request came from or went to (RFC 7239 and custom)",
        names: &[
            "forwarded",
            "true-client-ip",
            "x-client-ip",
            "x-cluster-client-ip",
            "x-forwarded",
            "x-forwarded-by",
            "x-forwarded-client-cert",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-method",
            "x-forwarded-path",
            "x-forwarded-port",
            "x-forwarded-prefix",
            "x-forwarded-proto",
            "x-forwarded-protocol",
            "x-forwarded-scheme",
            "x-forwarded-server",
            "x-forwarded-ssl",
            "x-forwarded-uri",
            "x-http-method",
            "x-http-method-override",
            "x-method-override",
            "x-original-forwarded-for",
            "x-original-host",
            "x-original-method",
            "x-original-uri",
            "x-original-url",
            "x-real-ip",
            "x-rewrite-url",
            "x-scheme",
        ],
        prefixes: &[],
    },
    Group {
        owner: "tracing (W3C Trace Context and Baggage, B3, and Envoy's other tracers)",
        names: &[
            "b3",
            "baggage",
            "sw8",
            "sw8-correlation",
            "sw8-x",
            "traceparent",
            "tracestate",
            "uber-trace-id",
            "x-amzn-trace-id",
            "x-client-trace-id",
            "x-cloud-trace-context",
            "x-ot-span-context",
            "x-request-id",
        ],
        prefixes: &["x-b3-", "x-datadog-"],
    },
    Group {
        owner: "Envoy or gRPC",
        names: &["x-squash-debug"],
        prefixes: &["grpc-", "x-envoy-", "x-istio-", "x-ratelimit-"],
    },
];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_with_a_meaning_are_reserved_under_all_aliases() {
        for (name, reserved) in [
            ("authorization", true),
            ("Cookie", true),
            ("host", true),
            ("connection", true),
            ("Transfer_Encoding", true),
            ("content.length", true),
            ("proxy-authorization", true),
            ("if-none-match", true),
            ("accept", true),
            ("Accept-Language", true),
            ("origin", true),
            ("sec-fetch-site", true),
            ("access-control-request-method", true),
            ("forwarded", true),
            ("x_forwarded_for", true),
            ("x-forwarded-client-cert", true),
            ("x-real-ip", true),
            ("x-original-url", true),
            ("x-request-id", true),
            ("traceparent", true),
            ("x-envoy-decorator-operation", true),
            ("grpc-timeout", true),
            ("x-user-id", false),
            ("x-forwarded-user", false),
            ("x-forwarded-email", false),
            ("x-jwt-payload", false),
            ("iffy", false),
            ("secret", false),
            ("user", false),
        ] {
            assert_eq!(owner(&name.parse().unwrap()).is_some(), reserved, "{name}");
        }
    }

    #[test]
    fn the_lists_are_folded() {
        for group in &RESERVED {
            for name in group.names.iter().chain(group.prefixes) {
                let parsed: HeaderName = name.parse().unwrap();
                assert_eq!(&*parsed.folded(), name.as_bytes());
            }
        }
    }
}
