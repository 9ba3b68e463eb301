//! Signatures at the host's native speed, where the host can be trusted with them.

use crate::host::abi;
use crate::jwt::algorithm::Algorithm;
use crate::jwt::host_signature::{self, SelfTestError};
use crate::jwt::key::VerifyingKey;
use crate::jwt::signature::{BadSignature, PortableVerifier, SignatureVerifier};

/// Asks the host for the algorithms that it has, and the module's own code for the rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crypto {
    host: bool,
}

impl Crypto {
    /// Uses the host if it answers every known question right; else says why not.
    pub(super) fn new() -> (Self, Option<SelfTestError>) {
        match host_signature::self_test(&Self { host: true }) {
            Ok(()) => (Self { host: true }, None),
            Err(error) => (Self { host: false }, Some(error)),
        }
    }
}

impl SignatureVerifier for Crypto {
    fn verify(
        &self,
        algorithm: Algorithm,
        key: &VerifyingKey,
        signing_input: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        if self.is_portable(algorithm) {
            return PortableVerifier.verify(algorithm, key, signing_input, signature);
        }
        let request = host_signature::encode_request(algorithm, key, signing_input, signature)?;
        let answer = abi::call_foreign_function(host_signature::FOREIGN_FUNCTION, &request);
        let answer = answer.map_err(|_| BadSignature)?;
        if host_signature::decode_response(&answer) { Ok(()) } else { Err(BadSignature) }
    }

    fn is_portable(&self, algorithm: Algorithm) -> bool {
        !self.host || !host_signature::supports(algorithm)
    }
}
