//! The steps of a history.

use proptest::prelude::*;

use super::owners::{SESSIONS, To, USERS};

/// The most open sockets.
pub const SLOTS: usize = 8;

/// Who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// An agent with a key that reaches everything.
    Trusted,
    /// An agent with a key for the first user.
    Bounded,
    /// A session, with its present credentials.
    Session(usize),
    /// A session, with credentials from before its login.
    Stale(usize),
    /// A session, with the credentials of another user than its own.
    Foreign(usize),
    /// A session that logs in by connecting with a user's credentials.
    LoggedIn(usize, usize),
}

impl Who {
    /// The session, if it is one that is admitted.
    pub fn session(self) -> Option<usize> {
        match self {
            Self::Session(session) => Some(session),
            _ => None,
        }
    }
}

/// How it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Plain,
    Explicit,
    Named,
    Resuming,
    /// As an edge that has lost the broker and is back.
    EdgeBack,
}

/// How a message is sent.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    pub durable: bool,
    pub receipt: bool,
    pub retain: bool,
    pub request: bool,
    pub answers: bool,
}

/// A request about a channel.
#[derive(Clone, Copy, Debug)]
pub enum Want {
    Subscribe { presence: bool, start: usize },
    Unsubscribe,
    History,
    DeadLetters,
    Resume,
    Ack,
    Nack,
}

#[derive(Clone, Copy, Debug)]
pub enum Step {
    Connect(usize, Who, Manner),
    Leave(usize),
    /// In place; the other socket is kept if it belongs to the same session.
    LogIn(usize, usize, usize),
    Send(usize, To, Manners),
    Want(usize, To, Want),
    List(usize),
    /// The same about what is another's, and about what does not exist.
    Probe(usize, To, Want),
    ProbeSend(usize, To, bool),
}

fn who() -> impl Strategy<Value = Who> {
    let session = 0..SESSIONS;
    prop_oneof![
        2 => Just(Who::Trusted),
        2 => Just(Who::Bounded),
        8 => session.clone().prop_map(Who::Session),
        1 => session.clone().prop_map(Who::Stale),
        1 => session.clone().prop_map(Who::Foreign),
        1 => (session, 0..USERS).prop_map(|(session, user)| Who::LoggedIn(session, user)),
    ]
}

fn to() -> impl Strategy<Value = To> {
    prop_oneof![
        1 => Just(To::Trusted),
        1 => Just(To::Bounded),
        6 => (0..SESSIONS).prop_map(To::Session),
        4 => (0..USERS).prop_map(To::User),
        2 => Just(To::Open),
        2 => (0..USERS).prop_map(To::OfUser),
        1 => (0..SESSIONS).prop_map(To::OfSession),
        1 => Just(To::Sessions),
        1 => Just(To::Agents),
        1 => Just(To::All),
        1 => Just(To::Default),
        3 => Just(To::OwnInbox),
        5 => Just(To::OwnTopic),
    ]
}

fn manners() -> impl Strategy<Value = Manners> {
    any::<[bool; 5]>().prop_map(|[durable, receipt, retain, request, answers]| Manners {
        durable,
        receipt,
        retain,
        request,
        answers,
    })
}

fn want() -> impl Strategy<Value = Want> {
    prop_oneof![
        3 => (any::<bool>(), 0..3usize).prop_map(|(presence, start)| Want::Subscribe { presence, start }),
        1 => Just(Want::Unsubscribe),
        2 => Just(Want::History),
        1 => Just(Want::DeadLetters),
        1 => Just(Want::Resume),
        1 => Just(Want::Ack),
        1 => Just(Want::Nack),
    ]
}

pub fn histories() -> impl Strategy<Value = Vec<Step>> {
    // The first two begin as agents, which may send more.
    let at = prop_oneof![3 => Just(0), 1 => Just(1), 8 => 0..SLOTS];
    let manner = prop_oneof![
        3 => Just(Manner::Plain),
        1 => Just(Manner::Explicit),
        1 => Just(Manner::Named),
        1 => Just(Manner::Resuming),
        1 => Just(Manner::EdgeBack)
    ];
    let step = prop_oneof![
        6 => (at.clone(), who(), manner).prop_map(|(at, who, manner)| Step::Connect(at, who, manner)),
        1 => at.clone().prop_map(Step::Leave),
        2 => (at.clone(), 0..USERS, at.clone()).prop_map(|(at, user, kept)| Step::LogIn(at, user, kept)),
        10 => (at.clone(), to(), manners()).prop_map(|(at, to, manners)| Step::Send(at, to, manners)),
        6 => (at.clone(), to(), want()).prop_map(|(at, to, want)| Step::Want(at, to, want)),
        1 => at.clone().prop_map(Step::List),
        2 => (at.clone(), to(), want()).prop_map(|(at, to, want)| Step::Probe(at, to, want)),
        1 => (at, to(), any::<bool>()).prop_map(|(at, to, durable)| Step::ProbeSend(at, to, durable)),
    ];
    let begin = [Who::Trusted, Who::Bounded, Who::Session(0), Who::Session(2), Who::Session(3), Who::Session(3)];
    let mut begin: Vec<_> = begin.into_iter().enumerate().map(|(at, who)| Step::Connect(at, who, Manner::Plain)).collect();
    let subscribe = Want::Subscribe { presence: true, start: 1 };
    begin.extend((2..6).flat_map(|at| [To::OwnTopic, To::Open].map(|to| Step::Want(at, to, subscribe))));
    // What would seldom happen by chance: something of one's own, a page of history, a receipt, a
    // stranger, a login, presence, a refusal.
    let durable = Manners { durable: true, receipt: true, retain: false, request: false, answers: false };
    begin.extend([
        Step::Send(1, To::User(0), durable),
        Step::Send(0, To::OfUser(0), durable),
        Step::Want(2, To::OwnTopic, Want::History),
        Step::Send(2, To::Bounded, durable),
        Step::Connect(6, Who::Stale(0), Manner::Plain),
        Step::Connect(6, Who::LoggedIn(4, 1), Manner::Plain),
        Step::Leave(6),
        Step::Connect(6, Who::Session(1), Manner::Plain),
        Step::Want(6, To::Open, subscribe),
        Step::Probe(3, To::User(0), Want::History),
    ]);
    prop::collection::vec(step, 20..160).prop_map(move |steps| [begin.clone(), steps].concat())
}
