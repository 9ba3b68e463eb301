//! Envoy itself: which binary, a running process, its admin interface, its log.
//!
//! Several Envoys run beside each other: the admin port and the listeners' ports are chosen by
//! the kernel and read back, and hot restart, which shares memory by name, is off.

mod binary;
mod instance;
mod lds;
mod log;
mod process;
mod wheel;

pub use binary::{BinaryError, EnvoyBinary, NEWEST, OLDEST};
pub use instance::{Envoy, EnvoyError};
pub use lds::{DynamicListeners, ListenerUpdate};
pub use log::tail;
pub use process::EnvoyOptions;
