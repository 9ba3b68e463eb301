//! Listeners in a file that Envoy watches, to swap a configuration under running requests.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bootstrap::Listener;

/// A file of listeners. Give its [`path`](Self::path) to the bootstrap, then
/// [`Envoy::update_listeners`](super::Envoy::update_listeners).
#[derive(Debug)]
pub struct DynamicListeners {
    folder: TempDir,
    file: PathBuf,
}

/// What Envoy made of new listeners.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ListenerUpdate {
    /// New connections meet the new configuration; the old one drains.
    Accepted,
    /// The old configuration stays. What Envoy and the filter logged as a warning or worse
    /// since the update says why.
    Rejected(String),
}

impl DynamicListeners {
    /// Writes the first listeners.
    ///
    /// # Errors
    ///
    /// The temporary folder is not writable.
    pub fn create(listeners: &[Listener]) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("lds-").tempdir()?;
        let file = folder.path().join("listeners.json");
        let this = Self { folder, file };
        this.write(listeners)?;
        Ok(this)
    }

    /// The file that Envoy watches.
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// Replaces the file by a rename, which is the only change that Envoy looks at.
    pub(super) fn write(&self, listeners: &[Listener]) -> io::Result<()> {
        let resources = listeners.iter().map(|listener| {
            let mut resource = listener.to_json();
            resource["@type"] = json!("type.googleapis.com/envoy.config.listener.v3.Listener");
            resource
        });
        let document = json!({ "resources": resources.collect::<Value>() });
        let next = self.folder.path().join("next.json");
        fs::write(&next, document.to_string())?;
        fs::rename(&next, &self.file)
    }
}
