//! Key sets: a document, parsed once into ready keys.

pub mod document;
