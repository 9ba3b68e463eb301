//! What is kept of a request until its response comes, and what the response's cookies become.
//!
//! The host shows a response without its request, so a stream leaves a record when it is decided:
//! which shared cookies' domains its host lies under, and which source cookies it carried twice.
//! The response, whoever gives it, takes the record away:
//!  1. A source cookie that came more than once is expired for each of `expire_older_domains`; its
//!     host-only twin (`""`) only where the cookie is shared and the host lies under that domain,
//!     since elsewhere that twin is the session itself.
//!  2. A line of a shared cookie gets its domain; with `expire_host_only`, a line that expires the
//!     host-only twin stands before it.
//!  3. A line of a shared cookie stays as it is where its host is not under the domain: browsers
//!     would drop it. That is counted, and told once for each cookie.
//!  4. So does one without a value for one of `expire_older_domains`: the server clears that very
//!     cookie, and in another domain the line would clear the session.
//!  5. All other lines stay, byte for byte and in order.
//!
//! What expires a cookie stands before what sets it: to clients that follow RFC 6265 to the letter
//! (section 5.3, step 11), a host's own cookie and that of the domain of the same name are one.
//!
//! Nobody tells of streams that end without a response. So there is room for so many records, in
//! buckets by the stream's number; of a full bucket the oldest goes. A stream whose record is gone
//! gets its response as it is: its cookies are not shared, and its duplicates stay until the next
//! request.

use std::borrow::Cow;

use crate::cookie::{self, CookieName};
use crate::edits::ResponseEdits;
use crate::extractor::Source;
use crate::filter::journal::{Journal, LogLevel, escaped};
use crate::filter::waiting::StreamId;
use crate::policy::{CookiePolicy, OlderDomain, Policy, SharedCookie};
use crate::request::RequestHead;
use crate::set_cookie::{self, SetCookie};
use crate::stats::{Counter, Stats};

/// The records of one root context; nothing if no response is changed.
#[derive(Debug)]
pub struct ResponseRecords {
    /// Each in the order of arrival. None before the first record: at load memory is dear.
    buckets: Vec<Vec<Record>>,
    /// Source cookies whose duplicates are expired.
    watched: Vec<CookieName>,
    /// The shared cookies, as in `Record::covered`, whose log line is written.
    told: u32,
}

/// What a response needs to know of its request.
#[derive(Debug)]
struct Record {
    stream: StreamId,
    /// For each shared cookie whether its domain covers the host, from the lowest bit up.
    covered: u32,
    /// Places in `watched`.
    duplicates: Vec<usize>,
    /// For the log, while there is something to tell.
    host: Option<Box<[u8]>>,
}

impl ResponseRecords {
    /// No record; nothing if the policy changes no response.
    pub fn new(policy: &Policy) -> Option<Self> {
        let CookiePolicy { share_domain, expire_older_domains, .. } = &policy.cookies;
        let mut watched: Vec<CookieName> = Vec::new();
        if !expire_older_domains.is_empty() {
            for source in policy.providers.iter().flat_map(|provider| &provider.sources) {
                if let Source::Cookie(name) = source
                    // A browser keeps one of these, and takes it without a domain only.
                    && !set_cookie::is_bound_to_host(name)
                    && !watched.contains(name)
                {
                    watched.push(name.clone());
                }
            }
        }
        if share_domain.is_empty() && watched.is_empty() {
            return None;
        }
        Some(Self { buckets: Vec::new(), watched, told: 0 })
    }

    /// Keeps what the response of this stream needs.
    pub fn note(&mut self, stream: StreamId, head: &RequestHead<'_>, cookies: &CookiePolicy) {
        let host = host(head);
        let (mut covered, mut all) = (0, 0);
        for (shared, bit) in cookies.share_domain.iter().zip(bits()) {
            all |= bit;
            if shared.domain.covers(host) {
                covered |= bit;
            }
        }
        let duplicates = self.duplicates(head);
        // It has waited, or its number has come round again.
        self.remove(stream);
        if all == 0 && duplicates.is_empty() {
            return;
        }
        let is_news = all & !covered & !self.told != 0;
        let host = is_news.then(|| host.get(..MAX_HOST_BYTES).unwrap_or(host).into());
        if self.buckets.is_empty() {
            self.buckets.resize_with(BUCKETS, Vec::new);
        }
        if let Some(bucket) = self.buckets.get_mut(bucket_of(stream)) {
            if bucket.len() >= BUCKET_RECORDS {
                bucket.remove(0);
            }
            bucket.push(Record { stream, covered, duplicates, host });
        }
    }

    /// Whether there is a record of this stream.
    pub fn contains(&self, stream: StreamId) -> bool {
        let bucket = self.buckets.get(bucket_of(stream));
        bucket.is_some_and(|bucket| bucket.iter().any(|record| record.stream == stream))
    }

    /// A stream that is gone needs no record.
    pub fn forget(&mut self, stream: StreamId) {
        self.remove(stream);
    }

    fn remove(&mut self, stream: StreamId) -> Option<Record> {
        let bucket = self.buckets.get_mut(bucket_of(stream))?;
        let place = bucket.iter().position(|record| record.stream == stream)?;
        Some(bucket.remove(place))
    }

