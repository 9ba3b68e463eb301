//! A plugin that traps at the first request: what a filter with a fault does to its VM.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A file with the module.
pub(crate) fn file() -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("trapping.wasm");
        std::fs::write(&file, bytes()).unwrap();
        file
    })
}

/// The module's bytes, by the binary format of WebAssembly 1.0, section 5.
fn bytes() -> Vec<u8> {
    const I32: u8 = 0x7f;
    // Function types: () -> (), (i32) -> i32, (i32, i32) -> (), (i32, i32, i32) -> i32.
    let types = [
        func(&[], &[]),
        func(&[I32], &[I32]),
        func(&[I32, I32], &[]),
        func(&[I32, I32, I32], &[I32]),
    ];
    let exports = [
        export("proxy_abi_version_0_2_1", FUNCTION, 0),
        export("proxy_on_memory_allocate", FUNCTION, 1),
        export("proxy_on_context_create", FUNCTION, 2),
        export("proxy_on_request_headers", FUNCTION, 3),
        export("memory", MEMORY, 0),
    ];
    // Each body: its length, no locals, instructions, end.
    let bodies = [
        vec![2, 0, END],
        vec![5, 0, I32_CONST, 0x80, 0x08, END],
        vec![2, 0, END],
        vec![3, 0, UNREACHABLE, END],
    ];
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    module.extend(section(1, &types));
    module.extend(section(3, &[vec![0], vec![1], vec![2], vec![3]]));
    // One memory of one page or more.
    module.extend(section(5, &[vec![0, 1]]));
    module.extend(section(7, &exports));
    module.extend(section(10, &bodies));
    module
}

fn func(parameters: &[u8], results: &[u8]) -> Vec<u8> {
    [&[0x60, length(parameters)], parameters, &[length(results)], results].concat()
}

fn export(name: &str, kind: u8, index: u8) -> Vec<u8> {
    [&[length(name.as_bytes())], name.as_bytes(), &[kind, index]].concat()
}

fn section(id: u8, items: &[Vec<u8>]) -> Vec<u8> {
    let count = u8::try_from(items.len()).unwrap();
    let content = [vec![count], items.concat()].concat();
    // LEB128, of two bytes at most.
    let size = u8::try_from(content.len() & 0x7f).unwrap();
    let more = u8::try_from(content.len() >> 7).unwrap();
    let size = if more == 0 { vec![size] } else { vec![size | 0x80, more] };
    [vec![id], size, content].concat()
}

/// Below 128, where LEB128 is the byte itself.
fn length(bytes: &[u8]) -> u8 {
    u8::try_from(bytes.len()).unwrap()
}

const FUNCTION: u8 = 0;
const MEMORY: u8 = 2;
const UNREACHABLE: u8 = 0x00;
const END: u8 = 0x0b;
const I32_CONST: u8 = 0x41;
