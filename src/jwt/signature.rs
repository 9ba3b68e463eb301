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
//! 5. Ed25519 is `ed25519-compact`'s: R and the key canonical and not of small order, S below the
//!    group's order; then the equation with the cofactor (RFC 8032, section 5.1.7).

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
/// Ed25519 by `ed25519-compact`. These are the back ends of `jwt-simple`, called directly: its own
/// `verify_token` parses the token a second time and by other rules.
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
                    key.verify_digest(
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
                    key.verify_digest(
                        |digest: &mut hmac_sha512::sha384::Hash| {
                            digest.update(signing_input);
                            Ok(())
                        },
                        &signature,
                    )
                })
                .is_ok(),
            Material::Ed25519(key) => Ed25519Signature::from_slice(signature)
                .and_then(|signature| key.verify(signing_input, &signature))
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use jwt_simple::algorithms::RSAKeyPair;
    use jwt_simple::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::jwt::algorithm::Algorithm::{EdDsa, Es256, Es384, Ps256, Rs256};
    use crate::jwt::base64url;
    use crate::jwt::host_signature::{self, tests::HostModel};
    use crate::jwt::test_keys::{self, jwk_with, sign, sign_rsa, verifying_key};

    const TEXT: &[u8] = b"header.payload";

    /// What both back ends say, which is the same; the portable one alone where the host has not
    /// the algorithm.
    fn verify(algorithm: Algorithm, key: &VerifyingKey, text: &[u8], signature: &[u8]) -> bool {
        let portable = PortableVerifier.verify(algorithm, key, text, signature);
        let host = HostModel.verify(algorithm, key, text, signature);
        if host_signature::supports(algorithm) {
            assert_eq!(portable, host, "{algorithm}: portable and host differ");
        }
        portable.is_ok()
    }

    #[test]
    fn good_signatures_verify_and_no_other_bytes_do() {
        for algorithm in Algorithm::ALL {
            let key = verifying_key(algorithm);
            let good = sign(algorithm, TEXT);
            let verify = |text: &[u8], signature: &[u8]| verify(algorithm, &key, text, signature);
            assert!(verify(TEXT, &good), "{algorithm}");
            assert!(verify(b"", &sign(algorithm, b"")), "{algorithm}: nothing signed");
            assert!(!verify(b"header.payloae", &good), "{algorithm}: other text");
            assert!(!verify(b"", &good), "{algorithm}: no text");
            for index in [0, 1, good.len() / 2 - 1, good.len() / 2, good.len() - 1] {
                for bit in [1, 0x80] {
                    let mut bad = good.clone();
                    bad[index] ^= bit;
                    assert!(!verify(TEXT, &bad), "{algorithm}: byte {index} ^ {bit}");
                }
            }
            let zero_before = [&[0], good.as_slice()].concat();
            let zero_behind = [good.as_slice(), &[0]].concat();
            let twice = [good.as_slice(), &good].concat();
            let rows: &[(&str, &[u8])] = &[
                ("empty", b""),
                ("one byte", b"\0"),
                ("first byte cut", &good[1..]),
                ("last byte cut", &good[..good.len() - 1]),
                ("a zero before", &zero_before),
                ("a zero behind", &zero_behind),
                ("twice", &twice),
                ("zeros", &vec![0; good.len()]),
                ("ones", &vec![0xff; good.len()]),
                ("long", &vec![0x55; 100_000]),
            ];
            for (name, signature) in rows {
                assert!(!verify(TEXT, signature), "{algorithm}: {name}");
            }
        }
    }

    #[test]
    fn a_key_serves_its_own_algorithms_only() {
        for signed_by in Algorithm::ALL {
            let signature = sign(signed_by, TEXT);
            let key = verifying_key(signed_by);
            let pinned = jwk_with(signed_by, json!({"alg": signed_by.name()}));
            let pinned = VerifyingKey::from_jwk(&pinned).unwrap();
            for claimed in Algorithm::ALL {
                let expected = claimed == signed_by;
                assert_eq!(verify(claimed, &key, TEXT, &signature), expected, "{claimed}");
                assert_eq!(verify(claimed, &pinned, TEXT, &signature), expected, "{claimed}");
                let other = verifying_key(claimed);
                if !other.algorithms().contains(signed_by) {
                    assert!(!verify(claimed, &other, TEXT, &signature), "{signed_by} {claimed}");
                }
            }
        }
        // A good PS256 signature, and a key that says RS256.
        let key = VerifyingKey::from_jwk(&jwk_with(Rs256, json!({"alg": "RS256"}))).unwrap();
        assert!(!verify(Ps256, &key, TEXT, &sign(Ps256, TEXT)));
    }

    #[test]
    fn ecdsa_scalars_are_in_range_and_a_high_s_is_valid() {
        let p256_n = hex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
        let p384_n = hex(concat!(
            "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf",
            "581a0db248b0a77aecec196accc52973"
        ));
        for (algorithm, n) in [(Es256, p256_n), (Es384, p384_n)] {
            let key = verifying_key(algorithm);
            let good = sign(algorithm, TEXT);
            let (r, s) = good.split_at(n.len());
            let other_s = subtract(&n, s);
            let zero = vec![0; n.len()];
            let ones = vec![0xff; n.len()];
            let rows: &[(&str, &[u8], &[u8], bool)] = &[
                ("as signed", r, s, true),
                ("n - s: the other of low and high", r, &other_s, true),
                ("r = 0", &zero, s, false),
                ("s = 0", r, &zero, false),
                ("both 0", &zero, &zero, false),
                ("r = n", &n, s, false),
                ("s = n", r, &n, false),
                ("r = 2^bits - 1", &ones, s, false),
                ("s = 2^bits - 1", r, &ones, false),
                ("exchanged", s, r, false),
            ];
            for (name, r, s, valid) in rows {
                let signature = [*r, *s].concat();
                assert_eq!(
                    verify(algorithm, &key, TEXT, &signature),
                    *valid,
                    "{algorithm}: {name}"
                );
                let asked = host_signature::encode_request(algorithm, &key, TEXT, &signature);
                let in_range = [r, s].iter().all(|x| x.iter().any(|b| *b != 0) && **x < &n[..]);
                assert_eq!(asked.is_ok(), in_range, "{algorithm}: {name}: refused before the call");
            }
        }
    }

    #[test]
    fn rsa_signatures_are_below_the_modulus() {
        // s + n has the same residue; with a modulus of 2048 bits it may fit 256 bytes.
        let key = verifying_key(Rs256);
        let n = test_keys::rsa().public_key().to_components().n;
        for algorithm in [Rs256, Ps256] {
            assert!(!verify(algorithm, &key, TEXT, &n), "{algorithm}: n itself");
            let fitting = (0u32..).map(|i| i.to_string()).find_map(|text| {
                let good = sign(algorithm, text.as_bytes());
                add(&good, &n).map(|sum| (text, good, sum))
            });
            let (text, good, sum) = fitting.unwrap();
            assert!(verify(algorithm, &key, text.as_bytes(), &good), "{algorithm}");
            assert!(!verify(algorithm, &key, text.as_bytes(), &sum), "{algorithm}: s + n");
        }
    }

    #[test]
    fn pss_salt_is_as_long_as_the_hash() {
        for (algorithm, digest) in [(Ps256, 32), (Algorithm::Ps384, 48), (Algorithm::Ps512, 64)] {
            let key = verifying_key(algorithm);
            for salt in [0, 20, 32, 48, 64] {
                let salt_len = RsaPssSaltlen::custom(salt);
                let signature = sign_rsa(test_keys::rsa(), algorithm, TEXT, salt_len);
                let verified = verify(algorithm, &key, TEXT, &signature);
                assert_eq!(verified, salt == digest, "{algorithm}, {salt} bytes of salt");
            }
        }
    }

    #[test]
    fn moduli_of_other_sizes_verify() {
        let pair = RSAKeyPair::generate(3072).unwrap();
        let n = pair.public_key().to_components().n;
        let key = VerifyingKey::from_jwk(&test_keys::rsa_jwk(&n)).unwrap();
        for algorithm in Algorithm::ALL.into_iter().take(6) {
            let good = sign_rsa(&pair, algorithm, TEXT, RsaPssSaltlen::DIGEST_LENGTH);
            assert!(verify(algorithm, &key, TEXT, &good), "{algorithm}");
            assert!(!verify(algorithm, &key, b"", &good), "{algorithm}");
            let short = sign(algorithm, TEXT);
            assert!(!verify(algorithm, &key, TEXT, &short), "{algorithm}: 2048-bit signature");
        }
        // 2049 bits: the encoded message of RSASSA-PSS is a byte shorter than the modulus
        // (RFC 8017, section 8.1.2). Bytes that nobody signed: no panic, and a no.
        let n = [vec![1], vec![0xa5; 256]].concat();
        let key = VerifyingKey::from_jwk(&test_keys::rsa_jwk(&n)).unwrap();
        for algorithm in Algorithm::ALL.into_iter().take(6) {
            for byte in [0, 1, 0x55] {
                assert!(!verify(algorithm, &key, TEXT, &[&[0], &[byte; 256][..]].concat()));
            }
        }
    }

    #[test]
    fn ed25519_is_strict() {
        // The order of the group, little-endian (RFC 8032, section 5.1): S + L is the same S to a
        // lax verifier.
        let order = hex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
        let key = verifying_key(EdDsa);
        let good = sign(EdDsa, TEXT);
        let (r, s) = good.split_at(32);
        let reversed = |bytes: &[u8]| bytes.iter().rev().copied().collect::<Vec<_>>();
        let sum = reversed(&add(&reversed(s), &reversed(&order)).unwrap());
        let identity = [&[1][..], &[0; 31]].concat();
        let rows: &[(&str, Vec<u8>, bool)] = &[
            ("as signed", good.clone(), true),
            ("S + L", [r, &sum].concat(), false),
            ("S = 0", [r, &[0; 32]].concat(), false),
            ("R of small order", [&identity, s].concat(), false),
            ("R of small order, S = 0", [&identity[..], &[0; 32]].concat(), false),
        ];
        for (name, signature, valid) in rows {
            assert_eq!(verify(EdDsa, &key, TEXT, signature), *valid, "{name}");
        }
    }

    /// RFC 7515, appendices A.2 and A.3; RFC 8037, appendix A.4.
    #[test]
    fn the_examples_of_the_specifications_verify() {
        const JOE: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxl\
                           LmNvbS9pc19yb290Ijp0cnVlfQ";
        let rows: &[(&str, Algorithm, Value, String, &str)] = &[
            (
                "RFC 7515 A.2",
                Rs256,
                json!({"kty": "RSA", "e": "AQAB", "n":
                    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2\
                     mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7\
                     OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMT\
                     BQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkM\
                     Ls91kzk2PAcDTW9gb54h4FRWyuXpoQ"}),
                format!("eyJhbGciOiJSUzI1NiJ9.{JOE}"),
                "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5Y\
                 Kt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6x\
                 BArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6\
                 BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_I\
                 oypGlUPQGe77Rw",
            ),
            (
                "RFC 7515 A.3",
                Es256,
                json!({"kty": "EC", "crv": "P-256",
                    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}),
                format!("eyJhbGciOiJFUzI1NiJ9.{JOE}"),
                "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6\
                 NU1Q",
            ),
            (
                "RFC 8037 A.4",
                EdDsa,
                json!({"kty": "OKP", "crv": "Ed25519",
                    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
                "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc".to_owned(),
                "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM\
                 0KAg",
            ),
        ];
        for (name, algorithm, jwk, signing_input, signature) in rows {
            let key = VerifyingKey::from_jwk(jwk).unwrap();
            let signature = base64url::decode(signature.as_bytes()).unwrap();
            assert!(verify(*algorithm, &key, signing_input.as_bytes(), &signature), "{name}");
            assert!(!verify(*algorithm, &key, b"other", &signature), "{name}");
        }
    }

    /// `jwt-simple` signs and verifies whole tokens by its own code: a third opinion.
    #[test]
    fn jwt_simple_agrees() {
        macro_rules! agree {
            ($algorithm:expr, $pair:expr) => {{
                let (pair, key) = ($pair, verifying_key($algorithm));
                let token = pair.sign(Claims::create(Duration::from_hours(1))).unwrap();
                let public = pair.public_key();
                let (signing_input, encoded) = token.rsplit_once('.').unwrap();
                let good = base64url::decode(encoded.as_bytes()).unwrap();
                for index in [None, Some(0), Some(1), Some(good.len() / 2), Some(good.len() - 1)] {
                    let mut signature = good.clone();
                    if let Some(index) = index {
                        signature[index] ^= 4;
                    }
                    let ours = verify($algorithm, &key, signing_input.as_bytes(), &signature);
                    let encoded = test_keys::base64url(&signature);
                    let token = format!("{signing_input}.{encoded}");
                    let theirs = public.verify_token::<NoCustomClaims>(&token, None).is_ok();
                    assert_eq!((ours, theirs), (index.is_none(), index.is_none()), "{token}");
                }
            }};
        }
        let rsa = test_keys::rsa().to_der().unwrap();
        agree!(Rs256, RS256KeyPair::from_der(&rsa).unwrap());
        agree!(Algorithm::Rs384, RS384KeyPair::from_der(&rsa).unwrap());
        agree!(Algorithm::Rs512, RS512KeyPair::from_der(&rsa).unwrap());
        agree!(Ps256, PS256KeyPair::from_der(&rsa).unwrap());
        agree!(Algorithm::Ps384, PS384KeyPair::from_der(&rsa).unwrap());
        agree!(Algorithm::Ps512, PS512KeyPair::from_der(&rsa).unwrap());
        agree!(Es256, test_keys::p256());
        agree!(Es384, test_keys::p384());
        agree!(EdDsa, test_keys::ed25519());
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
            .collect()
    }

    /// Big-endian, of equal length; `None` if the sum is longer.
    fn add(a: &[u8], b: &[u8]) -> Option<Vec<u8>> {
        let mut carry = 0;
        let mut sum: Vec<u8> = a
            .iter()
            .zip(b)
            .rev()
            .map(|(a, b)| {
                let digit = u16::from(*a) + u16::from(*b) + carry;
                carry = digit >> 8;
                digit.to_be_bytes()[1]
            })
            .collect();
        sum.reverse();
        (carry == 0).then_some(sum)
    }

    /// Big-endian a - b, for b < a of equal length.
    fn subtract(a: &[u8], b: &[u8]) -> Vec<u8> {
        let complement: Vec<u8> = b.iter().map(|byte| !byte).collect();
        let mut one = vec![0; a.len()];
        one[a.len() - 1] = 1;
        // a - b = a + !b + 1 - 2^bits, and the carry out is dropped.
        let mut carry = 1;
        let mut difference: Vec<u8> = a
            .iter()
            .zip(&complement)
            .rev()
            .map(|(a, b)| {
                let digit = u16::from(*a) + u16::from(*b) + carry;
                carry = digit >> 8;
                digit.to_be_bytes()[1]
            })
            .collect();
        difference.reverse();
        difference
    }
}
