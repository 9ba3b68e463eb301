//! Reading what the command line names.

use std::fmt;
use std::io::Read;

/// A file that can't be read.
#[derive(Debug)]
pub(crate) struct Unreadable(String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A file's text; `-` is the standard input.
pub(crate) fn read(file: &str) -> Result<String, Unreadable> {
    let bytes = if file == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(file)
    };
    let bytes = bytes.map_err(|error| Unreadable(format!("can't read {file}: {error}")))?;
    String::from_utf8(bytes).map_err(|_| Unreadable(format!("{file} is not UTF-8")))
}
