//! A certificate authority in memory, for tests.

#![allow(clippy::expect_used, reason = "tests say what they expect")]

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::TlsStream;

/// See the module.
#[derive(Debug)]
pub struct TestAuthority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, in PEM.
#[derive(Debug)]
pub struct Issued {
    /// The certificate.
    pub cert: String,
    /// The key.
    pub key: String,
}

impl TestAuthority {
    /// A fresh one, which nobody else trusts.
    pub fn new(name: &str) -> Self {
        let mut certificate = CertificateParams::new(Vec::new()).expect("no names");
        certificate.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        certificate.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(certificate, KeyPair::generate().expect("a key")).expect("signs"))
    }

    /// Its own certificate.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these names, good from an hour ago for a day.
    pub fn issue(&self, names: &[&str]) -> Issued {
        let hour = Duration::from_secs(3600);
        let now = SystemTime::now();
        self.issue_for(names, now - hour, now + 24 * hour)
    }

    /// A certificate for these names and this time.
    pub fn issue_for(&self, names: &[&str], not_before: SystemTime, not_after: SystemTime) -> Issued {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut certificate = CertificateParams::new(names).expect("names");
        (certificate.not_before, certificate.not_after) = (not_before.into(), not_after.into());
        let key = KeyPair::generate().expect("a key");
        let signed = certificate.signed_by(&key, &self.0).expect("signs");
        Issued { cert: signed.pem(), key: key.serialize_pem() }
    }

    /// Writes its certificate into a folder.
    pub fn save(&self, folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, self.pem()).expect("written");
        path
    }
}

impl Issued {
    /// Puts key and certificate into one file, whole and at once, as those do who renew them.
    pub fn save(&self, folder: &Path, name: &str) -> PathBuf {
        let (path, draft) = (folder.join(name), folder.join(format!(".{name}")));
        fs::write(&draft, format!("{}{}", self.key, self.cert)).expect("written");
        fs::rename(&draft, &path).expect("renamed");
        path
    }
}

/// A client's side that trusts this authority and shows a certificate, if any is given; written
/// without the rest of this crate.
pub fn connector(authority: &TestAuthority, shown: Option<&Issued>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("a certificate")).expect("an authority");
    let builder = ClientConfig::builder_with_provider(crate::provider()).with_safe_default_protocol_versions().expect("versions");
    let builder = builder.with_root_certificates(roots);
    let config = match shown {
        None => builder.with_no_client_auth(),
        Some(issued) => {
            let chain = vec![CertificateDer::from_pem_slice(issued.cert.as_bytes()).expect("a certificate")];
            let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("a key");
            builder.with_client_auth_cert(chain, key).expect("they fit")
        }
    };
    TlsConnector::from(Arc::new(config))
}

/// Connects to a listener under this name.
///
/// # Errors
/// Those of the handshake.
pub async fn connect(connector: &TlsConnector, addr: SocketAddr, name: &str) -> io::Result<TlsStream> {
    let socket = TcpStream::connect(addr).await?;
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    connector.connect(name, socket).await.map(TlsStream::Client)
}
