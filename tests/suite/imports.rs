//! Checks that the imports within a crate have no circle: no file imports from a file that imports
//! from it, directly or through others; and no two top folders import from each other. Tests are
//! exempt.
//!
//! An import counts for the file that defines the name: `use super::Name` is an import from the
//! sibling that `mod.rs` re-exports the name from, not from `mod.rs`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Crates whose top folders may import from each other. Their files are still checked.
const FOLDERS_EXEMPT: [&str; 3] = ["tls", "web-server", "bench"];

/// A module's path below its crate: `["routing", "peer"]`; empty for the root.
type Module = Vec<String>;

/// The text of each module, without comments and tests.
type Sources = BTreeMap<Module, String>;

/// The modules that each module imports from.
type Imports = BTreeMap<Module, BTreeSet<Module>>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(folder: &Path, module: &Module, sources: &mut Sources) {
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let below = || module.iter().cloned().chain([name.clone()]).collect::<Module>();
        if path.is_dir() {
            read(&path, &below(), sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let module = if ["mod", "lib", "main"].contains(&&*name) { module.clone() } else { below() };
            sources.entry(module).or_default().push_str(&of_program(&fs::read_to_string(&path).expect("text")));
        }
    }
}

/// The text without comments and without a module of tests at its end.
fn of_program(text: &str) -> String {
    let lines = text.lines().map(|line| line.split_once("//").map_or(line, |(before, _)| before));
    let mut program = String::new();
    let mut lines = lines.peekable();
    while let Some(line) = lines.next() {
        let next = lines.peek().copied().unwrap_or_default().trim_start();
        if line.trim() == "#[cfg(test)]" && next.starts_with("mod ") && next.ends_with('{') {
            break;
        }
        program.push_str(line);
        program.push('\n');
    }
    program
}

/// Modules that are only built for tests, as their parents declare them.
fn test_modules(sources: &Sources) -> BTreeSet<Module> {
    let declared = sources.iter().flat_map(|(module, text)| {
        let names = text.split("#[cfg(test)]").skip(1).filter_map(|after| {
            let name = after.trim_start().trim_start_matches("pub(crate) ").strip_prefix("mod ")?;
            name.split_once(';').map(|(name, _)| name.to_owned())
        });
        names.map(move |name| module.iter().cloned().chain([name]).collect::<Module>())
    });
    declared.collect()
}

/// `a::{b, c::{self, d}}` as `a::b`, `a::c::self`, `a::c::d`.
fn flat(tree: &str) -> Vec<String> {
    let Some((before, inner)) = tree.split_once('{') else { return vec![tree.trim().to_owned()] };
    let inner = inner.rsplit_once('}').map_or(inner, |(inner, _)| inner);
    let (mut depth, mut start, mut parts) = (0_usize, 0, Vec::new());
    for (at, letter) in inner.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inner[start..]);
    let parts = parts.into_iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(flat).map(|path| format!("{}{path}", before.trim())).collect()
}

/// The trees behind `use` (with `pub use` alone, if so asked), without spaces.
fn uses(text: &str, only_public: bool) -> impl Iterator<Item = String> {
    let statements = text.split(';').filter_map(move |statement| {
        let (before, tree) = statement.rsplit_once("use ")?;
        let before = before.rsplit('\n').next().unwrap_or_default().trim();
        let is_public = before.starts_with("pub");
        (is_public || (before.is_empty() && !only_public)).then(|| tree.to_owned())
    });
    let trees = statements.map(|tree| tree.replace(" as ", "@").split_whitespace().collect::<String>());
    trees.flat_map(|tree| flat(&tree))
}

/// Paths in the text that begin at the crate or the parent, but for those that say how far a name
/// is seen.
fn paths(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in text.match_indices(start) {
            let is_name = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
            let before = &text[..at];
            if before.ends_with("in ") || before.ends_with(is_name) || before.ends_with('$') {
                continue;
            }
            let path = text[at..].split(|letter| !is_name(letter)).next().unwrap_or_default();
            // `crate::{` is the beginning of a `use`, which is read elsewhere.
            if !path.ends_with(':') {
                found.push(path.to_owned());
            }
        }
    }
    found
}

/// The module in which what a path names is defined; `None` for a path into another crate.
fn definition(from: &Module, path: &str, sources: &Sources) -> Option<Module> {
    let mut parts = path.split("::").map(|part| part.split('@').next().unwrap_or_default()).peekable();
    let mut module = match parts.next()? {
        "crate" => Module::new(),
        "self" => from.clone(),
        "super" => {
            let mut module = from.clone();
            module.pop();
            while parts.next_if_eq(&"super").is_some() {
                module.pop();
            }
            module
        }
        // A child, as `mod.rs` names it.
        child => {
            let module: Module = from.iter().cloned().chain([child.to_owned()]).collect();
            sources.contains_key(&module).then_some(module)?
        }
    };
    for part in parts {
        let child: Module = module.iter().cloned().chain([part.to_owned()]).collect();
        if sources.contains_key(&child) {
            module = child;
            continue;
        }
        let again = uses(sources.get(&module)?, true).find(|path| path.rsplit(['@', ':']).next() == Some(part));
        if let Some(path) = again.filter(|path| path.contains("::"))
            && let Some(defined) = definition(&module, &path, sources).filter(|defined| *defined != module)
        {
            module = defined;
        }
        break;
    }
    Some(module)
}

