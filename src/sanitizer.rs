//! Headers that no client may send: those that backends take for verified claims, and those that
//! make a backend see another path or method than the rules did.
//!
//! Names are compared with ASCII case folded and `-`, `_`, `.` taken as one character, since
//! servers that follow CGI's rule can't tell `X-User-Id` from `x_user_id`.

use crate::name_bits::NameBits;
use crate::request::{HeaderName, folds_to};

/// Tells which headers to remove. Knows nothing about why.
#[derive(Clone, Debug, Default)]
pub struct Sanitizer {
    folded: Vec<Box<[u8]>>,
    names: NameBits,
}

impl Sanitizer {
    /// Removes `names` under all their aliases.
    pub fn new(names: impl IntoIterator<Item = HeaderName>) -> Self {
        // Few, and read once: a sort would be 5 kB of module.
        let mut folded = Vec::new();
        for name in names {
            let name = name.folded();
            if !folded.contains(&name) {
                folded.push(name);
            }
        }
        let names = folded.iter().map(|name| NameBits::of_aliases(name));
        let names = names.fold(NameBits::default(), NameBits::and);
        Self { folded, names }
    }

    /// Whether one of so many headers may have to go.
    pub fn may_remove(&self, names: NameBits) -> bool {
        self.names.meet(names)
    }

    /// Whether a header of this name must not reach a backend.
    pub fn removes(&self, name: &[u8]) -> bool {
        self.may_remove(NameBits::of(name))
            && self.folded.iter().any(|folded| folds_to(name, folded))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_aliases_are_removed() {
        let long = "x-".repeat(40);
        let names = ["X-User-Id", "x-user-roles", &long];
        let sanitizer = Sanitizer::new(names.map(|name| name.parse().unwrap()));
        for (name, removed) in [
            ("x-user-id", true),
            ("X-USER-ID", true),
            ("x_user_id", true),
            ("X.User.Id", true),
            ("x_user-roles", true),
            (&*long, true),
            (&*long.replace('-', "_"), true),
            ("x-user-i", false),
            ("x-user-idx", false),
            ("xuserid", false),
            ("", false),
        ] {
            assert_eq!(sanitizer.removes(name.as_bytes()), removed, "{name}");
        }
        assert!(!Sanitizer::default().removes(b"x-user-id"));
    }
}
