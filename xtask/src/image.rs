//! Writes the finished module as an OCI image, in the layout that every registry client reads.
//!
//! 1. The image is the *compat* variant of the Wasm image specification: one layer, a `tar.gz`
//!    with the one file `plugin.wasm`. Istio and Envoy Gateway take it, and so does every
//!    registry, since to them it is an image like any other; the other variant has media types of
//!    its own, which some registries refuse.
//! 2. Its digest is a function of the module's bytes and of the commit: no clock, no user, no
//!    path. The one time in it is the commit's.
//! 3. What says what the image is stands twice: as annotations of the manifest, for registries,
//!    and as labels of the configuration, for those who look at images.
//!
//! Source: <https://github.com/solo-io/wasm/blob/master/spec/spec-compat.md> and the image
//! specification, <https://github.com/opencontainers/image-spec>.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::{Compression, GzBuilder};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// Writes `module` as an image into the folder `layout`, and says what was written.
///
/// # Errors
///
/// `module` cannot be read, or `layout` not written; or `layout` is something else than an image
/// that an earlier call left.
pub(crate) fn write(module: &str, layout: &str) -> Result<String, String> {
    let bytes = std::fs::read(module).map_err(|error| format!("{module}: {error}"))?;
    let commit = Commit::checked_out();
    let mut layout = Layout::create(Path::new(layout))?;
    let tar = archive(&bytes).map_err(|error| format!("the layer: {error}"))?;
    let diff_id = digest(&tar);
    let layer = gzip(&tar).map_err(|error| format!("the layer: {error}"))?;
    let layer = layout.add(LAYER, &layer)?;
    let labels = labels(commit.as_ref());
    let config = layout.add_json(CONFIG, &Config::new(&labels, commit.as_ref(), diff_id))?;
    let mut annotations = labels;
    annotations.insert("module.wasm.image/variant", "compat".to_owned());
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST,
        config,
        layers: vec![layer],
        annotations,
    };
    let mut manifest = layout.add_json(MANIFEST, &manifest)?;
    let summary = format!(
        "{}: {} KiB\nimage  {}\nmodule {}",
        layout.folder.display(),
        layout.written.div_ceil(1024),
        manifest.digest,
        digest(&bytes)
    );
    // The tag, for those who name the image in this folder by one.
    manifest.annotations.insert("org.opencontainers.image.ref.name", VERSION.to_owned());
    layout.finish(manifest)?;
    Ok(summary)
}

/// The commit that was built.
struct Commit {
    /// Its full name, and `-dirty` where the files differ from it.
    revision: String,
    /// Its time, in UTC as RFC 3339 has it.
    time: String,
}

impl Commit {
    /// None in an archive of the sources, which has none.
    fn checked_out() -> Option<Self> {
        Some(Self {
            revision: git(&["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"])?,
            time: git(&["log", "-1", "--date=format-local:%Y-%m-%dT%H:%M:%SZ", "--format=%cd"])?,
        })
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).env("TZ", "UTC").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

/// Keys by <https://github.com/opencontainers/image-spec/blob/main/annotations.md>.
fn labels(commit: Option<&Commit>) -> BTreeMap<&'static str, String> {
    let mut labels = BTreeMap::from([
        ("org.opencontainers.image.title", TITLE.to_owned()),
        ("org.opencontainers.image.description", DESCRIPTION.to_owned()),
        ("org.opencontainers.image.version", VERSION.to_owned()),
        ("org.opencontainers.image.licenses", env!("CARGO_PKG_LICENSE").to_owned()),
    ]);
    let source = env!("CARGO_PKG_REPOSITORY");
    if !source.is_empty() {
        labels.insert("org.opencontainers.image.source", source.to_owned());
    }
    if let Some(commit) = commit {
        labels.insert("org.opencontainers.image.revision", commit.revision.clone());
        labels.insert("org.opencontainers.image.created", commit.time.clone());
    }
    labels
}

