//! Files in a ConfigMap, which is how a plain Envoy in Kubernetes gets its bootstrap.

use crate::yaml::{Node, parse};

/// The documents, and those that stand as texts in ConfigMaps among them, with places in the file.
pub(crate) fn with_embedded(mut documents: Vec<Node>) -> Vec<Node> {
    let mut embedded = Vec::new();
    for document in &documents {
        if document.get("kind").and_then(Node::text) != Some("ConfigMap") {
            continue;
        }
        for file in document.get("data").map(Node::members).unwrap_or_default() {
            // Other files may be anything.
            let inner = parse(file.value.text().unwrap_or_default()).unwrap_or_default();
            embedded.extend(inner.into_iter().map(|mut node| {
                node.move_into(&file.value);
                node
            }));
        }
    }
    documents.extend(embedded);
    documents
}
