//! The settings of dialects.

use std::time::Duration;

use crate::config::checks::{is_agent_id, is_origin};
use crate::config::kinds::{Address, Flag, OptionalText, SecretText, Span, Text};
use crate::config::setting::{Setting, settings};

const AGENT: &str = "1 to 128 characters of `A-Z a-z 0-9 . _ - : / @ +`";

/// The rows, in the order of the reference.
pub(super) static ROWS: &[Setting] = settings! {
    "dialects.supervisor.enabled" => Flag { at: |d| &mut d.settings.dialects.supervisor.listener.enabled },
        "Whether the edge serves clients of the supervisor, as `--dialect supervisor` does. docs/dialects.md says what \
        is carried.";
    "dialects.supervisor.addr" | "SUPERVISOR_ADDR" => Address { at: |d| &mut d.settings.dialects.supervisor.listener.addr },
        "Where it listens, on any path. Port 0: the system picks one. If the edge speaks TLS, so does this listener.";
    "dialects.supervisor.token" | "SUPERVISOR_TOKEN" => SecretText { min_length: 1, at: |d| &mut d.settings.dialects.supervisor.token },
        "The key that its clients present. Unset: they need a token of a session or of the trusted issuer. On an \
        address that is not loopback it needs 16 characters that cannot be guessed.";
    "dialects.supervisor.agent" => Text { allowed: AGENT, check: is_agent_id, at: |d| &mut d.settings.dialects.supervisor.agent },
        "The agent that answers its clients.";
    "dialects.supervisor.reply_timeout" => Span {
        min: Duration::from_millis(100),
        max: Duration::from_secs(600),
        at: |d| &mut d.settings.dialects.supervisor.reply_timeout,
    },
        "How long a request waits for the agent. Its clients give up after 10 s, and Twilio after 15 s.";
    "dialects.supervisor.twilio_auth_token" | "TWILIO_AUTH_TOKEN" => SecretText {
        min_length: 1,
        at: |d| &mut d.settings.dialects.supervisor.twilio_auth_token,
    },
        "The secret with which Twilio signs the requests to `POST /sms/inbound`. Unset: they are refused.";
    "dialects.supervisor.public_url" => OptionalText {
        allowed: "`scheme://host[:port]`",
        check: is_origin,
        at: |d| &mut d.settings.dialects.supervisor.public_url,
    },
        "The beginning of the webhooks' URL as Twilio knows it, which it signs. Unset: as the request names the site.";
    "dialects.supervisor.email_secret" | "SUPERVISOR_EMAIL_SECRET" => SecretText {
        min_length: 1,
        at: |d| &mut d.settings.dialects.supervisor.email_secret,
    },
        "The secret that `POST /email/inbound` needs: as the password in the URL (`https://any:<secret>@host/…`), as \
        `?secret=<secret>`, or as a bearer token. Unset: mail is refused.";

    "dialects.hybrid.enabled" => Flag { at: |d| &mut d.settings.dialects.hybrid.listener.enabled },
        "Whether the edge serves clients of the hybrid gateway, as `--dialect hybrid` does. It accepts tokens of \
        sessions and of the trusted issuer, and tokens without `iss` and `aud` that were signed with \
        `auth.jwt_secret`.";
    "dialects.hybrid.addr" | "HYBRID_ADDR" => Address { at: |d| &mut d.settings.dialects.hybrid.listener.addr },
        "Where it listens. Port 0: the system picks one. If the edge speaks TLS, so does this listener.";
};
