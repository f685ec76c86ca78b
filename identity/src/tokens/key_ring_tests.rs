use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};
use std::time::UNIX_EPOCH;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use futures_util::{FutureExt, future::join};
use parking_lot::Mutex;
use serde_json::json;

use super::*;

/// A source that serves what it is given, and counts the fetches.
#[derive(Clone)]
struct Served {
    ids: Arc<Mutex<Result<Vec<&'static str>, ()>>>,
    count: Arc<AtomicUsize>,
}

impl Served {
    fn serve(&self, ids: Result<Vec<&'static str>, ()>) {
        *self.ids.lock() = ids;
    }
}

/// The public half of the key that signs in these tests.
const PUBLIC: &str = "uZeAL2JTr55jeNZNtPRAVqLNC7n6x0KarS9mTHOoOwc";
/// An id that stands for another key under the id `a`.
const REPLACED: &str = "another key under `a`";

/// The right signature of `a.b`.
fn signature() -> String {
    let pem = include_str!("../../tests/fixtures/keys/ed25519.private.pem");
    let key = jsonwebtoken::EncodingKey::from_ed_pem(pem.as_bytes()).expect("a key");
    jsonwebtoken::crypto::sign(b"a.b", &key, jsonwebtoken::Algorithm::EdDSA).expect("signs")
}

fn key_set(ids: &[&str]) -> Vec<u8> {
    let other = BASE64_URL_SAFE_NO_PAD.encode([0xab; 32]);
    let key = |id: &&str| match *id {
        REPLACED => json!({"kty": "OKP", "crv": "Ed25519", "x": other, "kid": "a"}),
        id => json!({"kty": "OKP", "crv": "Ed25519", "x": PUBLIC, "kid": id}),
    };
    let keys: Vec<_> = ids.iter().map(key).collect();
    json!({ "keys": keys }).to_string().into_bytes()
}

impl KeySource for Served {
    fn fetch(&self) -> BoxFuture<'static, Result<Vec<u8>, KeySourceFault>> {
        self.count.fetch_add(1, Relaxed);
        let answer = self.ids.lock().clone().map(|ids| key_set(&ids)).map_err(|()| KeySourceFault("down".into()));
        // Not ready at once, like a real source.
        Box::pin(async move {
            let mut waited = false;
            std::future::poll_fn(|context| {
                context.waker().wake_by_ref();
                if std::mem::replace(&mut waited, true) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
            })
            .await;
            answer
        })
    }
}

struct Bench {
    served: Served,
    ring: KeyRing,
    /// What a server's runtime would run.
    spawned: Arc<Mutex<Vec<BoxFuture<'static, ()>>>>,
}

fn bench(ids: Result<Vec<&'static str>, ()>) -> Bench {
    bench_with(ids, KeyRingSettings::default())
}

fn bench_with(ids: Result<Vec<&'static str>, ()>, settings: KeyRingSettings) -> Bench {
    let served = Served { ids: Arc::new(Mutex::new(ids)), count: Arc::default() };
    let spawned = Arc::<Mutex<Vec<BoxFuture<'static, ()>>>>::default();
    let runtime = Arc::clone(&spawned);
    let spawn: Spawn = Box::new(move |fetch| runtime.lock().push(fetch));
    Bench { ring: KeyRing::new(Box::new(served.clone()), settings, spawn), served, spawned }
}

/// Runs a future that wakes itself, without a runtime.
fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    for _ in 0..100 {
        if let Some(result) = future.as_mut().now_or_never() {
            return result;
        }
    }
    panic!("it waits for ever");
}

impl Bench {
    /// The outcome for a token with this key id and a valid signature.
    fn ask(&self, id: &str, seconds: u64) -> Result<(), TokenError> {
        run(self.ring.verify(Some(id), Algorithm::EdDSA, "a.b", &signature(), at(seconds)))
    }

    /// The outcome for a token with this key id and an invented signature.
    fn forge(&self, id: &str, seconds: u64) -> Result<(), TokenError> {
        run(self.ring.verify(Some(id), Algorithm::EdDSA, "a.b", "AAAA", at(seconds)))
    }

    /// Runs everything that was spawned.
    fn settle(&self) {
        std::mem::take(&mut *self.spawned.lock()).into_iter().for_each(run);
    }

