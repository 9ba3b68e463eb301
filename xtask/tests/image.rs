//! The image that `xtask image` writes, read as a registry's client reads it.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flate2::read::GzDecoder;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// A folder of a test's own.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn image(module: &Path, layout: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("image")
        .args([module, layout])
        .current_dir(root())
        .output()
        .unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The finished module where there is one; else bytes that gzip cannot make smaller than a block.
fn module(folder: &Path) -> PathBuf {
    let finished = root().join("target/session_token_filter.wasm");
    if finished.exists() {
        return finished;
    }
    let path = folder.join("module.wasm");
    let bytes: Vec<u8> = (0..200_000_u32).flat_map(|n| n.wrapping_mul(n).to_le_bytes()).collect();
    std::fs::write(&path, bytes).unwrap();
    path
}

fn sha256(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A blob by its descriptor, whose every statement about it must be true.
fn blob(layout: &Path, descriptor: &Value) -> Vec<u8> {
    let digest = descriptor["digest"].as_str().unwrap();
    let hex = digest.strip_prefix("sha256:").unwrap();
    let bytes = std::fs::read(layout.join("blobs/sha256").join(hex)).unwrap();
    assert_eq!(sha256(&bytes), digest);
    assert_eq!(descriptor["size"], bytes.len());
    bytes
}

#[test]
fn holds_the_module_and_nothing_else() {
    let folder = folder("holds");
    let (module, layout) = (module(&folder), folder.join("layout"));
    let output = image(&module, &layout);
    assert!(output.status.success(), "{output:?}");
    let bytes = std::fs::read(&module).unwrap();

    assert_eq!(json(&layout.join("oci-layout"))["imageLayoutVersion"], "1.0.0");
    let index = json(&layout.join("index.json"));
    assert_eq!(index["schemaVersion"], 2);
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
    assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
    let manifest_of = &index["manifests"][0];
    assert_eq!(manifest_of["mediaType"], "application/vnd.oci.image.manifest.v1+json");

    let manifest: Value = serde_json::from_slice(&blob(&layout, manifest_of)).unwrap();
    assert_eq!(manifest["schemaVersion"], 2);
    assert_eq!(manifest["mediaType"], manifest_of["mediaType"]);
    // Both products look for this media type, in the last layer.
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
    let layer_of = &manifest["layers"][0];
    assert_eq!(layer_of["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    let mut tar = Vec::new();
    GzDecoder::new(&*blob(&layout, layer_of)).read_to_end(&mut tar).unwrap();
    let mut files = Vec::new();
    for entry in tar::Archive::new(&*tar).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        assert_eq!(entry.header().mode().unwrap(), 0o644);
        assert_eq!(entry.header().mtime().unwrap(), 0);
        files.push((entry.path().unwrap().into_owned(), content));
    }
    assert!(files == [(PathBuf::from("plugin.wasm"), bytes.clone())], "other files, or others");

    assert_eq!(manifest["config"]["mediaType"], "application/vnd.oci.image.config.v1+json");
    let config: Value = serde_json::from_slice(&blob(&layout, &manifest["config"])).unwrap();
    assert_eq!(config["rootfs"]["type"], "layers");
    assert_eq!(config["rootfs"]["diff_ids"], serde_json::json!([sha256(&tar)]));

    // No blob that nothing names.
    let found: BTreeSet<String> = std::fs::read_dir(layout.join("blobs/sha256"))
        .unwrap()
        .map(|entry| format!("sha256:{}", entry.unwrap().file_name().to_str().unwrap()))
        .collect();
    let named = [manifest_of, layer_of, &manifest["config"]];
    assert_eq!(found, named.map(|blob| blob["digest"].as_str().unwrap().to_owned()).into());

    // What the caller is told is what is there.
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains(&format!("image  {}\n", manifest_of["digest"].as_str().unwrap())));
    assert!(told.contains(&format!("module {}\n", sha256(&bytes))), "{told}");
}

#[test]
fn says_what_it_is() {
    let folder = folder("labels");
    let layout = folder.join("layout");
    assert!(image(&module(&folder), &layout).status.success());
    let index = json(&layout.join("index.json"));
    let manifest: Value = serde_json::from_slice(&blob(&layout, &index["manifests"][0])).unwrap();
    let config: Value = serde_json::from_slice(&blob(&layout, &manifest["config"])).unwrap();
    let (annotations, labels) = (&manifest["annotations"], &config["config"]["Labels"]);
    assert_eq!(annotations["module.wasm.image/variant"], "compat");

    // The filter's own words, not this package's.
    let cargo = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    for (label, field) in [
        ("title", "name"),
        ("description", "description"),
        ("version", "version"),
        ("licenses", "license"),
    ] {
        let value = &labels[format!("org.opencontainers.image.{label}")];
        assert!(cargo.contains(&format!("\n{field} = {value}\n")), "{label}: {value}");
    }
    // Each label is an annotation too.
    for (label, value) in labels.as_object().unwrap() {
        assert_eq!(annotations[label], *value, "{label}");
    }
    if let Some(revision) = labels.get("org.opencontainers.image.revision") {
        let commit = revision.as_str().unwrap().trim_end_matches("-dirty");
        assert!(commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let created = labels["org.opencontainers.image.created"].as_str().unwrap();
        assert!(created.len() == 20 && created.ends_with('Z'), "{created}");
        assert_eq!(config["created"], created);
    }
    assert_eq!(
        index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"],
        env!("CARGO_PKG_VERSION")
    );
}

#[test]
fn is_the_same_each_time() {
    let folder = folder("same");
    let module = module(&folder);
    let copy = folder.join("elsewhere.wasm");
    std::fs::copy(&module, &copy).unwrap();
    let (first, second) = (folder.join("first"), folder.join("second"));
    assert!(image(&module, &first).status.success());
    // Longer than the second of which a time might be made.
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    assert!(image(&copy, &second).status.success());
    let index = |layout: &Path| std::fs::read(layout.join("index.json")).unwrap();
    assert_eq!(index(&first), index(&second));
    // Over an earlier image, of which nothing stays.
    std::fs::write(&copy, b"\0asm\x01\0\0\0").unwrap();
    assert!(image(&copy, &second).status.success());
    assert_ne!(index(&first), index(&second));
    assert_eq!(std::fs::read_dir(second.join("blobs/sha256")).unwrap().count(), 3);
}

#[test]
fn refuses_what_it_cannot_do() {
    let folder = folder("refuses");
    let module = module(&folder);
    let kept = folder.join("kept");
    std::fs::create_dir(&kept).unwrap();
    std::fs::write(kept.join("mine"), "mine").unwrap();
    for (module, layout, expected) in [
        (&folder.join("absent.wasm"), &folder.join("layout"), "absent.wasm: No such file"),
        (&module, &kept, "kept: in the way, and no image"),
    ] {
        let output = image(module, layout);
        assert!(!output.status.success());
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(expected), "{told}");
    }
    assert!(kept.join("mine").exists());
}
