//! The pages that are generated from the table: `docs/configuration.md` and `.env.example`.

use std::fmt::Write;

use super::kinds::Draft;
use super::table::{self, SECTIONS, Setting};

/// The longest text in a cell of a table, in bytes. What needs more continues below the table.
const CELL_MAX: usize = 200;
/// The longest line of text.
const LINE_MAX: usize = 100;

const INTRODUCTION: &str = "\
# Configuration

<!-- Generated from the settings table by `make docs`. Do not edit. -->

Settings come from these sources; a later one overrides an earlier one:

1. built-in defaults;
2. `agent-bridge.toml` in the working directory, or the file named by `--config` (or
   `AGENT_BRIDGE_CONFIG`);
3. `.env` in the working directory;
4. the environment;
5. flags (`--broker-addr`, `--web-addr`, `--set key=value`).

Everything is checked before a socket opens, and all faults are reported at once. An unknown key
is a fault: in the file, in a flag, or in a variable that begins with `AGENT_BRIDGE_`. An empty
value of a list means the empty list, in every source. Any other variable that is empty counts as
unset.

`agent-bridge check-config` prints every setting in force with its source; secrets are redacted.

In the file, a setting `section.name` is written as `name` under `[section]`:

```toml
[broker]
addr = \"127.0.0.1:8080\"

[heartbeat]
interval = \"5s\"
```

In the environment, every setting has the name `AGENT_BRIDGE_<SECTION>__<NAME>`. The main ones have
a short name too, which is the one shown. Durations need a unit (`250ms`, `5s`, `10min`, `30days`).
Sizes are bytes or have a unit (`64KiB` is 65,536, `64kB` is 64,000).
";

/// The content of `docs/configuration.md`.
pub fn markdown() -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut defaults = Draft::default();
    for (section, heading) in SECTIONS {
        // Writing to a String does not fail.
        let _ =
            write!(page, "\n## {heading}\n\n| setting | environment | default | allowed | meaning |\n|---|---|---|---|---|\n");
        let mut below = String::new();
        for setting in rows(section) {
            let (meaning, more) = split(setting.doc);
            if !more.is_empty() {
                wrap(&mut below, "- ", "  ", &format!("`{}`: {more}", setting.key), LINE_MAX);
            }
            let default = default_of(setting, &mut defaults);
            let default = if default.is_empty() { "unset".to_owned() } else { format!("`{default}`") };
            let allowed = setting.field.allowed();
            let _ = writeln!(page, "| `{}` | `{}` | {default} | {allowed} | {meaning} |", setting.key, setting.main_env());
        }
        if !below.is_empty() {
            let _ = write!(page, "\n{below}");
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

/// Adds the text as comment lines, without the marks for code.
fn comment(page: &mut String, text: &str) {
    wrap(page, "# ", "# ", &text.replace('`', ""), LINE_MAX);
}

/// Adds the text as lines of at most `width` bytes, each behind its prefix, unless one word is
/// longer.
fn wrap(page: &mut String, first: &str, next: &str, text: &str, width: usize) {
    let mut line = first.to_owned();
    let mut is_empty = true;
    for word in text.split(' ') {
        if !is_empty && line.len() + 1 + word.len() > width {
            page.push_str(&line);
            page.push('\n');
            next.clone_into(&mut line);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    page.push_str(&line);
    page.push('\n');
}

/// The sentences of a text that fit a cell, and the others.
fn split(text: &str) -> (&str, &str) {
    if text.len() <= CELL_MAX {
        return (text, "");
    }
    let ends = text.match_indices(". ").map(|(at, _)| at + 1);
    match ends.filter(|end| *end <= CELL_MAX).last() {
        Some(end) => (&text[..end], text[end..].trim_start()),
        None => (text, ""),
    }
}

fn rows(section: &str) -> impl Iterator<Item = &'static Setting> {
    table::rows().filter(move |setting| setting.section() == section)
}

/// The default as a user would write it. The default of a secret is unset; its doc says what that
/// means.
fn default_of(setting: &Setting, defaults: &mut Draft) -> String {
    if setting.field.is_secret() { String::new() } else { setting.field.show(defaults) }
}
