//! Where the repository and its build products are.

use std::path::{Path, PathBuf};

/// The repository's root.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// `target/` in the repository's root: the finished module and Envoy's binaries are there, also
/// when `CARGO_TARGET_DIR` sends cargo's own output elsewhere.
pub fn target() -> PathBuf {
    root().join("target")
}

/// The finished module, as `make build` leaves it.
pub fn module() -> PathBuf {
    target().join("session_token_filter.wasm")
}
