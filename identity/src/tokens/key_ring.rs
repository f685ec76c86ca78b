//! The published keys of one issuer, kept between uses.
//!
//! They are fetched at first use, and again before they are no longer fresh. They are also fetched
//! again if no key fits a token, because the issuer may have a new key: under a new id, under the
//! old one, or without an id. Fetches are never closer together than the least interval, so tokens
//! with invented key ids or signatures cannot flood the issuer.
//!
//! If the issuer is away or slow, the keys of the last fetch stay valid for a bounded time, and a
//! token that fits one of them does not wait. There is one fetch at a time. It belongs to none of
//! the callers that wait for it, and continues without them.

use std::{
    fs::File,
    future::ready,
    io::Read,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use parking_lot::{Mutex, RwLock};

use super::{Algorithm, JwksFault, PublishedKey, PublishedKeys, TokenError, jwk};

/// Why a key set could not be fetched; for logs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeySourceFault(pub String);

/// The source of a key set: a URL or a file.
///
/// An implementation has its own time limit, reads at most 256 KiB, and follows no redirect to
/// another host.
pub trait KeySource: Send + Sync {
    /// Fetches the JSON of the set as it is published now.
    fn fetch(&self) -> BoxFuture<'static, Result<Vec<u8>, KeySourceFault>>;
}

/// A key set in a file, read again in the same cases as one behind a URL. It blocks while it reads;
/// files of keys are small.
pub struct FileKeys(pub PathBuf);

impl KeySource for FileKeys {
    fn fetch(&self) -> BoxFuture<'static, Result<Vec<u8>, KeySourceFault>> {
        let mut json = Vec::new();
        // One byte over the bound, so that a file over the bound is noticed.
        let bound = u64::try_from(jwk::MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
        let read = File::open(&self.0).and_then(|file| file.take(bound).read_to_end(&mut json));
        let fault = |error| KeySourceFault(format!("cannot read the key set {}: {error}", self.0.display()));
        ready(read.map(|_| json).map_err(fault)).boxed()
    }
}

/// How long keys are kept.
#[derive(Clone, Copy, Debug)]
pub struct KeyRingSettings {
    /// How long a fetched set is used without asking again. Default 10 min.
    pub fresh_for: Duration,
    /// How long after that it stays valid if the source does not answer. Default 24 h; zero: not at
    /// all. A key that the issuer removes meanwhile stays valid as long.
    pub stale_for: Duration,
    /// The least time between two fetches, for whatever reason. Default 30 s.
    pub least_interval: Duration,
}

impl Default for KeyRingSettings {
    fn default() -> Self {
        Self {
            fresh_for: Duration::from_secs(600),
            stale_for: Duration::from_secs(24 * 3600),
            least_interval: Duration::from_secs(30),
        }
    }
}

/// Runs a fetch to its end, even if its caller has gone: the server's runtime.
pub type Spawn = Box<dyn Fn(BoxFuture<'static, ()>) + Send + Sync>;

/// The running fetch, shared by all who wait for it.
type Fetch = Shared<BoxFuture<'static, ()>>;

/// See the module.
pub struct KeyRing {
    inner: Arc<Inner>,
    spawn: Spawn,
    under_way: Mutex<Option<Fetch>>,
}

struct Inner {
    source: Box<dyn KeySource>,
    settings: KeyRingSettings,
    kept: RwLock<Kept>,
    renewals: Renewals,
}

/// How often a fetch has brought a key that was not known before, beside earlier ones.
///
/// A token that is signed with such a key is refused until the fetch, as if it were forged: nobody
/// can tell them apart. So whoever counts forgeries against somebody takes them back when this
/// rises.
#[derive(Clone, Debug, Default)]
pub struct Renewals(Arc<AtomicU64>);

impl Renewals {
    /// How often so far.
    pub fn count(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// It has happened again.
    pub fn rise(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[derive(Default)]
struct Kept {
    set: Option<PublishedKeys>,
    fetched_at: Option<SystemTime>,
    tried_at: Option<SystemTime>,
    last_fault: Option<String>,
}

impl Kept {
    fn age(&self, now: SystemTime) -> Option<Duration> {
        self.fetched_at.map(|fetched| now.duration_since(fetched).unwrap_or_default())
    }

    /// The key of a token, among those that are still valid.
    fn key(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
        now: SystemTime,
        settings: &KeyRingSettings,
    ) -> Result<&PublishedKey, TokenError> {
        let good = settings.fresh_for.saturating_add(settings.stale_for);
        let set = self.set.as_ref().filter(|_| self.age(now).is_some_and(|age| age <= good));
        set.ok_or(TokenError::KeysUnavailable)?.find(id, algorithm).ok_or(TokenError::KeyUnknown)
    }

    /// Whether the keys should be fetched again now, so that nobody has to wait for a fetch later.
    fn is_aging(&self, now: SystemTime, settings: &KeyRingSettings) -> bool {
        self.age(now).is_none_or(|age| age >= settings.fresh_for * 3 / 4)
    }

    fn may_fetch(&self, now: SystemTime, settings: &KeyRingSettings) -> bool {
        // A clock that was set back must not prevent fetches.
        self.tried_at
            .is_none_or(|tried| now.duration_since(tried).is_ok_and(|since| since >= settings.least_interval) || tried > now)
    }
}

impl KeyRing {
    /// A ring without keys. Its fetches are given to `spawn`.
    pub fn new(source: Box<dyn KeySource>, settings: KeyRingSettings, spawn: Spawn) -> Self {
        let inner = Arc::new(Inner { source, settings, kept: RwLock::default(), renewals: Renewals::default() });
        Self { inner, spawn, under_way: Mutex::default() }
    }

    /// How often new keys have come.
    pub fn renewals(&self) -> Renewals {
        self.inner.renewals.clone()
    }

    /// Checks a signature with the key that the token names.
    ///
    /// # Errors
    /// `token_keys_unavailable` if the last fetch failed and no kept key fits. Otherwise
    /// `token_key_unknown` and `token_signature_wrong`, after a fetch if one is allowed.
    pub(super) async fn verify(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
        message: &str,
        signature: &str,
        now: SystemTime,
    ) -> Result<(), TokenError> {
        let Inner { kept, settings, .. } = &*self.inner;
        let judge = |kept: &Kept| {
            let key = kept.key(id, algorithm, now, settings)?;
            if key.verifies(algorithm, message, signature) { Ok(()) } else { Err(TokenError::SignatureWrong) }
        };
        let (judged, is_aging) = {
            let kept = kept.read();
            (judge(&kept), kept.is_aging(now, settings))
        };
        let Err(refusal) = judged else {
            if is_aging {
                // The kept keys are used meanwhile.
                self.fetch(now);
            }
            return Ok(());
        };
        // The issuer may have a new key, also under a known id or without an id.
        let judged = match self.fetch(now) {
            Some(fetch) => {
                fetch.await;
                judge(&kept.read())
            }
            None => Err(refusal),
        };
        // A key that could not be fetched is nobody's failure.
        judged.map_err(|refusal| if kept.read().last_fault.is_some() { TokenError::KeysUnavailable } else { refusal })
    }

    /// Fetches the keys if they will soon be no longer fresh. To be called at the start and
    /// regularly, so that no login has to wait for a fetch.
    ///
    /// # Errors
    /// The fault of the source or the set at the last fetch; the former keys stay.
    pub async fn refresh(&self, now: SystemTime) -> Result<(), KeySourceFault> {
        let is_aging = self.inner.kept.read().is_aging(now, &self.inner.settings);
        if is_aging && let Some(fetch) = self.fetch(now) {
            fetch.await;
        }
        self.inner.kept.read().last_fault.clone().map_or(Ok(()), |fault| Err(KeySourceFault(fault)))
    }

    /// The running fetch, or a new one. `None` if the last one was too recent.
    fn fetch(&self, now: SystemTime) -> Option<Fetch> {
        let mut under_way = self.under_way.lock();
        if let Some(fetch) = under_way.as_ref().filter(|fetch| fetch.peek().is_none()) {
            return Some(fetch.clone());
        }
        let mut kept = self.inner.kept.write();
        if !kept.may_fetch(now, &self.inner.settings) {
            return None;
        }
        kept.tried_at = Some(now);
        drop(kept);
        let inner = Arc::clone(&self.inner);
        let fetch = async move { inner.fetch(now).await }.boxed().shared();
        *under_way = Some(fetch.clone());
        drop(under_way);
        (self.spawn)(fetch.clone().boxed());
        Some(fetch)
    }
}

impl Inner {
    async fn fetch(&self, now: SystemTime) {
        let fetched = self.source.fetch().await;
        let read =
            fetched.and_then(|json| PublishedKeys::parse(&json).map_err(|fault: JwksFault| KeySourceFault(fault.to_string())));
        let mut kept = self.kept.write();
        match read {
            Ok(set) => {
                if kept.set.as_ref().is_some_and(|former| set.has_news_for(former)) {
                    self.renewals.rise();
                }
                *kept = Kept { set: Some(set), fetched_at: Some(now), tried_at: Some(now), last_fault: None };
            }
            Err(KeySourceFault(fault)) => kept.last_fault = Some(fault),
        }
    }
}

#[cfg(test)]
#[path = "key_ring_tests.rs"]
mod tests;
