//! The proxy-wasm ABI 0.2.1 as this module uses it: imports with statuses as values, and exports.
//!
//! The SDK's wrappers panic on a status that they don't expect, and a panic ends the worker's whole
//! VM; so everything on the request path is called here, directly. Exports that begin with `own_`
//! take the SDK's place when the module is finished (`xtask`): both can't be linked under one name.

#![allow(unsafe_code)]

use std::ptr;

use crate::host::{root, stream};
use crate::time::UnixTime;

/// A map of header pairs.
#[derive(Clone, Copy, Debug)]
pub(super) enum HeaderMap {
    RequestHeaders = 0,
    RequestTrailers = 1,
    ResponseHeaders = 2,
    CalloutHeaders = 6,
}

/// A buffer of bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Buffer {
    CalloutBody = 4,
    PluginConfiguration = 7,
}

/// The host refused a call; its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) u32);

/// What a request callback returns: go on.
pub(super) const CONTINUE: u32 = 0;
/// Stop every callback of the stream and buffer nothing beyond the watermark. `StopIteration` (1)
/// would let a body through under `allow_on_headers_stop_iteration: true`.
pub(super) const STOP_ALL_AND_WATERMARK: u32 = 4;

/// All pairs of a map, in the layout that `RequestHead::from_host` reads; the one value that a
/// request costs.
pub(super) fn header_pairs(map: HeaderMap) -> Result<Vec<u8>, Refused> {
    // SAFETY: the host writes a pointer and a size, or leaves them.
    returned(|data, size| unsafe { proxy_get_header_map_pairs(number(map), data, size) })
}

/// Whether there is a header of this name. Costs the host's value only if there is one.
pub(super) fn has_header(map: HeaderMap, name: &[u8]) -> bool {
    // SAFETY: the host reads the slice during the call, and writes a pointer and a size.
    returned(|data, size| unsafe {
        proxy_get_header_map_value(number(map), name.as_ptr(), name.len(), data, size)
    })
    .is_ok()
}

/// At most `max` bytes of a buffer.
pub(super) fn buffer(buffer: Buffer, max: usize) -> Result<Vec<u8>, Refused> {
    // SAFETY: as above.
    returned(|data, size| unsafe {
        proxy_get_buffer_bytes(buffer_number(buffer), 0, max, data, size)
    })
}

/// What a function of the host's own answers.
pub(super) fn call_foreign_function(name: &str, argument: &[u8]) -> Result<Vec<u8>, Refused> {
    // SAFETY: the host reads both slices during the call.
    returned(|data, size| unsafe {
        let (name, argument) = ((name.as_ptr(), name.len()), (argument.as_ptr(), argument.len()));
        proxy_call_foreign_function(name.0, name.1, argument.0, argument.1, data, size)
    })
}

