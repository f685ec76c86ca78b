//! The demo agent's answers: text in, steps of an answer out.
//!
//! Pure: no clock, no socket, no model. Every answer is bounded.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The longest text that is answered, in bytes.
pub const MAX_TEXT: usize = 64 * 1024;
/// The most numbers that `count` counts.
pub const MAX_COUNT: u32 = 1000;
/// How much of a question is quoted back, in characters.
const MAX_QUOTE: usize = 200;

const HELP: &str = "\
I am the demo agent. I have no model behind me, but I know a few commands:
  help       this list
  echo TEXT  says TEXT back
  time       the time here, in UTC
  count N    counts to N, one number at a time (up to 1000)
  fail       answers with an error
Anything else gets a short answer, streamed word by word. Send message:cancel to stop a stream.";

/// One step of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerStep {
    /// More text of a streamed answer.
    Delta(String),
    /// The answer is complete. `None`: its text is that of the deltas.
    Done(Option<String>),
    /// The answer is an error.
    Failed(Failure),
}

/// An error as an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// A short permanent word.
    pub code: &'static str,
    /// What went wrong and what to do.
    pub message: String,
}

impl Failure {
    /// An error with its code and message.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// The steps of one answer; the last is `Done` or `Failed`.
pub type Steps = Box<dyn Iterator<Item = AnswerStep> + Send>;

/// The answer to a text. `now` is the time for `time`.
pub fn answer(text: &str, now: OffsetDateTime) -> Steps {
    if text.len() > MAX_TEXT {
        return failed("too_long", format!("the text is longer than {MAX_TEXT} bytes: send less"));
    }
    let text = text.trim();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    match word.to_ascii_lowercase().as_str() {
        "help" if rest.is_empty() => whole(HELP),
        "echo" => whole(rest),
        "time" if rest.is_empty() => match now.truncate_to_second().format(&Rfc3339) {
            Ok(now) => whole(&now),
            Err(error) => failed("internal", format!("the clock cannot be read: {error}")),
        },
        "count" => count(rest.trim()),
        "fail" if rest.is_empty() => failed("demo_failure", "this is the error you asked for: nothing is broken"),
        "" => streamed("You sent an empty message. Type \"help\" to see what I can do."),
        "hello" | "hi" | "hey" | "hello!" | "hi!" | "hey!" => streamed(
            "Hello! I am the demo agent of this bridge, and your message came all the way to me. Type \"help\" to see what I can do.",
        ),
        _ => streamed(&format!(
            "You said: \"{}\". I am only a demo without a model, so that is all I can make of it. Type \"help\" to see what I can do.",
            quote(text)
        )),
    }
}

fn count(argument: &str) -> Steps {
    match argument.parse::<u32>() {
        Ok(last @ 1..=MAX_COUNT) => {
            let numbers =
                (1..=last).map(|number| AnswerStep::Delta(if number == 1 { number.to_string() } else { format!(" {number}") }));
            Box::new(numbers.chain([AnswerStep::Done(None)]))
        }
        _ => failed("invalid_argument", format!("count needs a whole number from 1 to {MAX_COUNT}, for example: count 10")),
    }
}

fn whole(text: &str) -> Steps {
    Box::new([AnswerStep::Done(Some(text.to_owned()))].into_iter())
}

fn failed(code: &'static str, message: impl Into<String>) -> Steps {
    Box::new([AnswerStep::Failed(Failure::new(code, message))].into_iter())
}

/// Word by word, each with the space after it.
fn streamed(text: &str) -> Steps {
    let words: Vec<AnswerStep> = text.split_inclusive(' ').map(|word| AnswerStep::Delta(word.to_owned())).collect();
    Box::new(words.into_iter().chain([AnswerStep::Done(None)]))
}

fn quote(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTE) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &str) -> Vec<AnswerStep> {
        answer(text, OffsetDateTime::UNIX_EPOCH).collect()
    }

    fn failure_code(text: &str) -> &'static str {
        match steps(text).as_slice() {
            [AnswerStep::Failed(failure)] => failure.code,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn commands_answer_at_once() {
        assert_eq!(steps("echo  two  words"), [AnswerStep::Done(Some(" two  words".into()))]);
        assert_eq!(steps("ECHO x"), [AnswerStep::Done(Some("x".into()))]);
        assert_eq!(steps("time"), [AnswerStep::Done(Some("1970-01-01T00:00:00Z".into()))]);
        assert!(matches!(&steps(" help ")[..], [AnswerStep::Done(Some(text))] if text.contains("count N")));
    }

    #[test]
    fn count_streams_numbers_within_its_bound() {
        assert_eq!(steps("count 2"), [AnswerStep::Delta("1".into()), AnswerStep::Delta(" 2".into()), AnswerStep::Done(None)]);
        assert_eq!(steps("count 1000").len(), 1001);
        for bad in ["count", "count 0", "count -1", "count 1001", "count ten", "count 99999999999"] {
            assert_eq!(failure_code(bad), "invalid_argument", "{bad}");
        }
    }

    #[test]
    fn fail_and_too_long_texts_are_errors() {
        assert_eq!(failure_code("fail"), "demo_failure");
        assert_eq!(failure_code(&"x".repeat(MAX_TEXT + 1)), "too_long");
    }

    #[test]
    fn anything_else_is_streamed_and_ends_with_done() {
        for text in ["hello", "what is the weather?", "", "help me", "time flies", &"ä".repeat(1000)] {
            let steps = steps(text);
            assert!(steps.len() > 5, "{text}");
            let (last, deltas) = steps.split_last().unwrap();
            assert_eq!(*last, AnswerStep::Done(None));
            assert!(deltas.iter().all(|step| matches!(step, AnswerStep::Delta(text) if !text.is_empty())));
        }
    }
}
