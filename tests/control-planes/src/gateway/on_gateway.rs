//! `gateway.yaml`: the filter on a whole Gateway.

use libtest_mimic::Trial;
use session_token_harness::client::Request;

use super::manifests::Manifest;
use super::world::World;

/// All tests.
pub(super) fn trials() -> Vec<Trial> {
    vec![Trial::test("on_gateway::a_session_reaches_the_backend", || {
        sessions();
        Ok(())
    })]
}

/// The shipped file, on a port that is free here.
pub(super) fn shipped() -> Manifest {
    ["pages", "api", "orders", "orders-pro", "reports"]
        .into_iter()
        .fold(Manifest::shipped("gateway.yaml"), Manifest::with_backend)
        .with("port: 443\n      tls:", "port: 8443\n      tls:")
}

fn sessions() {
    let world = World::start("on_gateway", &[shipped()]);
    let client = world.client("www.example.com");
    let session = world.site.session("usr-1", "free");
    let request = Request::get("/api/x")
        .header("host", "www.example.com")
        .header("cookie", format!("a=1; cbo_session_token={session}; b=2"));
    let exchange = client.send(request);
    println!("{}", world.gateway.log());
    println!("{exchange}");
    let got = world.site.expect_at(&exchange, "api");
    println!("{}", got.headers);
}
