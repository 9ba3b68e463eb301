//! TLS for a server of the tests: a certificate authority made at run time and what it signed.

use std::fmt;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A certificate for some names, its key, and the authority that vouches for it.
#[derive(Clone)]
pub struct Identity {
    authority: String,
    config: Arc<ServerConfig>,
}

impl Identity {
    /// A certificate for these DNS names, by an authority of its own.
    ///
    /// # Panics
    ///
    /// When a name is none.
    pub fn new(names: &[&str]) -> Self {
        Self::make(names).unwrap_or_else(|error| panic!("certificate for {names:?}: {error}"))
    }

    /// The authority's certificate as PEM, for whoever is to trust it.
    pub fn authority_pem(&self) -> &str {
        &self.authority
    }

    /// The handshake takes place with the first byte that is read or written.
    pub(crate) fn wrap(
        &self,
        stream: TcpStream,
    ) -> std::io::Result<impl Read + Write + Send + 'static> {
        let connection =
            ServerConnection::new(Arc::clone(&self.config)).map_err(std::io::Error::other)?;
        Ok(StreamOwned::new(connection, stream))
    }

    fn make(names: &[&str]) -> Result<Self, Box<dyn std::error::Error>> {
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Not the certificate's default name: it would seem to have signed itself.
        authority.distinguished_name.push(DnType::CommonName, "authority of the tests");
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(names)?.signed_by(&key, &authority)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        Ok(Self { authority: authority.pem(), config: Arc::new(config) })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}
