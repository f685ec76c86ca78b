//! Who sent a request, as far as the request itself tells.

use std::net::IpAddr;

use actix_web::{HttpRequest, http::header, web};
use common::error::ErrorCode;
use transport::{
    OriginRule,
    client_address::{TrustedProxies, of},
};

use super::refusal::HttpRefusal;

/// How many characters of a `User-Agent` are kept.
const USER_AGENT_LENGTH: usize = 256;

/// The sender of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The address: that of the connection, or what trusted proxies say.
    pub address: IpAddr,
    /// The `User-Agent`, cut to 256 characters.
    pub user_agent: Option<String>,
}

impl Caller {
    /// The sender of this request.
    pub fn of(request: &HttpRequest) -> Self {
        let address = match request.app_data::<web::Data<TrustedProxies>>() {
            Some(proxies) => of(request, proxies),
            None => of(request, &TrustedProxies::default()),
        };
        let user_agent = request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        Self { address, user_agent: user_agent.map(|text| text.chars().take(USER_AGENT_LENGTH).collect()) }
    }
}

/// Checks a request against the origin rule. Any page can open a WebSocket to this machine, and its
/// browser says in `Origin` which page it is. Programs send no `Origin`.
///
/// # Errors
/// 403 `origin_not_allowed`.
pub fn require_own_origin(request: &HttpRequest) -> Result<(), HttpRefusal> {
    let admits = match request.app_data::<web::Data<OriginRule>>() {
        Some(rule) => rule.admits(request),
        None => OriginRule::default().admits(request),
    };
    if admits { Ok(()) } else { Err(ErrorCode::OriginNotAllowed.into()) }
}
