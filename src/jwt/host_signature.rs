//! What is said to Envoy's foreign function `verify_signature`, and what it answers.
//!
//! The call itself is the host layer's. The request is a protobuf message with `hash_function` = 1
//! (string), `public_key` = 2 (bytes, SubjectPublicKeyInfo), `signature` = 3, `text` = 4; the
//! answer has `result` = 1 (bool) and `error` = 2 (string). RSA means PKCS #1 v1.5, EC wants a DER
//! signature; there is no PSS and no Ed25519. BoringSSL takes RSA-1024 and any pairing of curve
//! and hash, so length, pairing and range are checked before the call, as [`super::signature`]
//! says.
//!
//! A host may lack the function or answer nonsense. [`self_test`] asks it what is known already,
//! one good and one bad signature per algorithm, before it is trusted.

use std::borrow::Cow;
use std::fmt;

use prost::encoding::{WireType, encode_key, encode_varint};

use crate::json;
use crate::jwt::algorithm::Algorithm;
use crate::jwt::key::{Material, VerifyingKey};
use crate::jwt::signature::{BadSignature, SignatureVerifier, check_fit};
use crate::jwt::{base64url, der};

/// The name to call.
pub const FOREIGN_FUNCTION: &str = "verify_signature";

/// Whether the host can verify this algorithm.
#[must_use]
pub fn supports(algorithm: Algorithm) -> bool {
    hash_function(algorithm).is_some()
}

/// The argument of the foreign function.
///
/// # Errors
/// [`BadSignature`] if no host needs to be asked: the host has not this algorithm, the key does
/// not fit it, the signature has the wrong length, or its r or s is not in 1..n.
pub fn encode_request(
    algorithm: Algorithm,
    key: &VerifyingKey,
    signing_input: &[u8],
    signature: &[u8],
) -> Result<Vec<u8>, BadSignature> {
    check_fit(algorithm, key, signature)?;
    let hash = hash_function(algorithm).ok_or(BadSignature)?;
    let encoded = match key.material() {
        Material::P256(_) => {
            p256::ecdsa::Signature::from_slice(signature).map_err(|_| BadSignature)?;
            raw_to_der(signature)
        }
        Material::P384(_) => {
            p384::ecdsa::Signature::from_slice(signature).map_err(|_| BadSignature)?;
            raw_to_der(signature)
        }
        Material::Rsa { .. } | Material::Ed25519(_) => Cow::Borrowed(signature),
    };
    Ok(encode_message(hash, key, &encoded, signing_input))
}

/// Whether the host's answer says that the signature is good. There is one such answer, `result`
/// true and no `error`; everything else is a no.
#[must_use]
pub fn decode_response(answer: &[u8]) -> bool {
    answer == GOOD_ANSWER
}

/// Asks `verifier` what is known already, for every algorithm of the host.
///
/// # Errors
/// The first wrong answer.
pub fn self_test(verifier: &dyn SignatureVerifier) -> Result<(), SelfTestError> {
    for known in &KNOWN_ANSWERS {
        let algorithm = known.algorithm;
        let refused = SelfTestError::RefusedGood(algorithm);
        let jwk = json::parse(known.jwk.as_bytes()).map_err(|_| refused)?;
        let key = VerifyingKey::from_jwk(&jwk).map_err(|_| refused)?;
        let good = base64url::decode(known.good.as_bytes()).map_err(|_| refused)?;
        let bad = base64url::decode(known.bad.as_bytes()).map_err(|_| refused)?;
        verifier.verify(algorithm, &key, known.signing_input, &good).map_err(|_| refused)?;
        if verifier.verify(algorithm, &key, known.signing_input, &bad).is_ok() {
            return Err(SelfTestError::AcceptedBad(algorithm));
        }
    }
    Ok(())
}

/// A host that answers wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelfTestError {
    /// It refused a good signature, or did not answer.
    RefusedGood(Algorithm),
    /// It accepted a bad signature.
    AcceptedBad(Algorithm),
}

impl fmt::Display for SelfTestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RefusedGood(algorithm) => {
                write!(f, "the host refused a good {algorithm} signature")
            }
            Self::AcceptedBad(algorithm) => {
                write!(f, "the host accepted a bad {algorithm} signature")
            }
        }
    }
}

