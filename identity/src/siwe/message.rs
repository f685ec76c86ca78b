//! The message of EIP-4361: parsed strictly, written back byte for byte.
//!
//! This module checks the form only. [`super::Challenges`] checks whether domain, nonce and times
//! are right.

use std::{fmt, time::SystemTime};

use super::{Address, AddressFault, SiweError, grammar};

/// The longest message that is parsed, in bytes. Ours have about 400.
pub const MAX_BYTES: usize = 4096;
const PREAMBLE: &str = " wants you to sign in with your Ethereum account:";

/// A time as written, and the moment that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment<'a> {
    /// RFC 3339.
    pub text: &'a str,
    /// The moment.
    pub time: SystemTime,
}

/// A parsed message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The scheme of the origin, if it is named.
    pub scheme: Option<&'a str>,
    /// The site that asks.
    pub domain: &'a str,
    /// The wallet that signs.
    pub address: Address,
    /// The text for the person.
    pub statement: Option<&'a str>,
    /// What the login is for.
    pub uri: &'a str,
    /// The chain (EIP-155).
    pub chain: u64,
    /// The nonce, valid once.
    pub nonce: &'a str,
    /// When it was made.
    pub issued_at: Moment<'a>,
    /// When it expires.
    pub expires_at: Option<Moment<'a>>,
    /// When it becomes valid.
    pub not_before: Option<Moment<'a>>,
    /// An id chosen by the site.
    pub request_id: Option<&'a str>,
    /// Further URIs that the login is about. `None` if the heading is absent too.
    pub resources: Option<Vec<&'a str>>,
}

/// The lines that are still to be parsed.
struct Lines<'a> {
    rest: std::iter::Peekable<std::str::Split<'a, char>>,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<&'a str, SiweError> {
        self.rest.next().ok_or(SiweError::Malformed)
    }

    fn field(&mut self, tag: &str) -> Result<&'a str, SiweError> {
        self.next()?.strip_prefix(tag).ok_or(SiweError::Malformed)
    }

    fn optional(&mut self, tag: &str) -> Option<&'a str> {
        let value = self.rest.peek().and_then(|line| line.strip_prefix(tag))?;
        self.rest.next();
        Some(value)
    }

    fn empty(&mut self) -> Result<(), SiweError> {
        if self.next()?.is_empty() { Ok(()) } else { Err(SiweError::Malformed) }
    }
}

impl<'a> Message<'a> {
    /// Parses a message.
    ///
    /// # Errors
    /// The first deviation from EIP-4361.
    pub fn parse(text: &'a str) -> Result<Self, SiweError> {
        if text.len() > MAX_BYTES {
            return Err(SiweError::MessageTooLong);
        }
        if text.contains('\r') {
            return Err(SiweError::LineEndings);
        }
        if !text.bytes().all(|byte| byte == b'\n' || (0x20..0x7f).contains(&byte)) {
            return Err(SiweError::Characters);
        }
        let mut lines = Lines { rest: text.split('\n').peekable() };
        let origin = lines.next()?.strip_suffix(PREAMBLE).ok_or(SiweError::Malformed)?;
        let (scheme, domain) = origin.split_once("://").map_or((None, origin), |(scheme, rest)| (Some(scheme), rest));
        if !grammar::is_authority(domain) || scheme.is_some_and(|scheme| !grammar::is_scheme(scheme)) {
            return Err(SiweError::DomainMalformed);
        }
        let address = Address::parse_checksummed(lines.next()?).map_err(|fault| match fault {
            AddressFault::Malformed => SiweError::AddressMalformed,
            AddressFault::Checksum => SiweError::AddressChecksum,
        })?;
        lines.empty()?;
        let statement = Some(lines.next()?).filter(|line| !line.is_empty());
        if let Some(statement) = statement {
            if !grammar::is_statement(statement) {
                return Err(SiweError::StatementMalformed);
            }
            lines.empty()?;
        }
        let uri = lines.field("URI: ").and_then(|uri| checked(uri, grammar::is_uri, SiweError::UriMalformed))?;
        if lines.field("Version: ")? != "1" {
            return Err(SiweError::VersionUnsupported);
        }
        let chain = lines.field("Chain ID: ").and_then(chain_id)?;
        let nonce = lines.field("Nonce: ").and_then(|nonce| checked(nonce, is_nonce, SiweError::NonceMalformed))?;
        let issued_at = lines.field("Issued At: ").and_then(moment)?;
        let expires_at = lines.optional("Expiration Time: ").map(moment).transpose()?;
        let not_before = lines.optional("Not Before: ").map(moment).transpose()?;
        let request_id = lines.optional("Request ID: ");
        if request_id.is_some_and(|id| !grammar::is_request_id(id)) {
            return Err(SiweError::RequestIdMalformed);
        }
        let resources = resources(&mut lines)?;
        Ok(Self {
            scheme,
            domain,
            address,
            statement,
            uri,
            chain,
            nonce,
            issued_at,
            expires_at,
            not_before,
            request_id,
            resources,
        })
    }
}

fn checked(text: &str, is_good: fn(&str) -> bool, error: SiweError) -> Result<&str, SiweError> {
    if is_good(text) { Ok(text) } else { Err(error) }
}

fn is_nonce(text: &str) -> bool {
    text.len() >= 8 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Digits without leading zeros, so that a message has one spelling.
fn chain_id(text: &str) -> Result<u64, SiweError> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_plain { text.parse().map_err(|_| SiweError::ChainMalformed) } else { Err(SiweError::ChainMalformed) }
}

fn moment(text: &str) -> Result<Moment<'_>, SiweError> {
    grammar::moment(text).map(|time| Moment { text, time }).ok_or(SiweError::TimeMalformed)
}

