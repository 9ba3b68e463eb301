//! `telemetry.filter_state` in Envoy's access log, in both of its formats, and nowhere else.

use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use session_token_harness::bootstrap::{Cluster, Listener};
use session_token_harness::client::{Client, Request};
use session_token_harness::envoy::{Envoy, EnvoyOptions};
use session_token_harness::key_server::KeyServer;
use session_token_harness::keys::{Algorithm, SigningKey, jwks};
use session_token_harness::token::tampered;

use crate::answers::start;
use crate::extraction::bearer;
use crate::trial;
use crate::world::{PRO_PLAN, World, corbado, listener, session};

/// All tests, for one Envoy.
pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "access_log::decisions", decisions),
        trial(world, "access_log::streams_that_waited", streams_that_waited),
    ]
}

fn decisions(world: &World) {
    let site = Site::start(world, "trace");
    let token = |user: &str| session(user).signed_by(&site.key);
    let good = token("usr-to-log");
    let get = |path: &str| Request::get(path);
    let with = |path: &str, token: &str| get(path).header("authorization", bearer(token));
    let allowed = "sub=usr-to-log provider=corbado source=header:authorization kid=k1";
    for (name, request, expected) in [
        ("a bearer", with("/", &good), format!("200 app {allowed} rule=default verdict=allowed")),
        ("a cookie", get("/").header("cookie", format!("cbo_session_token={good}")), {
            "200 app sub=usr-to-log provider=corbado source=cookie:cbo_session_token kid=k1 \
             rule=default verdict=allowed"
                .into()
        }),
        (
            "a claim header chooses another route",
            with("/", &session("usr-to-log").claim("plan", PRO_PLAN).signed_by(&site.key)),
            format!("200 pro {allowed} rule=default verdict=allowed"),
        ),
        ("on a public rule", with("/public", &good), {
            "200 app rule=open verdict=allowed_public".into()
        }),
        ("nobody, where nobody is needed", get("/optional"), {
            "200 app rule=rules[1] verdict=allowed_optional".into()
        }),
        ("nobody", get("/"), "401 app rule=default reason=missing verdict=denied".into()),
        ("forged: nothing that it says", with("/", &tampered(&good)), {
            "401 app rule=default reason=bad_signature verdict=denied".into()
        }),
        ("no rule", with("/a//b", &good), "400 app reason=ambiguous_path verdict=denied".into()),
        (
            "a line of its own making",
            with("/", &token("x\r\n200 app sub=\"usr-root\" verdict=allowed")),
            "200 app sub=x\\r\\n200\\x20app\\x20sub=\\\"usr-root\\\"\\x20verdict=allowed \
             provider=corbado source=header:authorization kid=k1 rule=default verdict=allowed"
                .into(),
        ),
        ("a long name", with("/", &token(&"a".repeat(300))), {
            format!(
                "200 app sub={}… provider=corbado source=header:authorization kid=k1 \
                 rule=default verdict=allowed",
                "a".repeat(255)
            )
        }),
    ] {
        site.send(&site.text, name, request.clone());
        assert_eq!(site.logged("text", name), expected, "{name}");

        site.send(&site.json, name, request.clone());
        let line: Value = serde_json::from_str(&site.logged("json", name)).unwrap();
        let words = FIELDS.iter().filter_map(|field| {
            Some(format!("{field}={}", line[field].as_str()?)).filter(|_| line[field] != "-")
        });
        let json = words.collect::<Vec<_>>().join(" ");
        assert_eq!(json, expected.splitn(3, ' ').nth(2).unwrap(), "{name}, as JSON");

        site.send(&site.silent, name, request);
        let line = site.logged("silent", name);
        assert_eq!(line.split(' ').count(), 2, "nothing is set by default: {name}: {line}");
    }
    // The values are the access log's alone: Envoy tells of no property, at any level.
    let log = site.envoy.log();
    assert!(log.contains("[trace]"), "the search looks at the wrong text");
    let leak = log.lines().find(|line| line.contains("usr-to-log") || line.contains("usr-root"));
    assert_eq!(leak, None);
    world.retire(site.envoy);
}

