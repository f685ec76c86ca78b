use std::collections::BTreeSet;

use super::*;
use crate::policy::{AgentRule, Requirement, TopicRule, session_topic, user_topic};

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn agent(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

fn policy() -> Policy {
    let topics = |topics: &str, requires| TopicRule { topics: topics.parse().unwrap(), requires };
    let agents = |agents: &str, requires| AgentRule { agents: agents.parse().unwrap(), requires };
    Policy {
        agents: vec![agents("help-staff", Requirement::LoggedIn), agents("help*", Requirement::Anyone)],
        topics: vec![topics("news/*", Requirement::Anyone), topics("room/*", Requirement::LoggedIn)],
        visible_members: vec!["room/*".parse().unwrap()],
    }
}

struct Login {
    id: SessionId,
    user: Option<UserId>,
    scopes: BTreeSet<String>,
}

impl Login {
    fn new(name: Option<&str>) -> Self {
        Self { id: SessionId::fresh(), user: name.map(user), scopes: BTreeSet::new() }
    }

    fn may(&self, action: Action<'_>) -> Verdict {
        policy().may(self.principal(), action)
    }

    fn principal(&self) -> Principal<'_> {
        Principal::Session { id: self.id, user: self.user.as_ref(), scopes: &self.scopes }
    }

    fn resource(&self) -> Resource<'_> {
        Resource::Session { id: self.id, user: self.user.as_ref() }
    }
}

#[test]
fn sessions_reach_agents_by_the_first_rule_that_fits() {
    let (anonymous, ann) = (Login::new(None), Login::new(Some("ann")));
    let send = |login: &Login, id: &str| login.may(Action::Send(Resource::Agent { id: &agent(id), scopes: None }));
    assert_eq!(send(&anonymous, "help"), Ok(()));
    assert_eq!(send(&anonymous, "help-staff"), Err(Denied::LoginRequired));
    assert_eq!(send(&ann, "help-staff"), Ok(()));
    assert_eq!(send(&ann, "internal"), Err(Denied::NotAllowed));
}

#[test]
fn an_agent_that_does_not_reach_a_user_is_not_there_for_it() {
    let (ann, bob, anonymous) = (Login::new(Some("ann")), Login::new(Some("bob")), Login::new(None));
    let scopes = Scopes { users: vec!["ann".parse().unwrap()], ..Scopes::default() };
    let resource = Resource::Agent { id: &agent("help"), scopes: Some(&scopes) };
    for action in [Action::Send(resource), Action::See(resource)] {
        assert_eq!(ann.may(action), Ok(()));
        assert_eq!(bob.may(action), Err(Denied::NotAllowed));
        assert_eq!(anonymous.may(action), Err(Denied::NotAllowed));
    }
}

#[test]
fn topics_are_denied_unless_a_rule_opens_them() {
    let (anonymous, ann) = (Login::new(None), Login::new(Some("ann")));
    let (news, room, other) = (topic("news/today"), topic("room/1"), topic("other"));
    for action in [Action::Send, Action::Subscribe, Action::ReadHistory] {
        assert_eq!(anonymous.may(action(Resource::Topic(&news))), Ok(()));
        assert_eq!(anonymous.may(action(Resource::Topic(&room))), Err(Denied::LoginRequired));
        assert_eq!(ann.may(action(Resource::Topic(&room))), Ok(()));
        assert_eq!(ann.may(action(Resource::Topic(&other))), Err(Denied::NotAllowed));
    }
}

#[test]
fn own_topics_are_the_owners_whatever_the_rules_say() {
    let (ann, bob) = (Login::new(Some("ann")), Login::new(Some("bob")));
    let (of_ann, of_session) = (user_topic(&user("ann"), "notes").unwrap(), session_topic(ann.id, "notes").unwrap());
    for policy in [Policy::open(), Policy::default()] {
        for topic in [&of_ann, &of_session] {
            for action in [
                Action::Send(Resource::Topic(topic)),
                Action::Subscribe(Resource::Topic(topic)),
                Action::ReadHistory(Resource::Topic(topic)),
            ] {
                assert_eq!(policy.may(ann.principal(), action), Ok(()));
                assert_eq!(policy.may(bob.principal(), action), Err(Denied::NotAllowed));
            }
        }
        let nobodys = topic("user/ann");
        assert_eq!(policy.may(ann.principal(), Action::Subscribe(Resource::Topic(&nobodys))), Err(Denied::NotAllowed));
    }
}

