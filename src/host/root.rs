//! Root contexts: configuration, ticks and callouts, through the SDK.
//!
//! Several roots in one VM are normal: a configuration update makes a second one while the first
//! drains. Roots are not told when they go, but their ticks stop; one that has not ticked while
//! another has, many times, is forgotten.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use log::{error, info, warn};
use proxy_wasm::traits::{Context, RootContext};
use proxy_wasm::types::LogLevel;

use crate::config::{self, Loaded};
use crate::edits::ResponseEdits;
use crate::filter::access_log::StateEntry;
use crate::filter::journal::{self, LogLine};
use crate::filter::waiting::StreamId;
use crate::filter::{Filter, Verdict};
use crate::host::abi::{self, Buffer, HeaderMap};
use crate::host::crypto::Crypto;
use crate::host::stream;
use crate::jwks::document::MAX_DOCUMENT_BYTES;
use crate::jwks::fetch::{FetchError, FetchId, FetchResponse};
use crate::jwt::algorithm::Algorithm;
use crate::jwt::signature::SignatureVerifier;
use crate::request::RequestHead;
use crate::stats::{Change, MetricKind};
use crate::time::{Clock, UnixTime};

/// Says to the SDK what root contexts are made of.
pub(super) fn initialize() {
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|id| Box::new(RootAdapter { id, root: Weak::new() }));
}

/// The configured root with this number.
pub(super) fn find(id: u32) -> Option<Rc<Root>> {
    ROOTS.with_borrow(|roots| roots.iter().find(|root| root.id == id).cloned())
}

/// The configured root that must see the response of this stream, if one must.
pub(super) fn awaiting_response(stream: StreamId) -> Option<Rc<Root>> {
    let awaits =
        |root: &&Rc<Root>| root.filter.try_borrow().is_ok_and(|it| it.awaits_response(stream));
    ROOTS.with_borrow(|roots| roots.iter().find(awaits).cloned())
}

/// Whether `holds` is true of any configuration in this VM.
pub(super) fn any_filter(holds: impl Fn(&Filter) -> bool) -> bool {
    ROOTS.with_borrow(|roots| {
        roots.iter().any(|root| root.filter.try_borrow().is_ok_and(|filter| holds(&filter)))
    })
}

/// A root context that has a configuration.
#[derive(Debug)]
pub(super) struct Root {
    id: u32,
    filter: RefCell<Filter>,
    crypto: Crypto,
    /// The host's numbers of the metrics, in the order of their definitions.
    metrics: Vec<Option<u32>>,
    /// Fetches under way, by the host's numbers.
    flights: RefCell<Vec<(u32, FetchId)>>,
    /// Whether the next tick comes at once.
    hastened: Cell<bool>,
    /// The round of ticks in which it last ticked.
    last_round: Cell<u32>,
}

impl Root {
    /// Decides a request; nothing if the filter is at work already, which never happens.
    pub(super) fn on_request<'h>(
        &self,
        stream: StreamId,
        head: &RequestHead<'h>,
    ) -> Option<Verdict<'h>> {
        let mut filter = self.filter.try_borrow_mut().ok()?;
        let verdict = filter.on_request(&HostClock, stream, head, &self.crypto);
        match verdict {
            Verdict::Continue(_) => {}
            Verdict::Deny(_) => flush_log(&mut filter),
            Verdict::Wait => self.hasten(&filter, abi::now()),
        }
        for StateEntry { field, value } in filter.take_filter_state() {
            // Without it the access log lacks a word, which is no reason to refuse a request.
            let _ = abi::set_property(field.property(), value.as_bytes());
        }
        Some(verdict)
    }

    /// What to change about a response with these `set-cookie` lines.
    pub(super) fn on_response<'h>(
        &self,
        stream: StreamId,
        set_cookies: &[&'h [u8]],
    ) -> ResponseEdits<'h> {
        let filter = self.filter.try_borrow_mut();
        filter.map(|mut filter| filter.on_response(stream, set_cookies)).unwrap_or_default()
    }

    /// A stream that was to be resumed is gone.
    pub(super) fn forget(&self, stream: StreamId) {
        self.filter.borrow_mut().on_stream_done(stream);
    }

    /// Makes the next tick come at once if a fetch is due: only a root may send one.
    fn hasten(&self, filter: &Filter, now: UnixTime) {
        if !self.hastened.get() && filter.wants_tick(now) {
            self.hastened.set(abi::set_tick_period(HASTENED_TICK_MILLIS).is_ok());
        }
    }

    /// The fetch whose call had this token, which is under way no more. Each provider has one, and
    /// a second only if the first was given up: no tree is needed, which is 3 kB of module.
    fn landed(&self, token: u32) -> Option<FetchId> {
        let mut flights = self.flights.borrow_mut();
        let index = flights.iter().position(|(other, _)| *other == token)?;
        Some(flights.swap_remove(index).1)
    }

    fn resume_ready(&self) {
        loop {
            let ready = self.filter.borrow_mut().poll_ready();
            let Some(id) = ready else { break };
            stream::resume(self, id);
        }
        let _ = abi::set_effective_context(self.id);
    }

    fn flush(&self) {
        let mut filter = self.filter.borrow_mut();
        flush_log(&mut filter);
        for (place, change) in filter.stats().take() {
            let Some(Some(id)) = self.metrics.get(place) else { continue };
            let _ = match change {
                Change::None => Ok(()),
                Change::Add(amount) => abi::increment_metric(*id, amount),
                Change::Set(value) => abi::record_metric(*id, value),
            };
        }
    }
}