/// A tar of the one file that both products look for.
fn archive(module: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut header = tar::Header::new_ustar();
    header.set_size(module.len().try_into().map_err(std::io::Error::other)?);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, "plugin.wasm", module)?;
    archive.into_inner()
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    // The header would name the machine's operating system; 255 is "unknown".
    let mut encoder = GzBuilder::new().operating_system(255).write(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{DIGEST_SCHEME}{hex}")
}

/// The folder.
struct Layout {
    folder: PathBuf,
    /// Bytes of all blobs.
    written: usize,
}

impl Layout {
    /// Empty, in the place of an earlier one.
    fn create(folder: &Path) -> Result<Self, String> {
        let marker = folder.join(MARKER);
        if marker.exists() {
            std::fs::remove_dir_all(folder).map_err(at(folder))?;
        } else if folder.exists() {
            return Err(format!("{}: in the way, and no image", folder.display()));
        }
        let layout = Self { folder: folder.to_owned(), written: 0 };
        std::fs::create_dir_all(layout.blobs()).map_err(at(folder))?;
        // First, so that the next call takes over what this one left unfinished.
        std::fs::write(&marker, "{\"imageLayoutVersion\":\"1.0.0\"}").map_err(at(&marker))?;
        Ok(layout)
    }

    fn blobs(&self) -> PathBuf {
        self.folder.join("blobs").join("sha256")
    }

    fn add(&mut self, media_type: &'static str, bytes: &[u8]) -> Result<Descriptor, String> {
        let digest = digest(bytes);
        let path = self.blobs().join(digest.trim_start_matches(DIGEST_SCHEME));
        std::fs::write(&path, bytes).map_err(at(&path))?;
        self.written = self.written.saturating_add(bytes.len());
        Ok(Descriptor { media_type, digest, size: bytes.len(), annotations: BTreeMap::new() })
    }

    fn add_json(
        &mut self,
        media_type: &'static str,
        document: &impl Serialize,
    ) -> Result<Descriptor, String> {
        self.add(media_type, &json(document)?)
    }

    /// Writes the index, without which the folder is no image.
    fn finish(self, manifest: Descriptor) -> Result<(), String> {
        let index = Index { schema_version: 2, media_type: INDEX, manifests: [manifest] };
        let path = self.folder.join("index.json");
        std::fs::write(&path, json(&index)?).map_err(at(&path))
    }
}

fn at(path: &Path) -> impl Fn(std::io::Error) -> String + '_ {
    move |error| format!("{}: {error}", path.display())
}

fn json(document: &impl Serialize) -> Result<Vec<u8>, String> {
    serde_json::to_vec(document).map_err(|error| error.to_string())
}

// Structs, not maps of `serde_json`: what order those have is up to a feature that any dependency
// can switch on, and the digest with it.

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u8,
    media_type: &'static str,
    manifests: [Descriptor; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u8,
    media_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
    annotations: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: &'static str,
    digest: String,
    size: usize,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct Config {
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    // What containerd's Wasm shims call these.
    architecture: &'static str,
    os: &'static str,
    config: Runtime,
    rootfs: RootFs,
}

#[derive(Serialize)]
struct Runtime {
    #[serde(rename = "Labels")]
    labels: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct RootFs {
    r#type: &'static str,
    diff_ids: [String; 1],
}

impl Config {
    fn new(
        labels: &BTreeMap<&'static str, String>,
        commit: Option<&Commit>,
        diff_id: String,
    ) -> Self {
        Self {
            created: commit.map(|commit| commit.time.clone()),
            architecture: "wasm",
            os: "wasip1",
            config: Runtime { labels: labels.clone() },
            rootfs: RootFs { r#type: "layers", diff_ids: [diff_id] },
        }
    }
}

const TITLE: &str = "session-token-filter";
/// As the filter's `Cargo.toml` has it.
const DESCRIPTION: &str = "A proxy-wasm filter for Envoy that verifies a session token, moves it \
                           into Authorization, and strips its cookie";
/// The workspace's, so the filter's.
const VERSION: &str = env!("CARGO_PKG_VERSION");

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The file that makes a folder a layout.
const MARKER: &str = "oci-layout";
const DIGEST_SCHEME: &str = "sha256:";
