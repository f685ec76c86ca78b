//! Validates the edge's settings before anything opens. Both the start and `check-config` use it.

use common::config::{Settings, ws_authority};
use tls::{ClientTls, Listener, TlsError, broker_trust};

use crate::{
    assets::Library,
    logins::{Logins, key_set_fault},
};

/// All faults of the edge's settings, and of the files that they name: the setting and the fault.
pub fn faults(settings: &Settings) -> Vec<(&'static str, String)> {
    let mut faults = Vec::new();
    let tls = &settings.web.tls;
    if let Err(error) = Listener::check(tls, settings, None) {
        faults.push((tls_key(&error, settings), error.to_string()));
    }
    let url = settings.web.broker_url.as_deref();
    if let Some(Err(error)) = broker_trust(settings, url).map(|trust| ClientTls::new(trust).map(drop)) {
        let key = if url.is_some() { "broker.ca_file" } else { "broker.tls_cert_file" };
        let whom = url.map_or_else(String::new, |url| format!("to dial {}: ", ws_authority(url)));
        faults.push((key, format!("{whom}{error}")));
    }
    if let Some(folder) = settings.web.static_path.as_ref()
        && let Err(error) = Library::open(Some(folder))
    {
        faults.push(("web.static_path", error.to_string()));
    }
    faults.extend(Logins::new(settings).err().unwrap_or_default());
    faults.extend(key_set_fault(&settings.auth));
    faults
}

/// The setting that names the invalid file.
fn tls_key(error: &TlsError, settings: &Settings) -> &'static str {
    let tls = &settings.web.tls;
    match error.path() {
        _ if tls.acme => "web.tls_acme",
        Some(path) if tls.key_file.as_deref() == Some(path) => "web.tls_key_file",
        _ => "web.tls_cert_file",
    }
}