#[test]
fn a_session_sees_its_own_and_its_users() {
    let (tab, other_tab, bob, anonymous) =
        (Login::new(Some("ann")), Login::new(Some("ann")), Login::new(Some("bob")), Login::new(None));
    assert_eq!(tab.may(Action::See(other_tab.resource())), Ok(()));
    assert_eq!(tab.may(Action::ReadHistory(tab.resource())), Ok(()));
    assert_eq!(tab.may(Action::ReadHistory(other_tab.resource())), Err(Denied::NotAllowed));
    for stranger in [&bob, &anonymous] {
        assert_eq!(tab.may(Action::See(stranger.resource())), Err(Denied::NotAllowed));
        assert_eq!(stranger.may(Action::See(tab.resource())), Err(Denied::NotAllowed));
        assert_eq!(stranger.may(Action::Subscribe(Resource::User(&user("ann")))), Err(Denied::NotAllowed));
        assert_eq!(stranger.may(Action::Send(tab.resource())), Err(Denied::NotAllowed));
    }
    assert_eq!(anonymous.may(Action::See(Login::new(None).resource())), Err(Denied::NotAllowed), "nobody is not one user");
    assert_eq!(tab.may(Action::ReadHistory(Resource::User(&user("ann")))), Ok(()));
    for scope in [Scope::Sessions, Scope::Agents, Scope::All] {
        assert_eq!(tab.may(Action::Send(Resource::Broadcast(scope))), Err(Denied::NotAllowed));
    }
    let help = agent("help");
    assert_eq!(tab.may(Action::ReadHistory(Resource::Agent { id: &help, scopes: None })), Err(Denied::NotAllowed));
}

#[test]
fn a_login_keeps_the_sessions_history_and_another_users_login_does_not() {
    let (ann, bob) = (user("ann"), user("bob"));
    let mut login = Login::new(None);
    let id = login.id;
    let of_nobody = Resource::Session { id, user: None };
    let of_ann = Resource::Session { id, user: Some(&ann) };
    login.user = Some(ann.clone());
    assert_eq!(login.may(Action::ReadHistory(of_nobody)), Ok(()));
    assert_eq!(login.may(Action::ReadHistory(of_ann)), Ok(()));
    login.user = Some(bob);
    assert_eq!(login.may(Action::ReadHistory(of_ann)), Err(Denied::NotAllowed));
    login.user = None;
    assert_eq!(login.may(Action::ReadHistory(of_ann)), Err(Denied::NotAllowed));
}

#[test]
fn members_of_other_users_show_only_where_a_rule_says_so() {
    let (ann, bob) = (Login::new(Some("ann")), Login::new(Some("bob")));
    let sees = |name: &str| ann.may(Action::SeeMember { topic: &topic(name), member: bob.resource() });
    assert_eq!(sees("room/1"), Ok(()));
    assert_eq!(sees("news/1"), Err(Denied::NotAllowed));
    assert_eq!(sees("other"), Err(Denied::NotAllowed));
    assert_eq!(ann.may(Action::SeeMember { topic: &topic("news/1"), member: ann.resource() }), Ok(()));
    let internal = agent("internal");
    let hidden = Action::SeeMember { topic: &topic("room/1"), member: Resource::Agent { id: &internal, scopes: None } };
    assert_eq!(ann.may(hidden), Err(Denied::NotAllowed));
}