    /// What becomes of a response with these `set-cookie` lines.
    pub fn take<'h>(
        &mut self,
        stream: StreamId,
        lines: &[&'h [u8]],
        cookies: &CookiePolicy,
        stats: &mut Stats,
        journal: &mut Journal,
    ) -> ResponseEdits<'h> {
        let Some(record) = self.remove(stream) else { return ResponseEdits::default() };
        let mut changed = self.expire_duplicates(&record, cookies);
        let mut is_changed = !changed.is_empty();
        for &line in lines {
            let cookie = SetCookie::read(line);
            let mut all = cookies.share_domain.iter().zip(bits());
            let shared = all.find(|(shared, _)| shared.name.as_bytes() == cookie.name());
            let Some((shared, bit)) = shared.filter(|_| !clears_older(&cookie, cookies)) else {
                changed.push(Cow::Borrowed(line));
                continue;
            };
            if record.covered & bit == 0 {
                stats.count(Counter::SetCookieNotShared);
                self.tell(shared, bit, &record, journal);
                changed.push(Cow::Borrowed(line));
                continue;
            }
            if shared.expire_host_only {
                is_changed = true;
                changed.push(Cow::Owned(cookie.without_twin()));
            }
            changed.push(match cookie.with_domain(&shared.domain) {
                Some(line) => {
                    is_changed = true;
                    stats.count(Counter::SetCookieRewritten);
                    Cow::Owned(line)
                }
                None => Cow::Borrowed(line),
            });
        }
        if !is_changed {
            return ResponseEdits::default();
        }
        ResponseEdits { removes_set_cookies: !lines.is_empty(), set_cookies: changed }
    }

    fn expire_duplicates<'h>(&self, record: &Record, cookies: &CookiePolicy) -> Vec<Cow<'h, [u8]>> {
        let mut lines = Vec::new();
        for name in record.duplicates.iter().filter_map(|place| self.watched.get(*place)) {
            let is_shared = cookies
                .share_domain
                .iter()
                .zip(bits())
                .any(|(shared, bit)| shared.name == *name && record.covered & bit != 0);
            for older in &cookies.expire_older_domains {
                let domain = match older {
                    OlderDomain::HostOnly if !is_shared => continue,
                    OlderDomain::HostOnly => None,
                    OlderDomain::Domain(domain) => Some(domain),
                };
                lines.push(Cow::Owned(set_cookie::expired(name, domain, &cookies.path)));
            }
        }
        lines
    }

    /// The watched cookies that `head` carries more than once, whatever their values.
    fn duplicates(&self, head: &RequestHead<'_>) -> Vec<usize> {
        if self.watched.is_empty() {
            return Vec::new();
        }
        let (mut seen, mut duplicates) = (Vec::new(), Vec::new());
        for line in head.values(b"cookie") {
            for segment in cookie::segments(line) {
                let sent = segment.cookie().name;
                let place = self.watched.iter().position(|name| name.as_bytes() == sent);
                let Some(place) = place else { continue };
                if !seen.contains(&place) {
                    seen.push(place);
                } else if !duplicates.contains(&place) {
                    duplicates.push(place);
                }
            }
        }
        duplicates
    }

    fn tell(&mut self, shared: &SharedCookie, bit: u32, record: &Record, journal: &mut Journal) {
        if self.told & bit != 0 {
            return;
        }
        self.told |= bit;
        let SharedCookie { name, domain, .. } = shared;
        let host = escaped(record.host.as_deref().unwrap_or_default());
        let text = format!(
            "cookies.share_domain: {name} is not set for {domain}: host={host} is not under it"
        );
        journal.note(LogLevel::Warn, text);
    }
}

/// Whether a line clears a cookie of a domain that is given up.
fn clears_older(cookie: &SetCookie<'_>, cookies: &CookiePolicy) -> bool {
    cookie.is_empty()
        && cookie.domain().is_some_and(|value| {
            cookies.expire_older_domains.iter().any(|older| match older {
                OlderDomain::Domain(domain) => domain.is(value),
                OlderDomain::HostOnly => false,
            })
        })
}

/// The host that a browser compares domains with: without its port. A dot at its end is part of it,
/// unlike where rules are matched.
fn host<'h>(head: &RequestHead<'h>) -> &'h [u8] {
    let authority = head.values(b":authority").next().unwrap_or_default();
    authority.split(|byte| *byte == b':').next().unwrap_or_default()
}

/// One for each shared cookie.
fn bits() -> impl Iterator<Item = u32> {
    (0..u32::BITS).map(|place| 1 << place)
}

/// Numbers that follow each other are spread evenly, whatever their step (Knuth, section 6.4).
fn bucket_of(StreamId(number): StreamId) -> usize {
    let spread = number.wrapping_mul(0x9e37_79b9) >> UNUSED_BITS;
    usize::try_from(spread).unwrap_or_default()
}

/// Together far more than a worker's streams that wait for their responses at one time.
const BUCKETS: usize = 2_048;
/// What `bucket_of` leaves of a number is a bucket.
const UNUSED_BITS: u32 = u32::BITS - BUCKETS.ilog2();
const BUCKET_RECORDS: usize = 8;
/// So many records there are at most.
#[cfg(test)]
pub(super) const MAX_RECORDS: usize = BUCKETS * BUCKET_RECORDS;
/// Longer names are no names.
const MAX_HOST_BYTES: usize = 253;
