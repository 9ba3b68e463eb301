//! JSON Web Tokens: which algorithms and keys are taken, and how a signature is checked.

pub mod algorithm;
pub mod base64url;
pub mod host_signature;
pub mod key;
pub mod signature;
pub mod token;
