//! The flows that the page of the shared session offers and that the check plays: one list,
//! `flows.json`. A flow is some requests in a row, in one browser.

use serde::Deserialize;

/// What somebody does, and what must come of each step.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "the page shows what the check has no use for")]
pub(super) struct Flow {
    pub(super) id: String,
    pub(super) group: String,
    pub(super) title: String,
    /// What comes of it, in two words.
    pub(super) shows: String,
    pub(super) about: String,
    /// On this page alone; on both if absent.
    pub(super) only: Option<Layout>,
    #[serde(default)]
    pub(super) starts: Start,
    pub(super) steps: Vec<Step>,
}

/// How the hosts are laid out around a page.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Layout {
    /// Each API on a host of its own, one cookie for all.
    Shared,
    /// Both APIs under the page's host.
    ByPath,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Start {
    #[default]
    SignedIn,
    SignedOut,
}

/// One request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    pub(super) by: Sender,
    #[serde(default = "get")]
    pub(super) method: String,
    pub(super) to: Place,
    pub(super) path: String,
    pub(super) expect: StepExpect,
}

/// Who sends a request.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Sender {
    /// The page's script.
    Page,
    /// Somebody who opens an address.
    Person,
    /// Somebody who signs in at the page where the step before ended, and is sent back.
    LoginPage,
    /// A form of a page of the same site.
    Sibling,
    /// A script of a page of another site.
    Foreign,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Place {
    /// The page's own host.
    Www,
    Api,
    Api2,
    Auth,
}

/// The answer that a step must get. No `backend`: no API may see the request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StepExpect {
    pub(super) status: u16,
    pub(super) backend: Option<String>,
    /// The vendor's word for why.
    pub(super) message: Option<String>,
    /// A redirect to the login page, which is told where to return to.
    #[serde(default)]
    pub(super) to_login: bool,
}

/// The list as the page gets it.
pub(super) const FLOWS_JSON: &str = include_str!("flows.json");

/// The list.
///
/// # Panics
///
/// When `flows.json` is not such a list, which a test finds first.
pub(super) fn flows() -> Vec<Flow> {
    serde_json::from_str(FLOWS_JSON).unwrap_or_else(|error| panic!("flows.json: {error}"))
}

fn get() -> String {
    "GET".to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_list_is_well_formed() {
        let flows = flows();
        let ids: BTreeSet<_> = flows.iter().map(|flow| &flow.id).collect();
        assert_eq!(ids.len(), flows.len(), "ids are unique");
        for Flow { id, steps, .. } in &flows {
            assert!(!steps.is_empty(), "{id}");
            for step in steps {
                let StepExpect { backend, message, to_login, .. } = &step.expect;
                let answers = usize::from(backend.is_some())
                    + usize::from(message.is_some())
                    + usize::from(*to_login);
                let wanted = usize::from(step.to != Place::Auth);
                assert_eq!(answers, wanted, "{id}: one answer, from {:?}", step.to);
            }
        }
    }
}
