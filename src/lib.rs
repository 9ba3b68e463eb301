//! placeholder map (lead rewrites)
pub mod bytes;
pub mod claim_headers;
pub mod config;
pub mod cookie;
pub mod extractor;
pub mod jwks;
pub mod jwt;
pub mod json;
pub mod matcher;
pub mod origin;
pub mod path;
pub mod policy;
pub mod provider;
pub mod request;
pub mod sanitizer;
pub mod time;
