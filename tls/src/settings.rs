//! From the configuration to what listeners and dialers need.

use std::path::PathBuf;

use common::config::{AcmeSettings, ListenerTls, Settings};

use crate::{
    acme::{self, AuthorityFolder},
    client::Trust,
    server::Source,
};

/// Where a listener's certificate comes from; `None`: it speaks no TLS. `client_ca_file` is the
/// setting of that name.
pub(crate) fn listener(tls: &ListenerTls, settings: &Settings, client_ca_file: Option<PathBuf>) -> Option<Source> {
    if tls.acme {
        let AuthorityFolder { certificate, folder, .. } = place(settings);
        return Some(Source { cert_file: certificate.clone(), key_file: certificate, challenges: Some(folder), client_ca_file });
    }
    let cert_file = tls.cert_file.clone()?;
    let key_file = tls.key_file.clone().unwrap_or_else(|| cert_file.clone());
    Some(Source { cert_file, key_file, challenges: None, client_ca_file })
}

/// Whom those trust who dial the broker at `configured`, or else at its address on this machine;
/// `None`: no TLS is dialled.
///
/// A name that somebody configured is dialled as anyone would. An address of this machine is in no
/// certificate: there the certificate itself, which the broker reads from the same files, is what
/// is trusted.
pub fn broker_trust(settings: &Settings, configured: Option<&str>) -> Option<Trust> {
    match configured {
        Some(url) if !url.starts_with("wss://") => None,
        Some(_) => Some(settings.broker.ca_file.clone().map_or(Trust::System, Trust::Authorities)),
        None => {
            let tls = &settings.broker.tls;
            let certificate = if tls.acme { Some(place(settings).certificate) } else { tls.cert_file.clone() };
            certificate.map(Trust::Exactly)
        }
    }
}

/// What an orderer needs to know; `None`: nothing is ordered for this listener.
pub(crate) fn order(tls: &ListenerTls, settings: &Settings) -> Option<acme::Order> {
    let AcmeSettings { domains, directory_url, ca_file, contact, .. } = settings.acme.clone();
    let domains = domains.iter().map(|domain| domain.to_ascii_lowercase()).collect();
    let trust = ca_file.map_or(Trust::System, Trust::Authorities);
    tls.acme.then(|| acme::Order { domains, directory_url, trust, contact, place: place(settings) })
}

fn place(settings: &Settings) -> AuthorityFolder {
    AuthorityFolder::new(&settings.data.dir, &settings.acme.directory_url)
}
