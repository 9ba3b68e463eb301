//! The plugin and the policy of `ingress-gateway.yaml` at a Gateway of the Kubernetes Gateway API:
//! `targetRefs` in the place of `selector`, as the README says.

use super::ingress::{self, API, manifest};
use super::manifest::Manifest;
use super::proxy::{Pod, Proxy};
use super::world::{World, get};

/// A pod of the Gateway. Istio gives this label to those that it starts for one.
const POD: Pod = Pod {
    name: "web-0",
    label: ("gateway.networking.k8s.io/gateway-name", "web"),
    port: 8444,
    ..ingress::POD
};

/// The filter guards it, and the policy decides by claim.
pub(crate) fn target_refs(world: &World) {
    let selector = "  selector:\n    matchLabels: { istio: ingressgateway }\n";
    let target = "  targetRefs:
    - { group: gateway.networking.k8s.io, kind: Gateway, name: web }\n";
    let at_the_gateway = manifest(world)
        .with(&format!("{selector}  # Always with"), &format!("{target}  # Always with"))
        .with(&format!("{selector}  action: ALLOW"), &format!("{target}  action: ALLOW"));
    let _manifest = world.plane.apply(&at_the_gateway);
    let _gateway = world.plane.apply(&Manifest::new("gateway-api.yaml", GATEWAY));
    let proxy = Proxy::start(POD, world.folder());
    let request = |path: &str, plan: &str| {
        get(API, path).header("authorization", format!("Bearer {}", world.session(plan)))
    };
    proxy.eventually(&request("/reports", "pro"), 200);
    world.forget_requests();
    let client = proxy.client();
    world.expect_at(&client.send(request("/reports", "pro")), "reports");
    world.expect_forbidden(&client.send(request("/reports", "free")));
    world.expect_refused(&client.send(get(API, "/reports")), 401, "missing");
}

/// With an address it is Istio's to configure, and ours to run.
const GATEWAY: &str = "apiVersion: v1
kind: Service
metadata: { name: web, namespace: istio-ingress }
spec:
  selector: { gateway.networking.k8s.io/gateway-name: web }
  ports: [{ name: http, port: 8444, targetPort: 8444 }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: web, namespace: istio-ingress }
spec:
  gatewayClassName: istio
  addresses: [{ type: Hostname, value: web.istio-ingress.svc.cluster.local }]
  listeners: [{ name: http, port: 8444, protocol: HTTP }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: reports, namespace: istio-ingress }
spec:
  parentRefs: [{ name: web }]
  hostnames: [api.example.com]
  rules:
    - backendRefs:
        - group: networking.istio.io
          kind: Hostname
          name: reports.shop.svc.cluster.local
          port: 80
";
