//! `csrf`: which pages may send a session's cookie.

use super::all;
use crate::config::raw;
use crate::config::reader::{At, Field};
use crate::csrf::{CsrfMode, CsrfPolicy};
use crate::origin::Origin;

/// The policy; what is absent is its default. Pages of `websites` may send the cookie too.
pub(super) fn compile(
    raw: Field<raw::Csrf<'_>>,
    websites: impl Iterator<Item = Origin>,
) -> Option<CsrfPolicy> {
    let mut policy = read(raw)?;
    add_origins(&mut policy.allowed_origins, websites);
    Some(policy)
}

/// Adds what is not listed yet.
pub(super) fn add_origins(origins: &mut Vec<Origin>, others: impl Iterator<Item = Origin>) {
    for other in others {
        if !origins.contains(&other) {
            origins.push(other);
        }
    }
}

fn read(raw: Field<raw::Csrf<'_>>) -> Option<CsrfPolicy> {
    raw.read_or(CsrfPolicy::default(), |raw| {
        let raw::Csrf { mode, allowed_origins, missing_origin } = raw;
        if let Field::Given(At { place, value }) = &mode {
            match value {
                CsrfMode::Enforce => {}
                CsrfMode::Report => place.warning(
                    "pages of other sites may act with a session's cookie: they are only counted",
                ),
                CsrfMode::InsecureOff => place
                    .warning("pages of other sites may act with a session's cookie: nobody looks"),
            }
        }
        let allowed_origins = allowed_origins.read_or(Vec::new(), |origins| origins_of(&origins));
        Some(CsrfPolicy {
            mode: mode.value_or_default()?,
            allowed_origins: allowed_origins?,
            missing_origin: missing_origin.value_or_default()?,
        })
    })
}

/// A list of origins.
pub(super) fn origins_of(origins: &raw::Texts<'_>) -> Option<Vec<Origin>> {
    all(origins.value.iter().map(|origin| origin.parse::<Origin>(ORIGIN_FORM)))
}

const ORIGIN_FORM: &str =
    "must be an origin: scheme://host[:port], without path, query and user info";
