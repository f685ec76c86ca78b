//! The dialect `hybrid`: frames of its clients, and what they make of a user's session.

use gateway::hybrid::{
    frames::{Message, Mode},
    session::{LONGEST_SETTINGS, UserSession},
};

/// Each line is a client's frame. What the bridge says of a message cannot be claimed; a stored
/// message is read as it was written; and the session keeps its bounds.
pub fn hybrid(data: &[u8]) {
    let mut session = UserSession::default();
    for line in String::from_utf8_lossy(data).lines() {
        let Ok(message) = Message::of_frame(line, "ann", "m1", "now") else { continue };
        let json = message.to_json();
        assert_eq!((&json["message_id"], &json["user_id"], &json["timestamp"]), (&"m1".into(), &"ann".into(), &"now".into()));
        assert_eq!(Message::stored(json.clone()).as_ref(), Some(&message));
        if message.is_intervention() {
            assert!(Mode::ALL.into_iter().all(|mode| message.is_for(mode)));
        }
        let before = session.clone();
        if !session.apply(&message) {
            assert_eq!(session, before);
        }
        assert!(serde_json::to_string(&session.settings).is_ok_and(|text| text.len() <= LONGEST_SETTINGS));
    }
}
