//! A public key that is ready to verify, made from a JSON Web Key (RFC 7517).
//!
//! A JWK is taken if all of these hold:
//!
//! 1. `kty` and its members are one of: RSA (RFC 7518, section 6.3) with an odd modulus of 2048 to
//!    4096 bits and the exponent 65537; EC (section 6.2) on P-256 or P-384; OKP (RFC 8037) on
//!    Ed25519. Both back ends take these; the host alone would take RSA-1024 and `e` = 3.
//! 2. Its numbers are base64url, with or without `=`. Leading zero bytes of `n` and `e` are
//!    dropped; EC and OKP members have exactly the curve's length, and the point is on the curve.
//!    An Ed25519 point is canonical and not of small order.
//! 3. `use` is absent or `sig`, `key_ops` absent or contains `verify`.
//! 4. `alg` is absent, or fits the key and is then its only algorithm.
//!
//! Symmetric keys (`oct`) are never taken: a public document can't hold a secret. Other members,
//! `x5c` and `x5u` among them, are ignored.

use std::fmt;

use p256::elliptic_curve::point::AffineCoordinates;
use serde_json::{Map, Value};
use superboring::bn::BigNum;
use superboring::pkey::{PKey, Public};
use superboring::rsa::Rsa;

use crate::jwt::algorithm::{Algorithm, AlgorithmSet};
use crate::jwt::{base64url, der};

/// A public key, its name, and the algorithms that it may be used with.
pub struct VerifyingKey {
    key_id: Option<Box<str>>,
    algorithms: AlgorithmSet,
    fingerprint: KeyFingerprint,
    spki_der: Box<[u8]>,
    material: Material,
}

/// The portable back end's form of a key.
pub(crate) enum Material {
    Rsa { key: Box<PKey<Public>>, modulus_bytes: usize },
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
    Ed25519(ed25519_compact::PublicKey),
}

impl VerifyingKey {
    /// Takes a JWK by the rules of this module.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn from_jwk(jwk: &Value) -> Result<Self, KeyError> {
        let jwk = jwk.as_object().ok_or(KeyError::NotAnObject)?;
        let key_id = optional_text(jwk, "kid")?;
        check_purpose(jwk)?;
        let (material, spki_der) = Material::from_jwk(jwk)?;
        let algorithms = match optional_text(jwk, "alg")? {
            None => material.algorithms(),
            Some(name) => {
                let algorithm = name.parse().map_err(|_| KeyError::UnknownAlgorithm)?;
                if !material.algorithms().contains(algorithm) {
                    return Err(KeyError::AlgorithmDoesNotFit(algorithm));
                }
                AlgorithmSet::from_iter([algorithm])
            }
        };
        Ok(Self {
            key_id: key_id.map(Into::into),
            algorithms,
            fingerprint: KeyFingerprint::of_spki(&spki_der),
            spki_der: spki_der.into(),
            material,
        })
    }

    /// The `kid`, if the key has one. Compared as bytes (RFC 7517, section 4.5).
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// What the key fits; exactly its `alg` when it has one.
    #[must_use]
    pub fn algorithms(&self) -> AlgorithmSet {
        self.algorithms
    }

    /// Tells this key's material from any other's.
    #[must_use]
    pub fn fingerprint(&self) -> KeyFingerprint {
        self.fingerprint
    }

    /// The key as a DER SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7; RFC 8410 for Ed25519).
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    pub(crate) fn material(&self) -> &Material {
        &self.material
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("key_id", &self.key_id)
            .field("algorithms", &self.algorithms)
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// 128 bits of the SHA-256 of a key's SubjectPublicKeyInfo: what the key *is*, whatever its `kid`
/// or `alg` says. Equal only for equal material.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyFingerprint(u128);

impl KeyFingerprint {
    fn of_spki(spki_der: &[u8]) -> Self {
        let digest = hmac_sha256::Hash::hash(spki_der);
        let half = digest.first_chunk().copied().unwrap_or_default();
        Self(u128::from_be_bytes(half))
    }
}

impl fmt::Debug for KeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyFingerprint({:032x})", self.0)
    }
}

