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

use jwt_simple::algorithms::{Edwards25519PublicKey, P256PublicKey, P384PublicKey, RSAPublicKey};
use serde_json::{Map, Value};
use superboring::pkey::{PKey, Public};

use crate::jwt::algorithm::{Algorithm, AlgorithmSet};
use crate::jwt::base64url;

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
    Rsa {
        key: Box<PKey<Public>>,
        modulus_bytes: usize,
    },
    P256(P256PublicKey),
    P384(P384PublicKey),
    Ed25519(Edwards25519PublicKey),
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
        // What can still fail below is a disagreement of the library about the bounds above.
        let key = RSAPublicKey::from_components(modulus, &EXPONENT)
            .map_err(|_| KeyError::ModulusBits(bits))?;
        let spki_der = key.to_der().map_err(|_| KeyError::ModulusBits(bits))?;
        let key = PKey::from_rsa(key.as_ref().clone()).map_err(|_| KeyError::ModulusBits(bits))?;
        Ok((
            Self::Rsa {
                key: Box::new(key),
                modulus_bytes: modulus.len(),
            },
            spki_der,
        ))
    }

    fn p256(jwk: &Map<String, Value>) -> Result<(Self, Vec<u8>), KeyError> {
        let key = P256PublicKey::from_bytes(&uncompressed_point::<32>(jwk)?)
            .map_err(|_| KeyError::BadPoint)?;
        let spki_der = key.to_der().map_err(|_| KeyError::BadPoint)?;
        Ok((Self::P256(key), spki_der))
    }

    fn p384(jwk: &Map<String, Value>) -> Result<(Self, Vec<u8>), KeyError> {
        let key = P384PublicKey::from_bytes(&uncompressed_point::<48>(jwk)?)
            .map_err(|_| KeyError::BadPoint)?;
        let spki_der = key.to_der().map_err(|_| KeyError::BadPoint)?;
        Ok((Self::P384(key), spki_der))
    }

    fn ed25519(jwk: &Map<String, Value>) -> Result<(Self, Vec<u8>), KeyError> {
        let point = fixed_bytes::<32>(jwk, "x")?;
        let key = Edwards25519PublicKey::from_bytes(&point).map_err(|_| KeyError::BadPoint)?;
        let spki_der = key.to_der();
        Ok((Self::Ed25519(key), spki_der))
    }

    fn algorithms(&self) -> AlgorithmSet {
        use Algorithm::{EdDsa, Es256, Es384, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
        match self {
            Self::Rsa { .. } => [Rs256, Rs384, Rs512, Ps256, Ps384, Ps512]
                .into_iter()
                .collect(),
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
    let operations = operations
        .as_array()
        .ok_or(KeyError::WrongType("key_ops"))?;
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
    jwk.get(member)
        .map(|value| value.as_str().ok_or(KeyError::WrongType(member)))
        .transpose()
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
    required_bytes(jwk, member)?
        .try_into()
        .map_err(|_| KeyError::PointLength(member))
}

/// SEC 1, section 2.3.3: 4, x, y.
fn uncompressed_point<const N: usize>(jwk: &Map<String, Value>) -> Result<Vec<u8>, KeyError> {
    let x = fixed_bytes::<N>(jwk, "x")?;
    let y = fixed_bytes::<N>(jwk, "y")?;
    Ok([&[4], x.as_slice(), y.as_slice()].concat())
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
