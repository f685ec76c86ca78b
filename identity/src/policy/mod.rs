//! Who may do what, in one place.
//!
//! [`Policy::may`] judges one action of one principal from the facts that are handed to it; it keeps nothing, looks nothing
//! up, and denies what no rule allows. A session sees its own, its user's, and what the operator made public, as far as the scopes of
//! its login let it ([`Ability`]). An agent reaches what its key's scopes name.
//!
//! Between users nothing passes but through topics that a rule opens, and through agents, which are trusted within their
//! scopes. Topics below `user/<name>/` and `session/<uuid>/` belong to that user or session whatever the rules say;
//! [`user_topic`] and [`session_topic`] make their names.
//!
//! The facts must be true: who a session's user is comes from the credentials of the connection that asks, and the user of a
//! session's *channel* is whoever the messages in it were or are for. So a connection that was opened before the session
//! logged in, or planted by somebody, hears nothing of what is said to the user. A session's own topics know its id only:
//! whatever ends a login ends the session too, and the next login is another session.

mod abilities;
mod owned;
mod principal;
mod rules;
mod verdict;

pub use abilities::Ability;
pub use owned::{session_topic, user_topic};
pub use principal::{Action, Place, Principal};
pub use rules::{AgentRule, Policy, Requirement, TopicRule};

use crate::refusal::refusals;

refusals! {
    /// Why an action is denied. None of them tells whether what was reached for exists.
    Denied {
        NotAllowed = NotAllowed;
        LoginRequired = LoginRequired;
        ScopeRequired = ScopeRequired;
    }
}
