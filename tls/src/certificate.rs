//! Certificates as they come from files, and what they say of themselves.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{
    InconsistentKeys,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    sign::{CertifiedKey, SigningKey},
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::{error::TlsError, file, provider};

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// From when it is good.
    pub not_before: SystemTime,
    /// Until when.
    pub not_after: SystemTime,
    /// Whom it is for: the DNS names, IP addresses and URIs of its subject alternative names, or
    /// without any the common name.
    pub names: Vec<String>,
}

/// A client's certificate, checked in the handshake against the listener's authorities.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// Its names, as in [`Facts`].
    pub names: Arc<[String]>,
}

/// A certificate chain with its key, and its facts.
#[derive(Debug)]
pub(crate) struct Identity {
    pub key: Arc<CertifiedKey>,
    pub facts: Facts,
}

impl Identity {
    /// Reads a chain and its key, which may be in one file, in PEM.
    ///
    /// # Errors
    /// A file cannot be read, or holds no certificate chain with its key.
    pub fn read(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let bad = |why: String| TlsError::Certificate { path: cert.to_owned(), why };
        let chain = read_chain(cert)?;
        let facts = Facts::of(chain.first().ok_or_else(|| bad("it is empty".to_owned()))?).map_err(bad)?;
        let certified = CertifiedKey::new(chain, read_key(key)?);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
                Ok(Self { key: Arc::new(certified), facts })
            }
            Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::Mismatch { cert: cert.to_owned(), key: key.to_owned() }),
            Err(error) => Err(bad(error.to_string())),
        }
    }
}

/// Reads an answer to a certificate authority's question. Nobody but an authority takes it for a
/// certificate: the extension that makes it an answer is one that others must refuse.
pub(crate) fn read_answer(path: &Path) -> Result<Arc<CertifiedKey>, TlsError> {
    Ok(Arc::new(CertifiedKey::new(read_chain(path)?, read_key(path)?)))
}

fn read_key(path: &Path) -> Result<Arc<dyn SigningKey>, TlsError> {
    let bad = |why: &str| TlsError::Key { path: path.to_owned(), why: why.to_owned() };
    let key = PrivateKeyDer::from_pem_slice(&file::read(path)?).map_err(|error| match error {
        pem::Error::NoItemsFound => bad("there is no private key without a password in it"),
        _ => bad("it is not PEM"),
    })?;
    provider().key_provider.load_private_key(key).map_err(|_| bad("it is of no supported kind"))
}

/// The certificates in a PEM file, at least one.
pub(crate) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bad = |why: &str| TlsError::Certificate { path: path.to_owned(), why: why.to_owned() };
    let content = file::read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    let chain = chain.map_err(|_| bad("it is not PEM"))?;
    if chain.is_empty() { Err(bad("there is no certificate in it")) } else { Ok(chain) }
}

impl Facts {
    /// Reads them from a certificate.
    pub(crate) fn of(der: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| "it is no X.509 certificate".to_owned())?;
        let validity = certificate.validity();
        Ok(Self {
            not_before: time(validity.not_before.timestamp()),
            not_after: time(validity.not_after.timestamp()),
            names: names(&certificate),
        })
    }

    /// Whether it is for all of these DNS names, by the letter.
    pub fn covers(&self, domains: &[String]) -> bool {
        domains.iter().all(|domain| self.names.iter().any(|name| name.eq_ignore_ascii_case(domain)))
    }
}

impl ClientCertificate {
    /// What a checked certificate says; `None` if it cannot be read.
    pub(crate) fn of(der: &CertificateDer<'_>) -> Option<Self> {
        Facts::of(der).ok().map(|facts| Self { names: facts.names.into() })
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let names: Vec<String> = alternatives.iter().flat_map(|names| &names.value.general_names).filter_map(name).collect();
    if names.is_empty() {
        let common = certificate.subject().iter_common_name();
        return common.filter_map(|name| name.as_str().ok()).map(str::to_owned).collect();
    }
    names
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|ip| std::net::Ipv4Addr::from(ip).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|ip| std::net::Ipv6Addr::from(ip).to_string()),
        },
        _ => None,
    }
}

fn time(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}
