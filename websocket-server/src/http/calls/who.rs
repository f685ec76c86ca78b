//! Who calls, by the credentials of the request.

use actix_web::HttpRequest;
use common::{
    error::{ClientError, ErrorCode},
    id::AgentId,
    message::agent_id_in_query,
};
use transport::client_address;

use super::caller::Who;
use crate::{
    broker::Broker,
    http::{
        credentials::{Vouched, admit_agent, is_operator, on_guess},
        sockets::check_origin,
    },
};

/// Who calls: an operator, a session that an edge vouches for, or an agent with its key. Without an
/// `agent_id` an agent gets an id for this call. A text that is no operator's token is checked
/// again as an agent's key; if it is wrong, it costs as a key and as a guess at the token.
///
/// # Errors
/// Those of the credentials; `origin_not_allowed`, `invalid_agent_id`.
pub fn who(request: &HttpRequest, broker: &Broker, agent_id: Option<&str>) -> Result<Who, ClientError> {
    check_origin(request, broker)?;
    let agent = agent_id.map(|text| agent_id_in_query("agent_id", text)).transpose()?;
    let address = client_address::of(request, &broker.http.proxies);
    if is_operator(broker, request, address) {
        return Ok(Who::Operator(address.to_string()));
    }
    match Vouched::found(request) {
        Ok(Vouched::Session(identity)) => Ok(Who::Session(identity)),
        Err(code @ ErrorCode::CredentialsExpired) => Err(code.into()),
        Ok(Vouched::Edge) | Err(_) => {
            let pass = admit_agent(broker, request, agent.as_ref(), address).map_err(|error| {
                let may_be_a_guess = matches!(error.code, ErrorCode::ClientCertificateRequired | ErrorCode::Unauthorized);
                if may_be_a_guess { on_guess(broker, address, error) } else { error }
            })?;
            Ok(Who::Agent(agent.unwrap_or_else(AgentId::assigned), pass))
        }
    }
}
