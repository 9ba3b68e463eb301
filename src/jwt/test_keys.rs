//! Key pairs for tests, generated once per test run, and what they sign.

use std::sync::OnceLock;

use ct_codecs::{Base64UrlSafeNoPadding, Encoder};
use jwt_simple::algorithms::{
    ECDSAP256KeyPairLike, ECDSAP384KeyPairLike, ES256KeyPair, ES384KeyPair, Ed25519KeyPair,
    EdDSAKeyPairLike, RSAKeyPair,
};
use p256::ecdsa::signature::DigestSigner;
use serde_json::{Value, json};
use superboring::hash::MessageDigest;
use superboring::pkey::PKey;
use superboring::rsa::Padding;
use superboring::sign::{RsaPssSaltlen, Signer};

use crate::jwt::algorithm::Algorithm;
use crate::jwt::key::VerifyingKey;

/// RSA-2048.
pub(crate) fn rsa() -> &'static RSAKeyPair {
    static KEY: OnceLock<RSAKeyPair> = OnceLock::new();
    KEY.get_or_init(|| RSAKeyPair::generate(2048).unwrap())
}

pub(crate) fn p256() -> &'static ES256KeyPair {
    static KEY: OnceLock<ES256KeyPair> = OnceLock::new();
    KEY.get_or_init(ES256KeyPair::generate)
}

pub(crate) fn p384() -> &'static ES384KeyPair {
    static KEY: OnceLock<ES384KeyPair> = OnceLock::new();
    KEY.get_or_init(ES384KeyPair::generate)
}

pub(crate) fn ed25519() -> &'static Ed25519KeyPair {
    static KEY: OnceLock<Ed25519KeyPair> = OnceLock::new();
    KEY.get_or_init(Ed25519KeyPair::generate)
}

/// The public JWK of the pair that signs by `algorithm`, without `kid` and `alg`.
pub(crate) fn jwk(algorithm: Algorithm) -> Value {
    match algorithm {
        Algorithm::Rs256
        | Algorithm::Rs384
        | Algorithm::Rs512
        | Algorithm::Ps256
        | Algorithm::Ps384
        | Algorithm::Ps512 => rsa_jwk(&rsa().public_key().to_components().n),
        Algorithm::Es256 => {
            let point = p256().key_pair().public_key().to_bytes_uncompressed();
            let (x, y) = point[1..].split_at(32);
            json!({"kty": "EC", "crv": "P-256", "x": base64url(x), "y": base64url(y)})
        }
        Algorithm::Es384 => {
            let point = p384().key_pair().public_key().to_bytes_uncompressed();
            let (x, y) = point[1..].split_at(48);
            json!({"kty": "EC", "crv": "P-384", "x": base64url(x), "y": base64url(y)})
        }
        Algorithm::EdDsa => {
            let point = ed25519().public_key().to_bytes();
            json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(&point)})
        }
    }
}

pub(crate) fn rsa_jwk(modulus: &[u8]) -> Value {
    json!({"kty": "RSA", "n": base64url(modulus), "e": "AQAB"})
}

/// [`jwk`] with these members set; `null` takes one away.
pub(crate) fn jwk_with(algorithm: Algorithm, members: Value) -> Value {
    let mut jwk = jwk(algorithm);
    for (name, value) in members.as_object().unwrap() {
        match value {
            Value::Null => drop(jwk.as_object_mut().unwrap().remove(name)),
            value => jwk[name] = value.clone(),
        }
    }
    jwk
}

pub(crate) fn verifying_key(algorithm: Algorithm) -> VerifyingKey {
    VerifyingKey::from_jwk(&jwk(algorithm)).unwrap()
}

/// A good signature of `text`, as RFC 7518 and RFC 8037 encode it.
pub(crate) fn sign(algorithm: Algorithm, text: &[u8]) -> Vec<u8> {
    match algorithm {
        Algorithm::Rs256
        | Algorithm::Rs384
        | Algorithm::Rs512
        | Algorithm::Ps256
        | Algorithm::Ps384
        | Algorithm::Ps512 => sign_rsa(rsa(), algorithm, text, RsaPssSaltlen::DIGEST_LENGTH),
        Algorithm::Es256 => {
            let signature: p256::ecdsa::Signature =
                p256().key_pair().as_ref().sign_digest(|digest: &mut hmac_sha256::Hash| {
                    digest.update(text);
                });
            signature.to_vec()
        }
        Algorithm::Es384 => {
            let signature: p384::ecdsa::Signature =
                p384().key_pair().as_ref().sign_digest(|digest: &mut hmac_sha512::sha384::Hash| {
                    digest.update(text);
                });
            signature.to_vec()
        }
        Algorithm::EdDsa => ed25519().key_pair().as_ref().sk.sign(text, None).to_vec(),
    }
}

pub(crate) fn sign_rsa(
    key: &RSAKeyPair,
    algorithm: Algorithm,
    text: &[u8],
    salt: RsaPssSaltlen,
) -> Vec<u8> {
    let (digest, padding) = match algorithm.name() {
        "RS256" => (MessageDigest::sha256(), Padding::PKCS1),
        "RS384" => (MessageDigest::sha384(), Padding::PKCS1),
        "RS512" => (MessageDigest::sha512(), Padding::PKCS1),
        "PS256" => (MessageDigest::sha256(), Padding::PKCS1_PSS),
        "PS384" => (MessageDigest::sha384(), Padding::PKCS1_PSS),
        "PS512" => (MessageDigest::sha512(), Padding::PKCS1_PSS),
        other => panic!("{other} is not RSA"),
    };
    let key = PKey::from_rsa(key.as_ref().clone()).unwrap();
    let mut signer = Signer::new(digest, &key).unwrap();
    signer.set_rsa_padding(padding).unwrap();
    signer.set_rsa_pss_saltlen(salt).unwrap();
    signer.update(text).unwrap();
    signer.sign_to_vec().unwrap()
}

/// One of 256 further Ed25519 pairs, always the same for a number. Its secret is no secret.
pub(crate) fn numbered(number: u8) -> ed25519_compact::KeyPair {
    ed25519_compact::KeyPair::from_seed(ed25519_compact::Seed::new([number; 32]))
}

/// The public JWK of a numbered pair.
pub(crate) fn numbered_jwk(number: u8, key_id: &str) -> Value {
    let point = base64url(&*numbered(number).pk);
    json!({"kty": "OKP", "crv": "Ed25519", "x": point, "kid": key_id})
}

/// A compact token that a numbered pair has signed.
pub(crate) fn numbered_token(number: u8, header: &Value, payload: &Value) -> String {
    let input = signing_input(&header.to_string(), &payload.to_string());
    let signature = numbered(number).sk.sign(&input, None);
    format!("{input}.{}", base64url(&*signature))
}

/// Header and payload as a token has them, whatever they say.
pub(crate) fn signing_input(header: &str, payload: &str) -> String {
    format!("{}.{}", base64url(header.as_bytes()), base64url(payload.as_bytes()))
}

pub(crate) fn base64url(bytes: &[u8]) -> String {
    Base64UrlSafeNoPadding::encode_to_string(bytes).unwrap()
}
