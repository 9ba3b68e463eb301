//! stub

pub mod json;
pub mod jwks;
pub mod jwt;