struct HostClock;

impl Clock for HostClock {
    fn now(&self) -> UnixTime {
        abi::now()
    }
}

/// What the SDK calls. The SDK keeps it for ever, since nobody tells it that a root is gone; so it
/// must not keep a configuration alive.
struct RootAdapter {
    id: u32,
    root: Weak<Root>,
}

impl RootAdapter {
    fn configure(&mut self) -> bool {
        // Envoy leaves the filter out, and lets every request through, on a worker where this fails
        // after it succeeded on the main thread. Want of memory must not be a reason.
        forget_all_tokens();
        // Of a plugin without a configuration Envoy says that there is no such buffer.
        let configuration = abi::buffer(Buffer::PluginConfiguration, usize::MAX);
        let configuration = configuration.unwrap_or_default();
        let Loaded { policy, warnings, notes } = match config::load(&configuration) {
            Ok(loaded) => loaded,
            Err(errors) => {
                for error in &errors {
                    error!("configuration refused: {error}");
                }
                return false;
            }
        };
        for warning in &warnings {
            warn!("configuration: {warning}");
        }
        for note in &notes {
            info!("configuration: {note}");
        }
        let (crypto, failure) = Crypto::new();
        if let Some(failure) = &failure {
            warn!("signatures are verified inside the module: {failure}");
        }
        let seed = getrandom::u64().unwrap_or_else(|_| abi::now().as_millis());
        let mut filter = Filter::new(policy, seed);
        filter.stats().portable_crypto(failure.is_some());
        info!("{}", describe(&filter, crypto));
        let metrics = filter.stats().definitions().iter().map(|metric| match metric.kind {
            MetricKind::Counter => abi::define_counter(&metric.name).ok(),
            MetricKind::Gauge => abi::define_gauge(&metric.name).ok(),
        });
        let root = Rc::new(Root {
            id: self.id,
            metrics: metrics.collect(),
            filter: RefCell::new(filter),
            crypto,
            flights: RefCell::default(),
            hastened: Cell::new(true),
            last_round: Cell::new(ROUND.get()),
        });
        ROOTS.with_borrow_mut(|roots| {
            roots.retain(|other| other.id != self.id);
            roots.push(Rc::clone(&root));
        });
        self.root = Rc::downgrade(&root);
        // Keys are fetched on the first tick, before any request asks. Without ticks there are no
        // keys, which lets nobody in; a failure here would let everybody in.
        let _ = abi::set_tick_period(HASTENED_TICK_MILLIS);
        true
    }

    fn send_fetches(&self, root: &Root, now: UnixTime) {
        loop {
            let next = root.filter.borrow_mut().poll_fetch(now);
            let Some(request) = next else { break };
            let headers = request.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
            match self.dispatch_http_call(
                &request.cluster,
                headers,
                None,
                Vec::new(),
                request.timeout,
            ) {
                Ok(token) => {
                    let mut flights = root.flights.borrow_mut();
                    // A number that comes round again is this one's now.
                    flights.retain(|(other, _)| *other != token);
                    flights.push((token, request.id));
                }
                Err(_) => {
                    let result = Err(FetchError::NotSent);
                    root.filter.borrow_mut().on_fetch_done(now, request.id, result);
                }
            }
        }
    }
}