impl std::error::Error for SelfTestError {}

/// One question with a known answer. TEST DATA: the private keys were thrown away when this was
/// made, and nothing else uses the public ones.
#[derive(Clone, Copy, Debug)]
pub struct KnownAnswer {
    /// The algorithm under test.
    pub algorithm: Algorithm,
    /// The test key.
    pub jwk: &'static str,
    /// The bytes that `good` signs.
    pub signing_input: &'static [u8],
    /// The key's signature over `signing_input`, base64url.
    pub good: &'static str,
    /// The key's signature over other bytes, base64url: well-formed in every way, so that only a
    /// host that really compares can tell.
    pub bad: &'static str,
}

/// The questions of [`self_test`], one per algorithm of the host.
#[must_use]
pub fn known_answers() -> &'static [KnownAnswer] {
    &KNOWN_ANSWERS
}

/// From r and s of equal length behind each other (RFC 7518, section 3.4).
fn raw_to_der(signature: &[u8]) -> Cow<'_, [u8]> {
    let (r, s) = signature.split_at(signature.len() / 2);
    Cow::Owned(der::ecdsa_signature(r, s))
}

fn hash_function(algorithm: Algorithm) -> Option<&'static str> {
    match algorithm {
        Algorithm::Rs256 | Algorithm::Es256 => Some("sha256"),
        Algorithm::Rs384 | Algorithm::Es384 => Some("sha384"),
        Algorithm::Rs512 => Some("sha512"),
        Algorithm::Ps256 | Algorithm::Ps384 | Algorithm::Ps512 | Algorithm::EdDsa => None,
    }
}

/// Written field by field from borrowed bytes: a generated message would have to own a copy of
/// all four first, on the request path.
fn encode_message(hash: &str, key: &VerifyingKey, signature: &[u8], text: &[u8]) -> Vec<u8> {
    let fields = [(1, hash.as_bytes()), (2, key.spki_der()), (3, signature), (4, text)];
    let size: usize = fields.iter().map(|(_, bytes)| bytes.len().saturating_add(8)).sum();
    let mut message = Vec::with_capacity(size);
    for (tag, bytes) in fields {
        encode_key(tag, WireType::LengthDelimited, &mut message);
        encode_varint(u64::try_from(bytes.len()).unwrap_or(u64::MAX), &mut message);
        message.extend_from_slice(bytes);
    }
    message
}

/// Field 1, varint, true.
const GOOD_ANSWER: [u8; 2] = [0x08, 0x01];

