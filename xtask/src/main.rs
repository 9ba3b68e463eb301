//! Finishes the filter's module: `cargo run -p xtask -- finish <built.wasm> <finished.wasm>`.
//!
//! rustc exports every `#[no_mangle]` function of every crate, and no linker flag takes one back.
//! Envoy calls each callback that is exported, and each costs instructions a request; so this step
//! keeps a list of exports, puts `own_X` in the place of the SDK's `X`, and drops what nothing
//! calls any more.
//!
//! `trim <built.wasm> <like.wasm> <trimmed.wasm>` makes the benchmark's floor comparable: it leaves
//! of `built` the exports that `like` has.
//!
//! `image <finished.wasm> <layout>` writes the finished module as an OCI image.

use std::process::ExitCode;

use walrus::passes::gc;
use walrus::{Module, ModuleConfig};

mod image;

/// What the host needs. Anything else that the build exports fails the build, unless it is dropped
/// knowingly.
const KEPT: [&str; 12] = [
    "_initialize",
    "memory",
    "proxy_abi_version_0_2_1",
    "proxy_on_configure",
    "proxy_on_context_create",
    "proxy_on_http_call_response",
    "proxy_on_memory_allocate",
    "proxy_on_request_headers",
    "proxy_on_request_trailers",
    "proxy_on_response_headers",
    "proxy_on_tick",
    "proxy_on_vm_start",
];

/// The SDK's callbacks that no request should pay for.
const DROPPED: [&str; 19] = [
    "proxy_on_delete",
    "proxy_on_done",
    "proxy_on_downstream_connection_close",
    "proxy_on_downstream_data",
    "proxy_on_foreign_function",
    "proxy_on_grpc_close",
    "proxy_on_grpc_receive",
    "proxy_on_grpc_receive_initial_metadata",
    "proxy_on_grpc_receive_trailing_metadata",
    "proxy_on_log",
    "proxy_on_new_connection",
    "proxy_on_queue_ready",
    "proxy_on_request_body",
    "proxy_on_request_metadata",
    "proxy_on_response_body",
    "proxy_on_response_metadata",
    "proxy_on_response_trailers",
    "proxy_on_upstream_connection_close",
    "proxy_on_upstream_data",
];

/// Larger modules take too long to load: V8 compiles 1 kB in about a millisecond.
const MAX_BYTES: usize = 660 * 1024;

/// What takes the place of the SDK's function of the rest of the name.
const OWN: &str = "own_";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["finish", input, output] => finish(input, output),
        ["trim", input, like, output] => trim(input, like, output),
        ["image", module, layout] => image::write(module, layout),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

const USAGE: &str = "usage: xtask finish <built.wasm> <finished.wasm>\n\
    \x20      xtask trim <built.wasm> <like.wasm> <trimmed.wasm>\n\
    \x20      xtask image <finished.wasm> <layout>";

fn read(input: &str) -> Result<Module, String> {
    ModuleConfig::new()
        .generate_name_section(false)
        .generate_producers_section(false)
        .parse_file(input)
        .map_err(|error| format!("{input}: {error:#}"))
}

fn write(output: &str, bytes: &[u8]) -> Result<(), String> {
    std::fs::write(output, bytes).map_err(|error| format!("{output}: {error}"))
}

fn finish(input: &str, output: &str) -> Result<String, String> {
    let mut module = read(input)?;
    trim_exports(&mut module)?;
    gc::run(&mut module);
    let bytes = module.emit_wasm();
    if bytes.len() > MAX_BYTES {
        return Err(format!("{output} would have {} bytes; at most {MAX_BYTES}", bytes.len()));
    }
    write(output, &bytes)?;
    let kib = bytes.len().div_ceil(1024);
    Ok(format!("{output}: {kib} KiB, {} exports", KEPT.len()))
}

fn trim(input: &str, like: &str, output: &str) -> Result<String, String> {
    let (mut module, like_module) = (read(input)?, read(like)?);
    let wanted: Vec<_> = like_module.exports.iter().map(|export| &*export.name).collect();
    let found: Vec<_> =
        module.exports.iter().map(|export| (export.id(), export.name.clone())).collect();
    if let Some(name) = wanted.iter().find(|name| !found.iter().any(|(_, found)| found == *name)) {
        return Err(format!("{input} lacks the export {name} of {like}: add it there"));
    }
    for (id, name) in &found {
        if !wanted.contains(&name.as_str()) {
            module.exports.delete(*id);
        }
    }
    gc::run(&mut module);
    write(output, &module.emit_wasm())?;
    Ok(format!("{output}: {} exports, as {like}", wanted.len()))
}

fn trim_exports(module: &mut Module) -> Result<(), String> {
    let exports: Vec<_> =
        module.exports.iter().map(|export| (export.id(), export.name.clone())).collect();
    let has_own = |name: &str| exports.iter().any(|(_, other)| *other == format!("{OWN}{name}"));
    let mut kept = Vec::new();
    for (id, name) in &exports {
        let final_name = name.strip_prefix(OWN).unwrap_or(name);
        if DROPPED.contains(&name.as_str()) || has_own(name) {
            module.exports.delete(*id);
        } else if KEPT.contains(&final_name) {
            module.exports.get_mut(*id).name = final_name.to_owned();
            kept.push(final_name);
        } else {
            return Err(format!("unexpected export {name}: keep it or drop it by the lists"));
        }
    }
    match KEPT.iter().find(|name| !kept.contains(*name)) {
        Some(missing) => Err(format!("the module lacks the export {missing}")),
        None => Ok(()),
    }
}
