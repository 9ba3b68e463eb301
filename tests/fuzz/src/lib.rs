//! What the fuzz targets share: test keys, tokens with a cheap signature, and a model of the filter
//! that says what it must never do.
//!
//! Everything is deterministic: an input that fails once fails again.

pub mod keys;
pub mod model;
pub mod operations;
pub mod pages;
pub mod requests;
pub mod set_cookie;
pub mod strict_token;
pub mod tokens;