/// They are decided outside their own callbacks.
fn streams_that_waited(world: &World) {
    let site = Site::with_held_back_keys(world);
    let good = session("usr-to-log").signed_by(&site.key);
    let forged = tampered(&good);
    let pending = [("good", &good), ("forged", &forged)].map(|(name, token)| {
        let request = Request::get("/").header("authorization", bearer(token));
        site.text.send_in_background(request.header("x-case", name))
    });
    let waiting = "wasmcustom.session_token.waiting_streams";
    site.envoy.wait_for_stat(waiting, |value| value == 2).unwrap();
    site.keys.serve(&jwks(&[&site.key]));
    let statuses = pending.map(|pending| pending.wait().status());
    assert_eq!(statuses, [200, 401]);
    assert_eq!(
        site.logged("text", "good"),
        "200 app sub=usr-to-log provider=corbado source=header:authorization kid=k1 rule=default \
         verdict=allowed"
    );
    assert_eq!(
        site.logged("text", "forged"),
        "401 app rule=default reason=bad_signature verdict=denied"
    );
    world.retire(site.envoy);
}

/// Three listeners: two show everything, in one format each; one sets nothing.
struct Site {
    envoy: Envoy,
    key: SigningKey,
    keys: KeyServer,
    text: Client,
    json: Client,
    silent: Client,
}

impl Site {
    fn start(world: &World, log_level: &str) -> Self {
        let key = SigningKey::new(Algorithm::RS256, "k1");
        let keys = KeyServer::start(&jwks(&[&key]));
        Self::with(world, key, keys, log_level)
    }

    fn with_held_back_keys(world: &World) -> Self {
        let key = SigningKey::new(Algorithm::RS256, "k1");
        let keys = KeyServer::start(&jwks(&[&key]));
        keys.hold_back();
        Self::with(world, key, keys, "info")
    }

    fn with(world: &World, key: SigningKey, keys: KeyServer, log_level: &str) -> Self {
        let bootstrap = world
            .backends()
            .cluster(Cluster::new("keys", keys.address()))
            .listener(logging("text", json!(FIELDS), text_format("text")))
            .listener(logging("json", json!(FIELDS), json_format()))
            .listener(logging("silent", json!([]), text_format("silent")));
        let mut options = EnvoyOptions::new(world.binary(), bootstrap);
        options.log_level = log_level.to_owned();
        let envoy = start(options);
        let [text, json, silent] = ["text", "json", "silent"].map(|name| envoy.client(name));
        Self { envoy, key, keys, text, json, silent }
    }

    fn send(&self, client: &Client, case: &str, request: Request) {
        client.send(request.header("x-case", case)).status();
    }

    /// A case's line in the access log, without what is absent.
    fn logged(&self, listener: &str, case: &str) -> String {
        let start = format!("[{listener}] [{case}] ");
        let line = match listener {
            // Envoy sorts the members.
            "json" => self.envoy.wait_for_access_log(&format!("\"case\":\"{case}\"")),
            _ => self.envoy.wait_for_access_log(&start),
        };
        let line = line.unwrap_or_else(|error| panic!("{error}"));
        let line = line.strip_prefix(&start).unwrap_or(&line);
        line.split(' ').filter(|word| !word.ends_with("=-")).collect::<Vec<_>>().join(" ")
    }
}

fn logging(name: &str, fields: Value, format: Value) -> Listener {
    let mut provider = corbado();
    // The subject is in no header, which Envoy would log.
    provider["claim_headers"] = json!([{"header": "x-plan", "claim": "plan"}]);
    let configuration = json!({
        "providers": [provider],
        "rules": [
            {"name": "open", "match": {"path": {"prefix": "/public"}}, "access": "public"},
            {"match": {"path": {"prefix": "/optional"}}, "access": "optional"}
        ],
        "telemetry": {"filter_state": fields}
    });
    listener(name, configuration).access_log(format)
}

fn text_format(listener: &str) -> Value {
    let fields = FIELDS.map(|field| format!(" {field}={}", command(field)));
    let format = format!(
        "[{listener}] [%REQ(X-CASE)%] %RESPONSE_CODE% %UPSTREAM_CLUSTER%{}\n",
        fields.concat()
    );
    json!({"text_format_source": {"inline_string": format}})
}

fn json_format() -> Value {
    let mut format = json!({"case": "%REQ(X-CASE)%"});
    for field in FIELDS {
        format[field] = json!(command(field));
    }
    json!({"json_format": format})
}

fn command(field: &str) -> String {
    format!("%FILTER_STATE(wasm.session_token.{field}:PLAIN)%")
}

const FIELDS: [&str; 7] = ["sub", "provider", "source", "kid", "rule", "reason", "verdict"];
