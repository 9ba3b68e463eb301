//! `envoy/check-deployed` against real gateways: guarded ones, and each way not to be.
//!
//! Without curl these tests are listed and left out.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use session_token_harness::answer::Answer;
use session_token_harness::backend::Backend;
use session_token_harness::bootstrap::{Bootstrap, Cluster, Listener, Route, WasmFilter};
use session_token_harness::envoy::NEWEST;
use session_token_harness::key_server::KeyServer;
use session_token_harness::keys::{Algorithm, SigningKey, jwks};
use session_token_harness::tls::Identity;
use session_token_harness::workspace;

use crate::readme;
use crate::site::{Site, corbado, named_ingress, remote};
use crate::trapping_module;
use crate::trial;
use crate::world::{World, session};

/// All tests, for one Envoy.
pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    let lacks_curl = Command::new("curl").arg("--version").output().is_err();
    let mut trials = vec![trial(world, "check_deployed::verdicts", verdicts)];
    if world.version() == NEWEST {
        trials.extend([
            trial(world, "check_deployed::one_replica_of_many", one_replica_of_many),
            trial(world, "check_deployed::by_name_and_tls", by_name_and_tls),
            trial(world, "check_deployed::usage", usage),
        ]);
    }
    let kind = if lacks_curl { "needs curl" } else { "" };
    trials.into_iter().map(|trial| trial.with_kind(kind).with_ignored_flag(lacks_curl)).collect()
}

/// Listeners of every kind in one Envoy.
struct Gateways {
    site: Site,
    /// A session that the guarded ones accept.
    session: String,
    _refusing: Backend,
}

impl Gateways {
    fn start(world: &World) -> Self {
        let key = SigningKey::new(Algorithm::RS256, "k1");
        let refusing = Backend::start("refusing");
        refusing.answer_with(Answer::status(401).body("{\"message\":\"unauthorised\"}"));
        let module = trapping_module::file();
        let trapping = |policy: &str| {
            let broken = WasmFilter::new().module(module).vm_id(policy);
            broken.plugin_with(json!({"name": policy, "failure_policy": policy}))
        };
        let keys = KeyServer::start(&jwks(&[&key]));
        let site = Site::with(world, keys, |bootstrap| {
            let bootstrap = filtered(bootstrap)
                .cluster(Cluster::new("refusing", refusing.address()))
                .cluster(Cluster::new("gone", closed_port()))
                .listener(named_ingress("fail_closed", trapping("FAIL_CLOSED")))
                .listener(named_ingress("fail_open", trapping("FAIL_OPEN")))
                .listener(
                    Listener::new("jwt_authn")
                        .raw_filter(jwt_authn(&key))
                        .route(Route::prefix("/").to("app")),
                )
                .listener(
                    Listener::new("rbac")
                        .raw_filter(json!({
                            "name": "envoy.filters.http.rbac",
                            "typed_config": {
                                "@type": "type.googleapis.com/\
                                          envoy.extensions.filters.http.rbac.v3.RBAC",
                                "rules": {"action": "ALLOW", "policies": {}}
                            }
                        }))
                        .route(Route::prefix("/").to("app")),
                );
            let open = Listener::new("open")
                .route(Route::prefix("/refused").to("refusing"))
                .route(Route::prefix("/gone").to("gone"))
                .route(Route::prefix("/broken-policy").direct(500, ""))
                // As behind a gateway that does not tell whose answer it is.
                .route(Route::prefix("/unmarked").direct(401, "{\"message\":\"unauthorised\"}"))
                .route(
                    Route::prefix("/uncached")
                        .direct(401, "{\"message\":\"unauthorised\"}")
                        .override_with(json!({"response_headers_to_add": [
                            {"header": {"key": "cache-control", "value": "no-store"}}
                        ]})),
                )
                .route(Route::prefix("/secure").override_with(json!({
                    "redirect": {"https_redirect": true}
                })))
                .route(Route::prefix("/app").to("app"));
            bootstrap.listener(open)
        });
        let session = session("usr-1").signed_by(&key);
        Self { site, session, _refusing: refusing }
    }

    fn url(&self, listener: &str, path: &str) -> String {
        format!("http://{}{path}", self.site.envoy.listener(listener).unwrap())
    }
}

