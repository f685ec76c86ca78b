//! What is generated from the table: `docs/configuration.md` and `.env.example`.

use std::fmt::Write;

use super::kinds::Draft;
use super::table::{SECTIONS, Setting, TABLE};

const INTRODUCTION: &str = "\
# Configuration

<!-- Generated from the settings table by `make docs`. Do not edit. -->

Settings come from, each over the one before it: built-in defaults; `agent-bridge.toml` in the working directory, or the file named by
`--config` (or `AGENT_BRIDGE_CONFIG`); `.env` in the working directory; the environment; flags (`--broker-addr`, `--web-addr`,
`--set key=value`). Everything is checked before a socket opens, and every fault is reported at once. A key that does not exist, in the
file, in a flag, or in a variable that begins with `AGENT_BRIDGE_`, is a fault. 
An empty value of a list means the empty list, in every source. Any other variable that is empty counts as unset.

`agent-bridge check-config` prints every setting in force and where it came from, secrets redacted.

In the file, a setting `section.name` is written as `name` under `[section]`:

```toml
[broker]
addr = \"127.0.0.1:8080\"

[heartbeat]
interval = \"5s\"
```

In the environment, every setting has the name `AGENT_BRIDGE_<SECTION>__<NAME>`; the main ones have a short name too, and that is the
one shown. Durations need a unit (`250ms`, `5s`, `10min`, `30days`); sizes are bytes or have one (`64KiB` is 65,536, `64kB` is 64,000).
";

/// The content of `docs/configuration.md`.
pub fn markdown() -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut defaults = Draft::default();
    for (section, heading) in SECTIONS {
        // Writing to a String does not fail.
        let _ =
            write!(page, "\n## {heading}\n\n| setting | environment | default | allowed | meaning |\n|---|---|---|---|---|\n");
        for setting in rows(section) {
            let default = default_of(setting, &mut defaults);
            let default = if default.is_empty() { "unset".to_owned() } else { format!("`{default}`") };
            let allowed = setting.field.allowed();
            let _ = writeln!(page, "| `{}` | `{}` | {default} | {allowed} | {} |", setting.key, setting.main_env(), setting.doc);
        }
    }
    page
}

/// The content of `.env.example`: every setting, commented out, with its default.
pub fn env_example() -> String {
    let mut page = "\
# Generated from the settings table by `make docs`. Copy to `.env` and uncomment what you change.
# docs/configuration.md says more. Every value below is the default.
"
    .to_owned();
    let mut defaults = Draft::default();
    for (section, heading) in SECTIONS {
        let _ = writeln!(page, "\n## {heading}");
        for setting in rows(section) {
            page.push('\n');
            comment(&mut page, setting.doc);
            comment(&mut page, &format!("Allowed: {}.", setting.field.allowed()));
            let _ = writeln!(page, "#{}={}", setting.main_env(), default_of(setting, &mut defaults));
        }
    }
    page
}

/// Adds the text as comment lines of at most 110 characters, without the marks for code.
fn comment(page: &mut String, text: &str) {
    let mut length = 0;
    for word in text.replace('`', "").split(' ') {
        if length == 0 || length + word.len() > 108 {
            page.push_str(if length == 0 { "#" } else { "\n#" });
            length = 1;
        }
        page.push(' ');
        page.push_str(word);
        length += word.len() + 1;
    }
    page.push('\n');
}

fn rows(section: &str) -> impl Iterator<Item = &'static Setting> {
    TABLE.iter().filter(move |setting| setting.section() == section)
}

/// The default as one would write it; a secret's is unset, its doc says what that means.
fn default_of(setting: &Setting, defaults: &mut Draft) -> String {
    if setting.field.is_secret() { String::new() } else { setting.field.show(defaults) }
}
