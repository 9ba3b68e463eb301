//! Clusters as the control planes name them, held against the resources of the same file that make
//! them: Istio's ServiceEntry, Envoy Gateway's HTTPRoute.
//!
//! What is wrong here is only a doubt: the resource may be applied from elsewhere.

use crate::yaml::{Node, Yaml};

/// What speaks against a cluster of Istio's: `outbound|443||id.example.com`.
pub(crate) fn doubt_of_istio(cluster: &str, documents: &[Node]) -> Option<String> {
    let parts: Vec<_> = cluster.split('|').collect();
    let ["outbound", port, _, host] = parts.as_slice() else {
        return Some(format!(
            "{cluster:?} is no name of Istio's: those look like outbound|443||id.example.com"
        ));
    };
    let entries: Vec<_> = of_kind(documents, "ServiceEntry").collect();
    // What runs in the mesh has a Service, which is seldom in the same file.
    if entries.is_empty() || host.ends_with(".svc.cluster.local") {
        return None;
    }
    let has_host = |entry: &&Node| {
        let hosts = entry.at(&["spec", "hosts"]).map(Node::elements).unwrap_or_default();
        hosts.iter().any(|own| own.text() == Some(host))
    };
    let has_port = |entry: &&Node| {
        let ports = entry.at(&["spec", "ports"]).map(Node::elements).unwrap_or_default();
        let numbers = ports.iter().filter_map(|it| it.get("number"));
        numbers.into_iter().any(|number| number_text(number).as_deref() == Some(*port))
    };
    let own: Vec<_> = entries.into_iter().filter(has_host).collect();
    if own.is_empty() {
        return Some(format!("no ServiceEntry in this file has the host {host:?}"));
    }
    let has_none = !own.iter().any(has_port);
    has_none.then(|| format!("no ServiceEntry in this file has {host:?} with the port {port}"))
}

/// What speaks against a cluster of Envoy Gateway's: `httproute/default/jwks/rule/0`.
pub(crate) fn doubt_of_gateway(cluster: &str, documents: &[Node]) -> Option<String> {
    let parts: Vec<_> = cluster.split('/').collect();
    let (namespace, name, rule) = match parts.as_slice() {
        ["httproute", namespace, name, "rule", rule] => (*namespace, *name, *rule),
        // Others exist (securitypolicy/…, grpcroute/…), which nobody needs for keys.
        [_, _, ..] => return None,
        _ => {
            return Some(format!(
                "{cluster:?} is no name of Envoy Gateway's: those look like \
                 httproute/default/jwks/rule/0"
            ));
        }
    };
    let routes: Vec<_> = of_kind(documents, "HTTPRoute").collect();
    if routes.is_empty() {
        return None;
    }
    let has = |it: &Node, member: &str, text: &str, default: &str| {
        it.at(&["metadata", member]).and_then(Node::text).unwrap_or(default) == text
    };
    let is_own =
        |it: &&&Node| has(it, "name", name, "") && has(it, "namespace", namespace, "default");
    let own = routes.iter().find(is_own);
    let Some(route) = own else {
        return Some(format!("no HTTPRoute {namespace}/{name} is in this file"));
    };
    let rules = route.at(&["spec", "rules"]).map(Node::elements).unwrap_or_default();
    let has_rule = rule.parse().is_ok_and(|index: usize| index < rules.len());
    (!has_rule).then(|| format!("HTTPRoute {namespace}/{name} has no rule {rule}"))
}

fn of_kind<'n>(documents: &'n [Node], kind: &'n str) -> impl Iterator<Item = &'n Node> {
    documents.iter().filter(move |it| it.get("kind").and_then(Node::text) == Some(kind))
}

fn number_text(node: &Node) -> Option<String> {
    match &node.value {
        Yaml::Number(number) => Some(number.to_string()),
        Yaml::Null | Yaml::Bool(_) | Yaml::Text(_) | Yaml::List(_) | Yaml::Map(_) => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::yaml::parse;

    #[test]
    fn clusters_are_held_against_what_makes_them() {
        let documents = parse(
            "{kind: ServiceEntry, spec: {hosts: [a.example], ports: [{number: 443}]}}\n---\n\
             {kind: HTTPRoute, metadata: {name: keys, namespace: shop}, spec: {rules: [{}]}}",
        );
        let documents = documents.unwrap();
        for (cluster, part) in [
            ("outbound|443||a.example", None),
            ("outbound|443||a.shop.svc.cluster.local", None),
            ("outbound|8443||a.example", Some("with the port 8443")),
            ("outbound|443||b.example", Some("has the host")),
            ("a.example", Some("no name of Istio's")),
        ] {
            let doubt = doubt_of_istio(cluster, &documents);
            assert_eq!(doubt.is_some(), part.is_some(), "{cluster}: {doubt:?}");
            assert!(doubt.unwrap_or_default().contains(part.unwrap_or_default()), "{cluster}");
        }
        for (cluster, part) in [
            ("httproute/shop/keys/rule/0", None),
            ("httproute/shop/keys/rule/1", Some("has no rule 1")),
            ("httproute/default/keys/rule/0", Some("no HTTPRoute default/keys")),
            ("securitypolicy/shop/x", None),
            ("keys", Some("no name of Envoy Gateway's")),
        ] {
            let doubt = doubt_of_gateway(cluster, &documents);
            assert_eq!(doubt.is_some(), part.is_some(), "{cluster}: {doubt:?}");
            assert!(doubt.unwrap_or_default().contains(part.unwrap_or_default()), "{cluster}");
        }
        assert_eq!(doubt_of_istio("outbound|443||b.example", &[]), None);
        assert_eq!(doubt_of_gateway("httproute/shop/keys/rule/0", &[]), None);
    }
}