/// The listeners with the filter.
fn filtered(bootstrap: Bootstrap) -> Bootstrap {
    let mut guarded = corbado(remote(json!({})));
    guarded["rules"] = json!([
        {"match": {"path": {"prefix": "/public"}}, "access": "public"},
        {"match": {"path": {"prefix": "/optional"}}, "access": "optional"},
        {"match": {"path": {"prefix": "/denied"}}, "access": "denied"},
    ]);
    // For people there is a login page, which a check is not sent to.
    guarded["responses"] = json!({"login_url": "/login?return_to={url}", "realm": "shop"});
    let mut reporting = corbado(remote(json!({})));
    reporting["default"] = json!({"mode": "report"});
    let mut leaking = corbado(remote(json!({})));
    leaking["providers"][0]["claim_headers"][0]["header"] = json!("x-uid");
    let mut keyless = corbado(remote(json!({})));
    keyless["providers"][0]["jwks"]["remote"]["cluster"] = json!("no-such-cluster");
    let supertokens = json!({"providers": [{
        "name": "supertokens",
        "preset": {"supertokens": {"api_domain": "https://api.example.com"}},
        "jwks": {"remote": {"cluster": "keys"}},
    }]});
    [
        ("guarded", guarded),
        ("reporting", reporting),
        ("leaking", leaking),
        ("keyless", keyless),
        ("supertokens", supertokens),
    ]
    .into_iter()
    .fold(bootstrap, |bootstrap, (name, configuration)| {
        bootstrap.listener(named_ingress(name, WasmFilter::new().configuration(configuration)))
    })
}

fn jwt_authn(key: &SigningKey) -> Value {
    json!({
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": "type.googleapis.com/\
                      envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"p": {
                "issuer": "https://issuer.example",
                "local_jwks": {"inline_string": jwks(&[key]).to_string()},
            }},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}]
        }
    })
}

/// Nobody listens there.
fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn check(arguments: &[&str], token: Option<&str>) -> Output {
    let mut command = Command::new("envoy/check-deployed");
    command.current_dir(workspace::root()).args(arguments).env_remove("TOKEN");
    command.envs(token.map(|token| ("TOKEN", token))).output().unwrap()
}

/// Fails unless it ends with this status and says all of this.
#[track_caller]
fn expect(row: &str, output: &Output, status: i32, said: &[&str]) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let told = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{row}:\n{told}");
    for part in said {
        assert!(told.contains(part), "{row}: no `{part}` in\n{told}");
    }
}

struct Row {
    name: &'static str,
    listener: &'static str,
    path: &'static str,
    arguments: &'static [&'static str],
    with_session: bool,
    status: i32,
    said: &'static [&'static str],
}

const ROW: Row = Row {
    name: "",
    listener: "guarded",
    path: "/orders",
    arguments: &[],
    with_session: false,
    status: 0,
    said: &[],
};