/// Why a JWK cannot be used. Nothing of the key itself is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The entry is not a JSON object.
    NotAnObject,
    /// A member that this type of key must have is not there.
    Missing(&'static str),
    /// A member is there, but not of the JSON type that it must have.
    WrongType(&'static str),
    /// A member is not base64url.
    BadBase64Url(&'static str),
    /// `kty` is `oct`: a secret, which has no place in a published document.
    Symmetric,
    /// `kty` is none of RSA, EC, OKP.
    UnsupportedKeyType,
    /// `crv` is none of P-256, P-384 (EC), Ed25519 (OKP).
    UnsupportedCurve,
    /// `use` is there and not `sig`.
    NotForSignatures,
    /// `key_ops` is there without `verify`.
    NotForVerification,
    /// `alg` is not an algorithm that can be verified here.
    UnknownAlgorithm,
    /// `alg` is an algorithm of another type of key.
    AlgorithmDoesNotFit(Algorithm),
    /// The key fits none of the algorithms that the provider allows.
    AlgorithmNotAllowed,
    /// The RSA modulus has this many bits.
    ModulusBits(usize),
    /// The RSA modulus is even.
    EvenModulus,
    /// The RSA exponent is not 65537.
    Exponent,
    /// A coordinate or public key has not exactly its curve's length.
    PointLength(&'static str),
    /// The point is not on the curve, not canonical, or of small order.
    BadPoint,
    /// It breaks none of the rules, and the portable back end refuses it nevertheless.
    Refused,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnObject => f.write_str("not a JSON object"),
            Self::Missing(member) => write!(f, "`{member}` is missing"),
            Self::WrongType(member) => write!(f, "`{member}` is of the wrong JSON type"),
            Self::BadBase64Url(member) => write!(f, "`{member}` is not base64url"),
            Self::Symmetric => f.write_str("a symmetric key (`kty` is `oct`)"),
            Self::UnsupportedKeyType => f.write_str("`kty` is none of RSA, EC, OKP"),
            Self::UnsupportedCurve => f.write_str("`crv` is none of P-256, P-384, Ed25519"),
            Self::NotForSignatures => f.write_str("`use` is not `sig`"),
            Self::NotForVerification => f.write_str("`key_ops` does not contain `verify`"),
            Self::UnknownAlgorithm => f.write_str("`alg` is not supported"),
            Self::AlgorithmDoesNotFit(algorithm) => {
                write!(f, "`alg` {algorithm} does not fit the key")
            }
            Self::AlgorithmNotAllowed => f.write_str("fits no algorithm that is allowed"),
            Self::ModulusBits(bits) => write!(
                f,
                "an RSA modulus of {bits} bits, not {MIN_MODULUS_BITS} to {MAX_MODULUS_BITS}"
            ),
            Self::EvenModulus => f.write_str("an even RSA modulus"),
            Self::Exponent => f.write_str("an RSA exponent other than 65537"),
            Self::PointLength(member) => write!(f, "`{member}` has not its curve's length"),
            Self::BadPoint => f.write_str("no valid point of its curve"),
            Self::Refused => f.write_str("refused by the cryptography library"),
        }
    }
}

impl std::error::Error for KeyError {}

impl Material {
    /// The key and its SubjectPublicKeyInfo.
    fn from_jwk(jwk: &Map<String, Value>) -> Result<(Self, Vec<u8>), KeyError> {
        match required_text(jwk, "kty")? {
            "RSA" => Self::rsa(jwk),
            "EC" => match required_text(jwk, "crv")? {
                "P-256" => Self::p256(jwk),
                "P-384" => Self::p384(jwk),
                _ => Err(KeyError::UnsupportedCurve),
            },
            "OKP" => match required_text(jwk, "crv")? {
                "Ed25519" => Self::ed25519(jwk),
                _ => Err(KeyError::UnsupportedCurve),
            },
            "oct" => Err(KeyError::Symmetric),
            _ => Err(KeyError::UnsupportedKeyType),
        }
    }

    fn rsa(jwk: &Map<String, Value>) -> Result<(Self, Vec<u8>), KeyError> {
        let modulus = required_bytes(jwk, "n")?;
        let modulus = without_leading_zeros(&modulus);
        let exponent = required_bytes(jwk, "e")?;
        let bits = bit_length(modulus);
        if !(MIN_MODULUS_BITS..=MAX_MODULUS_BITS).contains(&bits) {
            return Err(KeyError::ModulusBits(bits));
        }
        if modulus.last().is_none_or(|byte| byte & 1 == 0) {
            return Err(KeyError::EvenModulus);
        }
        if without_leading_zeros(&exponent) != EXPONENT {
            return Err(KeyError::Exponent);
        }
        let number = |bytes| BigNum::from_slice(bytes).map_err(|_| KeyError::Refused);
        let key = Rsa::<Public>::from_public_components(number(modulus)?, number(&EXPONENT)?)
            .and_then(PKey::from_rsa)
            .map_err(|_| KeyError::Refused)?;
        let material = Self::Rsa { key: Box::new(key), modulus_bytes: modulus.len() };
        Ok((material, der::rsa_spki(modulus, &EXPONENT)))
    }

    fn p256(jwk: &Map<String, Value>) -> Result<(Self, Vec<u8>), KeyError> {
        let (x, y) = coordinates::<32>(jwk)?;
        let point = p256::AffinePoint::from_coordinates(&x.into(), &y.into()).into_option();
        let key = point
            .and_then(|point| p256::ecdsa::VerifyingKey::from_affine(point).ok())
            .ok_or(KeyError::BadPoint)?;
        Ok((Self::P256(key), der::p256_spki(&uncompressed_point(&x, &y))))
    }

    fn p384(jwk: &Map<String, Value>) -> Result<(Self, Vec<u8>), KeyError> {
        let (x, y) = coordinates::<48>(jwk)?;
        let point = p384::AffinePoint::from_coordinates(&x.into(), &y.into()).into_option();
        let key = point
            .and_then(|point| p384::ecdsa::VerifyingKey::from_affine(point).ok())
            .ok_or(KeyError::BadPoint)?;
        Ok((Self::P384(key), der::p384_spki(&uncompressed_point(&x, &y))))
    }

    fn ed25519(jwk: &Map<String, Value>) -> Result<(Self, Vec<u8>), KeyError> {
        let point = fixed_bytes::<32>(jwk, "x")?;
        let key = ed25519_compact::PublicKey::new(point);
        key.validate().map_err(|_| KeyError::BadPoint)?;
        Ok((Self::Ed25519(key), der::ed25519_spki(&point)))
    }

    fn algorithms(&self) -> AlgorithmSet {
        use Algorithm::{EdDsa, Es256, Es384, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
        match self {
            Self::Rsa { .. } => [Rs256, Rs384, Rs512, Ps256, Ps384, Ps512].into_iter().collect(),
            Self::P256(_) => [Es256].into_iter().collect(),
            Self::P384(_) => [Es384].into_iter().collect(),
            Self::Ed25519(_) => [EdDsa].into_iter().collect(),
        }
    }
}

fn check_purpose(jwk: &Map<String, Value>) -> Result<(), KeyError> {
    if optional_text(jwk, "use")?.is_some_and(|purpose| purpose != "sig") {
        return Err(KeyError::NotForSignatures);
    }
    let Some(operations) = jwk.get("key_ops") else {
        return Ok(());
    };
    let operations = operations.as_array().ok_or(KeyError::WrongType("key_ops"))?;
    if operations.iter().any(|operation| operation == "verify") {
        Ok(())
    } else {
        Err(KeyError::NotForVerification)
    }
}

fn optional_text<'a>(
    jwk: &'a Map<String, Value>,
    member: &'static str,
) -> Result<Option<&'a str>, KeyError> {
    jwk.get(member).map(|value| value.as_str().ok_or(KeyError::WrongType(member))).transpose()
}

