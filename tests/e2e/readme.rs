//! README.md: every YAML block is loaded by a real Envoy, every answer and line of the log that it
//! shows is compared with a real one, and its tables with the code.
//!
//! What a block is, its fence says after `yaml`, where GitHub shows nothing of it:
//!
//! | fence | the block |
//! | --- | --- |
//! | `bootstrap` | a whole bootstrap |
//! | `part` | some members of one |
//! | `http_filters` | a list of HTTP filters, the router included |
//! | `plugin` | the filter's own configuration |
//! | `cluster` | one cluster |
//! | `access_log` | access loggers of a connection manager |
//! | `refused` | as `plugin`, with errors: those of the next block |
//!
//! A further word is a name by which a test finds the block. No block asks the real internet.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use session_token_filter::config;
use session_token_harness::backend::Backend;
use session_token_harness::bootstrap::{Bootstrap, Document, Listener, Route, WasmFilter};
use session_token_harness::client::Request;
use session_token_harness::envoy::{Envoy, EnvoyError, EnvoyOptions};
use session_token_harness::key_server::KeyServer;
use session_token_harness::keys::jwks;
use session_token_harness::token::unix_now;
use session_token_harness::workspace;

use crate::trial;
use crate::world::{World, cookies_around, session};

mod tables;
mod vendors;

/// One trial for each block, and those about what is around them.
pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    let blocks = blocks(&text()).into_iter().filter(|block| block.language == "yaml");
    let loads = blocks.map(|block| {
        let name = format!("readme::line_{}_loads", block.line);
        trial(world, &name, move |world| load(world, &block))
    });
    let others = vec![
        trial(world, "readme::the_smallest_configuration_works", the_smallest_works),
        trial(world, "readme::the_page_for_corbado_works", vendors::corbado),
        trial(world, "readme::the_page_for_supertokens_works", vendors::supertokens),
        trial(world, "readme::fields", |_| tables::check_fields(&text())),
        trial(world, "readme::field_defaults_and_limits", |_| tables::check_values(&text())),
        trial(world, "readme::reasons", |_| tables::check_reasons(&text())),
        trial(world, "readme::metrics", |_| tables::check_metrics(&text())),
        trial(world, "readme::links", |_| check_links(&text())),
    ];
    loads.chain(others).collect()
}

/// Loads a block as what its fence says.
fn load(world: &World, block: &Block) {
    let yaml = block.yaml();
    match block.words.first().map(String::as_str) {
        Some("bootstrap") => loads_quietly(world, yaml),
        // What it does, `prometheus` asks.
        Some("part") => loads_quietly(world, with_members(yaml)),
        Some("http_filters") => loads_quietly(world, with_http_filters(Bootstrap::new(), &yaml)),
        Some("plugin") => loads_quietly(world, with_plugin(yaml)),
        Some("cluster") => {
            let name = yaml["name"].as_str().unwrap_or_default().to_owned();
            let envoy = start(world, json!({"static_resources": {"clusters": [yaml]}})).unwrap();
            let clusters = envoy.admin_get("/clusters").unwrap().text();
            assert!(clusters.contains(&format!("{name}::")), "{clusters}");
        }
        Some("access_log") => shows_an_access_log(world, &yaml),
        Some("refused") => check_refusal(world, block, yaml),
        kind => panic!("README.md:{}: a YAML block of unknown kind {kind:?}", block.line),
    }
}

/// The filter starts, and has nothing to warn of in the configuration.
fn loads_quietly(world: &World, bootstrap: Value) {
    let envoy = start(world, bootstrap).unwrap_or_else(|error| panic!("{error}"));
    let log = envoy.log();
    assert!(log.contains(": session-token-filter "), "the filter is not there:\n{log}");
    let warning = log.lines().find(|line| {
        line.contains("[warning]") && line.contains("wasm log") && line.contains(": configuration")
    });
    assert_eq!(warning, None, "an example should be free of warnings");
    world.retire(envoy);
}