    fn fetches(&self) -> usize {
        self.served.count.load(Relaxed)
    }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

const FOUND: Result<(), TokenError> = Ok(());

#[test]
fn keys_are_fetched_once_and_again_before_they_are_no_longer_fresh() {
    let bench = bench(Ok(vec!["a"]));
    for second in 0..450 {
        assert_eq!(bench.ask("a", second), FOUND);
        assert_eq!(run(bench.ring.refresh(at(second))), Ok(()));
    }
    assert_eq!(bench.fetches(), 1);
    assert_eq!(run(bench.ring.refresh(at(450))), Ok(()));
    assert_eq!(bench.fetches(), 2);
}

#[test]
fn a_token_with_a_known_key_waits_for_no_fetch() {
    let bench = bench(Ok(vec!["a"]));
    assert_eq!(bench.ask("a", 0), FOUND);
    bench.served.serve(Ok(vec!["b"]));
    for second in [450, 601, 700] {
        let signature = signature();
        let asked = bench.ring.verify(Some("a"), Algorithm::EdDSA, "a.b", &signature, at(second));
        assert_eq!(asked.now_or_never(), Some(FOUND), "at {second}");
    }
    assert_eq!(bench.fetches(), 1, "nobody has run the one fetch yet");
    bench.settle();
    assert_eq!(bench.fetches(), 2);
    assert_eq!(bench.ask("b", 701), FOUND);
}

#[test]
fn a_fetch_continues_when_its_requester_has_gone() {
    let bench = bench(Ok(vec!["a"]));
    let signature = signature();
    let asked = bench.ring.verify(Some("a"), Algorithm::EdDSA, "a.b", &signature, at(0));
    assert_eq!(asked.now_or_never(), None, "it waits, and goes away");
    bench.settle();
    assert_eq!((bench.ask("a", 1), bench.fetches()), (FOUND, 1));
}

#[test]
fn a_rotated_key_is_found_by_its_unknown_id() {
    let bench = bench(Ok(vec!["a"]));
    assert_eq!(bench.ask("a", 0), FOUND);
    bench.served.serve(Ok(vec!["b"]));
    assert_eq!(bench.ask("b", 10), Err(TokenError::KeyUnknown), "asked for too soon after the last time");
    assert_eq!(bench.ask("b", 30), FOUND);
    assert_eq!(bench.ask("a", 31), Err(TokenError::KeyUnknown), "the old one is no longer published");
    assert_eq!(bench.fetches(), 2);
}

#[test]
fn invented_key_ids_cannot_flood_the_issuer() {
    let bench = bench(Ok(vec!["a"]));
    for second in 0..300 {
        assert_eq!(bench.ask(&format!("invented-{second}"), second), Err(TokenError::KeyUnknown));
    }
    assert_eq!(bench.fetches(), 10, "one in 30 s");
    assert_eq!(bench.ask("a", 300), FOUND, "the real key works throughout");
}

#[test]
fn while_the_issuer_is_away_old_keys_are_good_for_a_bounded_time() {
    let bench = bench(Ok(vec!["a"]));
    assert_eq!(bench.ask("a", 0), FOUND);
    bench.served.serve(Err(()));
    assert_eq!(bench.ask("a", 601), FOUND);
    bench.settle();
    assert_eq!(bench.ask("b", 602), Err(TokenError::KeysUnavailable), "it may be a new key");
    assert_eq!(bench.forge("a", 603), Err(TokenError::KeysUnavailable), "or a new key under an old id");
    assert_eq!(bench.ask("a", 600 + 24 * 3600), FOUND);
    assert_eq!(bench.ask("a", 601 + 24 * 3600), Err(TokenError::KeysUnavailable));
    bench.served.serve(Ok(vec!["a"]));
    assert_eq!(bench.ask("a", 700 + 24 * 3600), FOUND);
}

#[test]
fn without_any_keys_the_answer_is_to_try_later() {
    let bench = bench(Err(()));
    assert_eq!(bench.ask("a", 0), Err(TokenError::KeysUnavailable));
    assert_eq!(bench.ask("a", 29), Err(TokenError::KeysUnavailable));
    assert_eq!(bench.fetches(), 1);
    assert_eq!(run(bench.ring.refresh(at(30))), Err(KeySourceFault("down".into())));
    bench.served.serve(Ok(vec!["a"]));
    assert_eq!(run(bench.ring.refresh(at(60))), Ok(()));
    assert_eq!(bench.ask("a", 61), FOUND);
}

#[test]
fn an_empty_set_does_not_replace_keys_that_are_good() {
    let bench = bench(Ok(vec!["a"]));
    assert_eq!(bench.ask("a", 0), FOUND);
    bench.served.serve(Ok(vec![]));
    assert!(run(bench.ring.refresh(at(601))).is_err());
    assert_eq!(bench.ask("a", 602), FOUND);
}

#[test]
fn logins_that_come_together_fetch_once() {
    let bench = bench(Ok(vec!["a"]));
    let signature = signature();
    let ask = || bench.ring.verify(Some("a"), Algorithm::EdDSA, "a.b", &signature, at(0));
    assert_eq!(run(join(ask(), ask())), (FOUND, FOUND));
    assert_eq!(bench.fetches(), 1);
}

#[test]
fn a_clock_that_was_set_back_does_not_stop_fetching() {
    let bench = bench(Ok(vec!["a"]));
    assert_eq!(bench.ask("a", 1_000_000), FOUND);
    bench.served.serve(Ok(vec!["b"]));
    assert_eq!(bench.ask("b", 0), FOUND);
}

#[test]
fn files_are_read_up_to_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let ask = || {
        let ring = KeyRing::new(Box::new(FileKeys(path.clone())), KeyRingSettings::default(), Box::new(drop));
        run(ring.verify(Some("a"), Algorithm::EdDSA, "a.b", &signature(), at(0)))
    };
    assert_eq!(ask(), Err(TokenError::KeysUnavailable));
    std::fs::write(&path, key_set(&["a"])).unwrap();
    assert_eq!(ask(), FOUND);
    std::fs::write(&path, vec![b' '; jwk::MAX_BYTES + 1000]).unwrap();
    assert_eq!(ask(), Err(TokenError::KeysUnavailable));
}