/// The list at the end, up to the message's last line.
fn resources<'a>(lines: &mut Lines<'a>) -> Result<Option<Vec<&'a str>>, SiweError> {
    match lines.rest.next() {
        None => return Ok(None),
        Some("Resources:") => {}
        Some(_) => return Err(SiweError::ExtraContent),
    }
    let mut resources = Vec::new();
    for line in lines.rest.by_ref() {
        let uri = line.strip_prefix("- ").ok_or(SiweError::ExtraContent)?;
        resources.push(checked(uri, grammar::is_uri, SiweError::ResourceMalformed)?);
    }
    Ok(Some(resources))
}

impl fmt::Display for Message<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = self.scheme {
            write!(out, "{scheme}://")?;
        }
        write!(out, "{}{PREAMBLE}\n{}\n\n", self.domain, self.address)?;
        if let Some(statement) = self.statement {
            writeln!(out, "{statement}")?;
        }
        write!(out, "\nURI: {}\nVersion: 1\nChain ID: {}\nNonce: {}", self.uri, self.chain, self.nonce)?;
        write!(out, "\nIssued At: {}", self.issued_at.text)?;
        for (tag, moment) in [("Expiration Time", &self.expires_at), ("Not Before", &self.not_before)] {
            if let Some(moment) = moment {
                write!(out, "\n{tag}: {}", moment.text)?;
            }
        }
        if let Some(id) = self.request_id {
            write!(out, "\nRequest ID: {id}")?;
        }
        if let Some(resources) = &self.resources {
            out.write_str("\nResources:")?;
            resources.iter().try_for_each(|resource| write!(out, "\n- {resource}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FULL: &str = "https://app.example:8443 wants you to sign in with your Ethereum account:\n\
        0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed\n\nSign in to the bridge.\n\nURI: https://app.example/login\nVersion: 1\n\
        Chain ID: 137\nNonce: abcDEF123\nIssued At: 2026-01-01T12:00:00.000Z\nExpiration Time: 2026-01-01T12:05:00.000Z\n\
        Not Before: 2026-01-01T12:00:00Z\nRequest ID: r-1\nResources:\n- https://a.example/x\n- ipfs://Qm1";

    #[test]
    fn a_message_with_everything_is_read_and_written_back() {
        let message = Message::parse(FULL).expect("good");
        assert_eq!(message.to_string(), FULL);
        assert_eq!((message.scheme, message.domain, message.chain), (Some("https"), "app.example:8443", 137));
        assert_eq!(message.resources.as_ref().map(Vec::len), Some(2));
    }

    #[test]
    fn every_line_counts() {
        let lines: Vec<&str> = FULL.split('\n').collect();
        for left_out in [0, 1, 2, 5, 6, 7, 8, 9] {
            let text: Vec<&str> = lines.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, line)| *line).collect();
            assert!(Message::parse(&text.join("\n")).is_err(), "without {:?}", lines[left_out]);
        }
        for at in 0..lines.len() - 1 {
            let mut swapped = lines.clone();
            swapped.swap(at, at + 1);
            let text = swapped.join("\n");
            // Swapping two resources, or two empty lines, gives another valid message.
            assert_eq!(Message::parse(&text).is_err(), at < lines.len() - 2, "{at}");
        }
    }

    #[test]
    fn each_fault_has_its_code() {
        for (from, to, error) in [
            ("app.example:8443", "", SiweError::DomainMalformed),
            ("https://app.example:8443", "h ttps://app.example", SiweError::DomainMalformed),
            ("0x5aAeb", "0x5AAeb", SiweError::AddressChecksum),
            ("0x5aAeb", "0x", SiweError::AddressMalformed),
            ("bridge.", "\"bridge\"", SiweError::StatementMalformed),
            ("URI: https", "URI: :https", SiweError::UriMalformed),
            ("Version: 1", "Version: 2", SiweError::VersionUnsupported),
            ("Chain ID: 137", "Chain ID: 0137", SiweError::ChainMalformed),
            ("Chain ID: 137", "Chain ID: 99999999999999999999", SiweError::ChainMalformed),
            ("Chain ID: 137", "Chain ID: ", SiweError::ChainMalformed),
            ("abcDEF123", "abc-DEF123", SiweError::NonceMalformed),
            ("abcDEF123", "abcDEF1", SiweError::NonceMalformed),
            ("2026-01-01T12:05", "2026-13-01T12:05", SiweError::TimeMalformed),
            ("Request ID: r-1", "Request ID: r 1", SiweError::RequestIdMalformed),
            ("ipfs://Qm1", "not a uri", SiweError::ResourceMalformed),
            ("\n- ipfs", "\n\n- ipfs", SiweError::ExtraContent),
            ("Request ID", "Request Id", SiweError::ExtraContent),
            ("ipfs://Qm1", "ipfs://Qm1\n", SiweError::ExtraContent),
            ("\n", "\r\n", SiweError::LineEndings),
            ("app", "\u{0430}pp", SiweError::Characters),
            ("bridge", "bri\tdge", SiweError::Characters),
        ] {
            assert_eq!(Message::parse(&FULL.replacen(from, to, 1)), Err(error), "{from} -> {to}");
        }
        assert_eq!(Message::parse(&"x".repeat(MAX_BYTES + 1)), Err(SiweError::MessageTooLong));
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_back_the_same(at in 0..FULL.len(), replacement in "[ -~\n]{0,3}") {
            let mut text = FULL.to_owned();
            text.replace_range(at..=at, &replacement);
            if let Ok(message) = Message::parse(&text) {
                prop_assert_eq!(message.to_string(), text);
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,200}") {
            let _ = Message::parse(&text);
        }
    }
}
