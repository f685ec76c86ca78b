//! The client side of TLS and its trust anchors.

use std::{io, path::PathBuf, sync::Arc};

use parking_lot::Mutex;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{
    TlsStream,
    certificate::read_chain,
    error::TlsError,
    file::{Stamp, stamp},
    provider,
};

/// Which server certificates a client trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Certificates for the dialled name, signed by an authority in the system's trust store.
    System,
    /// Certificates for the dialled name, signed by an authority in this PEM file.
    Authorities(PathBuf),
    /// Only the first certificate in this PEM file, whatever its names. For a listener on this
    /// machine that is dialled by address.
    Exactly(PathBuf),
    /// Any certificate. Only for clients that send no secrets and do not act on what they receive.
    Anybody,
}

/// Opens TLS connections. Reloads its files when they change.
#[derive(Debug)]
pub struct ClientTls {
    trust: Trust,
    config: Mutex<(Stamp, Arc<ClientConfig>)>,
}

impl ClientTls {
    /// A dialer with this trust.
    ///
    /// # Errors
    /// A [`TlsError`] if a file cannot be read or the system's trust store is empty.
    pub fn new(trust: Trust) -> Result<Self, TlsError> {
        let read = trust.stamp();
        let config = trust.config()?;
        Ok(Self { trust, config: Mutex::new((read, config)) })
    }

    /// Does the TLS handshake on `socket` with `host`, a name or address without a port.
    ///
    /// # Errors
    /// The handshake failed, or the peer is not trusted.
    pub async fn connect(&self, host: &str, socket: TcpStream) -> io::Result<TlsStream> {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(bare.to_owned()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let connector = TlsConnector::from(self.current());
        connector.connect(name, socket).await.map(TlsStream::Client)
    }

    /// The current configuration, for callers that run TLS themselves.
    pub fn config(&self) -> Arc<ClientConfig> {
        self.current()
    }

    fn current(&self) -> Arc<ClientConfig> {
        let mut config = self.config.lock();
        let now = self.trust.stamp();
        if now != config.0 {
            config.0 = now;
            match self.trust.config() {
                Ok(fresh) => config.1 = fresh,
                Err(error) => tracing::error!(%error, "the trusted authorities could not be read again; those in force stay"),
            }
        }
        Arc::clone(&config.1)
    }
}

impl Trust {
    fn stamp(&self) -> Stamp {
        match self {
            Self::Authorities(path) | Self::Exactly(path) => stamp(path),
            Self::System | Self::Anybody => None,
        }
    }

    fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let bad = |error: rustls::Error| TlsError::Config(error.to_string());
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(bad)?;
        let builder = match self {
            Self::System => builder.with_root_certificates(system_roots()?),
            Self::Authorities(path) => builder.with_root_certificates(roots(path)?),
            Self::Exactly(path) => {
                // One that is still being ordered is nobody's, until the file is there.
                let known = if path.exists() { read_chain(path)?.into_iter().next() } else { None };
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Known::These(known, provider())))
            }
            Self::Anybody => builder.dangerous().with_custom_certificate_verifier(Arc::new(Known::Anybody(provider()))),
        };
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// The authorities in a PEM file.
pub(crate) fn roots(path: &std::path::Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_chain(path)? {
        roots.add(certificate).map_err(|error| TlsError::Roots { from: path.display().to_string(), why: error.to_string() })?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
        return Err(TlsError::Roots { from: "the system".to_owned(), why });
    }
    Ok(roots)
}

/// Trusts one certificate, or any; that the peer has the key of what it shows is checked all the
/// same.
#[derive(Debug)]
enum Known {
    These(Option<CertificateDer<'static>>, Arc<CryptoProvider>),
    Anybody(Arc<CryptoProvider>),
}

impl Known {
    fn provider(&self) -> &CryptoProvider {
        match self {
            Self::These(_, provider) | Self::Anybody(provider) => provider,
        }
    }
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self {
            Self::These(known, _) if known.as_ref() != Some(leaf) => Err(CertificateError::ApplicationVerificationFailure.into()),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider().signature_verification_algorithms.supported_schemes()
    }
}
