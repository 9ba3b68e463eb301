//! JSON Web Tokens: which algorithms and keys are taken, and how a signature is checked.

pub mod algorithm;
pub mod base64url;
mod der;
pub mod host_signature;
pub mod key;
pub mod signature;
pub mod token;

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
pub(crate) mod test_keys;