fn required_text<'a>(
    jwk: &'a Map<String, Value>,
    member: &'static str,
) -> Result<&'a str, KeyError> {
    optional_text(jwk, member)?.ok_or(KeyError::Missing(member))
}

fn required_bytes(jwk: &Map<String, Value>, member: &'static str) -> Result<Vec<u8>, KeyError> {
    let text = required_text(jwk, member)?;
    base64url::decode_member(text).map_err(|_| KeyError::BadBase64Url(member))
}

fn fixed_bytes<const N: usize>(
    jwk: &Map<String, Value>,
    member: &'static str,
) -> Result<[u8; N], KeyError> {
    required_bytes(jwk, member)?.try_into().map_err(|_| KeyError::PointLength(member))
}

fn coordinates<const N: usize>(jwk: &Map<String, Value>) -> Result<([u8; N], [u8; N]), KeyError> {
    Ok((fixed_bytes(jwk, "x")?, fixed_bytes(jwk, "y")?))
}

/// SEC 1, section 2.3.3.
fn uncompressed_point(x: &[u8], y: &[u8]) -> Vec<u8> {
    [&[4], x, y].concat()
}

fn without_leading_zeros(mut number: &[u8]) -> &[u8] {
    while let Some((0, rest)) = number.split_first() {
        number = rest;
    }
    number
}

