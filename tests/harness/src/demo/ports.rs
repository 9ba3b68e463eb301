//! Who listens where. The shipped configurations name the same ports.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::DemoError;

/// The Envoy of `envoy/two-hosts.yaml`.
pub(super) const TWO_HOSTS: u16 = 8080;
/// The Envoy of `envoy/one-host.yaml`.
pub(super) const ONE_HOST: u16 = 8090;
/// The hop in front of orders, in `envoy/service-to-service.yaml`.
pub(super) const ORDERS_HOP: u16 = 8100;
/// The hop in front of stock, in `envoy/service-to-service.yaml`.
pub(super) const STOCK_HOP: u16 = 8101;
/// The Envoy of `envoy/shared-session.yaml`.
pub(super) const SHARED_SESSION: u16 = 8110;

pub(super) const ISSUER: u16 = 8081;
pub(super) const PAGES: u16 = 8082;
pub(super) const API: u16 = 8083;
pub(super) const API_PRO: u16 = 8084;
pub(super) const ORDERS: u16 = 8085;
pub(super) const STOCK: u16 = 8086;
pub(super) const STOCK_PRIORITY: u16 = 8087;
pub(super) const AUTH: u16 = 8088;
pub(super) const API2: u16 = 8089;
/// Where pages come from that the demo's own hosts must not trust. No Envoy stands before it.
pub(super) const OUTSIDERS: u16 = 8111;

/// The page behind `envoy/two-hosts.yaml`.
pub(super) const TWO_HOSTS_ORIGIN: &str = "http://www.example.localhost:8080";
/// The API that this page calls across origins.
pub(super) const API_ORIGIN: &str = "http://api.example.localhost:8080";
/// The page behind `envoy/one-host.yaml`.
pub(super) const ONE_HOST_ORIGIN: &str = "http://www.example.localhost:8090";
/// The issuer, as browsers, tokens and the shipped configurations name it.
pub(super) const ISSUER_ORIGIN: &str = "http://auth.example.localhost:8081";
/// The page behind `envoy/shared-session.yaml`, and the two APIs that share its session.
pub(super) const SHARED_SESSION_ORIGIN: &str = "http://www.example.localhost:8110";
pub(super) const FIRST_API_ORIGIN: &str = "http://api.example.localhost:8110";
pub(super) const SECOND_API_ORIGIN: &str = "http://api2.example.localhost:8110";
/// The same page with both APIs under its own host, by path.
pub(super) const BY_PATH_ORIGIN: &str = "http://app.example.localhost:8110";
/// A page of the same site that is none of ours: the browser adds the session to its requests.
pub(super) const SIBLING_ORIGIN: &str = "http://blog.example.localhost:8111";
/// A page of another site.
pub(super) const FOREIGN_ORIGIN: &str = "http://evil.localhost:8111";
/// The project of the shipped configurations.
pub(super) const PROJECT_ID: &str = "pro-1234567890";

/// Fails for the first port that is taken. Envoy itself would not notice: it shares its port with
/// another Envoy of the same user (`SO_REUSEPORT`).
pub(super) fn all_free() -> Result<(), DemoError> {
    ALL.into_iter().try_for_each(|port| match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) if answers_on_ipv6(port) => Err(DemoError::PortInUse(port)),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(DemoError::PortInUse(port)),
        Err(error) => Err(DemoError::Port(port, error)),
    })
}

/// Browsers try `[::1]` first for `*.localhost`, and would reach another program there.
fn answers_on_ipv6(port: u16) -> bool {
    let address = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
}

const ALL: [u16; 15] = [
    TWO_HOSTS,
    ISSUER,
    PAGES,
    API,
    API_PRO,
    ORDERS,
    STOCK,
    STOCK_PRIORITY,
    ONE_HOST,
    ORDERS_HOP,
    STOCK_HOP,
    SHARED_SESSION,
    AUTH,
    API2,
    OUTSIDERS,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::workspace;

    #[test]
    fn the_shipped_configurations_use_these_ports_and_names() {
        let mut ports = BTreeSet::new();
        for file in super::super::CONFIGURATIONS {
            let text = std::fs::read_to_string(workspace::root().join(file)).unwrap();
            let names: &[&str] = match file {
                "envoy/shared-session.yaml" => &[FIRST_API_ORIGIN, SHARED_SESSION_ORIGIN],
                _ => &[ISSUER_ORIGIN, PROJECT_ID],
            };
            for name in names {
                assert!(text.contains(name), "{file} does not name {name}");
            }
            let document: Value = yaml_serde::from_str(&text).unwrap();
            collect_ports(&document["static_resources"], &mut ports);
        }
        ports.insert(u64::from(OUTSIDERS));
        assert_eq!(ports, ALL.into_iter().map(u64::from).collect());
    }

    fn collect_ports(value: &Value, ports: &mut BTreeSet<u64>) {
        match value {
            Value::Object(members) => {
                members.iter().for_each(|(name, member)| match (name.as_str(), member.as_u64()) {
                    ("port_value", Some(port)) => drop(ports.insert(port)),
                    _ => collect_ports(member, ports),
                })
            }
            Value::Array(items) => items.iter().for_each(|item| collect_ports(item, ports)),
            _ => {}
        }
    }
}
