//! Decoding a token: never a panic, and exactly the strict texts. The first byte says whether the
//! rest is the text itself, or header, payload and signature with a line feed between them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use session_token_filter::jwt::token::UnverifiedToken;
use session_token_fuzz::keys::base64url;
use session_token_fuzz::strict_token;

fuzz_target!(|input: &[u8]| {
    let Some((kind, rest)) = input.split_first() else { return };
    let text = if kind.is_multiple_of(2) {
        rest.to_vec()
    } else {
        let parts: Vec<_> = rest.splitn(3, |byte| *byte == b'\n').map(base64url).collect();
        parts.join(".").into_bytes()
    };
    let token = UnverifiedToken::decode(&text);
    assert_eq!(
        token.is_ok(),
        strict_token::is_strict(&text),
        "decodes, or is strict, but not both: {}",
        text.escape_ascii()
    );
    if let Ok(token) = token {
        assert_eq!(token.text(), text, "its text is what was decoded");
    }
});