/// The loggers write what they should of a request that is refused.
fn shows_an_access_log(world: &World, loggers: &Value) {
    let configuration = json!({
        "providers": [{
            "name": "corbado", "preset": {"corbado": {"project_id": "pro-1234567890"}},
            "jwks": {"remote": {"cluster": "corbado"}}
        }],
        "telemetry": {"filter_state": ["verdict", "rule", "sub"]}
    });
    let mut bootstrap = with_plugin(configuration);
    let place = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/access_log";
    *bootstrap.pointer_mut(place).unwrap() = loggers.clone();
    let envoy = start(world, bootstrap).unwrap();
    envoy.client("readme").send(Request::get("/orders")).expect_status(401);
    let expected = "GET /orders 401 session_token_denied{missing} denied default -";
    envoy.wait_for_access_log(expected).unwrap();
    world.retire(envoy);
}

/// The errors of the next block, in order, whoever loads it.
fn check_refusal(world: &World, block: &Block, yaml: Value) {
    let expected = block_after(block, "errors");
    let errors = config::load(yaml.to_string().as_bytes()).unwrap_err();
    let errors: Vec<_> = errors.iter().map(|it| format!("configuration refused: {it}")).collect();
    assert_eq!(errors, expected.text.lines().collect::<Vec<_>>());
    match start(world, with_plugin(yaml)).err() {
        Some(EnvoyError::Died(_, log)) => {
            for error in &errors {
                assert!(log.contains(error), "{error} is not in\n{log}");
            }
        }
        other => panic!("Envoy should have refused it: {other:?}"),
    }
}

/// The block itself, with a backend and a key server in place of those that it names.
fn the_smallest_works(world: &World) {
    let (app, key_server) = (Backend::start("app"), KeyServer::start(&jwks(&[world.key()])));
    let document = Document::parse(&named("smallest").text).unwrap();
    let document = document
        .with_cluster_at("app", app.address())
        .with_cluster_at("corbado", key_server.address());
    let envoy = start(world, document.json().clone()).unwrap();
    let client = envoy.client("edge");

    let shown = named_console();
    client.send(Request::get("/")).expect(&shown, |response| {
        let (head, body) = shown.split_once("\n\n").unwrap_or_default();
        let mut lines = head.lines().skip(2).filter_map(|line| line.split_once(": "));
        head.contains("HTTP/1.1 401 Unauthorized")
            && response.status == 401
            && lines.all(|(name, value)| response.headers.text(name).as_deref() == Some(value))
            && response.text() == body.trim_end()
    });

    let token = world.session("usr-1");
    client.send(Request::get("/").header("cookie", cookies_around(&token))).expect_status(200);
    let received = app.requests().pop().unwrap();
    assert_eq!(received.headers.text("authorization"), Some(format!("Bearer {token}")));
    let cookies = received.headers.text("cookie").unwrap_or_default();
    assert!(cookies.contains("b=2") && !cookies.contains("cbo_session_token"), "{cookies}");

    let expired = session("usr-1").claim("exp", unix_now() - 100).signed_by(world.key());
    let bearer = format!("Bearer {expired}");
    client.send(Request::get("/orders?q=1").header("authorization", bearer)).expect_status(401);
    let line = named("denial").text;
    envoy.wait_for_log(&format!(": {}", line.trim_end())).unwrap();
    world.retire(envoy);
}

/// Links to files and headings lead somewhere.
fn check_links(text: &str) {
    let anchors: Vec<_> = text
        .lines()
        .filter_map(|line| line.trim_start_matches('#').strip_prefix(' '))
        .map(|heading| heading.to_lowercase().replace(' ', "-").replace([':', ','], ""))
        .collect();
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let mut count = 0;
    for target in targets.filter(|target| !target.starts_with("https://")) {
        count += 1;
        match target.strip_prefix('#') {
            Some(anchor) => assert!(anchors.iter().any(|own| own == anchor), "no heading {target}"),
            None => assert!(workspace::root().join(target).exists(), "no file {target}"),
        }
    }
    assert!(count > 10, "the search for links finds nothing");
}