/// Of a number without leading zero bytes.
fn bit_length(number: &[u8]) -> usize {
    let leading_zeros = number.first().map_or(0, |byte| byte.leading_zeros());
    number
        .len()
        .saturating_mul(8)
        .saturating_sub(usize::try_from(leading_zeros).unwrap_or(usize::MAX))
}

/// RFC 7518, section 3.3.
const MIN_MODULUS_BITS: usize = 2048;

/// The portable back end takes no more, and a verification grows with the square.
const MAX_MODULUS_BITS: usize = 4096;

/// 65537, the one exponent that both back ends take.
const EXPONENT: [u8; 3] = [1, 0, 1];

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jwt::algorithm::Algorithm::{EdDsa, Es256, Es384, Ps256, Rs256, Rs512};
    use crate::jwt::test_keys::{base64url, jwk, jwk_with, rsa_jwk};

    /// An odd number of so many bits; nobody checks that it has two prime factors.
    fn modulus(bits: usize) -> Vec<u8> {
        let mut bytes = vec![0xa5; bits.div_ceil(8)];
        bytes[0] = 1 << ((bits - 1) % 8);
        bytes
    }

    fn text(jwk: &Value, member: &str) -> String {
        jwk[member].as_str().unwrap().to_owned()
    }

    #[test]
    fn takes_the_keys_that_both_back_ends_take() {
        let every_rsa: Vec<_> = Algorithm::ALL.into_iter().take(6).collect();
        let (n, x) = (text(&jwk(Rs256), "n"), text(&jwk(EdDsa), "x"));
        let padded = |text: &str| format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4));
        #[rustfmt::skip]
        let rows: &[(&str, Value, &[Algorithm])] = &[
            ("RSA", jwk(Rs256), &every_rsa),
            ("RSA, 2048 bits", rsa_jwk(&modulus(2048)), &every_rsa),
            ("RSA, 2049 bits", rsa_jwk(&modulus(2049)), &every_rsa),
            ("RSA, 4096 bits", rsa_jwk(&modulus(4096)), &every_rsa),
            ("RSA, alg RS256", jwk_with(Rs256, json!({"alg": "RS256"})), &[Rs256]),
            ("RSA, alg PS256", jwk_with(Rs256, json!({"alg": "PS256"})), &[Ps256]),
            ("RSA, padded n", jwk_with(Rs256, json!({"n": padded(&n)})), &every_rsa),
            ("RSA, padded e", jwk_with(Rs256, json!({"e": "AAEAAQ=="})), &every_rsa),
            ("RSA, zeros before e", jwk_with(Rs256, json!({"e": "AAAAAAABAAE"})), &every_rsa),
            ("P-256", jwk(Es256), &[Es256]),
            ("P-256, alg ES256", jwk_with(Es256, json!({"alg": "ES256"})), &[Es256]),
            ("P-384", jwk(Es384), &[Es384]),
            ("Ed25519", jwk(EdDsa), &[EdDsa]),
            ("Ed25519, padded", jwk_with(EdDsa, json!({"x": padded(&x)})), &[EdDsa]),
            ("use sig", jwk_with(Es256, json!({"use": "sig"})), &[Es256]),
            ("key_ops verify", jwk_with(Es256, json!({"key_ops": ["verify"]})), &[Es256]),
            ("key_ops both", jwk_with(Es256, json!({"key_ops": ["sign", "verify"]})), &[Es256]),
            ("unknown members", jwk_with(Es256, json!({"x5u": "http://a", "x5c": 1})), &[Es256]),
        ];
        for (name, jwk, algorithms) in rows {
            let key = VerifyingKey::from_jwk(jwk).map_err(|error| format!("{name}: {error}"));
            let key = key.unwrap();
            assert_eq!(key.algorithms().iter().collect::<Vec<_>>(), *algorithms, "{name}");
            assert_eq!(key.key_id(), None, "{name}");
        }
    }

    #[test]
    fn refuses_every_other_key_with_its_reason() {
        let not_on_curve = {
            let mut y = base64url::decode_member(&text(&jwk(Es256), "y")).unwrap();
            y[31] ^= 1;
            base64url(&y)
        };
        let mut even = modulus(2048);
        even[255] = 2;
        let zero_padded = |member: &str| {
            let bytes = base64url::decode_member(&text(&jwk(Es256), member)).unwrap();
            base64url(&[&[0], bytes.as_slice()].concat())
        };
        // P-256's p (SEC 2, section 2.4.2): no coordinate is as large.
        let p256_p =
            base64url(&[&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1][..], &[0; 12], &[0xff; 12]].concat());
        let identity = base64url(&[&[1][..], &[0; 31]].concat());
        let non_canonical = base64url(&[&[0xee][..], &[0xff; 30], &[0x7f]].concat());
        let zeros = |length| base64url(&vec![0; length]);
        let with = |algorithm, members| jwk_with(algorithm, members);
        #[rustfmt::skip]
        let rows: &[(&str, Value, KeyError)] = &[
            ("a string", json!("key"), KeyError::NotAnObject),
            ("an array", json!([]), KeyError::NotAnObject),
            ("null", json!(null), KeyError::NotAnObject),
            ("no kty", with(Rs256, json!({"kty": null})), KeyError::Missing("kty")),
            ("kty 1", with(Rs256, json!({"kty": 1})), KeyError::WrongType("kty")),
            ("kty rsa", with(Rs256, json!({"kty": "rsa"})), KeyError::UnsupportedKeyType),
            ("kty AKP", with(Rs256, json!({"kty": "AKP"})), KeyError::UnsupportedKeyType),
            ("oct", json!({"kty": "oct", "k": "AAAA"}), KeyError::Symmetric),
            ("oct, HS256", json!({"kty": "oct", "k": "AA", "alg": "HS256"}), KeyError::Symmetric),
            ("kid 1", with(Rs256, json!({"kid": 1})), KeyError::WrongType("kid")),
            ("use enc", with(Rs256, json!({"use": "enc"})), KeyError::NotForSignatures),
            ("use SIG", with(Rs256, json!({"use": "SIG"})), KeyError::NotForSignatures),
            ("use 1", with(Rs256, json!({"use": ["sig"]})), KeyError::WrongType("use")),
            ("key_ops []", with(Rs256, json!({"key_ops": []})), KeyError::NotForVerification),
            ("sign only", with(Rs256, json!({"key_ops": ["sign"]})), KeyError::NotForVerification),
            ("key_ops text", with(Rs256, json!({"key_ops": "verify"})),
             KeyError::WrongType("key_ops")),
            ("alg 1", with(Rs256, json!({"alg": 1})), KeyError::WrongType("alg")),
            ("alg HS256", with(Rs256, json!({"alg": "HS256"})), KeyError::UnknownAlgorithm),
            ("alg none", with(Rs256, json!({"alg": "none"})), KeyError::UnknownAlgorithm),
            ("alg RSA-OAEP", with(Rs256, json!({"alg": "RSA-OAEP"})), KeyError::UnknownAlgorithm),
            ("alg ES256 on RSA", with(Rs256, json!({"alg": "ES256"})),
             KeyError::AlgorithmDoesNotFit(Es256)),
            ("alg ES384 on P-256", with(Es256, json!({"alg": "ES384"})),
             KeyError::AlgorithmDoesNotFit(Es384)),
            ("alg RS512 on Ed25519", with(EdDsa, json!({"alg": "RS512"})),
             KeyError::AlgorithmDoesNotFit(Rs512)),
            ("no n", with(Rs256, json!({"n": null})), KeyError::Missing("n")),
            ("n 1", with(Rs256, json!({"n": 1})), KeyError::WrongType("n")),
            ("n not base64url", with(Rs256, json!({"n": "+/+/"})), KeyError::BadBase64Url("n")),
            ("n with a line end", with(Rs256, json!({"n": "AQAB\n"})), KeyError::BadBase64Url("n")),
            ("n empty", with(Rs256, json!({"n": ""})), KeyError::ModulusBits(0)),
            ("n zero", with(Rs256, json!({"n": "AAAA"})), KeyError::ModulusBits(0)),
            ("1024 bits", rsa_jwk(&modulus(1024)), KeyError::ModulusBits(1024)),
            ("2047 bits", rsa_jwk(&modulus(2047)), KeyError::ModulusBits(2047)),
            ("1024 bits in 256 bytes", rsa_jwk(&[vec![0; 128], modulus(1024)].concat()),
             KeyError::ModulusBits(1024)),
            ("4097 bits", rsa_jwk(&modulus(4097)), KeyError::ModulusBits(4097)),
            ("500,000 bits", rsa_jwk(&modulus(500_000)), KeyError::ModulusBits(500_000)),
            ("even n", rsa_jwk(&even), KeyError::EvenModulus),
            ("no e", with(Rs256, json!({"e": null})), KeyError::Missing("e")),
            ("e = 3", with(Rs256, json!({"e": "Aw"})), KeyError::Exponent),
            ("e = 65536", with(Rs256, json!({"e": "AQAA"})), KeyError::Exponent),
            ("e = 65539", with(Rs256, json!({"e": "AQAD"})), KeyError::Exponent),
            ("e = 65537 * 256", with(Rs256, json!({"e": "AQABAA"})), KeyError::Exponent),
            ("e empty", with(Rs256, json!({"e": ""})), KeyError::Exponent),
            ("no crv", with(Es256, json!({"crv": null})), KeyError::Missing("crv")),
            ("P-521", with(Es256, json!({"crv": "P-521"})), KeyError::UnsupportedCurve),
            ("secp256k1", with(Es256, json!({"crv": "secp256k1"})), KeyError::UnsupportedCurve),
            ("P-256 as OKP", with(Es256, json!({"kty": "OKP"})), KeyError::UnsupportedCurve),
            ("P-384's point as P-256", with(Es384, json!({"crv": "P-256"})),
             KeyError::PointLength("x")),
            ("P-256's point as P-384", with(Es256, json!({"crv": "P-384"})),
             KeyError::PointLength("x")),
            ("no x", with(Es256, json!({"x": null})), KeyError::Missing("x")),
            ("no y", with(Es256, json!({"y": null})), KeyError::Missing("y")),
            ("33 bytes of x", with(Es256, json!({"x": zero_padded("x")})),
             KeyError::PointLength("x")),
            ("33 bytes of y", with(Es256, json!({"y": zero_padded("y")})),
             KeyError::PointLength("y")),
            ("not on the curve", with(Es256, json!({"y": not_on_curve})), KeyError::BadPoint),
            ("x = p", with(Es256, json!({"x": p256_p})), KeyError::BadPoint),
            ("the point 0, 0", with(Es256, json!({"x": zeros(32), "y": zeros(32)})),
             KeyError::BadPoint),
            ("P-384's 0, 0", with(Es384, json!({"x": zeros(48), "y": zeros(48)})),
             KeyError::BadPoint),
            ("X25519", with(EdDsa, json!({"crv": "X25519"})), KeyError::UnsupportedCurve),
            ("Ed448", with(EdDsa, json!({"crv": "Ed448"})), KeyError::UnsupportedCurve),
            ("Ed25519 as EC", with(EdDsa, json!({"kty": "EC"})), KeyError::UnsupportedCurve),
            ("31 bytes", with(EdDsa, json!({"x": base64url(&[9; 31])})),
             KeyError::PointLength("x")),
            ("33 bytes", with(EdDsa, json!({"x": base64url(&[9; 33])})),
             KeyError::PointLength("x")),
            ("small order", with(EdDsa, json!({"x": identity})), KeyError::BadPoint),
            ("not canonical", with(EdDsa, json!({"x": non_canonical})), KeyError::BadPoint),
            ("all ones", with(EdDsa, json!({"x": base64url(&[0xff; 32])})), KeyError::BadPoint),
        ];
        for (name, jwk, reason) in rows {
            assert_eq!(VerifyingKey::from_jwk(jwk).err(), Some(*reason), "{name}");
            assert!(!reason.to_string().is_empty(), "{name}");
        }
    }

    #[test]
    fn a_fingerprint_is_of_the_material_alone() {
        let of = |jwk: Value| VerifyingKey::from_jwk(&jwk).unwrap().fingerprint();
        let n = base64url::decode_member(&text(&jwk(Rs256), "n")).unwrap();
        let same = of(jwk(Rs256));
        assert_eq!(same, of(jwk_with(Rs256, json!({"kid": "a", "alg": "RS256", "use": "sig"}))));
        assert_eq!(
            same,
            of(jwk_with(Rs256, json!({"n": base64url(&[&[0, 0], n.as_slice()].concat())})))
        );
        let different = [jwk(Rs256), jwk(Es256), jwk(Es384), jwk(EdDsa), rsa_jwk(&modulus(2048))];
        for (i, one) in different.iter().enumerate() {
            for (j, other) in different.iter().enumerate() {
                assert_eq!(of(one.clone()) == of(other.clone()), i == j, "{i} {j}");
            }
        }
    }

    #[test]
    fn debug_output_names_the_key_and_dumps_nothing() {
        let jwk = jwk_with(Rs256, json!({"kid": "a", "alg": "RS256"}));
        let output = format!("{:?}", VerifyingKey::from_jwk(&jwk).unwrap());
        assert!(output.contains("\"a\"") && output.contains("Rs256"), "{output}");
        assert!(output.len() < 200, "{output}");
    }
}
