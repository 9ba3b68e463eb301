//! Key sets: how a document is fetched and parsed, and how long it serves.

pub mod document;
pub mod fetch;
pub mod remote;
pub mod source;
