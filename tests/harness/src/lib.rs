//! Real parts for the tests and the demo: an Envoy launcher, an issuer, a key server, backends.
