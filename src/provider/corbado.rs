//! Corbado's sessions, as its own back-end SDKs (Node, Go, PHP, Java, Python) see them.
//!
//! | what | fact |
//! | --- | --- |
//! | cookie | `cbo_session_token`, set by script; releases of 2024 wrote `cbo_short_session` too |
//! | refresh cookie | `cbo_refresh_token`, `cbo_long_session`: never for backends |
//! | algorithm | RS256, opaque `kid`s |
//! | issuer | the project's Frontend API, on either of Corbado's hosts or on an own one (CNAME) |
//! | key set | `/.well-known/jwks` there, asked with `X-Corbado-ProjectID` |

use std::str::FromStr;

use crate::cookie::CookieName;
use crate::extractor::Source;
use crate::jwt::algorithm::{Algorithm, AlgorithmSet};

/// A Corbado project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    id: ProjectId,
    /// Without a trailing slash.
    frontend_api: Option<Box<str>>,
}

impl Project {
    /// A project, with its own Frontend API host if it has one.
    pub fn new(id: ProjectId, frontend_api: Option<&str>) -> Self {
        let frontend_api = frontend_api.map(|url| url.strip_suffix('/').unwrap_or(url).into());
        Self { id, frontend_api }
    }

    /// Every issuer that Corbado's SDKs accept for this project.
    pub fn issuers(&self) -> Vec<Box<str>> {
        let id = &self.id.0;
        let mut issuers =
            vec![format!("https://{id}.frontendapi.corbado.io").into(), self.cloud_issuer()];
        issuers.extend(self.frontend_api.clone());
        issuers
    }

    /// Where the key set is.
    pub fn jwks_uri(&self) -> String {
        let host = self.frontend_api.clone().unwrap_or_else(|| self.cloud_issuer());
        format!("{host}/.well-known/jwks")
    }

    /// What Corbado's Node and Go SDKs send with the request for the key set.
    pub fn jwks_headers(&self) -> [(&'static str, &str); 1] {
        [("x-corbado-projectid", &self.id.0)]
    }

    fn cloud_issuer(&self) -> Box<str> {
        format!("https://{}.frontendapi.cloud.corbado.io", self.id.0).into()
    }
}

/// A project's identifier: `pro-` and more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectId(Box<str>);

impl FromStr for ProjectId {
    type Err = InvalidProjectId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("pro-").ok_or(InvalidProjectId)?;
        // It becomes a label of a host name.
        if rest.is_empty() || !rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        {
            return Err(InvalidProjectId);
        }
        Ok(Self(text.into()))
    }
}

/// The text does not begin with `pro-`, or could not be part of a host name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidProjectId;

/// Where a request carries the session.
pub fn sources() -> Vec<Source> {
    let cookie = |name: &str| name.parse().ok().map(Source::Cookie);
    [Some(Source::bearer()), cookie("cbo_session_token"), cookie("cbo_short_session")]
        .into_iter()
        .flatten()
        .collect()
}

/// Cookies that no backend may see: the refresh token under both its names.
pub fn refresh_cookies() -> Vec<CookieName> {
    ["cbo_refresh_token", "cbo_long_session"].iter().filter_map(|name| name.parse().ok()).collect()
}

/// What Corbado signs with.
pub fn algorithms() -> AlgorithmSet {
    [Algorithm::Rs256].into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(frontend_api: Option<&str>) -> Project {
        Project::new("pro-123".parse().unwrap(), frontend_api)
    }

    #[test]
    fn every_issuer_counts_whatever_is_configured() {
        let built_in = [
            "https://pro-123.frontendapi.corbado.io",
            "https://pro-123.frontendapi.cloud.corbado.io",
        ];
        assert_eq!(project(None).issuers(), built_in.map(Box::from));
        let own = project(Some("https://auth.example.com/"));
        let expected = [built_in[0], built_in[1], "https://auth.example.com"];
        assert_eq!(own.issuers(), expected.map(Box::from));
    }

    #[test]
    fn the_key_set_is_on_the_frontend_api() {
        assert_eq!(
            project(None).jwks_uri(),
            "https://pro-123.frontendapi.cloud.corbado.io/.well-known/jwks"
        );
        assert_eq!(
            project(Some("https://auth.example.com/")).jwks_uri(),
            "https://auth.example.com/.well-known/jwks"
        );
        assert_eq!(project(None).jwks_headers(), [("x-corbado-projectid", "pro-123")]);
    }

    #[test]
    fn project_ids_begin_with_pro() {
        for bad in ["", "pro-", "pro", "prod-1", "PRO-1", "pro-a.b", "pro-a/b", "pro-a b"] {
            assert_eq!(bad.parse::<ProjectId>(), Err(InvalidProjectId), "{bad}");
        }
    }

    #[test]
    fn sources_and_refresh_cookies_parse() {
        assert_eq!(sources().len(), 3);
        assert_eq!(refresh_cookies().len(), 2);
    }
}
