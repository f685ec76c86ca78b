//! The layers that settings come from: file, `.env`, environment, flags.
//!
//! Each layer is read by itself into known keys and raw values, so that an unknown key is reported
//! even if a higher layer would hide it. Values are not checked here.

use std::collections::BTreeMap;
use std::path::Path;

use config::{ConfigError, FileFormat, Format, Map, Source, Value, ValueKind};

use super::faults::{Fault, nearest};
use super::inputs::Flag;
use super::table::{ENV_CONFIG, ENV_PREFIX, SECTIONS, Setting, find, rows};

/// One layer: known keys with their values, each value marked with its source.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    values: Map<String, Value>,
}

impl Layer {
    fn put(&mut self, key: &str, origin: &str, kind: ValueKind) {
        self.values.insert(key.to_owned(), Value::new(Some(&origin.to_owned()), kind));
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.values.clone())
    }
}

/// The TOML file. `name` is its name in faults.
pub(super) fn file_layer(name: &str, content: &str, faults: &mut Vec<Fault>) -> Layer {
    let mut layer = Layer::default();
    match FileFormat::Toml.parse(Some(&name.to_owned()), without_mark(content)) {
        Ok(table) => {
            for (key, value) in flatten(table) {
                match find(&key) {
                    Some(_) => layer.put(&key, name, value.kind),
                    None => faults.push(unknown_key(&key, name)),
                }
            }
        }
        Err(error) => faults.push(Fault::new(name, "", without_excerpt(&error.to_string()))),
    }
    layer
}

/// `.env`, if it exists.
pub(super) fn dotenv_layer(path: &Path, faults: &mut Vec<Fault>) -> Layer {
    let content = match std::fs::read_to_string(path) {
        Ok(content) => content,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Layer::default(),
        Err(error) => {
            faults.push(Fault::new(".env", "", format!("cannot be read: {error}")));
            return Layer::default();
        }
    };
    let mut pairs = Vec::new();
    for (index, line) in dotenvy::from_read_iter(without_mark(&content).as_bytes()).enumerate() {
        match line {
            Ok(pair) => pairs.push(pair),
            Err(dotenvy::Error::Io(error)) => {
                faults.push(Fault::new(".env", "", format!("cannot be read: {error}")));
                break;
            }
            // The error's text would repeat the line, which may hold a secret.
            Err(_) => faults.push(Fault::new(
                ".env",
                "",
                format!("entry {} is not `NAME=value` (a value with spaces or `#` needs quotes)", index + 1),
            )),
        }
    }
    env_layer(".env", pairs, faults)
}

/// Environment variables. An empty one is the empty list if the setting is a list. Any other empty
/// one counts as unset, as with most tools that fill in templates.
pub(super) fn env_layer(origin: &str, variables: Vec<(String, String)>, faults: &mut Vec<Fault>) -> Layer {
    let mut layer = Layer::default();
    let mut seen: BTreeMap<&str, (String, String)> = BTreeMap::new();
    for (name, value) in variables {
        let Some(setting) = by_env(&name) else {
            if name.starts_with(ENV_PREFIX) && name != ENV_CONFIG && !is_service_link(&name) {
                faults.push(unknown_env(&name, origin));
            }
            continue;
        };
        if value.trim().is_empty() && !setting.field.is_list() {
            continue;
        }
        if let Some((other_name, other)) = seen.get(setting.key) {
            // In `.env` the first of two equal names counts. Two names for one key must agree.
            if *other != value && *other_name != name {
                faults.push(Fault::new(
                    setting.key,
                    origin,
                    format!("{other_name} and {name} are both set and differ: keep one"),
                ));
            }
            continue;
        }
        layer.put(setting.key, &format!("{origin} {name}"), ValueKind::String(value.clone()));
        seen.insert(setting.key, (name, value));
    }
    layer
}

/// Command-line flags. Of two for the same key the later one counts.
pub(super) fn flag_layer(flags: &[Flag], faults: &mut Vec<Fault>) -> Layer {
    let mut layer = Layer::default();
    for flag in flags {
        match find(&flag.key) {
            Some(setting) => layer.put(setting.key, &flag.origin, ValueKind::String(flag.value.clone())),
            None => faults.push(unknown_key(&flag.key, &flag.origin)),
        }
    }
    layer
}

/// Nested tables as dotted keys. An empty table stays as it is, so that its name is still checked.
pub(super) fn flatten(table: Map<String, Value>) -> Vec<(String, Value)> {
    let mut flat = Vec::new();
    for (key, value) in table {
        match value.kind {
            ValueKind::Table(inner) if inner.is_empty() && SECTIONS.iter().any(|(section, _)| *section == key) => {}
            ValueKind::Table(inner) if !inner.is_empty() => {
                flat.extend(flatten(inner).into_iter().map(|(rest, value)| (format!("{key}.{rest}"), value)));
            }
            _ => flat.push((key, value)),
        }
    }
    flat.sort_by(|left, right| left.0.cmp(&right.0));
    flat
}

/// The text without the byte order mark that some editors put at the beginning.
fn without_mark(content: &str) -> &str {
    content.strip_prefix('\u{feff}').unwrap_or(content)
}

