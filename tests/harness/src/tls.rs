//! TLS for the tests: a certificate authority made at run time, what it signed, and who trusts it.

use std::fmt;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

/// A certificate for some names, its key, and the authority that vouches for it.
#[derive(Clone)]
pub struct Identity {
    authority: String,
    certificate: String,
    key: String,
    config: Arc<ServerConfig>,
}

/// What a client demands of a server: a name, certified by one authority.
#[derive(Clone)]
pub struct Trust {
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
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

    /// The certificate as PEM, for a server that is not of these tests.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate
    }

    /// Its private key as PEM.
    pub fn key_pem(&self) -> &str {
        &self.key
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
        let key_pem = key.serialize_pem();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        Ok(Self {
            authority: authority.pem(),
            certificate: certificate.pem(),
            key: key_pem,
            config: Arc::new(config),
        })
    }
}

impl Trust {
    /// Trusts the authority of `identity`, and expects `name`.
    ///
    /// # Panics
    ///
    /// When the name is none.
    pub fn new(identity: &Identity, name: &str) -> Self {
        Self::make(identity, name).unwrap_or_else(|error| panic!("trust in {name}: {error}"))
    }

    /// The handshake takes place with the first byte that is read or written.
    pub(crate) fn wrap(
        &self,
        stream: TcpStream,
    ) -> std::io::Result<impl Read + Write + Send + 'static> {
        let connection = ClientConnection::new(Arc::clone(&self.config), self.name.clone())
            .map_err(std::io::Error::other)?;
        Ok(StreamOwned::new(connection, stream))
    }

    fn make(identity: &Identity, name: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(identity.authority.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { name: ServerName::try_from(name.to_owned())?, config: Arc::new(config) })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("name", &self.name).finish_non_exhaustive()
    }
}
