//! Tokens that requests carry.

use actix_web::http::header::{AUTHORIZATION, HeaderMap};

/// The token of `Authorization: Bearer <token>`. The case of the scheme does not matter (RFC 9110,
/// section 11.1).
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn the_scheme_is_bearer_in_any_case_and_no_other() {
        let token = |value: &str| {
            let request = TestRequest::get().insert_header(("authorization", value)).to_http_request();
            bearer(request.headers()).map(str::to_owned)
        };
        assert_eq!(token("Bearer two").as_deref(), Some("two"));
        assert_eq!(token("bearer  two ").as_deref(), Some("two"));
        for none in ["two", "Basic two", "", "Bearer"] {
            assert_eq!(token(none), None, "{none}");
        }
        assert_eq!(bearer(TestRequest::get().to_http_request().headers()), None);
    }
}