/// From where each module of a crate imports.
fn imports(sources: &Sources) -> Imports {
    let tests = test_modules(sources);
    let is_test = |module: &Module| tests.iter().any(|test| module.starts_with(test));
    let program = sources.iter().filter(|(module, _)| !is_test(module));
    let imports = program.map(|(module, text)| {
        // A parent that only hands on a child's name does not use it.
        let handed_on: BTreeSet<_> = uses(text, true).collect();
        let is_used = |path: &String, from: &Module| !(from.starts_with(module) && handed_on.contains(path));
        let named = uses(text, false).chain(paths(text));
        let named = named.filter_map(|path| definition(module, &path, sources).filter(|from| is_used(&path, from)));
        let mut from: BTreeSet<_> = named.collect();
        from.remove(module);
        (module.clone(), from)
    });
    imports.collect()
}

/// A way from a module back to itself, if there is one.
fn circle(imports: &Imports) -> Option<Vec<&Module>> {
    imports.keys().find_map(|start| {
        let mut reached: BTreeMap<&Module, &Module> = BTreeMap::new();
        let mut waiting = vec![start];
        while let Some(module) = waiting.pop() {
            for next in imports.get(module).into_iter().flatten() {
                if next == start {
                    let mut way = vec![start, module];
                    while way.last().is_some_and(|last| *last != start) {
                        way.push(reached[way[way.len() - 1]]);
                    }
                    way.reverse();
                    return Some(way);
                }
                if !reached.contains_key(next) {
                    reached.insert(next, module);
                    waiting.push(next);
                }
            }
        }
        None
    })
}

/// The same between what is at the top of the crate.
fn of_folders(imports: &Imports) -> Imports {
    let top = |module: &Module| module.iter().take(1).cloned().collect::<Module>();
    let mut folders = Imports::new();
    for (module, from) in imports.iter().filter(|(module, _)| !module.is_empty()) {
        let others = from.iter().map(top).filter(|other| !other.is_empty() && *other != top(module));
        folders.entry(top(module)).or_default().extend(others);
    }
    folders
}

fn shown(way: &[&Module]) -> String {
    let names = way.iter().map(|module| if module.is_empty() { "the root".to_owned() } else { module.join("::") });
    names.collect::<Vec<_>>().join(" -> ")
}

#[test]
fn no_file_imports_from_one_that_imports_from_it() {
    let folders = fs::read_dir(root()).expect("readable").map(|entry| entry.expect("readable").path());
    let crates = folders.chain([root().to_owned()]).filter(|path| path.join("Cargo.toml").exists() && path.join("src").exists());
    let mut faults = Vec::new();
    for path in crates {
        let name = path.strip_prefix(root()).expect("below the root").display().to_string();
        let mut sources = Sources::new();
        read(&path.join("src"), &Module::new(), &mut sources);
        let files = imports(&sources);
        assert!(files.values().any(|from| !from.is_empty()) || files.len() < 3, "{name}: no imports were found");
        faults.extend(circle(&files).map(|way| format!("{name}: files {}", shown(&way))));
        if !FOLDERS_EXEMPT.contains(&&*name) {
            faults.extend(circle(&of_folders(&files)).map(|way| format!("{name}: folders {}", shown(&way))));
        }
    }
    assert!(faults.is_empty(), "imports in a circle:\n{}", faults.join("\n"));
}

#[test]
fn circles_of_imports_are_found() {
    let crate_of = |files: &[(&str, &str)]| -> Imports {
        let module = |path: &str| path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect::<Module>();
        imports(&files.iter().map(|(path, text)| (module(path), of_program(text))).collect())
    };
    let direct = crate_of(&[("a", "use crate::b::B;"), ("b", "use super::a::{A, C};")]);
    assert_eq!(circle(&direct).map(|way| shown(&way)).as_deref(), Some("a -> b -> a"));
    let around = crate_of(&[("a", "use crate::{b::{self, B}};"), ("b", "fn f() { crate::c::run() }"), ("c", "use crate::a::A;")]);
    assert_eq!(circle(&around).map(|way| shown(&way)).as_deref(), Some("a -> b -> c -> a"));
    let with_parent = crate_of(&[("a", "mod b;\nuse b::B;\npub struct A;"), ("a/b", "use super::A;")]);
    assert_eq!(circle(&with_parent).map(|way| shown(&way)).as_deref(), Some("a -> a::b -> a"));
    // A name that the parent only hands on comes from the sibling; and a restriction of visibility
    // is no import.
    let handed_on = crate_of(&[
        ("a", "mod b;\nmod c;\npub use self::b::B;\npub use self::c::C;"),
        ("a/b", "use super::C;\npub(in crate::a) fn f() {}"),
        ("a/c", "use std::fmt;\n// use super::B;\n#[cfg(test)]\nmod tests {\n    use super::super::B;\n}"),
    ]);
    assert_eq!(circle(&handed_on), None);
    let tests = crate_of(&[("a", "#[cfg(test)]\nmod b;\npub struct A;"), ("a/b", "use super::A;")]);
    assert_eq!(circle(&tests), None);
    let folders = crate_of(&[
        ("a", "mod x; mod w;"),
        ("a/x", "use crate::b::y::Y;"),
        ("a/w", ""),
        ("b", "mod y; mod z;"),
        ("b/y", ""),
        ("b/z", "use crate::a::w::W;"),
    ]);
    assert_eq!(circle(&folders), None);
    assert_eq!(circle(&of_folders(&folders)).map(|way| shown(&way)).as_deref(), Some("a -> b -> a"));
}