fn by_env(name: &str) -> Option<&'static Setting> {
    rows().find(|setting| setting.env == Some(name) || setting.generic_env() == name)
}

fn unknown_key(key: &str, origin: &str) -> Fault {
    let hint = nearest(key, rows().map(|setting| setting.key));
    let message = hint
        .map_or_else(|| "there is no such setting".to_owned(), |hint| format!("there is no such setting: is `{hint}` meant?"));
    Fault::new(key, origin, message)
}

fn unknown_env(name: &str, origin: &str) -> Fault {
    // The common prefix would make all names similar.
    let rest = name.strip_prefix(ENV_PREFIX).unwrap_or(name);
    let names: Vec<String> = rows().map(Setting::generic_env).collect();
    let hint = nearest(rest, names.iter().filter_map(|known| known.strip_prefix(ENV_PREFIX)));
    let message = match hint {
        Some(hint) => format!("no setting has this name: is `{ENV_PREFIX}{hint}` meant?"),
        None => "no setting has this name".to_owned(),
    };
    Fault::new(name, origin, message)
}

/// Whether a variable is one that Kubernetes or Docker set for a *service* called `agent-bridge` or
/// `agent-bridge-something`.
fn is_service_link(name: &str) -> bool {
    let port = |rest: &str| {
        let number = rest.strip_prefix('_').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
        rest.is_empty() || number && (rest.contains("_TCP") || rest.contains("_UDP"))
    };
    !name.contains("__")
        && (name.ends_with("_SERVICE_HOST")
            || name.contains("_SERVICE_PORT")
            || name.rsplit_once("_PORT").is_some_and(|(_, rest)| port(rest))
            || name.split_once("_PORT").is_some_and(|(_, rest)| port(rest)))
}

/// The position and text of a TOML error, without the excerpt of the file, which might show a
/// secret.
fn without_excerpt(error: &str) -> String {
    let lines: Vec<&str> = error.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains('|')).collect();
    lines.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> (Layer, Vec<Fault>) {
        let mut faults = Vec::new();
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        (env_layer("environment", pairs, &mut faults), faults)
    }

    #[test]
    fn variables_of_service_links_are_not_ours() {
        let links = [
            "AGENT_BRIDGE_SERVICE_HOST",
            "AGENT_BRIDGE_SERVICE_PORT",
            "AGENT_BRIDGE_SERVICE_PORT_HTTP",
            "AGENT_BRIDGE_PORT",
            "AGENT_BRIDGE_PORT_8081_TCP",
            "AGENT_BRIDGE_PORT_8081_TCP_ADDR",
            "AGENT_BRIDGE_WEB_SERVICE_HOST",
            "AGENT_BRIDGE_WEB_PORT_8081_TCP_PORT",
        ];
        let pairs: Vec<_> = links.iter().map(|name| (*name, "tcp://10.0.0.1:8081")).collect();
        assert_eq!(env(&pairs).1, []);
    }

    #[test]
    fn unknown_variable_of_ours_is_a_fault_with_the_nearest_name() {
        let (_, faults) =
            env(&[("AGENT_BRIDGE_LIMITS__MAX_CONNECTION", "5"), ("AGENT_BRIDGE_BROKER_ADDR", "x"), ("PATH", "/bin")]);
        assert_eq!(faults.len(), 2);
        assert!(faults[0].message.contains("AGENT_BRIDGE_LIMITS__MAX_CONNECTIONS"), "{}", faults[0]);
        assert!(faults[1].message.contains("AGENT_BRIDGE_BROKER__ADDR"), "{}", faults[1]);
    }

    #[test]
    fn two_names_for_one_key_must_agree() {
        let (_, faults) = env(&[("WEB_SERVER_ADDR", "127.0.0.1:1"), ("AGENT_BRIDGE_WEB__ADDR", "127.0.0.1:2")]);
        assert_eq!(faults.len(), 1);
        let (_, faults) = env(&[("WEB_SERVER_ADDR", "127.0.0.1:1"), ("AGENT_BRIDGE_WEB__ADDR", "127.0.0.1:1")]);
        assert_eq!(faults, []);
    }

    #[test]
    fn a_broken_file_is_a_fault_that_shows_nothing_of_it() {
        let mut faults = Vec::new();
        file_layer("agent-bridge.toml", "[broker]\nagent_token = \"hunter2\n", &mut faults);
        assert_eq!(faults.len(), 1);
        assert!(faults[0].message.contains("line 2"), "{}", faults[0]);
        assert!(!faults[0].message.contains("hunter2"), "{}", faults[0]);
    }

    #[test]
    fn unknown_keys_and_sections_of_a_file_are_faults() {
        let mut faults = Vec::new();
        file_layer("f.toml", "[broker]\nadr = 1\n[web]\n[brokr]\n[limits.max_depth]\nx = 1\n", &mut faults);
        let keys: Vec<_> = faults.iter().map(|fault| fault.key.as_str()).collect();
        assert_eq!(keys, ["broker.adr", "brokr", "limits.max_depth.x"]);
        assert!(faults[0].message.contains("`broker.addr`"));
    }
}
