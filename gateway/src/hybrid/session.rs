//! What the deployments of one user have in common: settings and the active task, made from the
//! user's messages in their order. Pure.
//!
//! Every connection makes the same of the same messages, so nothing needs to be agreed on: a stored
//! [`Snapshot`] says up to which message it holds, and what follows it is in the log.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::frames::Message;

/// The longest settings that are kept, in bytes of JSON. A message that would make them longer
/// changes nothing.
pub const LONGEST_SETTINGS: usize = 256 * 1024;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UserSession {
    /// The payload of the last `task_update`.
    #[serde(default)]
    pub active_task: Value,
    /// All `settings_update`s, merged: later keys replace earlier ones.
    #[serde(default)]
    pub settings: Map<String, Value>,
    /// When either changed.
    #[serde(default)]
    pub last_activity: Option<String>,
}

/// A session as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The epoch of the log.
    pub epoch: String,
    /// The number of the last message in it.
    pub seq: u64,
    /// What the messages up to there make.
    pub session: UserSession,
}

impl UserSession {
    /// Takes the next message. Returns whether it changed anything.
    pub fn apply(&mut self, message: &Message) -> bool {
        match message.kind() {
            "task_update" => {
                let task = message.payload().get("task").cloned().unwrap_or_default();
                if task.to_string().len() > LONGEST_SETTINGS {
                    return false;
                }
                self.active_task = task;
            }
            "settings_update" => {
                let Some(Value::Object(more)) = message.payload().get("settings") else { return false };
                let mut settings = self.settings.clone();
                settings.extend(more.clone());
                if serde_json::to_string(&settings).map_or(usize::MAX, |text| text.len()) > LONGEST_SETTINGS {
                    return false;
                }
                self.settings = settings;
            }
            _ => return false,
        }
        self.last_activity = Some(message.timestamp().to_owned());
        true
    }

    /// Its JSON for clients. `now` stands for the last activity if there was none.
    pub fn to_json(&self, now: &str) -> Value {
        json!({
            "active_task": self.active_task,
            "settings": self.settings,
            "last_activity": self.last_activity.as_deref().unwrap_or(now),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(frame: Value) -> Message {
        Message::of_frame(&frame.to_string(), "ann", "m", "then").expect("an object")
    }

    #[test]
    fn settings_merge_and_the_last_task_counts() {
        let mut session = UserSession::default();
        assert!(session.apply(&message(json!({"type": "settings_update", "payload": {"settings": {"a": 1, "b": 1}}}))));
        assert!(session.apply(&message(json!({"type": "settings_update", "payload": {"settings": {"b": {"c": 2}}}}))));
        assert!(session.apply(&message(json!({"type": "task_update", "payload": {"task": {"id": 7}}}))));
        assert!(!session.apply(&message(json!({"type": "settings_update", "payload": {"settings": 5}}))));
        assert!(!session.apply(&message(json!({"type": "sync", "payload": {"settings": {"a": 2}}}))));
        assert_eq!(
            session.to_json("now"),
            json!({"active_task": {"id": 7}, "settings": {"a": 1, "b": {"c": 2}}, "last_activity": "then"})
        );
        assert_eq!(UserSession::default().to_json("now")["last_activity"], "now");
    }

    #[test]
    fn settings_have_a_bound() {
        let mut session = UserSession::default();
        let long = "x".repeat(LONGEST_SETTINGS);
        assert!(!session.apply(&message(json!({"type": "settings_update", "payload": {"settings": {"a": long}}}))));
        assert!(session.settings.is_empty());
    }
}