/// An Envoy with this bootstrap, on free ports, cut off from name servers.
pub(crate) fn start(world: &World, mut bootstrap: Value) -> Result<Envoy, EnvoyError> {
    replace_authorities(&mut bootstrap);
    bootstrap["typed_dns_resolver_config"] = json!({
        "name": "envoy.network.dns_resolver.cares",
        "typed_config": {
            "@type": "type.googleapis.com/\
                envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
            "resolvers": [{"socket_address": {"address": "127.0.0.1", "port_value": 9}}],
        },
    });
    let document = Document::parse(&bootstrap.to_string()).unwrap().on_free_ports();
    Envoy::start(EnvoyOptions::new(world.binary(), document))
}

/// Puts this system's file of authorities in the place of another one's.
fn replace_authorities(value: &mut Value) {
    if let Some(file) = value.pointer_mut("/trusted_ca/filename") {
        let here = AUTHORITIES.iter().find(|file| Path::new(file).is_file());
        let here = here.unwrap_or_else(|| panic!("no file of certificate authorities here"));
        *file = json!(here);
    }
    match value {
        Value::Object(members) => members.values_mut().for_each(replace_authorities),
        Value::Array(elements) => elements.iter_mut().for_each(replace_authorities),
        _ => {}
    }
}

const AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A bootstrap with this configuration of the filter.
pub(crate) fn with_plugin(configuration: Value) -> Value {
    let listener = Listener::new("readme")
        .filter(WasmFilter::new().configuration_struct(configuration))
        .route(Route::prefix("/").direct(200, "ok"));
    serde_json::from_str(&Bootstrap::new().listener(listener).to_string()).unwrap()
}

/// A bootstrap with the filter, and these members.
fn with_members(members: Value) -> Value {
    let mut bootstrap = with_plugin(json!({"providers": [{
        "name": "corbado", "preset": {"corbado": {"project_id": "pro-1234567890"}},
        "jwks": {"remote": {"cluster": "corbado"}}
    }]}));
    for (name, value) in members.as_object().into_iter().flatten() {
        bootstrap[name] = value.clone();
    }
    bootstrap
}

/// A bootstrap with a listener that has exactly these filters.
fn with_http_filters(bootstrap: Bootstrap, filters: &Value) -> Value {
    let listener = Listener::new("readme").route(Route::prefix("/").direct(200, "ok"));
    let bootstrap = bootstrap.listener(listener).to_string();
    let mut bootstrap: Value = serde_json::from_str(&bootstrap).unwrap();
    let place = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters";
    *bootstrap.pointer_mut(place).unwrap() = filters.clone();
    bootstrap
}

/// A fenced block.
pub(crate) struct Block {
    /// Where its fence stands.
    line: usize,
    /// The first word after the fence.
    language: String,
    /// The others.
    words: Vec<String>,
    /// What stands between the fences.
    pub(crate) text: String,
}

impl Block {
    pub(crate) fn yaml(&self) -> Value {
        let document = Document::parse(&self.text);
        document.unwrap_or_else(|error| panic!("README.md:{}: {error}", self.line)).json().clone()
    }
}

fn text() -> String {
    fs::read_to_string(workspace::root().join("README.md")).unwrap()
}

/// All fenced blocks, in order.
fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), inside) {
            (Some(_), true) => inside = false,
            (Some(info), false) => {
                let mut words = info.split_whitespace().map(str::to_owned);
                let language = words.next().unwrap_or_default().replace("yml", "yaml");
                let (line, words) = (index + 1, words.collect());
                blocks.push(Block { line, language, words, text: String::new() });
                inside = true;
            }
            (None, true) => blocks.last_mut().unwrap().text += &format!("{line}\n"),
            (None, false) => {}
        }
    }
    assert!(!inside, "README.md ends inside a block");
    blocks
}

/// The block that a test knows by name.
pub(crate) fn named(name: &str) -> Block {
    let found = blocks(&text()).into_iter().find(|block| block.words.iter().any(|it| it == name));
    found.unwrap_or_else(|| panic!("README.md has no block {name}"))
}

fn named_console() -> String {
    let found = blocks(&text()).into_iter().find(|block| block.language == "console");
    found.unwrap_or_else(|| panic!("README.md shows no answer")).text
}

/// The next block, which must have this name.
fn block_after(block: &Block, name: &str) -> Block {
    let next = blocks(&text()).into_iter().find(|other| other.line > block.line).unwrap();
    assert_eq!(next.words, [name], "README.md:{}", next.line);
    next
}
