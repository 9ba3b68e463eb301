//! Whether a signature is a key's, over some bytes.
//!
//! There are two back ends: the host's (see [`super::host_signature`]) and [`PortableVerifier`].
//! They agree on every input, because what they might differ in is settled before either is
//! asked:
//!
//! 1. The key fits the algorithm, so a hash always meets its curve.
//! 2. The signature has the algorithm's length: the modulus' for RSA, twice the curve's for ECDSA
//!    (raw r and s, RFC 7518, section 3.4), 64 bytes for Ed25519.
//! 3. ECDSA r and s are in 1..n. A high s is valid: JWS has no low-s rule.
//! 4. The salt of RSASSA-PSS is as long as its hash (RFC 7518, section 3.5).
//! 5. Ed25519 is strict: R and the key canonical and not of small order, S below the group's
//!    order, and the equation without cofactor.

use std::fmt;

use ed25519_compact::Signature as Ed25519Signature;
use p256::ecdsa::signature::DigestVerifier;
use superboring::hash::MessageDigest;
use superboring::pkey::{PKey, Public};
use superboring::rsa::Padding;
use superboring::sign::{RsaPssSaltlen, Verifier};

use crate::jwt::algorithm::Algorithm;
use crate::jwt::key::{Material, VerifyingKey};

/// A back end for signatures.
pub trait SignatureVerifier {
    /// Checks `signature` over `signing_input` (RFC 7515, section 5.1: the header's and the
    /// payload's text with the dot between them).
    ///
    /// # Errors
    /// [`BadSignature`] for whatever is not this key's signature by this algorithm.
    fn verify(
        &self,
        algorithm: Algorithm,
        key: &VerifyingKey,
        signing_input: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature>;

    /// Whether this algorithm is verified inside the module (dear) rather than by the host.
    fn is_portable(&self, algorithm: Algorithm) -> bool;
}

/// The signature is not this key's, by this algorithm, over these bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSignature;

impl fmt::Display for BadSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bad signature")
    }
}

impl std::error::Error for BadSignature {}

/// Verifies inside the module, on any host: RSA by `superboring`, ECDSA by `p256` and `p384`,
/// Ed25519 by `ed25519-compact`. These are `jwt-simple`'s back ends; its own `verify_token` parses
/// the token a second time and by other rules, so it is never called.
#[derive(Clone, Copy, Debug, Default)]
pub struct PortableVerifier;

impl SignatureVerifier for PortableVerifier {
    fn verify(
        &self,
        algorithm: Algorithm,
        key: &VerifyingKey,
        signing_input: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        check_fit(algorithm, key, signature)?;
        let good = match key.material() {
            Material::Rsa { key, .. } => verify_rsa(algorithm, key, signing_input, signature),
            Material::P256(key) => p256::ecdsa::Signature::from_slice(signature)
                .and_then(|signature| {
                    key.as_ref().verify_digest(
                        |digest: &mut hmac_sha256::Hash| {
                            digest.update(signing_input);
                            Ok(())
                        },
                        &signature,
                    )
                })
                .is_ok(),
            Material::P384(key) => p384::ecdsa::Signature::from_slice(signature)
                .and_then(|signature| {
                    key.as_ref().verify_digest(
                        |digest: &mut hmac_sha512::sha384::Hash| {
                            digest.update(signing_input);
                            Ok(())
                        },
                        &signature,
                    )
                })
                .is_ok(),
            Material::Ed25519(key) => Ed25519Signature::from_slice(signature)
                .and_then(|signature| key.as_ref().verify(signing_input, &signature))
                .is_ok(),
        };
        if good { Ok(()) } else { Err(BadSignature) }
    }

    fn is_portable(&self, _: Algorithm) -> bool {
        true
    }
}

/// Rules 1 and 2 of this module, for both back ends.
///
/// # Errors
/// [`BadSignature`] if the key does not fit the algorithm or the signature's length fits neither.
pub(crate) fn check_fit(
    algorithm: Algorithm,
    key: &VerifyingKey,
    signature: &[u8],
) -> Result<(), BadSignature> {
    let expected = match key.material() {
        Material::Rsa { modulus_bytes, .. } => *modulus_bytes,
        Material::P256(_) => 64,
        Material::P384(_) => 96,
        Material::Ed25519(_) => 64,
    };
    if key.algorithms().contains(algorithm) && signature.len() == expected {
        Ok(())
    } else {
        Err(BadSignature)
    }
}

fn verify_rsa(
    algorithm: Algorithm,
    key: &PKey<Public>,
    signing_input: &[u8],
    signature: &[u8],
) -> bool {
    let (digest, padding) = match algorithm {
        Algorithm::Rs256 => (MessageDigest::sha256(), Padding::PKCS1),
        Algorithm::Rs384 => (MessageDigest::sha384(), Padding::PKCS1),
        Algorithm::Rs512 => (MessageDigest::sha512(), Padding::PKCS1),
        Algorithm::Ps256 => (MessageDigest::sha256(), Padding::PKCS1_PSS),
        Algorithm::Ps384 => (MessageDigest::sha384(), Padding::PKCS1_PSS),
        Algorithm::Ps512 => (MessageDigest::sha512(), Padding::PKCS1_PSS),
        Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa => return false,
    };
    let verified = Verifier::new(digest, key).and_then(|mut verifier| {
        // Without a padding `verify` would panic.
        verifier.set_rsa_padding(padding)?;
        verifier.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
        verifier.update(signing_input)?;
        verifier.verify(signature)
    });
    verified.unwrap_or(false)
}
