//! Signing keys that are made at run time, and their public halves as JWKs.
//!
//! RSA keys are slow to make, so [`SigningKey::new`] uses one RSA key a process; a test that
//! needs two different ones calls [`SigningKey::generate`]. No private key is ever written down.

use std::sync::{Arc, OnceLock};

use ct_codecs::{Base64UrlSafeNoPadding, Encoder};
use ed25519_compact::KeyPair as Ed25519Key;
use p256::ecdsa::SigningKey as P256Key;
use p256::ecdsa::signature::Signer;
use p384::ecdsa::SigningKey as P384Key;
use rsa::pkcs8::{EncodePublicKey, LineEnding};
use rsa::rand_core::OsRng;
use rsa::sha2::{Digest, Sha256, Sha384, Sha512};
use rsa::traits::PublicKeyParts;
use rsa::{Pkcs1v15Sign, Pss, RsaPrivateKey};
use serde_json::{Value, json};

/// A private key, the algorithm it signs with, and its `kid`.
#[derive(Clone)]
pub struct SigningKey {
    algorithm: Algorithm,
    kid: String,
    secret: Secret,
}

/// The signature algorithms of RFC 7518, section 3.1, and RFC 8037.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(missing_docs, reason = "the names are the registered ones")]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];

    /// The value of `alg`.
    pub fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }
}

impl SigningKey {
    /// A key for `algorithm`. RSA keys made here share their material within the process.
    pub fn new(algorithm: Algorithm, kid: &str) -> Self {
        static RSA: OnceLock<Arc<RsaPrivateKey>> = OnceLock::new();
        let rsa = || Secret::Rsa(Arc::clone(RSA.get_or_init(|| new_rsa(2048))));
        Self { algorithm, kid: kid.to_owned(), secret: new_secret(algorithm, rsa) }
    }

    /// A key of its own for `algorithm`; RSA has 2048 bits.
    pub fn generate(algorithm: Algorithm, kid: &str) -> Self {
        let secret = new_secret(algorithm, || Secret::Rsa(new_rsa(2048)));
        Self { algorithm, kid: kid.to_owned(), secret }
    }

    /// An RSA key of any size, for the bounds of what is accepted.
    pub fn generate_rsa(algorithm: Algorithm, kid: &str, bits: usize) -> Self {
        let secret = new_secret(algorithm, || Secret::Rsa(new_rsa(bits)));
        Self { algorithm, kid: kid.to_owned(), secret }
    }

    /// The same key under another `kid`.
    pub fn with_kid(&self, kid: &str) -> Self {
        Self { kid: kid.to_owned(), ..self.clone() }
    }

    /// The same RSA key for another RSA algorithm. Keys of other kinds have only one.
    pub fn with_algorithm(&self, algorithm: Algorithm) -> Self {
        Self { algorithm, ..self.clone() }
    }

