//! The search for what the filter must never write: tokens, cookies, claim values.

use crate::world::World;

/// Stands in every claim value that tests put into tokens.
pub(crate) const CLAIM_MARK: &str = "CLAIM-VALUE-TO-KEEP";
/// Stands in every foreign cookie's value.
pub(crate) const COOKIE_MARK: &str = "COOKIE-VALUE-TO-KEEP";
/// How every token's header begins: `{"` in base64url.
const TOKEN_START: &str = "eyJ";

/// The lines of the filter's own, and metrics, that hold a secret.
pub(crate) fn search(world: &World) -> Vec<String> {
    let mut leaks = Vec::new();
    let mut own_lines = 0_usize;
    for written in world.written() {
        for line in written.lines() {
            // Envoy itself logs all headers at this level; what the filter writes says `wasm log`.
            let own = line.contains("wasm log") || line.contains("wasmcustom");
            own_lines += usize::from(own);
            if own && [CLAIM_MARK, COOKIE_MARK, TOKEN_START].iter().any(|mark| line.contains(mark))
            {
                leaks.push(line.to_owned());
            }
        }
    }
    if own_lines == 0 && !world.written().is_empty() {
        leaks.push(
            "no line of the filter's own was found: the search looks at the wrong text".into(),
        );
    }
    leaks
}
