//! Headers that no client may send: those that backends take for verified claims, and those that
//! make a backend see another path or method than the rules did.
//!
//! Names are compared with ASCII case folded and `-`, `_`, `.` taken as one character, since
//! servers that follow CGI's rule can't tell `X-User-Id` from `x_user_id`.

use crate::request::{HeaderName, fold_name_byte};

/// Tells which headers to remove. Knows nothing about why.
#[derive(Clone, Debug, Default)]
pub struct Sanitizer {
    folded: Vec<Box<[u8]>>,
    /// Bit n: a name of n bytes is among them (63 stands for all longer ones).
    lengths: u64,
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
        let lengths = folded.iter().fold(0, |lengths, name| lengths | length_bit(name));
        Self { folded, lengths }
    }

    /// Whether a header of this name must not reach a backend.
    pub fn removes(&self, name: &[u8]) -> bool {
        self.lengths & length_bit(name) != 0
            && self.folded.iter().any(|folded| {
                folded.len() == name.len()
                    && folded
                        .iter()
                        .zip(name)
                        .all(|(folded, byte)| *folded == fold_name_byte(*byte))
            })
    }
}

fn length_bit(name: &[u8]) -> u64 {
    1 << name.len().min(63)
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
