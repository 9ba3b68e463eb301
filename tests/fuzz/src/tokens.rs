//! Tokens that a fuzzer can choose, and what is true about each.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use arbitrary::Arbitrary;
use serde_json::json;
use session_token_filter::jwt::algorithm::Algorithm;
use session_token_filter::time::UnixTime;

use crate::keys::{MATERIALS, TestKey, base64url};

/// When every run begins.
pub const START: UnixTime = UnixTime::from_secs(1_700_000_000);

/// The `iss` of the providers in `model::CONFIGURATION`, by their place; the last is nobody's.
pub const ISSUERS: [&str; 5] = [
    "https://plain.example",
    "https://both.example",
    "https://pro-1.frontendapi.cloud.corbado.io",
    "https://fixed.example",
    "https://foreign.example",
];

/// What signs at each of them.
pub const ALGORITHMS: [Algorithm; 5] =
    [Algorithm::EdDsa, Algorithm::EdDsa, Algorithm::Rs256, Algorithm::EdDsa, Algorithm::EdDsa];

/// A token by its properties. Most values mean a token that some set makes good: what a fuzzer
/// chooses blindly must often get past the first check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Arbitrary)]
pub struct TokenSpec {
    issuer: u8,
    key_id: u8,
    /// Which of the forged `kid`s.
    pub forged: u8,
    material: u8,
    lifetime: u8,
    signature: u8,
    size: u8,
}

impl TokenSpec {
    /// The place of its `iss` in [`ISSUERS`].
    pub fn issuer(self) -> usize {
        [0, 0, 0, 0, 1, 1, 2, 2, 3, 4][usize::from(self.issuer % 10)]
    }

    /// The same session, renewed.
    pub fn renewed(self, times: u8) -> Self {
        Self { size: times, ..self }
    }

    /// Its `kid`: one of those that key sets have, one that none has, or none.
    pub fn key_id(self) -> KeyId {
        match self.key_id % 8 {
            known @ 0..6 => KeyId::Named(known / 2),
            6 => KeyId::Forged(self.forged),
            _ => KeyId::Absent,
        }
    }

    /// The same with another forged `kid`.
    pub fn with_forged_key_id(self, forged: u8) -> Self {
        Self { key_id: 6, forged, ..self }
    }

    /// Whether the bytes are the signature that [`Self::material`] makes.
    pub fn is_signed(self) -> bool {
        self.signature < 224
    }

    /// Which key signed it.
    pub fn material(self) -> u8 {
        let own = match self.key_id() {
            KeyId::Named(name) => name,
            KeyId::Forged(_) | KeyId::Absent => 0,
        };
        (own + [0, 0, 0, 1, 1, 2, 7, 4][usize::from(self.material % 8)]) % MATERIALS
    }

    /// Whether it may be used at `now`, clocks differing by ten seconds at most.
    pub fn is_timely(self, now: UnixTime) -> bool {
        let (not_before, expires_at) = self.dates();
        let seconds = now.as_millis() / 1_000;
        seconds < expires_at + 10 && now.as_millis() + 10_000 >= not_before.unwrap_or(0) * 1_000
    }

    /// `nbf` and `exp`.
    fn dates(self) -> (Option<u64>, u64) {
        let start = START.as_millis() / 1_000;
        match self.lifetime % 16 {
            0 => (None, start - 3_600),
            1 => (None, start + 20),
            2 => (None, start + 300),
            3 => (Some(start + 60), start + 7_200),
            4 => (Some(start + 20), start + 100),
            _ => (None, start + 36_000_000),
        }
    }

    /// The compact text.
    pub fn text(self) -> Rc<[u8]> {
        thread_local! {
            static TEXTS: RefCell<BTreeMap<TokenSpec, Rc<[u8]>>> = RefCell::default();
        }
        TEXTS.with_borrow_mut(|texts| {
            if texts.len() > 20_000 {
                texts.clear();
            }
            Rc::clone(texts.entry(self).or_insert_with(|| self.write().into()))
        })
    }

    fn write(self) -> Vec<u8> {
        let algorithm = ALGORITHMS[self.issuer()];
        let mut header = json!({"alg": algorithm.name(), "typ": "JWT"});
        match self.key_id() {
            KeyId::Named(name) => header["kid"] = name.to_string().into(),
            KeyId::Forged(name) => header["kid"] = format!("forged-{name}").into(),
            KeyId::Absent => {}
        }
        let (not_before, expires_at) = self.dates();
        let mut payload = json!({"iss": ISSUERS[self.issuer()], "sub": "user", "exp": expires_at});
        if let Some(not_before) = not_before {
            payload["nbf"] = not_before.into();
        }
        payload["iat"] = (START.as_millis() / 1_000 - u64::from(self.size)).into();
        payload["pad"] =
            "x".repeat([0, 0, 100, 0, 0, 0, 0, 4_000][usize::from(self.size % 8)]).into();
        let [header, payload] =
            [header, payload].map(|part| base64url(part.to_string().as_bytes()));
        let signing_input = format!("{header}.{payload}");
        let mut signature =
            TestKey::of(algorithm, self.material()).sign(signing_input.as_bytes()).to_vec();
        if !self.is_signed() {
            signature[0] ^= 1;
        }
        format!("{signing_input}.{}", base64url(&signature)).into_bytes()
    }
}

/// A token's `kid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyId {
    /// `0` to `2`: key sets may have it.
    Named(u8),
    /// No key set has it.
    Forged(u8),
    /// The token has none.
    Absent,
}
