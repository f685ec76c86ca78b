//! The security headers of every answer, of pages and refusals alike.

use std::time::Duration;

use actix_web::{
    Error, HttpRequest,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::header::{HeaderName, HeaderValue},
    middleware::Next,
    web,
};

/// The app needs its own files and its own socket. Nothing inline, nothing from elsewhere, and no
/// frame around it.
const POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; object-src 'none'; form-action 'self'";
/// Devices and interfaces that no page of this origin asks for.
const PERMISSIONS: &str = "camera=(), display-capture=(), geolocation=(), hid=(), microphone=(), midi=(), payment=(), \
    publickey-credentials-get=(), serial=(), usb=()";

const HEADERS: [(&str, &str); 6] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", PERMISSIONS),
];

/// Tells browsers to use https only. Applies to the host's other ports too.
#[derive(Clone, Debug)]
pub struct Hsts(HeaderValue);

impl Hsts {
    /// For so long; `None`: browsers are not told.
    pub fn new(max_age: Duration) -> Option<Self> {
        let value = HeaderValue::from_str(&format!("max-age={}", max_age.as_secs())).ok()?;
        (!max_age.is_zero()).then_some(Self(value))
    }

    /// The header's value for this request. `localhost` is left alone, because a developer serves
    /// other programs there.
    fn of(request: &HttpRequest) -> Option<HeaderValue> {
        let hsts = request.app_data::<web::Data<Option<Self>>>()?.as_ref().as_ref()?;
        let host = transport::site::host(request).unwrap_or_default();
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let is_local = name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost");
        (!is_local).then(|| hsts.0.clone())
    }
}

/// Middleware: adds the headers to the answers of the services inside.
///
/// # Errors
/// Those of the services inside.
pub async fn security_headers(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let hsts = Hsts::of(request.request());
    let mut response = next.call(request).await?;
    for (name, value) in HEADERS {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if let Some(hsts) = hsts {
        response.headers_mut().insert(HeaderName::from_static("strict-transport-security"), hsts);
    }
    Ok(response)
}