    /// The algorithm that it signs with.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its `kid`.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public key as a JWK (RFC 7517) with `kid`, `alg` and `use: sig`.
    pub fn public_jwk(&self) -> Value {
        let mut jwk = match &self.secret {
            Secret::Rsa(key) => json!({
                "kty": "RSA",
                "n": base64url(&key.n().to_bytes_be()),
                "e": base64url(&key.e().to_bytes_be()),
            }),
            Secret::P256(key) => {
                ec_jwk("P-256", key.verifying_key().to_sec1_point(false).as_bytes())
            }
            Secret::P384(key) => {
                ec_jwk("P-384", key.verifying_key().to_sec1_point(false).as_bytes())
            }
            Secret::Ed25519(key) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url(key.pk.as_ref()) })
            }
        };
        jwk["kid"] = json!(self.kid);
        jwk["alg"] = json!(self.algorithm.name());
        jwk["use"] = json!("sig");
        jwk
    }

    /// The public key as PEM (`SubjectPublicKeyInfo`), RSA only: what an attacker who confuses
    /// RS256 with HS256 uses as the HMAC's secret.
    ///
    /// # Panics
    ///
    /// For a key that is not RSA.
    pub fn public_pem(&self) -> String {
        let Secret::Rsa(key) = &self.secret else { panic!("{} is no RSA key", self.kid) };
        key.to_public_key()
            .to_public_key_pem(LineEnding::LF)
            .unwrap_or_else(|error| panic!("RSA public key: {error}"))
    }

    /// Signs bytes as JWS does (ECDSA as raw r‖s).
    ///
    /// # Panics
    ///
    /// When the algorithm was set to one that the key's kind does not have.
    pub fn sign(&self, input: &[u8]) -> Vec<u8> {
        match (&self.secret, self.algorithm) {
            (Secret::Rsa(key), Algorithm::RS256) => {
                pkcs1::<Sha256>(key, input, Pkcs1v15Sign::new::<Sha256>())
            }
            (Secret::Rsa(key), Algorithm::RS384) => {
                pkcs1::<Sha384>(key, input, Pkcs1v15Sign::new::<Sha384>())
            }
            (Secret::Rsa(key), Algorithm::RS512) => {
                pkcs1::<Sha512>(key, input, Pkcs1v15Sign::new::<Sha512>())
            }
            (Secret::Rsa(key), Algorithm::PS256) => pss::<Sha256>(key, input, Pss::new::<Sha256>()),
            (Secret::Rsa(key), Algorithm::PS384) => pss::<Sha384>(key, input, Pss::new::<Sha384>()),
            (Secret::Rsa(key), Algorithm::PS512) => pss::<Sha512>(key, input, Pss::new::<Sha512>()),
            (Secret::P256(key), Algorithm::ES256) => {
                let signature: p256::ecdsa::Signature = key.sign(input);
                signature.to_bytes().to_vec()
            }
            (Secret::P384(key), Algorithm::ES384) => {
                let signature: p384::ecdsa::Signature = key.sign(input);
                signature.to_bytes().to_vec()
            }
            (Secret::Ed25519(key), Algorithm::EdDSA) => key.sk.sign(input, None).to_vec(),
            (_, algorithm) => panic!("{} cannot sign {}", self.kid, algorithm.name()),
        }
    }
}

/// A JWKS document with the public halves of these keys.
pub fn jwks(keys: &[&SigningKey]) -> Value {
    json!({ "keys": keys.iter().map(|key| key.public_jwk()).collect::<Vec<_>>() })
}

/// Base64url without padding, as JOSE uses it everywhere.
pub fn base64url(bytes: &[u8]) -> String {
    Base64UrlSafeNoPadding::encode_to_string(bytes)
        .unwrap_or_else(|error| panic!("base64url of {} bytes: {error}", bytes.len()))
}

#[derive(Clone)]
enum Secret {
    Rsa(Arc<RsaPrivateKey>),
    P256(P256Key),
    P384(P384Key),
    Ed25519(Ed25519Key),
}

fn new_secret(algorithm: Algorithm, rsa: impl FnOnce() -> Secret) -> Secret {
    match algorithm {
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512 => rsa(),
        Algorithm::ES256 => Secret::P256(loop {
            if let Ok(key) = P256Key::from_slice(&random::<32>()) {
                break key;
            }
        }),
        Algorithm::ES384 => Secret::P384(loop {
            if let Ok(key) = P384Key::from_slice(&random::<48>()) {
                break key;
            }
        }),
        Algorithm::EdDSA => Secret::Ed25519(Ed25519Key::generate()),
    }
}

fn new_rsa(bits: usize) -> Arc<RsaPrivateKey> {
    let key = RsaPrivateKey::new(&mut OsRng, bits);
    Arc::new(key.unwrap_or_else(|error| panic!("RSA key of {bits} bits: {error}")))
}

fn random<const LENGTH: usize>() -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes).unwrap_or_else(|error| panic!("no randomness: {error}"));
    bytes
}

fn pkcs1<D: Digest>(key: &RsaPrivateKey, input: &[u8], padding: Pkcs1v15Sign) -> Vec<u8> {
    key.sign_with_rng(&mut OsRng, padding, &D::digest(input))
        .unwrap_or_else(|error| panic!("PKCS#1 signature: {error}"))
}

/// The salt is as long as the hash, as RFC 7518, section 3.5 demands.
fn pss<D: Digest>(key: &RsaPrivateKey, input: &[u8], padding: Pss) -> Vec<u8> {
    key.sign_with_rng(&mut OsRng, padding, &D::digest(input))
        .unwrap_or_else(|error| panic!("PSS signature: {error}"))
}

/// `point` is uncompressed: 4, x, y.
fn ec_jwk(curve: &str, point: &[u8]) -> Value {
    let (x, y) = point[1..].split_at(point.len() / 2);
    json!({ "kty": "EC", "crv": curve, "x": base64url(x), "y": base64url(y) })
}
