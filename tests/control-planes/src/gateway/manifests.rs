//! The shipped manifests, and the little in them that is otherwise here.
//!
//! What a cluster would add (a GatewayClass, Services, Secrets) comes beside them and changes
//! nothing in them. A [`Manifest`] is changed by replacing text that must be there.

use std::fs;

use session_token_harness::workspace;

use crate::registry;

/// The text of a manifest.
#[derive(Clone)]
pub(super) struct Manifest {
    name: String,
    text: String,
}

/// What the shipped manifests say, and what each run puts in its place.
pub(super) const IMAGE: &str = "oci://registry.example.com/session-token-filter:0.1.0";

impl Manifest {
    /// `envoy/gateway/NAME` with the image from the local registry.
    pub(super) fn shipped(name: &str) -> Self {
        let image = format!("oci://{}/session-token-filter:0.1.0", registry::ADDRESS);
        Self::unchanged(name).with(IMAGE, &image)
    }

    /// `envoy/gateway/NAME`.
    ///
    /// # Panics
    ///
    /// When there is no such file.
    pub(super) fn unchanged(name: &str) -> Self {
        let path = workspace::root().join("envoy/gateway").join(name);
        let text =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { name: name.to_owned(), text }
    }

    /// A manifest that is not shipped.
    pub(super) fn new(name: &str, text: impl Into<String>) -> Self {
        Self { name: name.to_owned(), text: text.into() }
    }

    /// Replaces the one place that has `from`.
    ///
    /// # Panics
    ///
    /// When there is no such place, or several.
    pub(super) fn with(mut self, from: &str, to: &str) -> Self {
        let places = self.text.matches(from).count();
        assert!(places == 1, "{places} places in {} have {from:?}", self.name);
        self.text = self.text.replace(from, to);
        self
    }

    /// Sends what goes to the Service `name` to the Backend of that name.
    pub(super) fn with_backend(self, name: &str) -> Self {
        let backend = format!("- {{ group: gateway.envoyproxy.io, kind: Backend, name: {name} }}");
        self.with(&format!("- {{ name: {name}, port: 80 }}"), &backend)
    }

    /// The file's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The file's text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}