#[test]
fn agents_reach_what_their_scopes_name() {
    let (own, other) = (agent("planner"), agent("helper"));
    let scopes = Scopes {
        agents: vec!["help*".parse().unwrap()],
        topics: vec!["*".parse().unwrap()],
        users: vec!["ann".parse().unwrap(), "team/*".parse().unwrap()],
        ..Scopes::default()
    };
    let may = |action| policy().may(Principal::Agent { id: &own, scopes: &scopes }, action);
    let (ann, bob, anonymous) = (Login::new(Some("ann")), Login::new(Some("bob")), Login::new(None));
    let (of_team, stranger, any) = (user("team/a"), agent("x"), topic("any"));
    let own_topics = [
        (user_topic(&of_team, "x").unwrap(), true),
        (user_topic(&user("bob"), "x").unwrap(), false),
        (session_topic(ann.id, "x").unwrap(), false),
        (topic("user/ann"), false),
    ];
    for reach in [Action::Send, Action::See] {
        assert_eq!(may(reach(ann.resource())), Ok(()));
        assert_eq!(may(reach(bob.resource())), Err(Denied::NotAllowed));
        assert_eq!(may(reach(anonymous.resource())), Err(Denied::NotAllowed));
        assert_eq!(may(reach(Resource::User(&of_team))), Ok(()));
        assert_eq!(may(reach(Resource::Agent { id: &other, scopes: None })), Ok(()));
        assert_eq!(may(reach(Resource::Agent { id: &stranger, scopes: None })), Err(Denied::NotAllowed));
        assert_eq!(may(reach(Resource::Topic(&any))), Ok(()));
        for (topic, is_within) in &own_topics {
            assert_eq!(may(reach(Resource::Topic(topic))).is_ok(), *is_within, "{topic}");
        }
    }
    for read in [Action::Subscribe, Action::ReadHistory] {
        assert_eq!(may(read(Resource::Agent { id: &own, scopes: None })), Ok(()));
        assert_eq!(may(read(Resource::Agent { id: &other, scopes: None })), Err(Denied::NotAllowed));
        assert_eq!(may(read(ann.resource())), Err(Denied::NotAllowed));
        assert_eq!(may(read(Resource::Topic(&any))), Ok(()));
    }
    for scope in [Scope::Sessions, Scope::Agents, Scope::All] {
        assert_eq!(may(Action::Send(Resource::Broadcast(scope))), Err(Denied::NotAllowed));
        let everything = Scopes::everything();
        assert_eq!(
            policy().may(Principal::Agent { id: &own, scopes: &everything }, Action::Send(Resource::Broadcast(scope))),
            Ok(())
        );
    }
}

#[test]
fn the_open_policy_is_what_the_protocol_allows() {
    let (anonymous, other) = (Login::new(None), Login::new(None));
    let may = |action| Policy::open().may(anonymous.principal(), action);
    let (any, room) = (agent("any"), topic("room"));
    assert_eq!(may(Action::Send(Resource::Agent { id: &any, scopes: None })), Ok(()));
    assert_eq!(may(Action::Subscribe(Resource::Topic(&room))), Ok(()));
    assert_eq!(may(Action::SeeMember { topic: &room, member: other.resource() }), Ok(()));
    assert_eq!(may(Action::See(other.resource())), Err(Denied::NotAllowed));
}

#[test]
fn settings_become_rules_users_first() {
    let mut settings = common::config::AccessSettings::default();
    assert!(Policy::of(&settings).is_open());
    settings.user_agents = vec!["desk-*".into()];
    settings.user_topics = vec!["staff/*".into()];
    settings.public_topics = vec!["news/*".into()];
    settings.visible_members.clear();
    let policy = Policy::of(&settings);
    assert!(!policy.is_open());
    let (stranger, ann) = (Login::new(None), Login::new(Some("ann")));
    let (desk, help) = (agent("desk-1"), agent("help"));
    let to = |id| Action::Send(Resource::Agent { id, scopes: None });
    for (action, for_stranger, for_ann) in [
        (to(&desk), false, true),
        (to(&help), true, true),
        (Action::Subscribe(Resource::Topic(&topic("staff/1"))), false, true),
        (Action::Subscribe(Resource::Topic(&topic("news/1"))), true, true),
        (Action::Subscribe(Resource::Topic(&topic("other"))), false, false),
        (Action::SeeMember { topic: &topic("news/1"), member: ann.resource() }, false, true),
    ] {
        assert_eq!(policy.may(stranger.principal(), action).is_ok(), for_stranger, "{action:?}");
        assert_eq!(policy.may(ann.principal(), action).is_ok(), for_ann, "{action:?}");
    }
}