const KNOWN_ANSWERS: [KnownAnswer; 5] = [
    KnownAnswer {
        algorithm: Algorithm::Rs256,
        jwk: RSA_TEST_KEY,
        signing_input: SIGNING_INPUT,
        good: concat!(
            "l17IkZ3CvB647z856tWEDZ06kVZ1s47lciuBG8zHwvXrqeeNAGQEgWOi7w4m11nSJmp2S-3851h8azzg",
            "U-yBN1KPjl7Zz_7fRSjpUJ_05Lavi0I6wfNk5z3jjxr8ljDaYC5vZKaQYvYZVOPhbX2UQuEjyxv4MJKp",
            "PAD5EQiN2hwcf2Xl8vLbOTj-j-pw4BqRv0JqF7svBHS5jRPiX_NbaB6TYAdRVu_FHvib0Z9n5X1jleFw",
            "MNRTqcfEq1WsbBdZWJCn0fIHIuHsCcdqwkzq2GHeEdw9O0MM5dr5hsirDAqOg3b1Ae1wxcm1KRAGpQTX",
            "_r0rooUo_M79tGXK1YGXYA",
        ),
        bad: concat!(
            "fn8m4_v3OteY98AQCJa046doh_wtT330danCuROEvXTTUJ3iX3ejy-Q1W7JKLp8jJH7LX8i-xxC2W2b_",
            "85ALYjuWqFmeReCV134DRwHaOc00yHZbFFKnytavRl9WCpue4GTxgD7x3FrAj7k0MbQ0Ys_LJGiYbLlq",
            "04rrbJ6X_n-YBLYt_OCUgVci1Th5oEF_FiyYqcgY06Aq-UUFcJClmrVoKNSCueDOlaoTbQnJ04-YB9CF",
            "7HpCgncMpuIn09q3Vfc7_kul5g1NJUU3dWwqnpQvpVquVDFj8_IiyJjI14UPCZwsXOp4g8SgHOP8VeGB",
            "dOE5g8J0IFsKNjQKISztIw",
        ),
    },
    KnownAnswer {
        algorithm: Algorithm::Rs384,
        jwk: RSA_TEST_KEY,
        signing_input: SIGNING_INPUT,
        good: concat!(
            "YHxZATY4fS3ixL-TtXsT-ljlxFN0uxdmwUThb7OyXIzTtb3QYHJ3maq-lMf8KoIkEF6EFFd6pd5xFeZh",
            "OVYsRWsPX8r8d040r62bSogKhbB-bWcAGcSLW3nRMJZ5qUze2e0c8kc7TerhfoCXPfMYPTnX8QLMPpLf",
            "bLyVlaX5uRY4b9NajTjkx7Znl0Z1aouZT2O2FduOfEib3Zt_wgmsqCw8fskkV0OlvIyTOATDgCT9Rgdm",
            "W6CyfN4Ausb37wA_r-biKM8ozjCk_XYBzr8AVUZXDuMnZjPYP_PCZYEKLR3XL5to-SI8ma5uqb0Y1BwT",
            "QTPbuIVJsOtDt-Gz37hZTg",
        ),
        bad: concat!(
            "LhwniA62syHukcHeEWPzFSzWkrYYgNxjQUFJLicsWickh7eNy6ra_rTZugAoApiKVwxVHn8qMSMlSopj",
            "cFp7TYSsSqoZcfvEPK4xouTzLqe9R9455h9FKM1yeoASe4s6q-NbCdt0kATlz45F7-_VFdcLxVBK5pkL",
            "xrNoYaHyTPeQrR1xDlji8seg2ZD4bNC57MWPXGTOwX4HNppceBzOPMy3hXoao2GDy7q7a_JrlBL3m3zE",
            "BsAoad2DVPAjGghZVccKz2jS3HuP4zsa1gF0ikLHbcZIqKkPmEpwZtprxhDs7vL64UL7bY7M0Q5Z0sHv",
            "o1bekWaVgFNlH-bOAbslgQ",
        ),
    },
    KnownAnswer {
        algorithm: Algorithm::Rs512,
        jwk: RSA_TEST_KEY,
        signing_input: SIGNING_INPUT,
        good: concat!(
            "Nt2TTJWj7LzlA0luW1lOs2Kg8RRcI0BtSVNdls0VXByFGdHye7bgE1UUdSGWn8aWoHoDQAC1yqntiSSO",
            "Ylv1XadCADvPyeBbD5ukYT_vZHUWs2nDe7tgXzOcCD76t6VhVUdEnjs14oWTmLkda-iuvFYN79MvTMI1",
            "2Y3C-VvyazzAdZXBqzB18trx0B1kkQ63JFJvi5XsRhHEAXvUOkix5gYiqMSVz8ClWbKd6i_XWJGEugsd",
            "7UlojP6avw4vmXJu1VdEz5wKoDOT1UgR5cFe55ZPoPhnc_KfG13-8AHbFE5WQrh9uxh-KlIhPTHfR8yT",
            "3enF3ry6pXjH2sm8v6li8Q",
        ),
        bad: concat!(
            "PfA4PeJOpu9DhGGxk4Kg4dhJL4ySAUpsSGUe53k1DPPcJKXqd71rQHKZmSAe7QMTntNtD_2nRaa8iUA_",
            "t7KDx6h1EBZxn7HEGT4W57mDgg-0JNT2K7UKzdEtIAFV8wEDsrxwEz7gKB4EuoJGAi1UhmeifHh0Z0V6",
            "DZkpG29YFXkYlCSgz8m0m9Y5vRTV6_KVatl2ghVvX0rtLm08k0qJwNbyVVS-pQakrPvplsbm6dRyCut7",
            "UIq0fPbXIBQUGm8PqWKxVmBKWhjDBBmtiIr3H05-0vjHXvFHS11Bz6QmXQqx1oDK1pKcxOQvA2Ij6B18",
            "uvyFeSjHBoSFMRHu9T_m2w",
        ),
    },
    KnownAnswer {
        algorithm: Algorithm::Es256,
        jwk: P256_TEST_KEY,
        signing_input: SIGNING_INPUT,
        good: concat!(
            "5SZnX5EZNuNOBSCH6HMT1S-kIphCBjLBad7w_iyCJj7cM_9WBfS5encrEuu6MrP0_gsHrdq8OKKOBsvA",
            "Kk6zNg",
        ),
        bad: concat!(
            "ZxbDrXVQVChiumbqFoZ4tfbE0A1GXreLyZBoa2vN3V-gVG0a6Or26wAfHqBSaqfnMYFhBxGC9_rhm6th",
            "X12P-g",
        ),
    },
    KnownAnswer {
        algorithm: Algorithm::Es384,
        jwk: P384_TEST_KEY,
        signing_input: SIGNING_INPUT,
        good: concat!(
            "gj5eb0N9UcZiFTssJew9genUpb0E77OhGGUPD_7pmugEomJlypN46ag7vfz4C1QvpTKr4Fd-lRlk-C8p",
            "dRJzHUR0o7iENzXQHvbLqCkRHr7cXTH_uueD8IUol6SDQPm0",
        ),
        bad: concat!(
            "5-K3fV0mJ6GuuCndCZ3WZHCLOXN9n8FdB2JKNEG3pq-VQWL5Kh8vCtnOr0ouElgTn4S-t4PkGoIDmknx",
            "fWhVitdQdqYZnKzrgrvU4fvepao7T6SXeSncfE9qJcgUOQK5",
        ),
    },
];