const ROWS: [Row; 23] = [
    Row {
        name: "guarded",
        said: &[
            "ok    no token, 3 connections                          401 missing, by the filter",
            "ok    forged token (alg none) as bearer                401 ",
            "ok    forged token (alg none) in cbo_session_token     401 ",
            "ok    forged token (unknown key) in cbo_session_token  401 ",
            "ok    no token, x-user-id: admin                       401 missing",
            "-     forged x-user-id at the backend                  not checked: give TOKEN",
            "\nGUARDED\n",
        ],
        ..ROW
    },
    Row {
        name: "guarded, with a session",
        with_session: true,
        said: &[
            "ok    the valid session gets in                        200",
            "alg none) as bearer                401 algorithm_not_allowed",
            "alg none) in cbo_session_token     401 algorithm_not_allowed",
            // The cookie is none of this provider's.
            "alg none) in sAccessToken          401 missing",
            "unknown key) as bearer             401 bad_signature",
            "unknown key) in cbo_session_token  401 bad_signature",
            "ok    forged x-user-id at the backend                  it does not arrive",
            "\nGUARDED\n",
        ],
        ..ROW
    },
    Row {
        name: "other names",
        arguments: &["--cookie", "a", "--cookie", "b", "--claim-header", "x-a"],
        said: &["(alg none) in a ", "(alg none) in b ", "no token, x-a: admin", "\nGUARDED\n"],
        ..ROW
    },
    Row {
        name: "the issuer that the filter knows",
        arguments: &["--issuer", "https://pro-1234567890.frontendapi.cloud.corbado.io"],
        said: &["(unknown key) as bearer             401 unknown_key", "\nGUARDED\n"],
        ..ROW
    },
    Row {
        name: "SuperTokens' own answers",
        listener: "supertokens",
        said: &["401 unauthorised, by the filter", "\nGUARDED\n"],
        ..ROW
    },
    Row {
        name: "no keys",
        listener: "keyless",
        said: &["GUARDED\nThe filter has no keys"],
        arguments: &["--issuer", "https://pro-1234567890.frontendapi.cloud.corbado.io"],
        ..ROW
    },
    Row {
        name: "denied",
        path: "/denied",
        said: &["403 denied_by_rule", "\nGUARDED\nNobody may use this path."],
        ..ROW
    },
    Row {
        name: "a session that is none",
        listener: "supertokens",
        with_session: true,
        status: 2,
        said: &["?     the valid session does not get in", "COULD NOT BE TOLD", "forged ones may"],
        ..ROW
    },
    Row {
        name: "a claim header that the filter does not know",
        listener: "leaking",
        with_session: true,
        status: 1,
        said: &["HOLE  forged x-user-id at the backend, as x-user-id", "\nNOT GUARDED\n"],
        ..ROW
    },
    Row {
        name: "public",
        path: "/public/x",
        status: 1,
        said: &[
            "HOLE  no token, connection 1 of 3                      200: it got in",
            "HOLE  forged token (alg none) as bearer ",
            "ok    forged x-user-id at the backend                  it does not arrive",
            "NOT GUARDED\nThe filter is there. This path is open: access: public, or mode: report",
        ],
        ..ROW
    },
    Row {
        name: "optional",
        path: "/optional/x",
        status: 1,
        said: &[
            "HOLE  no token, connection 1 of 3 ",
            // A bearer of another issuer may be the backend's business.
            "ok    forged token (alg none) in cbo_session_token ",
            "NOT GUARDED\nThe filter is there. This path is open to those without a token",
        ],
        ..ROW
    },
    Row {
        name: "report",
        listener: "reporting",
        status: 1,
        said: &[
            "HOLE  no token",
            "The filter is there. This path is open: access: public, or mode:",
        ],
        ..ROW
    },
    Row {
        name: "no filter",
        listener: "open",
        path: "/app",
        status: 1,
        said: &[
            "HOLE  no token, connection 1 of 3                      200: it got in",
            "HOLE  forged x-user-id at the backend, as x-user-id    it arrives as the client",
            "NOT GUARDED\nThe filter is not there.",
        ],
        ..ROW
    },
    Row {
        name: "fail-open",
        listener: "fail_open",
        status: 1,
        said: &["HOLE  no token", "NOT GUARDED\nThe filter is not there."],
        ..ROW
    },
    Row {
        name: "a backend's own 401",
        listener: "open",
        path: "/refused",
        status: 1,
        said: &["HOLE  no token, connection 1 of 3                      401 from a backend"],
        ..ROW
    },
    Row {
        name: "an unmarked 401 in SuperTokens' words",
        listener: "open",
        path: "/unmarked",
        status: 2,
        said: &["401, not by the filter: {\"message\":\"unauthorised\"}", "COULD NOT BE TOLD"],
        ..ROW
    },
    Row {
        name: "the same, not to be cached",
        listener: "open",
        path: "/uncached",
        status: 2,
        said: &["401, not by the filter: {\"message\":\"unauthorised\"}", "COULD NOT BE TOLD"],
        ..ROW
    },
    Row {
        name: "a backend that is down",
        listener: "open",
        path: "/gone",
        status: 1,
        said: &["503 on its way to a backend that is down: it got in", "NOT GUARDED"],
        ..ROW
    },
    Row {
        name: "jwt_authn alone",
        listener: "jwt_authn",
        status: 2,
        said: &[
            "?     no token, connection 1 of 3                      401 by Envoy's jwt_authn: Jwt",
            "COULD NOT BE TOLD\nNothing shows that the filter is there.",
        ],
        ..ROW
    },
    Row {
        name: "a policy that refuses everything",
        listener: "rbac",
        status: 2,
        said: &["?     no token, connection 1 of 3                      403 by RBAC: a policy, or"],
        ..ROW
    },
    Row {
        name: "fail-closed",
        listener: "fail_closed",
        status: 2,
        said: &["503 with no text: a broken VM", "Nothing shows that the filter is there."],
        ..ROW
    },
    Row {
        name: "a policy with an error",
        listener: "open",
        path: "/broken-policy",
        status: 2,
        said: &["500 with no text: Envoy Gateway answers so for a policy with an error"],
        ..ROW
    },
    Row {
        name: "a redirect",
        listener: "open",
        path: "/secure/x",
        status: 2,
        said: &["301 to https://127.0.0.1:", "/secure/x: ask that URL"],
        ..ROW
    },
];

