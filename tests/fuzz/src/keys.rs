//! Test keys, made from fixed seeds: real JWKs, whose private halves nobody needs, because
//! signatures are a keyed checksum here. Real signatures are tested elsewhere; a fuzzer that waits
//! for them finds nothing else.

use std::cell::Cell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;

use ct_codecs::{Base64UrlSafeNoPadding, Encoder};
use ed25519_compact::{KeyPair, Seed};
use serde_json::{Value, json};
use session_token_filter::jwt::algorithm::Algorithm;
use session_token_filter::jwt::key::{KeyFingerprint, VerifyingKey};
use session_token_filter::jwt::signature::{BadSignature, SignatureVerifier};

/// How many different keys there are of each type.
pub const MATERIALS: u8 = 8;

/// One public key, with its material's fingerprint.
#[derive(Debug)]
pub struct TestKey {
    jwk: Value,
    /// Tells its material from any other's.
    pub fingerprint: KeyFingerprint,
}

impl TestKey {
    /// The key `material` (0 .. `MATERIALS`) of the type that RS256 or else EdDSA wants.
    pub fn of(algorithm: Algorithm, material: u8) -> &'static Self {
        static KEYS: OnceLock<[Vec<TestKey>; 2]> = OnceLock::new();
        let [rsa, ed25519] = KEYS.get_or_init(|| {
            let all = |make: fn(u8) -> Value| (0..MATERIALS).map(make).map(Self::new).collect();
            [all(rsa_jwk), all(ed25519_jwk)]
        });
        let keys = if algorithm == Algorithm::Rs256 { rsa } else { ed25519 };
        &keys[usize::from(material % MATERIALS)]
    }

    fn new(jwk: Value) -> Self {
        let fingerprint = VerifyingKey::from_jwk(&jwk).expect("a usable key").fingerprint();
        Self { jwk, fingerprint }
    }

    /// The JWK under a name.
    pub fn named(&self, key_id: &str) -> Value {
        let mut jwk = self.jwk.clone();
        jwk["kid"] = key_id.into();
        jwk
    }

    /// What [`ChecksumVerifier`] takes for this key's signature.
    pub fn sign(&self, signing_input: &[u8]) -> [u8; 8] {
        checksum(self.fingerprint, signing_input)
    }
}

/// Takes a keyed checksum for a signature, and counts how often it is asked.
#[derive(Debug, Default)]
pub struct ChecksumVerifier {
    /// What it says about every algorithm.
    pub portable: bool,
    /// Whether it takes no signature at all.
    pub refuses_all: bool,
    /// How often it was asked.
    pub asked: Cell<u32>,
}

impl SignatureVerifier for ChecksumVerifier {
    fn verify(
        &self,
        _: Algorithm,
        key: &VerifyingKey,
        signing_input: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        self.asked.set(self.asked.get() + 1);
        if !self.refuses_all && signature == checksum(key.fingerprint(), signing_input) {
            Ok(())
        } else {
            Err(BadSignature)
        }
    }

    fn is_portable(&self, _: Algorithm) -> bool {
        self.portable
    }
}

/// Base64url without padding.
pub fn base64url(bytes: &[u8]) -> String {
    Base64UrlSafeNoPadding::encode_to_string(bytes).expect("short enough")
}

fn checksum(key: KeyFingerprint, signing_input: &[u8]) -> [u8; 8] {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.write(signing_input);
    hasher.finish().to_be_bytes()
}

fn ed25519_jwk(material: u8) -> Value {
    let pair = KeyPair::from_seed(Seed::new([material + 1; 32]));
    json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(&*pair.pk)})
}

/// Not a product of two primes, as far as anybody knows; an odd number of the right length.
fn rsa_jwk(material: u8) -> Value {
    let mut modulus = [0x80 | material; 256];
    modulus[255] |= 1;
    json!({"kty": "RSA", "e": "AQAB", "n": base64url(&modulus)})
}
