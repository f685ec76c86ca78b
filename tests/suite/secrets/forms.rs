//! Secrets, and the forms in which they could show.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use uuid::Uuid;

/// A part of a secret of this length is no accident.
const TELLING: usize = 12;

struct Secret {
    what: &'static str,
    /// The texts that must not be in any output.
    forms: Vec<String>,
}

/// Everything that must not be printed.
#[derive(Default)]
pub struct Secrets(Vec<Secret>);

impl Secrets {
    /// Adds a secret: itself, its beginning, and both in base64 (at every alignment) and
    /// hexadecimal. Of a token, each of its parts except the header.
    pub fn add(&mut self, what: &'static str, secret: &str) -> String {
        // The part before the random part of a made key is its name.
        let chance = secret.strip_prefix("abk_").and_then(|rest| rest.split_once('_')).map_or(secret, |(_, chance)| chance);
        let parts = chance.split('.').filter(|part| part.len() >= TELLING && !part.starts_with("eyJ"));
        let forms: Vec<_> = parts.flat_map(forms_of).collect();
        assert!(!forms.is_empty(), "the {what} is too short to be told from other text");
        self.0.push(Secret { what, forms });
        secret.to_owned()
    }

    /// Makes and adds a random one.
    pub fn fresh(&mut self, what: &'static str) -> String {
        self.add(what, &format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Fails if one of them, or a signed token of any kind, is in a text.
    pub fn check(&self, whose: &str, text: &str) {
        let show = |form: &str| text.lines().find(|line| line.contains(form)).unwrap_or_default().to_owned();
        for Secret { what, forms } in &self.0 {
            let found = forms.iter().find(|form| text.contains(form.as_str()));
            assert!(found.is_none(), "the {what} is in {whose}: {}", found.map_or_else(String::new, |form| show(form)));
        }
        assert!(!text.contains("eyJ"), "a token is in {whose}: {}", show("eyJ"));
    }
}

fn forms_of(part: &str) -> Vec<String> {
    let beginning = &part[..TELLING];
    let hexadecimal: String = beginning.bytes().map(|byte| format!("{byte:02x}")).collect();
    // Three bytes make four characters, so there are three alignments.
    let encoded = (0..3).map(|before| {
        let text = STANDARD_NO_PAD.encode([&vec![0; before], beginning.as_bytes()].concat());
        let begin = (before * 8).div_ceil(6);
        text[begin..begin + TELLING * 8 / 6 - 2].to_owned()
    });
    let encoded: Vec<_> = encoded.collect();
    let for_urls = encoded.iter().map(|text| text.replace('+', "-").replace('/', "_"));
    let mut forms = vec![beginning.to_owned(), hexadecimal.to_ascii_uppercase(), hexadecimal];
    forms.extend(for_urls);
    forms.extend(encoded);
    forms
}

#[test]
fn a_secret_is_found_in_every_form() {
    let mut secrets = Secrets::default();
    let secret = secrets.fresh("secret");
    let encode = |text: String| STANDARD_NO_PAD.encode(text);
    let found = |text: &str| std::panic::catch_unwind(|| secrets.check("a text", text)).is_err();
    assert!(!found("nothing") && !found(&secret[1..]));
    for text in [
        secret.clone(),
        format!("a {} b", &secret[..12]),
        encode(secret.clone()),
        encode(format!("a{secret}")),
        encode(format!("ab{secret}")),
        encode(format!("abc{}", &secret[..12])),
        secret.bytes().map(|byte| format!("{byte:02x}")).collect(),
        secret.bytes().map(|byte| format!("{byte:02X}")).collect(),
        "eyJhbGciOiJIUzI1NiJ9".to_owned(),
    ] {
        assert!(found(&text), "{text}");
    }
}