impl Context for RootAdapter {
    fn on_http_call_response(
        &mut self,
        token: u32,
        header_count: usize,
        _body_size: usize,
        _trailer_count: usize,
    ) {
        let Some(root) = self.root.upgrade() else { return };
        let Some(fetch) = root.landed(token) else { return };
        let now = abi::now();
        let pairs = match header_count {
            // The connection broke off; there is no map to read.
            0 => Vec::new(),
            _ => abi::header_pairs(HeaderMap::CalloutHeaders).unwrap_or_default(),
        };
        let head = RequestHead::from_host(&pairs, false);
        let status = head.values(b":status").next();
        let status = status.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        let body = abi::buffer(Buffer::CalloutBody, MAX_DOCUMENT_BYTES.saturating_add(1));
        let body = body.unwrap_or_default();
        let result = status.ok_or(FetchError::NoAnswer).map(|status| FetchResponse {
            status,
            cache_control: head.values(b"cache-control").next(),
            body: &body,
        });
        root.filter.borrow_mut().on_fetch_done(now, fetch, result);
        root.resume_ready();
        root.flush();
        root.hasten(&root.filter.borrow(), now);
    }
}

impl RootContext for RootAdapter {
    fn on_configure(&mut self, _size: usize) -> bool {
        self.configure()
    }

    fn on_tick(&mut self) {
        let Some(root) = self.root.upgrade() else { return };
        let hastened = root.hastened.take();
        if hastened {
            let _ = abi::set_tick_period(TICK_MILLIS);
        }
        let now = abi::now();
        root.filter.borrow_mut().on_tick(now);
        self.send_fetches(&root, now);
        root.resume_ready();
        root.flush();
        if !hastened {
            forget_silent_roots(&root);
        }
    }
}

/// Empties the caches of all configurations in this VM.
fn forget_all_tokens() {
    ROOTS.with_borrow(|roots| {
        for root in roots {
            if let Ok(mut filter) = root.filter.try_borrow_mut() {
                filter.forget_tokens();
            }
        }
    });
}

/// Drops the configurations whose roots no longer tick.
///
/// A round ends when a root ticks for the second time in it. So however many roots there are, each
/// that lives ticks about once a round.
fn forget_silent_roots(ticking: &Root) {
    if ticking.last_round.get() == ROUND.get() {
        ROUND.set(ROUND.get().wrapping_add(1));
    }
    let round = ROUND.get();
    ticking.last_round.set(round);
    ROOTS.with_borrow_mut(|roots| {
        roots.retain(|root| round.wrapping_sub(root.last_round.get()) < ROUNDS_TO_MISS);
    });
}

fn flush_log(filter: &mut Filter) {
    while let Some(LogLine { level, text }) = filter.poll_log() {
        match level {
            journal::LogLevel::Info => info!("{text}"),
            journal::LogLevel::Warn => warn!("{text}"),
        }
    }
}

/// One line that says what runs here.
fn describe(filter: &Filter, crypto: Crypto) -> String {
    let names: Vec<_> = filter.policy().providers.iter().map(|provider| &*provider.name).collect();
    let algorithms = |portable| {
        let those = Algorithm::ALL.iter().filter(|one| crypto.is_portable(**one) == portable);
        those.map(|one| one.name()).collect::<Vec<_>>().join(",")
    };
    format!(
        "session-token-filter {} ({}) providers={} verified_by_host={} verified_by_module={}",
        env!("CARGO_PKG_VERSION"),
        option_env!("GIT_COMMIT").unwrap_or("unknown commit"),
        names.join(","),
        algorithms(false),
        algorithms(true),
    )
}

const TICK_MILLIS: u32 = 1_000;
const HASTENED_TICK_MILLIS: u32 = 1;
/// Each a second long: ticks that a fetch hastens don't count.
const ROUNDS_TO_MISS: u32 = 30;

thread_local! {
    static ROOTS: RefCell<Vec<Rc<Root>>> = const { RefCell::new(Vec::new()) };
    static ROUND: Cell<u32> = const { Cell::new(0) };
}
