//! Request and response callbacks: read the pairs, ask the core, apply its verdict.
//!
//! Nothing is kept per stream. `on_create` comes before `on_request_headers` of the same stream, and
//! is the only way to tell two configurations in one VM apart. Usually nothing comes between them;
//! but when several streams are resumed at once and the next filter in the chain is of this VM too,
//! the host goes on with the second stream in the middle of the first one's: the pairs nest.

use std::cell::RefCell;

use crate::denial::Denial;
use crate::edits::{HeaderEdit, HeaderEdits};
use crate::filter::Verdict;
use crate::filter::waiting::StreamId;
use crate::host::abi::{self, HeaderMap, Refused};
use crate::host::root::{self, Root};
use crate::request::RequestHead;

/// A stream begins.
pub(super) fn on_create(id: u32, root_id: u32) {
    CREATED.with_borrow_mut(|created| {
        if created.len() >= MAX_CREATED {
            created.remove(0);
        }
        created.push((id, root_id));
    });
}

/// A request's head is complete.
pub(super) fn on_request_headers(id: u32, has_body: bool) -> u32 {
    match root_of_created(id).and_then(root::find) {
        Some(root) => decide(&root, id, has_body).unwrap_or_else(|_| refuse()),
        None => refuse(),
    }
}

/// A request's trailers are complete. Which configuration the stream belongs to is not known by
/// now, so what any of them removes goes.
pub(super) fn on_request_trailers() -> u32 {
    let Ok(bytes) = abi::header_pairs(HeaderMap::RequestTrailers) else { return abi::CONTINUE };
    let trailers = RequestHead::from_host(&bytes, false);
    for (name, _) in trailers.pairs() {
        if root::any_filter(|filter| filter.removes_trailer(name)) {
            // Of several of one name the first call takes all.
            let _ = abi::remove_header(HeaderMap::RequestTrailers, name);
        }
    }
    abi::CONTINUE
}

/// A response's head is complete: an upstream's, or one that Envoy gives itself. Of our own answers
/// the host tells while it still sends them, in the middle of our call.
pub(super) fn on_response_headers(id: u32) {
    let stream = StreamId(id);
    let Some(root) = root::awaiting_response(stream) else { return };
    // Most responses set no cookie, and all their pairs cost ten times as much as this question.
    let bytes = if abi::has_header(HeaderMap::ResponseHeaders, b"set-cookie") {
        abi::header_pairs(HeaderMap::ResponseHeaders)
    } else {
        Ok(Vec::new())
    };
    let Ok(bytes) = bytes else { return };
    let head = RequestHead::from_host(&bytes, false);
    if head.pairs().is_empty() && !bytes.is_empty() {
        return;
    }
    let lines: Vec<_> = head.values(b"set-cookie").collect();
    let mut result = Ok(());
    root.on_response(stream, &lines).for_each(|edit| {
        // What could not be removed must not come twice.
        result = result.and_then(|()| match edit {
            HeaderEdit::Remove(name) => abi::remove_header(HeaderMap::ResponseHeaders, name),
            HeaderEdit::Set(name, value) | HeaderEdit::Add(name, value) => {
                abi::add_header(HeaderMap::ResponseHeaders, name, value)
            }
        });
    });
}

/// Decides a stream again that was paused.
pub(super) fn resume(root: &Root, stream: StreamId) {
    let StreamId(id) = stream;
    if abi::set_effective_context(id).is_err() {
        // The client has hung up.
        root.forget(stream);
        return;
    }
    let decided = decide(root, id, false).unwrap_or_else(|_| {
        root.forget(stream);
        refuse()
    });
    // Otherwise it was answered, or waits for something else.
    if decided == abi::CONTINUE {
        let _ = abi::resume_request();
    }
}

/// The root of a stream whose head is here now. What was created after it has had its head by now,
/// or never will.
fn root_of_created(id: u32) -> Option<u32> {
    CREATED.with_borrow_mut(|created| {
        let place = created.iter().rposition(|(other, _)| *other == id)?;
        let root = created.get(place).map(|(_, root)| *root);
        created.truncate(place);
        root
    })
}

fn decide(root: &Root, id: u32, has_body: bool) -> Result<u32, Refused> {
    let bytes = abi::header_pairs(HeaderMap::RequestHeaders)?;
    // Bytes that don't add up leave a head without `:path`, which is refused as malformed.
    let head = RequestHead::from_host(&bytes, has_body);
    match root.on_request(StreamId(id), &head) {
        Some(Verdict::Continue(edits)) => {
            apply(&edits)?;
            Ok(abi::CONTINUE)
        }
        Some(Verdict::Deny(denial)) => {
            answer(&denial);
            Ok(abi::STOP_ALL_AND_WATERMARK)
        }
        Some(Verdict::Wait) => Ok(abi::STOP_ALL_AND_WATERMARK),
        None => Ok(refuse()),
    }
}

/// Makes the changes. With our ABI each of them makes Envoy choose the route anew, so claims in
/// headers can choose one; asking for it (`clear_route_cache`) would cost 5,300 instructions.
fn apply(edits: &HeaderEdits<'_>) -> Result<(), Refused> {
    let mut result = Ok(());
    edits.for_each(|edit| {
        result = result.and(match edit {
            HeaderEdit::Remove(name) => abi::remove_header(HeaderMap::RequestHeaders, name),
            HeaderEdit::Set(name, value) => abi::set_header(name, value),
            HeaderEdit::Add(name, value) => abi::add_header(HeaderMap::RequestHeaders, name, value),
        });
    });
    result
}

fn answer(denial: &Denial) {
    let Denial { status, headers, body, details, reason: _ } = denial;
    let _ = abi::send_local_response(*status, details, headers, body);
}

/// Answers a request that no configuration can be found for, or whose headers can't be read or
/// written: without a decision nothing goes on.
fn refuse() -> u32 {
    let _ = abi::send_local_response(503, "session_token_denied{internal}", &[], b"");
    abi::STOP_ALL_AND_WATERMARK
}

/// More than can nest: each level is a stream that waited. A stream that another filter answers is
/// created for its access log alone, and never has a head here.
const MAX_CREATED: usize = 4_096;

thread_local! {
    /// Streams and their roots, from `on_create` to `on_request_headers`; the innermost last.
    static CREATED: RefCell<Vec<(u32, u32)>> = const { RefCell::new(Vec::new()) };
}
