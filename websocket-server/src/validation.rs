//! Validates the broker's settings before anything opens. Both the start and `check-config` use it.

use common::config::Settings;
use tls::{Listener, TlsError};

use crate::keys::Keys;

/// All faults of the broker's settings, and of the files that they name: the setting and the fault.
pub fn faults(settings: &Settings) -> Vec<(&'static str, String)> {
    let broker = &settings.broker;
    let mut faults = Vec::new();
    if let Err(error) = Listener::check(&broker.tls, settings, broker.client_ca_file.clone()) {
        faults.push((tls_key(&error, settings), error.to_string()));
    }
    if let Err(error) = Keys::open(settings) {
        faults.push(("data.dir", error.to_string()));
    }
    faults
}

/// The setting that names the invalid file.
fn tls_key(error: &TlsError, settings: &Settings) -> &'static str {
    let broker = &settings.broker;
    match error.path() {
        Some(path) if broker.client_ca_file.as_deref() == Some(path) => "broker.client_ca_file",
        _ if broker.tls.acme => "broker.tls_acme",
        Some(path) if broker.tls.key_file.as_deref() == Some(path) => "broker.tls_key_file",
        _ => "broker.tls_cert_file",
    }
}
