//! `Set-Cookie` lines as RFC 6265, section 5.2, reads them, step by step, apart from the filter.

/// What a browser understands of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The cookie's name; empty without `=`.
    pub name: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// The last domain, without one leading dot, in lower case.
    pub domain: Option<Vec<u8>>,
    /// All other attributes, in order, names in lower case.
    pub others: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Section 5.2.
pub fn read(line: &[u8]) -> Read {
    let mut parts = line.split(|byte| *byte == b';');
    let pair = parts.next().unwrap_or_default();
    let (name, value) = if pair.contains(&b'=') { cut(pair) } else { (Vec::new(), trimmed(pair)) };
    let mut read = Read { name, value, domain: None, others: Vec::new() };
    for part in parts {
        let (name, value) = cut(part);
        let name = name.to_ascii_lowercase();
        if name == b"domain" {
            let value = value.strip_prefix(b".").unwrap_or(&value);
            read.domain = Some(value.to_ascii_lowercase());
        } else if !(name.is_empty() && value.is_empty()) {
            read.others.push((name, value));
        }
    }
    read
}

/// Whether `twin` expires the host-only cookie with the name and the path of a line, under the
/// conditions under which a browser takes the line.
pub fn expires_host_only(twin: &[u8], line: &Read) -> bool {
    let twin = read(twin);
    let lasts = |name: &[u8]| name == b"expires" || name == b"max-age";
    let others = line.others.iter().filter(|(name, _)| !name.is_empty() && !lasts(name));
    let expected: Vec<_> = others.cloned().chain([(b"max-age".to_vec(), b"0".to_vec())]).collect();
    let came: Vec<_> = twin.others.iter().filter(|(name, _)| !name.is_empty()).cloned().collect();
    twin.name == line.name && twin.value.is_empty() && twin.domain.is_none() && came == expected
}

fn cut(text: &[u8]) -> (Vec<u8>, Vec<u8>) {
    match text.iter().position(|byte| *byte == b'=') {
        Some(at) => (trimmed(&text[..at]), trimmed(&text[at + 1..])),
        None => (trimmed(text), Vec::new()),
    }
}

fn trimmed(text: &[u8]) -> Vec<u8> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = text.iter().position(|byte| !is_space(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !is_space(byte)).map_or(start, |at| at + 1);
    text[start..end].to_vec()
}