fn verdicts(world: &World) {
    let gateways = Gateways::start(world);
    // Where the filter answers by itself, one version is as good as another.
    let depends = |row: &&Row| row.listener != "guarded" || row.with_session;
    for row in ROWS.iter().filter(|row| world.version() == NEWEST || depends(row)) {
        let url = gateways.url(row.listener, row.path);
        let arguments = [&["--times", "3"], row.arguments, &[&url]].concat();
        let token = row.with_session.then_some(gateways.session.as_str());
        let output = check(&arguments, token);
        expect(row.name, &output, row.status, row.said);
        for told in [&output.stdout, &output.stderr] {
            let told = String::from_utf8_lossy(told);
            assert!(!told.contains("eyJ"), "{}: a token is shown\n{told}", row.name);
        }
    }
    if world.version() == NEWEST {
        // As README.md shows it, but for the command and the URL.
        let output = check(&[&gateways.url("guarded", "/orders")], None);
        let shown = readme::named("check-deployed").text;
        let shown: Vec<_> = shown.lines().skip(2).collect();
        expect("the README", &output, 0, &[&shown.join("\n")]);
    }
    // One that is not routed at all, and one that does not listen.
    let url = gateways.url("open", "/elsewhere");
    expect("no route", &check(&[&url], None), 2, &["404, not by the filter: a path or --host"]);
    let url = format!("http://{}/", closed_port());
    expect("nobody", &check(&[&url], None), 2, &["no answer: curl: (7)", "COULD NOT BE TOLD"]);
    // Where the backend echoes nothing, another URL may.
    let url = gateways.url("guarded", "/orders");
    gateways.site.app.answer_with(Answer::status(204));
    let output = check(&["--times", "1", &url], Some(&gateways.session));
    expect("no echo", &output, 0, &["not checked: the answer does not echo: --echo URL"]);
    let other = gateways.url("leaking", "/orders");
    gateways.site.app.answer_with_description();
    let output = check(&["--times", "1", "--echo", &other, &url], Some(&gateways.session));
    expect("another echo", &output, 1, &["HOLE  forged x-user-id at the backend"]);
    world.retire(gateways.site.envoy);
}

/// Connections that come through the same door to a guarded listener at first, then to another.
fn one_replica_of_many(world: &World) {
    let gateways = Gateways::start(world);
    let at = |listener: &str| gateways.site.envoy.listener(listener).unwrap();
    let (guarded, open) = (at("guarded"), at("open"));
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = door.local_addr().unwrap();
    thread::spawn(move || {
        for (number, client) in door.incoming().enumerate() {
            let server = TcpStream::connect(if number < 5 { guarded } else { open }).unwrap();
            let client = client.unwrap();
            for (mut from, mut to) in
                [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)]
            {
                thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    to.shutdown(std::net::Shutdown::Write)
                });
            }
        }
    });
    // The first connection asks whether the filter is there.
    let output = check(&[&format!("http://{address}/app")], None);
    let said = [
        "HOLE  no token, connection 5 of 10                     200: it got in",
        "Some connections meet the filter and some do not",
    ];
    expect("one replica", &output, 1, &said);
    world.retire(gateways.site.envoy);
}

/// `--host` and `--insecure`, with what serves a key set over TLS in the place of a gateway.
fn by_name_and_tls(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let named = |name: &str| {
        Listener::new(name).manager_with(json!({"route_config": {"virtual_hosts": [{
            "name": name,
            "domains": ["api.example.com"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app"}}],
        }]}}))
    };
    let site = Site::with(world, KeyServer::start(&jwks(&[&key])), |bootstrap| {
        bootstrap.listener(named("named"))
    });
    let url = format!("http://{}/x", site.envoy.listener("named").unwrap());
    expect("no such host", &check(&[&url], None), 2, &["404, not by the filter"]);
    let output = check(&["--host", "api.example.com", &url], None);
    expect("by name", &output, 1, &["http://api.example.com/x", "200: it got in", "not there"]);
    let identity = Identity::new(&["api.example.com"]);
    let server = KeyServer::start_tls(&jwks(&[&key]), &identity);
    let url = format!("https://{}/x", server.address());
    let arguments = ["--host", "api.example.com", "--insecure", &url];
    expect("any certificate", &check(&arguments, None), 1, &["200: it got in"]);
    let arguments = ["--host", "api.example.com", &url];
    expect("an unknown authority", &check(&arguments, None), 2, &["no answer: ", "certificate"]);
    world.retire(site.envoy);
}

fn usage(_: &World) {
    for (row, arguments, said) in [
        ("nothing", &[][..], "usage: check-deployed [OPTION]... URL"),
        ("an unknown option", &["--verbose", "http://x/"], "usage: check-deployed"),
        ("no value", &["http://x/", "--cookie"], "--cookie needs a value"),
        ("two URLs", &["http://x/", "http://y/"], "one URL, not also http://y/"),
        ("no scheme", &["x.example/"], "x.example/: a URL begins with http:// or https://"),
        ("no number", &["--times", "often", "http://x/"], "--times often: a number from 1 on"),
        ("never", &["--times", "0", "http://x/"], "--times 0: a number from 1 on"),
    ] {
        expect(row, &check(arguments, None), 2, &[said]);
    }
}
