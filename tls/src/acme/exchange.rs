//! One ACME order, from the account to the certificate.

use std::{path::Path, sync::Arc, time::Duration};

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Identifier, NewAccount, NewOrder, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::{Order, OrderError, http::Directory};
use crate::{certificate::Facts, client::ClientTls, file};

/// How many times to ask the authority why a name could not be validated.
const ASKED_WHY: usize = 5;
/// Time limit of a whole order.
pub(super) const PATIENCE: Duration = Duration::from_secs(180);
/// How often an order is restarted because the authority rejects its own nonces. The library has
/// retried by then.
const AGAIN: u32 = 2;
/// How the authority is asked whether it is done.
const POLLING: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(500)).backoff(1.5).timeout(Duration::from_secs(90));

/// Orders a certificate and writes it to its file.
pub(super) async fn order(wanted: &Order) -> Result<Facts, OrderError> {
    let exchanging = async {
        let mut again = AGAIN;
        loop {
            match exchange(wanted).await {
                Err(OrderError::Authority(error)) if is_bad_nonce(&error) && again > 0 => again -= 1,
                outcome => return outcome,
            }
        }
    };
    let ordered = tokio::time::timeout(PATIENCE, exchanging).await;
    wanted.place.remove_challenges(&wanted.domains);
    ordered.map_err(|_| OrderError::TimedOut(PATIENCE))?
}

fn is_bad_nonce(error: &instant_acme::Error) -> bool {
    let bad = |problem: &instant_acme::Problem| problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:badNonce");
    matches!(error, instant_acme::Error::Api(problem) if bad(problem))
}

async fn exchange(wanted: &Order) -> Result<Facts, OrderError> {
    let account = account(wanted).await?;
    let identifiers: Vec<_> = wanted.domains.iter().cloned().map(Identifier::Dns).collect();
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let name = authorization.identifier().to_string();
        let Some(mut challenge) = authorization.challenge(ChallengeType::TlsAlpn01) else {
            return Err(OrderError::NoWay(name));
        };
        let answer = answer(&name, challenge.key_authorization().digest().as_ref())?;
        wanted.place.put_challenge(&name, &answer)?;
        challenge.set_ready().await?;
    }
    match order.poll_ready(&POLLING).await {
        Ok(OrderStatus::Ready) => {}
        Ok(_) | Err(instant_acme::Error::Api(_)) => return Err(why_not(&mut order).await),
        Err(error) => return Err(error.into()),
    }

    let key = KeyPair::generate()?;
    let mut request = CertificateParams::new(wanted.domains.clone())?;
    request.distinguished_name = DistinguishedName::new();
    order.finalize_csr(request.serialize_request(&key)?.der()).await?;
    let chain = order.poll_certificate(&POLLING).await?;

    let leaf = CertificateDer::from_pem_slice(chain.as_bytes()).map_err(|_| OrderError::NotAsOrdered)?;
    let facts = Facts::of(&leaf).map_err(|_| OrderError::NotAsOrdered)?;
    if !facts.covers(&wanted.domains) {
        return Err(OrderError::NotAsOrdered);
    }
    // One file, so that there is no moment in which key and certificate do not fit.
    file::replace(&wanted.place.certificate, format!("{}{chain}", key.serialize_pem()).as_bytes())?;
    Ok(facts)
}

/// Loads the stored account, or creates one.
async fn account(wanted: &Order) -> Result<Account, OrderError> {
    let client = Arc::new(ClientTls::new(wanted.trust.clone())?);
    let builder = || Account::builder_with_http(Box::new(Directory(Arc::clone(&client))));
    let path: &Path = &wanted.place.account;
    if path.exists() {
        let credentials: AccountCredentials =
            serde_json::from_slice(&file::read(path)?).map_err(|_| OrderError::Account(path.display().to_string()))?;
        return Ok(builder().from_credentials(credentials).await?);
    }
    let contact = wanted.contact.as_ref().map(|address| format!("mailto:{address}"));
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let (account, credentials) = builder().create(&new, wanted.directory_url.clone(), None).await?;
    let kept = serde_json::to_vec(&credentials).map_err(|_| OrderError::Account(path.display().to_string()))?;
    file::replace(path, &kept)?;
    Ok(account)
}

/// The challenge certificate for a name (RFC 8737 section 3), with its key, in PEM.
fn answer(name: &str, digest: &[u8]) -> Result<String, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut certificate = CertificateParams::new(vec![name.to_owned()])?;
    certificate.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    Ok(format!("{}{}", key.serialize_pem(), certificate.self_signed(&key)?.pem()))
}

/// The authority's reason for the first name that could not be validated. Retries on no answer.
async fn why_not(order: &mut instant_acme::Order) -> OrderError {
    let mut why = "it does not say why".to_owned();
    for _ in 0..ASKED_WHY {
        match first_fault(order).await {
            Ok(Some((name, fault))) => return OrderError::NotProved(name, fault.unwrap_or(why)),
            Ok(None) => {}
            Err(error) => why = error.to_string(),
        }
    }
    OrderError::NotProved("one of the names".to_owned(), why)
}

async fn first_fault(order: &mut instant_acme::Order) -> Result<Option<(String, Option<String>)>, instant_acme::Error> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        authorization.refresh().await?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let problem = authorization.challenges.iter().find_map(|challenge| challenge.error.as_ref());
        let fault = problem.and_then(|problem| problem.detail.clone());
        return Ok(Some((authorization.identifier().to_string(), fault)));
    }
    Ok(None)
}
