//! Many configurations in one VM.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::json;
use session_token_harness::bootstrap::{Bootstrap, Cluster, Listener, Route, WasmFilter};
use session_token_harness::client::Request;
use session_token_harness::envoy::{DynamicListeners, Envoy, EnvoyOptions};
use session_token_harness::keys::jwks;

use crate::trial;
use crate::world::{PROJECT, World};

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "roots::many_configurations_share_a_vm", many_configurations_share_a_vm),
        trial(world, "roots::many_updates_take_no_memory", many_updates_take_no_memory),
    ]
}

/// More than a root may miss ticks of others.
const CONFIGURATIONS: usize = 320;

fn many_configurations_share_a_vm(world: &World) {
    let mut bootstrap = Bootstrap::new().cluster(Cluster::new("app", world.app().address()));
    for number in 0..CONFIGURATIONS {
        let configuration = json!({
            "providers": [{
                "name": "corbado",
                "preset": {"corbado": {"project_id": PROJECT}},
                "jwks": {"inline": jwks(&[world.key()])}
            }],
            "responses": {"realm": format!("realm-{number}")},
            "cache": {"entries": 0}
        });
        bootstrap = bootstrap.listener(
            Listener::new(&format!("l{number}"))
                .filter(WasmFilter::new().configuration(configuration))
                .route(Route::prefix("/").to("app")),
        );
    }
    let envoy = Envoy::start(EnvoyOptions::new(world.binary(), bootstrap)).unwrap();
    std::thread::sleep(Duration::from_secs(4));
    let statuses: Vec<_> = (0..CONFIGURATIONS)
        .map(|number| envoy.client(&format!("l{number}")).send(Request::get("/")).status())
        .collect();
    let wrong = statuses.iter().filter(|status| **status != 401).count();
    assert_eq!(wrong, 0, "configurations that were forgotten");
    world.retire(envoy);
}

/// A worker whose VM has no memory for a configuration would let every request through.
fn many_updates_take_no_memory(world: &World) {
    let listener = |number: usize| {
        let configuration = json!({
            "providers": [{
                "name": "corbado",
                "preset": {"corbado": {"project_id": PROJECT}},
                "jwks": {"inline": jwks(&[world.key()])}
            }],
            "responses": {"realm": format!("realm-{number}")},
            // 32 MiB with the first token; V8 gives 1 GiB.
            "cache": {"entries": 1_000_000}
        });
        Listener::new("updated")
            .filter(WasmFilter::new().configuration(configuration))
            .route(Route::prefix("/").to("app"))
    };
    let dynamic = DynamicListeners::create(&[listener(0)]).unwrap();
    let bootstrap = Bootstrap::new()
        .cluster(Cluster::new("app", world.app().address()))
        .dynamic_listeners(dynamic.path());
    let mut options = EnvoyOptions::new(world.binary(), bootstrap);
    options.arguments.extend(["--drain-time-s".into(), "1".into()]);
    let envoy = Envoy::start(options).unwrap();
    let bearer = format!("Bearer {}", world.session("usr-t"));
    for number in 1..40 {
        envoy.update_listeners(&dynamic, &[listener(number)]).unwrap();
        let client = envoy.client("updated");
        client.send(Request::get("/").header("authorization", &bearer)).expect_status(200);
        client.send(Request::get("/")).expect_status(401);
    }
    world.retire(envoy);
}