const SIGNING_INPUT: &[u8] = b"session-token-filter known answer";

/// RSA-2048 test key.
const RSA_TEST_KEY: &str = concat!(
    r#"{"kty":"RSA","kid":"test","e":"AQAB","n":"47CV65KetIdpkrEefFxf0Sajy3C-GQrRxJYh"#,
    r#"pgZsVf7J83auVugRvOBSpImQcOEeUkmegK51VypPkL1DpKbNWaG3hbzgXXZ9Q1yoAEFqSVtm6dqsIf"#,
    r#"g3kpT3uJn2biTO6PSMaeOwyl9Y0mnthgpybCQ5F5pYaj0ti9M8uIBwuZb6Csy8_2NATy1he8fppXov"#,
    r#"aQSTj5w-zW5GU71oY_BJjXfYsyXJDI8UYkNMMNlostrrf_uGGeFRCEBeKOTWqx6f3WsEaAxfuDsuJ1"#,
    r#"lrH6wHqycTebu2xAD9rTE6ectuQKMNHJ3NjzOWNJPGQsEHrMo1RI6S4VGPfb4E4k4V1noRCw"}"#,
);

/// P-256 test key.
const P256_TEST_KEY: &str = concat!(
    r#"{"kty":"EC","kid":"test","crv":"P-256","x":"cUdhnWYH3FblZzV53dKMZTYsr9KvIFuWJc"#,
    r#"WbPcIL5Q0","y":"a8-rWuX4LJt3m0ye7amXgsxRErd2kgT0V30RlvnWBGw"}"#,
);

/// P-384 test key.
const P384_TEST_KEY: &str = concat!(
    r#"{"kty":"EC","kid":"test","crv":"P-384","x":"AShMIUTuHio5r1BRd9H-SicwjAwuIyq24R"#,
    r#"KnydpdhpibNANcf1fLmmGAP3kMESkJ","y":"KVt1MKUya0fDc9VxD54CyhXKgfLIxS8QNLZwcx61K"#,
    r#"UzF7Ww8Ku8iV2XAK0fH88wI"}"#,
);

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
pub(crate) mod tests {
    use jwt_simple::algorithms::{P256PublicKey, P384PublicKey, RSAPublicKey};
    use p256::ecdsa::signature::DigestVerifier;
    use prost::bytes::Buf;
    use prost::encoding::{decode_key, decode_varint};
    use superboring::hash::MessageDigest;
    use superboring::pkey::PKey;
    use superboring::rsa::Padding;
    use superboring::sign::Verifier;