#[test]
fn a_key_replaced_under_the_same_id_is_fetched_before_a_token_is_refused() {
    let bench = bench(Ok(vec![REPLACED]));
    assert_eq!(bench.ask("a", 0), Err(TokenError::SignatureWrong), "the issuer was asked just now");
    bench.served.serve(Ok(vec!["a"]));
    assert_eq!(bench.ask("a", 29), Err(TokenError::SignatureWrong));
    assert_eq!((bench.ask("a", 30), bench.fetches()), (FOUND, 2));
    // Also without an id.
    bench.served.serve(Ok(vec![REPLACED]));
    let ask = |seconds| run(bench.ring.verify(None, Algorithm::EdDSA, "a.b", &signature(), at(seconds)));
    assert_eq!(bench.forge("a", 60), Err(TokenError::SignatureWrong));
    bench.served.serve(Ok(vec!["a"]));
    assert_eq!((ask(90), bench.fetches()), (FOUND, 4));
}

#[test]
fn only_keys_that_were_not_known_are_a_renewal() {
    let bench = bench(Ok(vec!["a"]));
    let renewals = bench.ring.renewals();
    let at = |seconds, ids: Vec<&'static str>| {
        bench.served.serve(Ok(ids));
        assert!(bench.forge("a", seconds).is_err());
        renewals.count()
    };
    assert_eq!(at(0, vec!["a"]), 0, "before the first fetch no token was refused as forged");
    assert_eq!(at(30, vec!["a"]), 0);
    assert_eq!(at(60, vec!["b", "a"]), 1);
    assert_eq!(at(90, vec!["a", "b"]), 1, "in another order");
    assert_eq!(at(120, vec!["a"]), 1, "one was removed");
    assert_eq!(at(150, vec![REPLACED]), 2, "replaced under its id");
    assert_eq!(at(151, vec!["c"]), 2, "nothing is fetched so soon");
}

#[test]
fn forged_signatures_cannot_flood_the_issuer_and_stay_forged() {
    let bench = bench(Ok(vec!["a"]));
    for second in 0..300 {
        assert_eq!(bench.forge("a", second), Err(TokenError::SignatureWrong));
        assert_eq!(bench.ask("a", second), FOUND, "the real key works throughout");
    }
    assert_eq!(bench.fetches(), 10, "one in 30 s");
}

#[test]
fn a_removed_key_is_good_no_longer_than_the_settings_say() {
    let settings = KeyRingSettings { stale_for: Duration::ZERO, ..KeyRingSettings::default() };
    let bench = bench_with(Ok(vec!["a"]), settings);
    assert_eq!(bench.ask("a", 0), FOUND);
    bench.served.serve(Err(()));
    assert_eq!(bench.ask("a", 600), FOUND);
    bench.settle();
    assert_eq!(bench.ask("a", 601), Err(TokenError::KeysUnavailable));
}
