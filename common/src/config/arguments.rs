//! The two options of the thin binaries: `--config FILE` and `--set key=value`.
//!
//! The `agent-bridge` binary has its own command line. This one is for `websocket-server` and
//! `web-server`.

use std::path::PathBuf;

use super::inputs::{Flag, Inputs};

/// The usage text.
const USAGE: &str = "options: --config FILE, --set key=value (docs/configuration.md lists the keys)";

/// An unknown argument.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}\n{USAGE}")]
pub struct ArgumentError(String);

impl Inputs {
    /// The working directory and environment of this process, and its arguments without the
    /// program's name.
    ///
    /// # Errors
    /// The first argument that is not one of the two options.
    pub fn from_arguments(arguments: impl IntoIterator<Item = String>) -> Result<Self, ArgumentError> {
        let (mut file, mut flags) = (None, Vec::new());
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (argument, arguments.next()),
            };
            let value = value.ok_or_else(|| ArgumentError(format!("{name} is not understood, or needs a value")))?;
            match name.as_str() {
                "--config" => file = Some(PathBuf::from(value)),
                "--set" => {
                    let (key, value) = value.split_once('=').ok_or_else(|| ArgumentError("--set needs key=value".into()))?;
                    flags.push(Flag { key: key.trim().to_owned(), value: value.to_owned(), origin: "--set".into() });
                }
                _ => return Err(ArgumentError(format!("{name} is not understood"))),
            }
        }
        Ok(Self::from_process(file, flags))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Inputs, ArgumentError> {
        Inputs::from_arguments(arguments.iter().map(|argument| (*argument).to_owned()))
    }

    #[test]
    fn both_forms_of_both_options_are_understood() {
        let inputs =
            parse(&["--config", "a.toml", "--set", "web.addr=[::1]:1", "--set=data.dir=x=y", "--config=b.toml"]).unwrap();
        assert_eq!(inputs.file, Some(PathBuf::from("b.toml")));
        let flags: Vec<_> = inputs.flags.iter().map(|flag| (flag.key.as_str(), flag.value.as_str())).collect();
        assert_eq!(flags, [("web.addr", "[::1]:1"), ("data.dir", "x=y")]);
    }

    #[test]
    fn anything_else_is_an_error_that_says_what_can_be_typed() {
        for bad in [&["--help"][..], &["x"], &["--set", "x"], &["--config"], &["--port", "1"]] {
            assert!(parse(bad).unwrap_err().to_string().contains("options:"), "{bad:?}");
        }
    }
}
