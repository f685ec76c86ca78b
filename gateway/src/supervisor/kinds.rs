//! The requests of supervisor clients, in one table: which fields each needs, which frames may
//! answer it, and what a plain text of the agent becomes.

/// One type of request.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its `type`.
    pub name: &'static str,
    /// The fields that must be strings.
    pub required: &'static [&'static str],
    /// The `type` of the frame that a plain text becomes. `None`: only a whole frame answers it.
    pub plain: Option<&'static str>,
    /// The field that holds that text.
    pub text_field: &'static str,
    /// The other frames that answer it.
    pub others: &'static [&'static str],
    /// What is told if no agent is there.
    pub alone: Alone,
}

/// What a client is told if no agent is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alone {
    /// That the message was received, as `sms` or `email`. It is kept for an agent that is known.
    Acknowledged(&'static str),
    /// That the suggestion is rejected.
    Rejected,
    /// An error.
    Error,
}

const fn plain(name: &'static str, required: &'static [&'static str], plain: &'static str, text_field: &'static str) -> Kind {
    Kind { name, required, plain: Some(plain), text_field, others: &[], alone: Alone::Error }
}

const fn whole(name: &'static str, required: &'static [&'static str], others: &'static [&'static str]) -> Kind {
    Kind { name, required, plain: None, text_field: "", others, alone: Alone::Error }
}

/// The frame that says that a message was received.
pub const ACKNOWLEDGED: &str = "message_acknowledged";
/// The frame that says that a suggestion was not taken.
pub const REJECTED: &str = "suggestion_rejected";

/// A text message.
pub static SMS: Kind = Kind {
    others: &[ACKNOWLEDGED],
    alone: Alone::Acknowledged("sms"),
    ..plain("sms_received", &["from", "to", "message", "user"], "send_sms_response", "message")
};
/// A mail.
pub static EMAIL: Kind = Kind {
    others: &[ACKNOWLEDGED],
    alone: Alone::Acknowledged("email"),
    ..plain("email_received", &["from", "to", "subject", "body", "user"], "send_email_response", "body")
};
static SUGGESTION: Kind =
    Kind { others: &[REJECTED], alone: Alone::Rejected, ..plain("inject_suggestion", &["text"], "suggestion_applied", "text") };
static SYNTHESIS: Kind = Kind {
    others: &["synthesis_started", "synthesis_failed"],
    ..plain("synthesize_text", &["text"], "synthesis_complete", "text")
};
static CODE_CONNECT: Kind = plain("claude_code_connect", &["session_id"], "claude_code_connected", "status");
static CODE_MESSAGE: Kind = plain("claude_code_message", &["session_id", "message"], "claude_code_response", "content");
static CODE_DISCONNECT: Kind = plain("claude_code_disconnect", &["session_id"], "claude_code_disconnected", "reason");
static CODE_STATUS: Kind = whole("get_session_status", &["session_id"], &["session_status"]);
static APPOINTMENT: Kind = whole("schedule_appointment", &["user_id", "text"], &["appointment_scheduled"]);
static REMINDER: Kind = whole("schedule_reminder", &["user_id", "title", "due_time"], &["reminder_created"]);
static CALENDAR: Kind = whole("get_calendar", &["user_id", "period"], &["calendar_retrieved"]);

static ALL: [&Kind; 11] = [
    &SMS,
    &EMAIL,
    &SUGGESTION,
    &SYNTHESIS,
    &CODE_CONNECT,
    &CODE_MESSAGE,
    &CODE_DISCONNECT,
    &CODE_STATUS,
    &APPOINTMENT,
    &REMINDER,
    &CALENDAR,
];

/// The frames that an agent may send at any time. None of them can be taken for an answer.
pub static PUSHES: [&str; 5] = ["user_speech", "user_transcription", "reminder_due", "reminder_sent", "reminder_failed"];

impl Kind {
    /// The kind with this `type`.
    pub fn find(name: &str) -> Option<&'static Self> {
        ALL.into_iter().find(|kind| kind.name == name)
    }

    /// Whether a frame of this `type` answers it.
    pub fn is_answered_by(&self, name: &str) -> bool {
        self.plain == Some(name) || self.others.contains(&name)
    }
}