/// One header of this name, whatever there was.
pub(super) fn set_header(name: &[u8], value: &[u8]) -> Result<(), Refused> {
    let map = number(HeaderMap::RequestHeaders);
    // SAFETY: the host reads both slices during the call.
    done(unsafe {
        proxy_replace_header_map_value(map, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

/// One header of this name more.
pub(super) fn add_header(map: HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Refused> {
    let map = number(map);
    // SAFETY: the host reads both slices during the call.
    done(unsafe {
        proxy_add_header_map_value(map, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

/// No header of this name.
pub(super) fn remove_header(map: HeaderMap, name: &[u8]) -> Result<(), Refused> {
    // SAFETY: the host reads the slice during the call.
    done(unsafe { proxy_remove_header_map_value(number(map), name.as_ptr(), name.len()) })
}

/// Answers the stream of the effective context.
pub(super) fn send_local_response(
    status: u16,
    details: &str,
    headers: &[(&str, Vec<u8>)],
    body: &[u8],
) -> Result<(), Refused> {
    let headers = serialized(headers);
    // SAFETY: the host reads all slices during the call.
    done(unsafe {
        proxy_send_local_response(
            u32::from(status),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            GRPC_STATUS_FROM_HTTP,
        )
    })
}

/// Sets a value of the stream of the effective context, which its access log can show.
pub(super) fn set_property(path: &str, value: &[u8]) -> Result<(), Refused> {
    // SAFETY: the host reads both slices during the call.
    done(unsafe { proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len()) })
}

/// Lets the request of the effective context go on.
pub(super) fn resume_request() -> Result<(), Refused> {
    // SAFETY: takes no memory.
    done(unsafe { proxy_continue_stream(REQUEST_STREAM) })
}

/// Makes `id` the context that calls are about.
pub(super) fn set_effective_context(id: u32) -> Result<(), Refused> {
    // SAFETY: takes no memory.
    done(unsafe { proxy_set_effective_context(id) })
}

/// How often the root of the effective context ticks.
pub(super) fn set_tick_period(millis: u32) -> Result<(), Refused> {
    // SAFETY: takes no memory.
    done(unsafe { proxy_set_tick_period_milliseconds(millis) })
}

/// The host's clock; the end of time if it has none, when everything has expired.
pub(super) fn now() -> UnixTime {
    let mut nanoseconds = 0_u64;
    // SAFETY: the host writes the number, or leaves it.
    let status = unsafe { proxy_get_current_time_nanoseconds(&raw mut nanoseconds) };
    if status != OK {
        return UnixTime::from_millis(u64::MAX);
    }
    UnixTime::from_millis(nanoseconds.checked_div(1_000_000).unwrap_or_default())
}

/// Tells the host of a counter; its number.
pub(super) fn define_counter(name: &str) -> Result<u32, Refused> {
    define_metric(0, name)
}

/// Tells the host of a gauge; its number.
pub(super) fn define_gauge(name: &str) -> Result<u32, Refused> {
    define_metric(1, name)
}

/// Adds to a metric.
pub(super) fn increment_metric(id: u32, amount: i64) -> Result<(), Refused> {
    // SAFETY: takes no memory.
    done(unsafe { proxy_increment_metric(id, amount) })
}

/// Sets a gauge.
pub(super) fn record_metric(id: u32, value: u64) -> Result<(), Refused> {
    // SAFETY: takes no memory.
    done(unsafe { proxy_record_metric(id, value) })
}

fn define_metric(kind: u32, name: &str) -> Result<u32, Refused> {
    let mut id = 0;
    // SAFETY: the host reads the slice during the call, and writes the number.
    done(unsafe { proxy_define_metric(kind, name.as_ptr(), name.len(), &raw mut id) })?;
    Ok(id)
}

/// A value that the host returns: it allocates through `proxy_on_memory_allocate`, which the SDK
/// exports, and hands the allocation over.
fn returned(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Vec<u8>, Refused> {
    let (mut data, mut size) = (ptr::null_mut(), 0);
    done(call(&raw mut data, &raw mut size))?;
    if data.is_null() || size == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the SDK's allocator makes a boxed slice of exactly `size` bytes, which nobody else
    // owns.
    Ok(unsafe { Vec::from_raw_parts(data, size, size) })
}

fn done(status: u32) -> Result<(), Refused> {
    if status == OK { Ok(()) } else { Err(Refused(status)) }
}

/// Pairs in the host's layout: their number, all lengths, then each text with a NUL after it.
fn serialized(pairs: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let size = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = size(pairs.len()).to_vec();
    for (name, value) in pairs {
        bytes.extend(size(name.len()));
        bytes.extend(size(value.len()));
    }
    for (name, value) in pairs {
        bytes.extend(name.as_bytes());
        bytes.push(0);
        bytes.extend(value);
        bytes.push(0);
    }
    bytes
}

const OK: u32 = 0;
const REQUEST_STREAM: u32 = 0;
/// Envoy then derives `grpc-status` from the HTTP status.
const GRPC_STATUS_FROM_HTTP: i32 = -1;

#[allow(clippy::as_conversions, reason = "the discriminant of a fieldless enum")]
const fn number(map: HeaderMap) -> u32 {
    map as u32
}

#[allow(clippy::as_conversions, reason = "the discriminant of a fieldless enum")]
const fn buffer_number(buffer: Buffer) -> u32 {
    buffer as u32
}

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        max: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_call_foreign_function(
        name: *const u8,
        name_size: usize,
        argument: *const u8,
        argument_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_add_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
    fn proxy_set_property(
        path: *const u8,
        path_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_continue_stream(stream: u32) -> u32;
    fn proxy_set_effective_context(id: u32) -> u32;
    fn proxy_set_tick_period_milliseconds(millis: u32) -> u32;
    fn proxy_get_current_time_nanoseconds(nanoseconds: *mut u64) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, amount: i64) -> u32;
    fn proxy_record_metric(id: u32, value: u64) -> u32;
}

unsafe extern "C" {
    /// The constructors of C and Rust statics, made by the linker.
    fn __wasm_call_ctors();
    /// The SDK's; it hears of root contexts only.
    fn proxy_on_context_create(id: u32, root_id: u32);
}

#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    // SAFETY: the host calls this once, before everything else.
    unsafe { __wasm_call_ctors() };
    root::initialize();
}

#[unsafe(no_mangle)]
extern "C" fn own_proxy_on_context_create(id: u32, root_id: u32) {
    if root_id == 0 {
        // SAFETY: a plain function of the SDK's with these arguments.
        unsafe { proxy_on_context_create(id, 0) };
    } else {
        stream::on_create(id, root_id);
    }
}

#[unsafe(no_mangle)]
extern "C" fn own_proxy_on_request_headers(id: u32, _count: u32, end_of_stream: u32) -> u32 {
    stream::on_request_headers(id, end_of_stream == 0)
}

#[unsafe(no_mangle)]
extern "C" fn own_proxy_on_request_trailers(_id: u32, _count: u32) -> u32 {
    stream::on_request_trailers()
}

#[unsafe(no_mangle)]
extern "C" fn own_proxy_on_response_headers(id: u32, _count: u32, _end_of_stream: u32) -> u32 {
    stream::on_response_headers(id);
    CONTINUE
}
