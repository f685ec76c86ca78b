//! The headers with clients' tokens.

use actix_web::{http::header::HeaderValue, test::TestRequest};
use web_server::sessions::{COOKIE, Proof, presented};

/// The token that is found is there, in the header that is named. The first byte selects the
/// header.
pub fn credentials(data: &[u8]) {
    let Some((first, value)) = data.split_first() else { return };
    let Ok(value) = HeaderValue::from_bytes(value) else { return };
    let name = ["authorization", "sec-websocket-protocol", "cookie"][usize::from(*first) % 3];
    let request = TestRequest::get().insert_header((name, value.clone())).to_http_request();
    let Ok((token, proof)) = presented(&request) else { return };
    assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)));
    let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
    match name {
        "authorization" => {
            assert!(proof == Proof::Bearer && text.to_ascii_lowercase().starts_with("bearer ") && text.contains(&token))
        }
        "sec-websocket-protocol" => {
            assert!(proof == Proof::Bearer && text.contains(&format!("bearer.{token}")));
        }
        _ => assert!(proof == Proof::Cookie && text.contains(COOKIE)),
    }
}
