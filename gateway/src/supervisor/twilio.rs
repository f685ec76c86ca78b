//! Twilio's webhook for text messages: its signature, its answer, and repetitions of a request.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    fmt::Write,
    sync::Arc,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use common::secret::Secret;
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use sha1::Sha1;
use tokio::sync::watch;

/// Messages whose answers are remembered. With more, the oldest is forgotten. Twilio repeats a
/// request within seconds.
const REMEMBERED: usize = 2_000;
/// The longest text of one message that Twilio sends, in characters.
const LONGEST_MESSAGE: usize = 1_600;
/// The most messages that one answer becomes. What does not fit is left out.
const MOST_MESSAGES: usize = 10;

/// Whether a request to `url` with these fields of its form was signed with `token`: HMAC-SHA1 over
/// the URL and the fields in the order of their names, in base64.
///
/// A URL with and without the default port of its scheme counts as the same, because Twilio does
/// not always sign the one that it was told.
pub fn is_signed(token: &Secret, url: &str, fields: &[(String, String)], signature: &str) -> bool {
    let Ok(signature) = STANDARD.decode(signature) else { return false };
    let sorted: BTreeSet<_> = fields.iter().collect();
    spellings(url).iter().any(|url| {
        // A key of any length is fine for HMAC.
        let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(token.reveal().as_bytes()) else { return false };
        mac.update(url.as_bytes());
        for (name, value) in &sorted {
            mac.update(name.as_bytes());
            mac.update(value.as_bytes());
        }
        mac.verify_slice(&signature).is_ok()
    })
}

/// A URL with and without the default port.
fn spellings(url: &str) -> Vec<String> {
    let mut all = vec![url.to_owned()];
    for (scheme, port) in [("https://", ":443"), ("http://", ":80")] {
        let Some(rest) = url.strip_prefix(scheme) else { continue };
        let (site, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        match site.strip_suffix(port) {
            Some(bare) => all.push(format!("{scheme}{bare}{path}")),
            None if !site.rsplit(']').next().is_some_and(|end| end.contains(':')) => {
                all.push(format!("{scheme}{site}{port}{path}"))
            }
            None => {}
        }
    }
    all
}

/// The answer in TwiML: send this text back, in as many messages as it needs; without one, send
/// nothing.
pub fn twiml(text: Option<&str>) -> String {
    let mut page = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response>");
    let mut rest = text.unwrap_or_default();
    for _ in 0..MOST_MESSAGES {
        if rest.is_empty() {
            break;
        }
        let end = rest.char_indices().nth(LONGEST_MESSAGE).map_or(rest.len(), |(at, _)| at);
        let (message, later) = rest.split_at(end);
        page.push_str("<Message>");
        escape(&mut page, message);
        page.push_str("</Message>");
        rest = later;
    }
    page.push_str("</Response>");
    page
}

/// Appends text as XML character data. Characters that XML cannot hold are left out.
fn escape(page: &mut String, text: &str) {
    for character in text.chars() {
        // Writing to a String does not fail.
        let _ = match character {
            '&' => page.write_str("&amp;"),
            '<' => page.write_str("&lt;"),
            '>' => page.write_str("&gt;"),
            '"' => page.write_str("&quot;"),
            '\'' => page.write_str("&apos;"),
            '\t' | '\n' | '\r' => page.write_char(character),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => Ok(()),
            _ => page.write_char(character),
        };
    }
}

/// The answer to a message, once there is one.
pub type Awaited = watch::Receiver<Option<String>>;

/// Answers each message once, however often it is sent. Shared by all threads.
#[derive(Debug, Default)]
pub struct Once {
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    answers: HashMap<String, Awaited>,
    order: VecDeque<String>,
}

/// A message that is being answered. Dropping this without an answer makes the message new again.
#[derive(Debug)]
pub struct Answering {
    table: Arc<Mutex<Table>>,
    id: String,
    answer: watch::Sender<Option<String>>,
}

impl Once {
    /// The answer to the message with this id. If the message is new, the caller also gets the task
    /// to answer it.
    pub fn claim(&self, id: &str) -> (Awaited, Option<Answering>) {
        let mut table = self.table.lock();
        if let Some(known) = table.answers.get(id) {
            return (known.clone(), None);
        }
        if table.order.len() >= REMEMBERED
            && let Some(oldest) = table.order.pop_front()
        {
            table.answers.remove(&oldest);
        }
        let (sender, receiver) = watch::channel(None);
        table.answers.insert(id.to_owned(), receiver.clone());
        table.order.push_back(id.to_owned());
        (receiver, Some(Answering { table: Arc::clone(&self.table), id: id.to_owned(), answer: sender }))
    }
}

impl Answering {
    /// Gives the answer to everybody who asks.
    pub fn answer(self, answer: &str) {
        self.answer.send_replace(Some(answer.to_owned()));
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if self.answer.borrow().is_none() {
            let mut table = self.table.lock();
            table.answers.remove(&self.id);
            table.order.retain(|id| *id != self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// The example of Twilio's documentation ("Validating signatures from Twilio").
    #[test]
    fn the_signature_of_the_documentation_is_right_and_any_change_makes_it_wrong() {
        let token = Secret::new("12345");
        let url = "https://example.com/myapp.php?foo=1&bar=2";
        let form = fields(&[
            ("CallSid", "CA1234567890ABCDE"),
            ("Caller", "+14158675310"),
            ("Digits", "1234"),
            ("From", "+14158675310"),
            ("To", "+18005551212"),
        ]);
        let signature = "L/OH5YylLD5NRKLltdqwSvS0BnU=";
        assert!(is_signed(&token, url, &form, signature));
        assert!(is_signed(&token, "https://example.com:443/myapp.php?foo=1&bar=2", &form, signature));
        assert!(!is_signed(&Secret::new("12346"), url, &form, signature));
        assert!(!is_signed(&token, "http://example.com/myapp.php?foo=1&bar=2", &form, signature));
        assert!(!is_signed(&token, url, &form[1..], signature));
        assert!(!is_signed(&token, url, &form, "rubbish") && !is_signed(&token, url, &form, ""));
    }

    #[test]
    fn answers_are_escaped() {
        let page = twiml(Some("a < b & \"c\" > 'd' \u{1}\u{1F600}"));
        assert!(
            page.ends_with("<Response><Message>a &lt; b &amp; &quot;c&quot; &gt; &apos;d&apos; \u{1F600}</Message></Response>"),
            "{page}"
        );
        assert!(twiml(None).ends_with("<Response></Response>"));
        assert_eq!(twiml(Some(&"\u{e9}".repeat(3_201))).matches("<Message>").count(), 3);
        assert_eq!(twiml(Some(&"x".repeat(100_000))).matches("<Message>").count(), MOST_MESSAGES);
    }

    #[test]
    fn a_message_is_answered_once_and_one_without_an_answer_is_new_again() {
        let once = Once::default();
        let (_, first) = once.claim("SM1");
        let (waiting, second) = once.claim("SM1");
        assert!(second.is_none() && waiting.borrow().is_none());
        first.expect("new").answer("x");
        assert_eq!(waiting.borrow().as_deref(), Some("x"));
        assert_eq!(once.claim("SM1").0.borrow().as_deref(), Some("x"));
        drop(once.claim("SM2"));
        assert!(once.claim("SM2").1.is_some());
        for number in 0..2 * REMEMBERED {
            once.claim(&number.to_string()).1.expect("new").answer("");
        }
        assert_eq!(once.table.lock().answers.len(), REMEMBERED);
    }
}
