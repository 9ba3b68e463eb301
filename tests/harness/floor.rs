//! The floor of `make bench`: the least that a Wasm filter can do and still touch what the real one
//! touches. Reads all request headers once, sets `authorization`, writes `cookie` anew; decides
//! nothing. Never to be deployed.
//!
//! It is a filter and no mock, so it prices what the host charges on this machine for this version.
//! Each callback that is exported costs; so `xtask trim` takes away what the shipped module does
//! not export, and fails if that exports what is not here.

#![no_std]
#![no_main]

use core::ptr;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_header_map_pairs(map: u32, data: *mut *const u8, size: *mut usize) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
}

const REQUEST_HEADERS: u32 = 0;
/// `Bearer ` and a token as long as the benchmark's.
const BEARER_BYTES: usize = 754;
const ARENA_BYTES: usize = 128 * 1024;

static AUTHORIZATION: [u8; BEARER_BYTES] = {
    let mut value = [b'x'; BEARER_BYTES];
    let mut at = 0;
    while at < b"Bearer ".len() {
        value[at] = b"Bearer "[at];
        at += 1;
    }
    value
};

/// Of `u64` for its alignment. Every value that the host returns takes the place of the last one.
static mut ARENA: [u64; ARENA_BYTES / 8] = [0; ARENA_BYTES / 8];
static mut LAST: (u32, u32) = (0, 0);

#[unsafe(no_mangle)]
pub extern "C" fn proxy_abi_version_0_2_1() {}

#[unsafe(no_mangle)]
pub extern "C" fn _initialize() {}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    if size > ARENA_BYTES {
        core::arch::wasm32::unreachable()
    }
    (&raw mut ARENA).cast()
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_vm_start(_root: u32, _size: usize) -> u32 {
    1
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_configure(_root: u32, _size: usize) -> u32 {
    1
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_tick(_root: u32) {}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_http_call_response(
    _root: u32,
    _token: u32,
    _headers: u32,
    _body: u32,
    _trailers: u32,
) {
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_context_create(id: u32, root: u32) {
    unsafe { LAST = (id, root) }
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_request_headers(_id: u32, _count: u32, _end: u32) -> u32 {
    let (mut data, mut size) = (ptr::null(), 0);
    unsafe { proxy_get_header_map_pairs(REQUEST_HEADERS, &mut data, &mut size) };
    if size == 0 {
        return 0;
    }
    set(b"authorization", &AUTHORIZATION);
    set(b"cookie", b"a=b");
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_request_trailers(_id: u32, _count: u32) -> u32 {
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_response_headers(_id: u32, _count: u32, _end: u32) -> u32 {
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_log(_id: u32) {}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_done(_id: u32) -> u32 {
    1
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_delete(_id: u32) {}

fn set(name: &[u8], value: &[u8]) {
    let (name, value) = ((name.as_ptr(), name.len()), (value.as_ptr(), value.len()));
    unsafe { proxy_replace_header_map_value(REQUEST_HEADERS, name.0, name.1, value.0, value.1) };
}
