//! The adapter: the only place that sees the proxy-wasm host. It reads bytes, calls the core, and
//! applies the value that comes back; it decides nothing.

mod abi;
mod crypto;
mod root;
mod stream;
