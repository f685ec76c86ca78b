//! The mail that SendGrid's inbound webhook posts: which fields count, in which encoding. Pure.

use std::collections::HashMap;

use encoding_rs::{Encoding, UTF_8};
use serde_json::{Map, Value};

use super::{
    frames::{FrameFault, Request},
    kinds::EMAIL,
};

/// The fields of a form, as the bytes that came.
pub type Fields = HashMap<String, Vec<u8>>;

/// The request that a posted mail is. The user is the sender's bare address. Without a plain text
/// the body is the text of the HTML.
///
/// # Errors
/// The sender, the receiver, the subject or the body is missing.
pub fn request_of(fields: &Fields) -> Result<Request, FrameFault> {
    // SendGrid names the encoding of each field in a field of its own.
    let charsets: Map<String, Value> =
        fields.get("charsets").and_then(|json| serde_json::from_slice(json).ok()).unwrap_or_default();
    let field = |name: &str| {
        let bytes = fields.get(name)?;
        let label = charsets.get(name).and_then(Value::as_str).unwrap_or("utf-8");
        let encoding = Encoding::for_label(label.as_bytes()).unwrap_or(UTF_8);
        Some(encoding.decode(bytes).0.into_owned())
    };
    let missing = |field| FrameFault::Missing { kind: "mail", field };
    let from = field("from").filter(|from| !from.trim().is_empty()).ok_or_else(|| missing("from"))?;
    let to = field("to").filter(|to| !to.trim().is_empty()).ok_or_else(|| missing("to"))?;
    let html = field("html");
    let body = field("text").filter(|text| !text.trim().is_empty()).or_else(|| html.as_deref().map(text_of_html));
    let user = bare_address(&from).to_owned();
    let mut request = Map::from_iter([
        ("from".to_owned(), Value::from(from)),
        ("to".to_owned(), to.into()),
        ("subject".to_owned(), field("subject").unwrap_or_default().into()),
        ("body".to_owned(), body.ok_or_else(|| missing("text"))?.into()),
        ("user".to_owned(), user.into()),
    ]);
    if let Some(html) = html {
        request.insert("html".to_owned(), html.into());
    }
    Request::new(&EMAIL, request)
}

/// `ann@example` of `Ann <ann@example>`.
fn bare_address(from: &str) -> &str {
    let inside = from.rsplit_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(inside, _)| inside);
    inside.unwrap_or(from).trim()
}

/// The text between the tags of HTML, for agents that read text. Not for display: nothing is
/// interpreted but the five entities that escaped text has.
fn text_of_html(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut is_inside = false;
    for character in html.chars() {
        match character {
            '<' => is_inside = true,
            '>' if is_inside => is_inside = false,
            _ if is_inside => {}
            _ => text.push(character),
        }
    }
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&nbsp;", " "), ("&amp;", "&")];
    entities.into_iter().fold(text, |text, (entity, character)| text.replace(entity, character)).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &[u8])]) -> Fields {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect()
    }

    #[test]
    fn a_mail_is_read_in_the_encoding_that_each_field_has() {
        let posted = fields(&[
            ("from", b"Ann B <ann@example.org>"),
            ("to", b"boss@example.org"),
            ("subject", "gr\u{fc}\u{df}e".as_bytes()),
            ("text", b"caf\xe9"),
            ("charsets", br#"{"to":"UTF-8","subject":"UTF-8","from":"UTF-8","text":"iso-8859-1"}"#),
            ("attachment1", b"ignored"),
        ]);
        let request = request_of(&posted).expect("a mail");
        assert_eq!(request.field("body"), "caf\u{e9}");
        assert_eq!(request.field("subject"), "gr\u{fc}\u{df}e");
        assert_eq!((request.field("user"), request.field("from")), ("ann@example.org", "Ann B <ann@example.org>"));
        assert!(!request.fields.contains_key("attachment1"));
    }

    #[test]
    fn html_alone_is_read_as_text_and_a_mail_needs_its_fields() {
        let html = fields(&[("from", b"a@b"), ("to", b"c@d"), ("html", b"<p>1 &lt; 2 &amp;amp;</p>")]);
        assert_eq!(request_of(&html).expect("a mail").field("body"), "1 < 2 &amp;");
        let missing = |pairs: &[(&str, &[u8])]| request_of(&fields(pairs)).expect_err("incomplete").to_string();
        assert!(missing(&[("to", b"c@d"), ("text", b"x")]).contains("`from`"));
        assert!(missing(&[("from", b"a@b"), ("text", b"x")]).contains("`to`"));
        assert!(missing(&[("from", b"a@b"), ("to", b"c@d")]).contains("`text`"));
    }
}
