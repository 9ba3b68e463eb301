//! `sidecar.yaml`: orders calls stock, and each verifies.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use session_token_harness::answer::Answer;
use session_token_harness::backend::Backend;
use session_token_harness::client::{Client, Request};
use session_token_harness::server::{Protocol, ReceivedRequest, Server};
use session_token_harness::token::tampered;

use super::eventually;
use super::ingress::expect_headers;
use super::manifest::Manifest;
use super::proxy::{Kind, Pod, Proxy};
use super::world::{World, get};
use crate::site::local;

const ORDERS: Pod = pod("orders-0", "orders", 3, 1);
const STOCK: Pod = pod("stock-0", "stock", 4, 2);

/// The applications, behind their proxies.
const ORDERS_APP: u16 = 3101;
const STOCK_APP: u16 = 3102;

/// The session passes both hops, and each hop refuses by itself.
pub(crate) fn two_hops(world: &World) {
    let _plugin = world.plane.apply(&Manifest::shipped("sidecar.yaml").with_our_image());
    let listeners = [listener(ORDERS, ORDERS_APP), listener(STOCK, STOCK_APP), NO_TLS.to_owned()];
    let _listeners = world.plane.apply(&Manifest::new("pods.yaml", listeners.join("---\n")));
    let stock_app = Backend::bind("stock", local(STOCK_APP), Protocol::Http1).unwrap();
    let _orders_app = Server::bind(local(ORDERS_APP), |request| call_stock(&request)).unwrap();
    let orders = Proxy::start(ORDERS, world.folder());
    let stock = Proxy::start(STOCK, world.folder());

    let request = |path: &str, token: &str| {
        get("any.example", path)
            .header("authorization", format!("Bearer {token}"))
            .header("x-user-plan", "pro")
    };
    let (free, pro) = (world.session("free"), world.session("pro"));
    stock.eventually(&request("/stock/7", &pro), 200);
    orders.eventually(&request("/orders", &pro), 200);
    stock_app.clear();

    // Through both: the caller's header and the claim of the second hop's own.
    orders.client().send(request("/orders", &pro)).expect_status(200);
    let received = stock_app.take_last().unwrap();
    expect_headers(
        &received,
        &[
            ("authorization", &[&format!("Bearer {pro}")]),
            ("x-user-id", &["usr-1"]),
            ("x-user-plan", &["pro"]),
        ],
    );
    // Orders claims `x-user-plan: pro` of everybody; stock believes the token.
    orders.client().send(request("/orders", &free)).expect("stock's 403", |answer| {
        answer.status == 502 && answer.text() == "stock says 403 RBAC: access denied"
    });
    let exchange = stock.client().send(request("/stock/7", &free));
    world.expect_forbidden(&exchange);
    for proxy in [&orders, &stock] {
        let client = proxy.client();
        let without = get("any.example", "/stock/7").header("x-user-plan", "pro");
        world.expect_refused(&client.send(without), 401, "missing");
        let cookie = get("any.example", "/").header("cookie", format!("cbo_session_token={pro}"));
        world.expect_refused(&client.send(cookie), 401, "missing");
        let forged = request("/stock/7", &tampered(&pro));
        world.expect_refused(&client.send(forged), 401, "bad_signature");
    }
    assert!(stock_app.take_last().is_none(), "refused, and still at stock");
}

/// What an application sends out is none of the filter's business, unless `match` is forgotten.
pub(crate) fn what_goes_out(world: &World) {
    let manifest = Manifest::shipped("sidecar.yaml").with_our_image();
    let mut plugin = world.plane.apply(&manifest);
    let listeners = [listener(ORDERS, ORDERS_APP), NO_TLS.to_owned()];
    let _listeners = world.plane.apply(&Manifest::new(
        "pods.yaml",
        listeners.join(
            "---
",
        ),
    ));
    let proxy = Proxy::start(ORDERS, world.folder());
    // The services' port.
    let guarded = |port| {
        let filters = proxy.http_filters_at(port);
        let is_ours = |name: &String| name.starts_with("extensions.istio.io/");
        (!filters.is_empty()).then(|| filters.iter().any(is_ours))
    };
    eventually("what comes in is guarded", || guarded(ORDERS.port) == Some(true));
    eventually("what goes out is not", || guarded(80) == Some(false));
    plugin.change_to(&manifest.with("  match:\n    - mode: SERVER\n", ""));
    eventually("without `match` it is", || guarded(80) == Some(true));
}

/// The orders service: passes on the credential that it received, and claims a plan of its own.
fn call_stock(request: &ReceivedRequest) -> Answer {
    let credential = request.headers.get("authorization").unwrap_or_default();
    let call =
        Request::get("/stock/7").header("authorization", credential).header("x-user-plan", "pro");
    let stock = Client::new(SocketAddr::from((STOCK.address, STOCK.port)));
    match stock.send(call).response {
        Ok(answer) if answer.status == 200 => Answer::json(answer.json()),
        Ok(answer) => {
            Answer::status(502).body(format!("stock says {} {}", answer.status, answer.text()))
        }
        Err(error) => Answer::status(502).body(error.to_string()),
    }
}

const fn pod(name: &'static str, app: &'static str, address: u8, number: u16) -> Pod {
    Pod {
        name,
        namespace: "shop",
        label: ("app", app),
        kind: Kind::Sidecar,
        address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, address)),
        port: 9080,
        number,
    }
}

/// In a cluster the network sends what comes in to the proxy; here the proxy has an address.
fn listener(pod: Pod, app: u16) -> String {
    let Pod { name, namespace, label: (label, value), address, port, .. } = pod;
    format!(
        "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{ name: {name}, namespace: {namespace} }}
spec:
  workloadSelector: {{ labels: {{ {label}: {value} }} }}
  ingress:
    - port: {{ number: {port}, name: http, protocol: HTTP }}
      bind: {address}
      captureMode: NONE
      defaultEndpoint: 127.0.0.1:{app}
"
    )
}

/// These agents have no certificates.
const NO_TLS: &str = "apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: plain, namespace: shop }
spec: { mtls: { mode: DISABLE } }
";
