//! A response's `set-cookie` lines, one a line of the input: never a panic; a line that is shared
//! reads like before but for its domain, as a reader says that was written apart from the filter's
//! (RFC 6265, section 5.2); its twin is gone by the line before it; all others stay as they are.
//! The first byte says which host asks, and whether twins are expired and duplicates were sent.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use session_token_filter::config;
use session_token_filter::filter::Filter;
use session_token_filter::filter::waiting::StreamId;
use session_token_filter::request::RequestHead;
use session_token_filter::time::UnixTime;
use session_token_fuzz::keys::ChecksumVerifier;
use session_token_fuzz::set_cookie::{Read, expires_host_only, read};

fuzz_target!(|input: &[u8]| {
    let Some((kind, rest)) = input.split_first() else { return };
    let (is_under, expires_twins, has_duplicates) = (kind & 1 != 0, kind & 2 != 0, kind & 4 != 0);
    let lines: Vec<_> = rest.split(|byte| *byte == b'\n').collect();
    let mut filter = filter(expires_twins);
    let host = if is_under { "api.example.com" } else { "api.example.org" };
    let cookie = if has_duplicates { "a=1; a=2" } else { "a=1" };
    let stream = StreamId(1);
    request(&mut filter, stream, host, cookie);
    let edits = filter.on_response(stream, &lines);
    assert!(!filter.awaits_response(stream), "told once");

    let came: Vec<&[u8]> = match edits.set_cookies.as_slice() {
        [] => lines.clone(),
        changed => {
            assert!(edits.removes_set_cookies, "there is a line at least");
            changed.iter().map(|line| &**line).collect()
        }
    };
    let mut came = came.into_iter();
    if has_duplicates {
        let first = came.next();
        assert_eq!(first, Some(b"a=; Domain=.old.example.com; Path=/; Max-Age=0".as_slice()));
        if is_under {
            assert_eq!(came.next(), Some(b"a=; Path=/; Max-Age=0".as_slice()));
        }
    }
    for line in lines {
        let before = read(line);
        let clears_older = before.value.is_empty()
            && before.domain.as_deref().is_some_and(|domain| domain == b"old.example.com");
        if before.name != b"a" || !is_under || clears_older {
            assert_eq!(came.next(), Some(line), "stays as it is");
            continue;
        }
        if expires_twins {
            let twin = came.next().unwrap_or_default();
            assert!(expires_host_only(twin, &before), "{}", twin.escape_ascii());
        }
        let after = came.next().unwrap_or_default();
        let expected = Read { domain: Some(b"example.com".to_vec()), ..before };
        assert_eq!(read(after), expected, "{} of {}", after.escape_ascii(), line.escape_ascii());
    }
    assert_eq!(came.next(), None, "nothing more");
});

fn filter(expires_twins: bool) -> Filter {
    let configuration = json!({
        "providers": [{
            "name": "main", "issuers": ["https://main.example"],
            "sources": [{ "cookie": { "name": "a" } }],
            "jwks": { "remote": { "uri": "https://main.example/", "cluster": "main" } },
        }],
        "cookies": {
            "share_domain": [{
                "name": "a", "domain": ".example.com", "expire_host_only": expires_twins,
            }],
            "expire_older_domains": [".old.example.com", ""],
        },
    });
    match config::load(configuration.to_string().as_bytes()) {
        Ok(loaded) => Filter::new(loaded.policy, 1),
        Err(errors) => panic!("{errors:?}"),
    }
}

fn request(filter: &mut Filter, stream: StreamId, host: &str, cookie: &str) {
    let pairs: [(&str, &str); 4] =
        [(":method", "GET"), (":path", "/"), (":authority", host), ("cookie", cookie)];
    let pairs = pairs.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let head = RequestHead::new(pairs.to_vec(), false);
    let now = UnixTime::from_secs(1_700_000_000);
    let _ = filter.on_request(&now, stream, &head, &ChecksumVerifier::default());
}
