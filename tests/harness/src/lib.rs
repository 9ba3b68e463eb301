//! Real parts for the tests and the demo: an Envoy launcher, an issuer, a key server, backends.
//!
//! Nothing here imitates Envoy or the filter. A test builds a configuration, starts an Envoy
//! with it, sends bytes, and looks at the bytes that the backend received:
//!
//! ```no_run
//! use serde_json::json;
//! use session_token_harness::backend::Backend;
//! use session_token_harness::bootstrap::{Bootstrap, Cluster, Listener, Route, WasmFilter};
//! use session_token_harness::client::Request;
//! use session_token_harness::envoy::{Envoy, EnvoyBinary, EnvoyOptions};
//! use session_token_harness::keys::{Algorithm, SigningKey, jwks};
//! use session_token_harness::token::Token;
//!
//! let key = SigningKey::new(Algorithm::RS256, "k1");
//! let backend = Backend::start("app");
//! let bootstrap = Bootstrap::new()
//!     .cluster(Cluster::new("app", backend.address()))
//!     .listener(
//!         Listener::new("ingress")
//!             .filter(WasmFilter::new().configuration(json!({ "providers": [] })))
//!             .route(Route::prefix("/").to("app")),
//!     );
//! let envoy = Envoy::start(EnvoyOptions::new(EnvoyBinary::newest().unwrap(), bootstrap)).unwrap();
//! let token = Token::new(json!({ "sub": "usr-1", "exp": 4102444800_u64 })).signed_by(&key);
//! let exchange = envoy
//!     .client("ingress")
//!     .send(Request::get("/").header("cookie", format!("cbo_session_token={token}")));
//! exchange.expect_status(200);
//! assert!(backend.take_last().unwrap().headers.get("cookie").is_none());
//! println!("{}", jwks(&[&key]));
//! ```
//!
//! Everything blocks; HTTP/2 runs on a small runtime that no caller sees. Failures of a test's
//! own parts (no free port, a thread that cannot start) panic with a sentence, since a test
//! can do nothing else with them. What the demo must tell a person is an error value instead.

// The parts of HTTP that all others share.
pub mod header_lines;
mod http1;
mod http2;

// What stands around Envoy.
pub mod answer;
pub mod backend;
pub mod client;
pub mod key_server;
pub mod keys;
pub mod server;
pub mod tls;
pub mod token;

// Envoy itself.
pub mod bootstrap;
pub mod envoy;
pub mod workspace;

// All of it at once, for people.
pub mod bench;
pub mod demo;
pub mod soak;