    use super::*;
    use crate::jwt::key::VerifyingKey;
    use crate::jwt::test_keys::{sign, verifying_key};

    /// Does natively what the host does with a request: reads the message, the
    /// SubjectPublicKeyInfo and the DER signature anew, and verifies what it read.
    pub(crate) struct HostModel;

    impl SignatureVerifier for HostModel {
        fn verify(
            &self,
            algorithm: Algorithm,
            key: &VerifyingKey,
            signing_input: &[u8],
            signature: &[u8],
        ) -> Result<(), BadSignature> {
            let request = encode_request(algorithm, key, signing_input, signature)?;
            let answer = if good(&request) { vec![0x08, 0x01] } else { b"\x12\x03bad".to_vec() };
            if decode_response(&answer) { Ok(()) } else { Err(BadSignature) }
        }

        fn is_portable(&self, algorithm: Algorithm) -> bool {
            !supports(algorithm)
        }
    }

    /// The fields 1 to 4 of a request.
    fn decode(mut message: &[u8]) -> [Vec<u8>; 4] {
        let fields = [1, 2, 3, 4].map(|tag| {
            assert_eq!(decode_key(&mut message).unwrap(), (tag, WireType::LengthDelimited));
            let length = usize::try_from(decode_varint(&mut message).unwrap()).unwrap();
            message.copy_to_bytes(length).to_vec()
        });
        assert!(message.is_empty());
        fields
    }

    fn good(request: &[u8]) -> bool {
        let [hash, spki, signature, text] = decode(request);
        if let Ok(key) = P256PublicKey::from_der(&spki) {
            assert_eq!(hash, b"sha256");
            let Ok(signature) = p256::ecdsa::Signature::from_der(&signature) else {
                return false;
            };
            let hash = |digest: &mut hmac_sha256::Hash| {
                digest.update(&text);
                Ok(())
            };
            return key.as_ref().verify_digest(hash, &signature).is_ok();
        }
        if let Ok(key) = P384PublicKey::from_der(&spki) {
            assert_eq!(hash, b"sha384");
            let Ok(signature) = p384::ecdsa::Signature::from_der(&signature) else {
                return false;
            };
            let hash = |digest: &mut hmac_sha512::sha384::Hash| {
                digest.update(&text);
                Ok(())
            };
            return key.as_ref().verify_digest(hash, &signature).is_ok();
        }
        let digest = match hash.as_slice() {
            b"sha256" => MessageDigest::sha256(),
            b"sha384" => MessageDigest::sha384(),
            _ => MessageDigest::sha512(),
        };
        let key = RSAPublicKey::from_der(&spki).unwrap();
        let key = PKey::from_rsa(key.as_ref().clone()).unwrap();
        let mut verifier = Verifier::new(digest, &key).unwrap();
        verifier.set_rsa_padding(Padding::PKCS1).unwrap();
        verifier.update(&text).unwrap();
        verifier.verify(&signature).unwrap()
    }

    /// Answers always the same.
    struct Stubborn(bool);

    impl SignatureVerifier for Stubborn {
        fn verify(
            &self,
            _: Algorithm,
            _: &VerifyingKey,
            _: &[u8],
            _: &[u8],
        ) -> Result<(), BadSignature> {
            if self.0 { Ok(()) } else { Err(BadSignature) }
        }

        fn is_portable(&self, _: Algorithm) -> bool {
            false
        }
    }

    #[test]
    fn a_request_carries_hash_key_signature_and_text() {
        for (algorithm, hash) in [
            (Algorithm::Rs256, "sha256"),
            (Algorithm::Rs384, "sha384"),
            (Algorithm::Rs512, "sha512"),
            (Algorithm::Es256, "sha256"),
            (Algorithm::Es384, "sha384"),
        ] {
            let key = verifying_key(algorithm);
            let raw = sign(algorithm, b"text");
            let request = encode_request(algorithm, &key, b"text", &raw).unwrap();
            let [sent_hash, spki, signature, text] = decode(&request);
            assert_eq!(sent_hash, hash.as_bytes(), "{algorithm}");
            assert_eq!(spki, key.spki_der(), "{algorithm}");
            assert_eq!(text, b"text", "{algorithm}");
            if algorithm == Algorithm::Es256 || algorithm == Algorithm::Es384 {
                assert_eq!(signature, der(&raw), "{algorithm}");
            } else {
                assert_eq!(signature, raw, "{algorithm}");
            }
        }
    }

