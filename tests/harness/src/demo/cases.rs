//! The cases that the page offers and that the check plays: one list, `cases.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One request that somebody might send, and what must come of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "the page shows what the check has no use for")]
pub(super) struct Case {
    pub(super) id: String,
    pub(super) scenario: u8,
    pub(super) title: String,
    pub(super) about: String,
    /// What happens before the request.
    pub(super) first: Option<First>,
    pub(super) host: Host,
    pub(super) path: String,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    pub(super) carry: Carry,
    pub(super) token: Option<TokenKind>,
    pub(super) expect: Expect,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum First {
    /// The issuer signs with a new key, and the session is renewed with it.
    RotateKeys,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Host {
    /// The page's own host.
    Www,
    /// The API's host: another origin.
    Api,
}

/// How the token travels.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Carry {
    Cookie,
    /// The case's token, and somebody else's session in a second cookie of the same name.
    TwoCookies,
    Bearer,
    Nothing,
}

/// The token that a case sends, as the issuer makes it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TokenKind {
    /// A valid one for the user's own plan.
    Session,
    /// A valid one for plan starter.
    Starter,
    /// A valid one for plan pro.
    Pro,
    /// Genuine header and signature around other claims.
    Tampered,
    Expired,
    /// `alg: none`.
    Unsigned,
    OtherProject,
    /// Signed by a key that the issuer never published.
    UnknownKey,
}

/// What the user pays for; picks the backend.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Plan {
    Starter,
    Pro,
}

/// The answer that a case must get. No `backend`: no backend may see the request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    pub(super) status: u16,
    pub(super) reason: Option<String>,
    pub(super) backend: Option<ExpectBackend>,
    /// The call that the backend makes.
    pub(super) next: Option<Box<Expect>>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum ExpectBackend {
    Always(String),
    ByPlan(BTreeMap<Plan, String>),
}

impl ExpectBackend {
    /// The backend for a token with this plan.
    pub(super) fn for_plan(&self, plan: Plan) -> Option<&str> {
        match self {
            Self::Always(name) => Some(name),
            Self::ByPlan(names) => names.get(&plan).map(String::as_str),
        }
    }
}

/// The list as the page gets it.
pub(super) const CASES_JSON: &str = include_str!("cases.json");

/// The list.
///
/// # Panics
///
/// When `cases.json` is not such a list, which a test finds first.
pub(super) fn cases() -> Vec<Case> {
    serde_json::from_str(CASES_JSON).unwrap_or_else(|error| panic!("cases.json: {error}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_list_is_well_formed() {
        let cases = cases();
        let ids: BTreeSet<_> = cases.iter().map(|case| &case.id).collect();
        assert_eq!(ids.len(), cases.len(), "ids are unique");
        for case in &cases {
            let carries = case.carry != Carry::Nothing;
            assert_eq!(case.token.is_some(), carries, "{}: a token that is carried", case.id);
            assert_ne!(
                case.expect.reason.is_some(),
                case.expect.backend.is_some(),
                "{}: an answer comes from the filter with a reason, or from a backend",
                case.id
            );
        }
    }
}
