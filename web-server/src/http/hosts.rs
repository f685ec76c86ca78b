//! The names under which the edge answers: see [`transport::HostRule`].

use actix_web::{
    Error,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    middleware::Next,
    web,
};
use common::error::ErrorCode;
use transport::{HostRule, bearer};

use super::Refusal;

/// The paths of probes, answered under any name.
const HEALTH: [&str; 2] = ["/health/live", "/health/ready"];
/// The path of operators. Its handler checks the token and charges a wrong one.
const OPERATORS: &str = "/stats";

/// Middleware: refuses a request under a name that is not the edge's. Health checks and operators
/// with a token need no name.
///
/// # Errors
/// Those of the services inside.
pub async fn require_own_host(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let admits = match request.app_data::<web::Data<HostRule>>() {
        Some(rule) => rule.admits(request.request()),
        None => HostRule::default().admits(request.request()),
    };
    let brings_token = request.path() == OPERATORS && bearer(request.headers()).is_some();
    if !admits && !brings_token && !HEALTH.contains(&request.path()) {
        return Ok(request.error_response(Refusal::from(ErrorCode::HostNotAllowed)));
    }
    next.call(request).await.map(ServiceResponse::map_into_boxed_body)
}
