//! `agent-bridge key`: makes, lists and revokes the keys of agents, in the file that the broker
//! reads.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use common::config::Settings;
use identity::agent_keys::{Glob, KeyFile, KeyInfo, KeyState, NewKey, Scopes};

/// Printed after every change.
const NOTICE: &str = "A running broker notices within a second or two, and at once at SIGHUP.";

/// Options of `agent-bridge key`.
#[derive(Debug, Args)]
pub struct KeyArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key and print it, once: only its hash is kept.
    ///
    /// Where no pattern of a kind is given, everything of that kind is within reach. In a pattern
    /// `*` is any run of characters and `?` any one; an empty pattern fits nothing. Every option
    /// can be given several times.
    Create(CreateArgs),
    /// List all keys, those that were revoked or have expired too.
    List,
    /// Take a key back: the connections opened with it are closed.
    Revoke {
        /// The key's name.
        name: String,
    },
}

/// What the new key is to be.
#[derive(Debug, Args)]
struct CreateArgs {
    /// 1 to 32 of a-z 0-9 -, not used before.
    name: String,
    /// Ids under which agents may register with the key.
    #[arg(long, value_name = "PATTERN")]
    connect_as: Vec<String>,
    /// Other agents it may send to.
    #[arg(long, value_name = "PATTERN")]
    agents: Vec<String>,
    /// Topics it may use.
    #[arg(long, value_name = "PATTERN")]
    topics: Vec<String>,
    /// Users whose sessions it may hear of, hear from and send to.
    #[arg(long, value_name = "PATTERN")]
    users: Vec<String>,
    /// The same for sessions that nobody logged in to; within reach also if no users are named.
    #[arg(long)]
    anonymous: bool,
    /// How long the key is good for, such as 30d or 12h [default: until revoked].
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    expires: Option<Duration>,
}

/// Executes the command, in the data folder of these settings.
pub fn run(args: &KeyArgs, settings: &Settings) -> Result<ExitCode> {
    let file = KeyFile::in_folder(&settings.data.dir);
    let now = SystemTime::now();
    let mut out = std::io::stdout();
    match &args.action {
        Action::Create(args) => {
            if settings.broker.agent_keys.iter().any(|key| key.name == args.name) {
                bail!("the configuration has a key {:?} already; choose another name", args.name);
            }
            let key = file.create(&args.new_key(now)?, now)?;
            // The key alone on stdout, for scripts.
            writeln!(out, "{}", key.reveal())?;
            eprintln!("This is the only time the key {:?} is shown. {NOTICE}", args.name);
        }
        Action::List => out.write_all(listing(&file.list(now)?).as_bytes())?,
        Action::Revoke { name } => {
            file.revoke(name, now)?;
            eprintln!("The key {name:?} is revoked. {NOTICE}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl CreateArgs {
    fn new_key(&self, now: SystemTime) -> Result<NewKey> {
        let sessions_are_open = self.users.is_empty() && !self.anonymous;
        let scopes = Scopes {
            connect_as: patterns("--connect-as", &self.connect_as)?,
            agents: patterns("--agents", &self.agents)?,
            topics: patterns("--topics", &self.topics)?,
            users: if self.anonymous && self.users.is_empty() { Vec::new() } else { patterns("--users", &self.users)? },
            anonymous: self.anonymous || sessions_are_open,
        };
        let end = |lifetime| now.checked_add(lifetime).context("--expires is too far away");
        Ok(NewKey { name: self.name.clone(), scopes, expires_at: self.expires.map(end).transpose()? })
    }
}

fn patterns(option: &str, given: &[String]) -> Result<Vec<Glob>> {
    if given.is_empty() {
        return Ok(vec![Glob::everything()]);
    }
    let parse = |text: &String| text.parse().with_context(|| format!("{option} {text:?}"));
    given.iter().filter(|text| !text.is_empty()).map(parse).collect()
}

fn listing(keys: &[KeyInfo]) -> String {
    let time = |moment: Option<SystemTime>, otherwise: &str| {
        moment.map_or_else(|| otherwise.to_owned(), |moment| humantime::format_rfc3339_seconds(moment).to_string())
    };
    let mut page = format!("{:<32} {:<8} {:<20} {:<20} {:<20} scopes\n", "name", "state", "made", "expires", "last used");
    for key in keys {
        let state = match key.state {
            KeyState::Active => "active",
            KeyState::Expired => "expired",
            KeyState::Revoked => "revoked",
        };
        let (made, expires, used) =
            (time(Some(key.created_at), ""), time(key.expires_at, "never"), time(key.last_used_at, "never"));
        page.push_str(&format!("{:<32} {state:<8} {made:<20} {expires:<20} {used:<20} {}\n", key.name, told(&key.scopes)));
    }
    page
}

/// The scopes on one line. Kinds without a bound are left out.
fn told(scopes: &Scopes) -> String {
    let kinds =
        [("connect-as", &scopes.connect_as), ("agents", &scopes.agents), ("topics", &scopes.topics), ("users", &scopes.users)];
    let bounded = kinds.iter().filter(|(_, patterns)| !patterns.iter().any(Glob::is_everything)).map(|(kind, patterns)| {
        let patterns: Vec<_> = patterns.iter().map(ToString::to_string).collect();
        format!("{kind}={}", if patterns.is_empty() { "none".to_owned() } else { patterns.join(",") })
    });
    let anonymous = (!scopes.anonymous).then(|| "anonymous=no".to_owned());
    let told: Vec<_> = bounded.chain(anonymous).collect();
    if told.is_empty() { "everything".to_owned() } else { told.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> CreateArgs {
        let none = Vec::new;
        CreateArgs {
            name: "one".into(),
            connect_as: none(),
            agents: none(),
            topics: none(),
            users: none(),
            anonymous: false,
            expires: None,
        }
    }

    fn scopes(args: &CreateArgs) -> Scopes {
        args.new_key(SystemTime::UNIX_EPOCH).unwrap().scopes
    }

    #[test]
    fn scopes_that_are_not_named_have_no_limit() {
        assert_eq!(scopes(&args()), Scopes::everything());
        let bounded = scopes(&CreateArgs { topics: vec!["room/*".into()], ..args() });
        assert!(bounded.reach_topic("room/1") && !bounded.reach_topic("hall") && bounded.reach_all_sessions());
        assert_eq!(told(&bounded), "topics=room/*");
        let mute = scopes(&CreateArgs { agents: vec![String::new()], ..args() });
        assert!(mute.agents.is_empty());
        assert_eq!(told(&mute), "agents=none");
    }

    #[test]
    fn naming_users_or_the_anonymous_leaves_the_others_out() {
        let users = scopes(&CreateArgs { users: vec!["ann".into()], ..args() });
        assert!(users.reach_user(Some("ann")) && !users.reach_user(Some("bob")) && !users.reach_user(None));
        let anonymous = scopes(&CreateArgs { anonymous: true, ..args() });
        assert!(!anonymous.reach_user(Some("ann")) && anonymous.reach_user(None));
        let both = scopes(&CreateArgs { users: vec!["ann".into()], anonymous: true, ..args() });
        assert!(both.reach_user(Some("ann")) && both.reach_user(None));
    }

    #[test]
    fn a_bad_pattern_is_named_with_its_option() {
        let error = CreateArgs { users: vec!["a b".into()], ..args() }.new_key(SystemTime::UNIX_EPOCH).unwrap_err();
        assert!(format!("{error:#}").contains("--users \"a b\""), "{error:#}");
    }
}
