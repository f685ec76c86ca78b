//! What all conversations and webhooks of the dialect share.

use std::sync::Arc;

use common::{
    address::Address,
    assertion::ClientIdentity,
    config::SupervisorSettings,
    dialect::{Dialect, USER_PREFIX},
    error::{ClientError, ErrorCode},
    id::{AgentId, IdError, UserId},
};

use super::{line::Line, twilio::Once};
use crate::{
    dialects::{Caller, Guest, Host},
    doors::{Door, SessionOptions},
};

/// The dialect. See the module above.
pub struct Supervisor {
    settings: SupervisorSettings,
    host: Arc<dyn Host>,
    agent: Address,
    user: UserId,
    webhook_user: UserId,
    /// The answers to Twilio's messages.
    pub(super) once: Once,
}

impl Supervisor {
    /// The dialect with these settings, hosted by `host`.
    ///
    /// # Errors
    /// The name of the agent is not a name.
    pub fn new(settings: SupervisorSettings, host: Arc<dyn Host>) -> Result<Arc<Self>, IdError> {
        let name = Dialect::Supervisor.as_str();
        Ok(Arc::new(Self {
            agent: Address::Agent(AgentId::new(&settings.agent)?),
            user: UserId::new(&format!("{USER_PREFIX}{name}"))?,
            webhook_user: UserId::new(&format!("{USER_PREFIX}{name}-webhooks"))?,
            once: Once::default(),
            settings,
            host,
        }))
    }

    pub(super) fn settings(&self) -> &SupervisorSettings {
        &self.settings
    }

    pub(super) fn host(&self) -> &dyn Host {
        &*self.host
    }

    /// The guest that a token proves: the dialect's own key, or the token of a session.
    pub(super) async fn guest(&self, caller: &Caller, token: &str) -> Result<Box<dyn Guest>, ClientError> {
        let key = &self.settings.token;
        // Signed tokens have dots between their three parts. They cannot be guessed, so a wrong one
        // counts as a forged token and not as a guess.
        if token.split('.').count() == 3 && !key.matches(token) {
            return self.host.recognise(caller, token).await;
        }
        if key.is_empty() {
            return Err(ErrorCode::Unauthorized.into());
        }
        self.host.check_key(caller, token, key)?;
        Ok(self.host.guest(self.user.clone())?)
    }

    /// The guest that the webhooks are at the broker.
    pub(super) fn webhook_guest(&self) -> Result<Box<dyn Guest>, ErrorCode> {
        self.host.guest(self.webhook_user.clone())
    }

    /// The options of a session's door.
    pub(super) fn at_door(&self, identity: ClientIdentity) -> SessionOptions {
        SessionOptions { entrance: self.host.entrance(), identity, tuning: self.host.tuning() }
    }

    /// The line to the agent through a door.
    pub(super) fn line(&self, door: Door) -> Line {
        Line::new(door, self.agent.clone(), self.settings.reply_timeout)
    }
}
