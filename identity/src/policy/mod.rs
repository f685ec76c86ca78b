//! Who may do what, in one place.
//!
//! [`Policy::may`] decides one action of one principal from the facts that it is given. It stores
//! nothing, looks nothing up, and denies what no rule allows. A session sees its own data, its
//! user's, and what the operator made public, as far as the scopes of its login allow
//! ([`Ability`]). An agent reaches what its key's scopes name.
//!
//! Between users messages pass only through topics that a rule opens, and through agents, which are
//! trusted within their scopes. Topics below `user/<name>/` and `session/<uuid>/` belong to that
//! user or session, whatever the rules say; [`user_topic`] and [`session_topic`] make their names.
//!
//! The facts must be true. The user of a session comes from the credentials of the connection that
//! asks. The user of a session's *channel* is the user for whom the messages in it are. So a
//! connection that was opened before the login, or was planted by somebody, hears nothing that is
//! sent to the user. A session's own topics depend on its id only: whatever ends a login also ends
//! the session, and the next login gets another session.

mod abilities;
mod owned;
mod principal;
mod rules;
mod verdict;

pub use abilities::Ability;
pub use owned::{session_topic, user_topic};
pub use principal::{Action, Principal, Resource};
pub use rules::{AgentRule, Policy, Requirement, TopicRule};

use crate::refusal::refusals;

refusals! {
    /// Why an action is denied. No reason tells whether the target exists.
    Denied {
        NotAllowed = NotAllowed;
        LoginRequired = LoginRequired;
        ScopeRequired = ScopeRequired;
    }
}
