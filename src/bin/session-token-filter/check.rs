//! `check FILE…`: every error with its place, or what the configuration comes to.

use std::fmt::Write;

use session_token_filter::config::Loaded;

use crate::configmap::with_embedded;
use crate::files::{self, Unreadable};
use crate::finding::{Findings, Level, printable};
use crate::plugin::{Clusters, Config, Plugin, Scan, scan};
use crate::resources;
use crate::summary;
use crate::yaml::{Node, nearest_place, parse};

/// What checking files came to.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// For people.
    pub(crate) text: String,
    pub(crate) errors: usize,
    warnings: usize,
}

/// Checks files, one after the other. One of several may be about something else.
pub(crate) fn check(files: &[String]) -> Result<Report, Unreadable> {
    let mut report = Report::default();
    let mut nothing = Vec::new();
    for file in files {
        let text = files::read(file)?;
        if !report.check(file, &text) {
            nothing.push(file);
        }
    }
    let mut silent = Scan::default();
    silent.refuse_nothing();
    let is_everywhere = nothing.len() == files.len();
    for file in nothing {
        if is_everywhere {
            report.add(file, &silent.findings);
        } else {
            report.line(&format!("{file}: nothing of session-token-filter"));
        }
    }
    let Report { errors, warnings, .. } = report;
    report.line(&format!("{}, {}", count(errors, "error"), count(warnings, "warning")));
    Ok(report)
}

impl Report {
    /// Whether there was anything to check.
    fn check(&mut self, file: &str, text: &str) -> bool {
        let documents = match parse(text) {
            Ok(documents) => with_embedded(documents),
            Err(error) => {
                let mut findings = Findings::default();
                findings.error(error.spot, "", format!("not YAML: {}", error.text));
                self.add(file, &findings);
                return true;
            }
        };
        let scan = scan(&documents);
        self.add(file, &scan.findings);
        let is_there = !scan.plugins.is_empty();
        for mut plugin in scan.plugins {
            let loaded = load(&mut plugin);
            self.add(file, &plugin.findings);
            let has_errors = plugin.findings.count(Level::Error) > 0;
            if let (Some(loaded), Some(config)) = (loaded, plugin.config)
                && !has_errors
            {
                self.line(&format!("{file}:{}: {}", plugin.spot.line, plugin.title));
                self.text += &summary::of(&loaded.policy, &summary::rules(config));
            }
        }
        is_there
    }

    fn add(&mut self, file: &str, findings: &Findings) {
        for finding in &findings.0 {
            self.line(&format!("{file}:{finding}"));
        }
        self.errors = self.errors.saturating_add(findings.count(Level::Error));
        self.warnings = self.warnings.saturating_add(findings.count(Level::Warning));
    }

    fn line(&mut self, text: &str) {
        // Writing to a String never fails.
        let _ = writeln!(self.text, "{}", printable(text));
    }
}

/// Loads a plugin's configuration, and holds it against what is around it.
pub(crate) fn load(plugin: &mut Plugin<'_>) -> Option<Loaded> {
    let config = plugin.config?;
    let loaded = config.load(&mut plugin.findings)?;
    check_clusters(plugin, config, &loaded);
    Some(loaded)
}

/// Whether the key servers can be reached, and are who they say.
fn check_clusters(plugin: &mut Plugin<'_>, config: Config<'_>, loaded: &Loaded) {
    let places = config.places();
    for (index, provider) in loaded.policy.providers.iter().enumerate() {
        let Some(remote) = &provider.keys.remote else { continue };
        let (name, path) = (&*remote.cluster, format!("providers[{index}].jwks.remote.cluster"));
        let spot = nearest_place(&places, &path);
        let findings = &mut plugin.findings;
        match &plugin.clusters {
            Clusters::Unknown => {}
            Clusters::Static(clusters) => {
                let named = clusters.iter().filter_map(|it| Some((it.get("name")?.text()?, *it)));
                let Some((_, cluster)) = named.clone().find(|(own, _)| *own == name) else {
                    let known: Vec<_> = named.map(|(name, _)| name).collect();
                    let text = format!(
                        "{name:?} is no cluster of static_resources; there are: {}",
                        known.join(", ")
                    );
                    findings.error(spot, &path, text);
                    continue;
                };
                if &*remote.scheme == "https" {
                    check_tls(cluster, name, findings);
                }
            }
            Clusters::Istio(documents) => {
                if let Some(text) = resources::doubt_of_istio(name, documents) {
                    findings.warning(spot, &path, text);
                }
            }
            Clusters::Gateway(documents) => {
                if let Some(text) = resources::doubt_of_gateway(name, documents) {
                    findings.warning(spot, &path, text);
                }
            }
        }
    }
}

/// Who answers at the key server's address decides who is logged in.
fn check_tls(cluster: &Node, name: &str, findings: &mut Findings) {
    let either =
        |node: &Node, names: [&str; 2]| names.iter().find_map(|name| node.get(name).cloned());
    let socket = either(cluster, ["transport_socket", "transportSocket"]);
    let Some(socket) = socket else {
        let matches = ["transport_socket_matches", "transportSocketMatches"];
        if either(cluster, matches).is_none() {
            let text =
                format!("cluster {name} speaks no TLS, but the key server's address is https");
            findings.warning(cluster.spot, "", text);
        }
        return;
    };
    let common = either(&socket, ["typed_config", "typedConfig"])
        .and_then(|config| either(&config, ["common_tls_context", "commonTlsContext"]));
    let validates = common
        .is_some_and(|common| common.members().iter().any(|it| it.name.contains("alidation")));
    if !validates {
        let text = format!(
            "cluster {name} has no validation_context: Envoy verifies no certificate, and whoever \
             answers decides who is logged in"
        );
        findings.warning(cluster.spot, "", text);
    }
}

fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever a file holds, it is told, and nothing breaks.
    #[test]
    fn no_piece_of_a_file_breaks_anything() {
        for text in FILES {
            let lines: Vec<_> = text.lines().collect();
            for (index, line) in lines.iter().enumerate().step_by(3) {
                let mut report = Report::default();
                // Without a line, without all lines after it, and cut within it.
                let without = [lines.get(..index), lines.get(index.saturating_add(1)..)];
                report.check("f", &without.map(Option::unwrap_or_default).concat().join("\n"));
                let start = lines.get(..index).unwrap_or_default().join("\n");
                report.check("f", &start);
                let half: String = line.chars().take(line.chars().count() / 2).collect();
                report.check("f", &format!("{start}\n{half}"));
            }
        }
    }

    const FILES: [&str; 3] = [
        include_str!("../../../envoy/one-host.yaml"),
        include_str!("../../../envoy/service-to-service.yaml"),
        include_str!("../../../tests/fuzz/corpus/configuration/whole.json"),
    ];
}