    /// X.690: two integers, shortest form, a zero byte before a high bit.
    #[test]
    fn der_integers_are_in_their_shortest_form() {
        let key = verifying_key(Algorithm::Es256);
        let number = |tail: &[u8]| [vec![0; 32 - tail.len()], tail.to_vec()].concat();
        for (name, r, s) in [
            ("small", number(&[1]), number(&[2])),
            ("high bit", number(&[0x80]), number(&[0xff, 0])),
            ("long", number(&[0x7f; 32]), number(&[0x80; 32])),
        ] {
            let raw = [r, s].concat();
            let request = encode_request(Algorithm::Es256, &key, b"", &raw).unwrap();
            assert_eq!(decode(&request)[2], der(&raw), "{name}");
        }
    }

    fn der(raw: &[u8]) -> Vec<u8> {
        let integer = |number: &[u8]| {
            let zeros = number.iter().take_while(|byte| **byte == 0).count();
            let sign = if number[zeros] >= 0x80 { vec![0] } else { vec![] };
            let number = [&sign[..], &number[zeros..]].concat();
            [&[2, u8::try_from(number.len()).unwrap()], &number[..]].concat()
        };
        let (r, s) = raw.split_at(raw.len() / 2);
        let integers = [integer(r), integer(s)].concat();
        [&[0x30, u8::try_from(integers.len()).unwrap()], &integers[..]].concat()
    }

    #[test]
    fn what_the_host_has_not_is_never_asked() {
        for algorithm in Algorithm::ALL {
            let asked =
                encode_request(algorithm, &verifying_key(algorithm), b"", &sign(algorithm, b""));
            assert_eq!(asked.is_ok(), supports(algorithm), "{algorithm}");
            let portable = matches!(
                algorithm,
                Algorithm::Ps256 | Algorithm::Ps384 | Algorithm::Ps512 | Algorithm::EdDsa
            );
            assert_eq!(supports(algorithm), !portable, "{algorithm}");
        }
    }

    #[test]
    fn one_answer_is_yes() {
        let rows: &[(&str, &[u8], bool)] = &[
            ("true", b"\x08\x01", true),
            ("empty: false", b"", false),
            ("false, written out", b"\x08\x00", false),
            ("an error", b"\x12\x03bad", false),
            ("true and an error", b"\x08\x01\x12\x03bad", false),
            ("an error and true", b"\x12\x03bad\x08\x01", false),
            ("true, then false", b"\x08\x01\x08\x00", false),
            ("true in two bytes", b"\x08\x81\x00", false),
            ("another number", b"\x08\x02", false),
            ("truncated", b"\x08", false),
            ("another field", b"\x18\x01", false),
            ("text", b"true", false),
            ("a longer answer", b"\x08\x01\x00", false),
        ];
        for (name, answer, yes) in rows {
            assert_eq!(decode_response(answer), *yes, "{name}");
        }
    }

    #[test]
    fn the_self_test_passes_on_right_answers_alone() {
        assert_eq!(self_test(&super::super::signature::PortableVerifier), Ok(()));
        assert_eq!(self_test(&HostModel), Ok(()));
        let first = Algorithm::Rs256;
        assert_eq!(self_test(&Stubborn(true)), Err(SelfTestError::AcceptedBad(first)));
        assert_eq!(self_test(&Stubborn(false)), Err(SelfTestError::RefusedGood(first)));
    }

    #[test]
    fn every_algorithm_of_the_host_has_a_known_answer() {
        let known: Vec<_> = known_answers().iter().map(|known| known.algorithm).collect();
        let all: Vec<_> = Algorithm::ALL.into_iter().filter(|one| supports(*one)).collect();
        assert_eq!(known, all);
    }
}
