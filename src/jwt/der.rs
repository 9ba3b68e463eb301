//! The little DER (X.690) that is *written* here: a SubjectPublicKeyInfo per key, and ECDSA's r
//! and s for the host. Nothing is read.
//!
//! The `der`, `spki` and `pkcs8` crates do it too, and bring readers, PEM and error text: tens of
//! kB that V8 compiles in every process. The tests compare with what they write.

/// An RSA key's SubjectPublicKeyInfo (RFC 3279, section 2.3.1).
pub(crate) fn rsa_spki(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    spki(RSA, &element(SEQUENCE, &[&integer(modulus), &integer(exponent)]))
}

/// A P-256 key's SubjectPublicKeyInfo (RFC 5480, section 2), of an uncompressed point.
pub(crate) fn p256_spki(point: &[u8]) -> Vec<u8> {
    spki(P256, point)
}

/// A P-384 key's SubjectPublicKeyInfo (RFC 5480, section 2), of an uncompressed point.
pub(crate) fn p384_spki(point: &[u8]) -> Vec<u8> {
    spki(P384, point)
}

/// An Ed25519 key's SubjectPublicKeyInfo (RFC 8410, section 4).
pub(crate) fn ed25519_spki(key: &[u8]) -> Vec<u8> {
    spki(ED25519, key)
}

/// ECDSA-Sig-Value (RFC 3279, section 2.2.3).
pub(crate) fn ecdsa_signature(r: &[u8], s: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[&integer(r), &integer(s)])
}

fn spki(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    // A bit string begins with the number of its unused bits.
    element(SEQUENCE, &[algorithm, &element(BIT_STRING, &[&[0], key])])
}

/// A number that is not negative: no leading zeros but one, before a high bit.
fn integer(mut number: &[u8]) -> Vec<u8> {
    while let Some((0, rest)) = number.split_first() {
        number = rest;
    }
    let positive = number.first().is_some_and(|byte| *byte < 0x80);
    element(INTEGER, &[if positive { &[] } else { &[0] }, number])
}

fn element(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let length: usize = contents.iter().map(|part| part.len()).sum();
    let mut element = Vec::with_capacity(length.saturating_add(4));
    element.push(tag);
    match length.to_be_bytes() {
        [.., 0, short] if short < 0x80 => element.push(short),
        [.., 0, low] => element.extend([0x81, low]),
        // 64 kB and more would need a third byte; the longest key here has 550.
        [.., high, low] => element.extend([0x82, high, low]),
    }
    for part in contents {
        element.extend_from_slice(part);
    }
    element
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;

/// AlgorithmIdentifier: rsaEncryption, NULL.
const RSA: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";

/// AlgorithmIdentifier: id-ecPublicKey, secp256r1.
const P256: &[u8] =
    b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";

/// AlgorithmIdentifier: id-ecPublicKey, secp384r1.
const P384: &[u8] = b"\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22";

/// AlgorithmIdentifier: id-Ed25519.
const ED25519: &[u8] = b"\x30\x05\x06\x03\x2b\x65\x70";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use jwt_simple::algorithms::{
        ECDSAP256KeyPairLike, ECDSAP384KeyPairLike, P256PublicKey, P384PublicKey, RSAPublicKey,
    };

    use super::*;
    use crate::jwt::test_keys;

    #[test]
    fn an_spki_is_what_the_libraries_write() {
        let p256: P256PublicKey = test_keys::p256().key_pair().public_key();
        assert_eq!(p256_spki(&p256.to_bytes_uncompressed()), p256.to_der().unwrap());
        let p384: P384PublicKey = test_keys::p384().key_pair().public_key();
        assert_eq!(p384_spki(&p384.to_bytes_uncompressed()), p384.to_der().unwrap());
        let ed25519 = test_keys::ed25519().public_key();
        assert_eq!(ed25519_spki(&ed25519.to_bytes()), ed25519.to_der());
        for (bytes, first) in [(256, 0x80), (257, 1), (384, 0xff), (512, 0x80), (512, 0xff)] {
            let mut modulus = vec![0x5b; bytes];
            *modulus.first_mut().unwrap() = first;
            let rsa = RSAPublicKey::from_components(&modulus, &[1, 0, 1]).unwrap();
            assert_eq!(rsa_spki(&modulus, &[1, 0, 1]), rsa.to_der().unwrap(), "{bytes} {first}");
        }
    }

    #[test]
    fn a_signature_is_what_the_libraries_write() {
        let number = |tail: &[u8]| {
            let mut number = [0; 32];
            number.iter_mut().rev().zip(tail.iter().rev()).for_each(|(to, from)| *to = *from);
            number
        };
        for (name, r, s) in [
            ("small", number(&[1]), number(&[0x7f])),
            ("high bit", number(&[0x80]), number(&[0xff, 0])),
            ("zeros inside", number(&[1, 0, 0]), number(&[0x80, 0, 0, 1])),
            ("long", number(&[0x7f; 32]), number(&[0x80; 32])),
            ("31 bytes", number(&[0x7f; 31]), number(&[0x80; 31])),
        ] {
            let signature = p256::ecdsa::Signature::from_scalars(r, s).unwrap();
            assert_eq!(ecdsa_signature(&r, &s), signature.to_der().as_bytes(), "{name}");
        }
    }
}
