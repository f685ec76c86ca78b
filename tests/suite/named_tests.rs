//! Checks that every test, file and heading that the docs name exists, that every row of a table
//! with a column "shown by" or "shown in" names a test, that docs/README.md lists every page once,
//! and that docs/testing.md describes every file of this suite.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// A quoted name with so many underscores is taken for a test's name, wherever it stands.
const LONG_NAME: usize = 5;

/// By the file's path from the root: the names of its tests.
type Tests = BTreeMap<String, BTreeSet<String>>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn collect(folder: &Path, tests: &mut Tests) {
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            if !name.starts_with('.') && !["target", "node_modules", "corpus"].contains(&name) {
                collect(&path, tests);
            }
            continue;
        }
        let names: fn(&str) -> BTreeSet<String> = match path.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => of_rust,
            Some("js") => of_javascript,
            Some("py") => of_python,
            _ => continue,
        };
        let known = path.strip_prefix(root()).expect("below the root").display().to_string();
        tests.insert(known, names(&fs::read_to_string(&path).expect("text")));
    }
}

/// Functions behind an attribute that makes them tests, and the cases of the store's contract,
/// which a macro runs with each backend.
fn of_rust(text: &str) -> BTreeSet<String> {
    let cases = text.split_once("\ncontract!(").and_then(|(_, rest)| Some(rest.split_once(");")?.0));
    let cases = cases.into_iter().flat_map(|cases| cases.split(',')).map(|case| case.trim().to_owned());
    let mut names: BTreeSet<_> = cases.filter(|case| !case.is_empty()).collect();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[") {
            is_test |= line == "#[test]" || line.ends_with("::test]") || line.contains("::test(");
            continue;
        }
        let name = line.split_once("fn ").and_then(|(before, after)| Some((before, after.split_once('(')?.0)));
        if let Some((before, name)) = name.filter(|_| is_test)
            && ["", "async ", "pub ", "pub async "].contains(&before)
        {
            names.insert(name.to_owned());
        }
        is_test &= line.is_empty() || line.starts_with("//");
    }
    names
}

fn of_javascript(text: &str) -> BTreeSet<String> {
    let named = text.lines().filter_map(|line| line.trim().strip_prefix("test(\"")?.split_once('"'));
    named.map(|(name, _)| name.to_owned()).collect()
}

fn of_python(text: &str) -> BTreeSet<String> {
    let named = text.lines().filter_map(|line| line.strip_prefix("def ")?.split_once('('));
    named.filter(|(name, _)| name.starts_with("test_")).map(|(name, _)| name.to_owned()).collect()
}

/// The texts between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn is_there(tests: &Tests, file: &str, name: &str) -> bool {
    tests.iter().any(|(path, names)| (path == file || path.ends_with(&format!("/{file}"))) && names.contains(name))
}

/// Whether a quoted text can only be the name of a test: no setting, code or field has so many
/// words. Metrics can, and begin with `bridge_`.
fn is_a_tests_name(quote: &str) -> bool {
    let is_name = quote.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    is_name && quote.matches('_').count() >= LONG_NAME && !quote.starts_with("bridge_")
}

/// The faults of a page.
fn faults(page: &str, text: &str, tests: &Tests) -> Vec<String> {
    let mut faults = Vec::new();
    let mut shows = false;
    for (number, line) in text.lines().enumerate() {
        let place = format!("{page}:{}", number + 1);
        for (file, name) in quoted(line).filter_map(|quote| quote.split_once("::")) {
            let is_test_file = [".rs", ".js", ".py"].iter().any(|end| file.ends_with(end));
            if is_test_file && !is_there(tests, file, name) {
                faults.push(format!("{place}: there is no test `{name}` in `{file}`"));
            }
        }
        // Without a file, the name must be that of a test anywhere.
        let is_anywhere = |name: &str| tests.values().any(|names| names.contains(name));
        for name in quoted(line).filter(|quote| is_a_tests_name(quote) && !is_anywhere(quote)) {
            faults.push(format!("{place}: there is no test `{name}`"));
        }
        let Some(row) = line.trim().strip_prefix('|').and_then(|line| line.strip_suffix('|')) else {
            shows = false;
            continue;
        };
        let last = row.rsplit('|').next().unwrap_or_default().trim();
        if last == "shown in" || last == "shown by" {
            shows = true;
            continue;
        }
        if !shows || (last.contains('-') && last.chars().all(|letter| "-: ".contains(letter))) || last.starts_with("the same") {
            continue;
        }
        if !last.contains('`') {
            faults.push(format!("{place}: no test is named"));
        }
        // Long names are checked above.
        for name in quoted(last).filter(|quote| !quote.contains("::") && !is_a_tests_name(quote) && !is_anywhere(quote)) {
            faults.push(format!("{place}: there is no test `{name}`"));
        }
    }
    faults
}

/// Every page: by its path from the root, its text.
fn pages() -> BTreeMap<String, String> {
    let mut pages = BTreeMap::new();
    for folder in ["", "bench", "examples", "tests/conformance"] {
        add_pages(&root().join(folder), &mut pages, false);
    }
    add_pages(&root().join("docs"), &mut pages, true);
    pages
}

fn add_pages(folder: &Path, pages: &mut BTreeMap<String, String>, and_below: bool) {
    for entry in fs::read_dir(folder).expect("a folder of pages") {
        let path = entry.expect("readable").path();
        if path.is_dir() && and_below {
            add_pages(&path, pages, true);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            let known = path.strip_prefix(root()).expect("below the root").display().to_string();
            pages.insert(known, fs::read_to_string(&path).expect("text"));
        }
    }
}

/// The targets of links within the repository: each file, empty for the same page, and the heading
/// in it.
fn links(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let targets = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    let inner = targets.filter(|target| !target.contains("://"));
    inner.map(|target| target.split_once('#').map_or((target, None), |(file, heading)| (file, Some(heading))))
}

/// What a link to a heading writes after `#`.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut is_code = false;
    let headings = text.lines().filter(|line| {
        is_code ^= line.starts_with("```");
        !is_code && line.starts_with('#')
    });
    let kept = |letter: char| letter.is_alphanumeric() || letter == '-' || letter == '_';
    let anchor = |heading: &str| {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        text.chars().map(|letter| if letter == ' ' { '-' } else { letter }).filter(|letter| kept(*letter)).collect()
    };
    headings.map(anchor).collect()
}

/// Whether a quoted text is the path of a file or folder of the repository, from the root.
fn is_a_path(quote: &str, folders: &BTreeSet<String>) -> bool {
    let is_plain = quote.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
    is_plain && quote.split_once('/').is_some_and(|(first, _)| folders.contains(first))
}

#[test]
fn every_file_that_the_docs_name_exists() {
    // What a build or a test run creates is missing in a fresh clone.
    let made = ["target/", "fuzz/corpus", "fuzz/artifacts", "tests/.venv", "tests/clients/node/node_modules"];
    let folders: BTreeSet<_> = fs::read_dir(root())
        .expect("readable")
        .map(|entry| entry.expect("readable"))
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let mut sources = Tests::new();
    collect(root(), &mut sources);
    let mut missing = Vec::new();
    for (page, text) in pages() {
        let folder = root().join(&page).parent().expect("a folder").to_owned();
        for (link, heading) in links(&text) {
            let target = if link.is_empty() { root().join(&page) } else { folder.join(link) };
            if !target.exists() {
                missing.push(format!("{page}: a link to {link}"));
            } else if let Some(heading) = heading
                && !anchors(&fs::read_to_string(&target).expect("a page")).contains(heading)
            {
                missing.push(format!("{page}: a link to {link}#{heading}"));
            }
        }
        let quotes = quoted(&text).filter_map(|quote| quote.split("::").next());
        let paths = quotes.filter(|quote| is_a_path(quote, &folders) && !made.iter().any(|it| quote.starts_with(it)));
        // A page about one crate may leave the crate's folder out.
        let ends_one = |path: &str| sources.keys().any(|source| source.ends_with(&format!("/{path}")));
        for path in paths.filter(|path| !root().join(path).exists() && !ends_one(path)) {
            missing.push(format!("{page}: `{path}`"));
        }
    }
    assert!(missing.is_empty(), "not there:\n{}", missing.join("\n"));
}

#[test]
fn every_test_that_the_docs_name_exists() {
    let mut tests = Tests::new();
    collect(root(), &mut tests);
    let found: Vec<_> = pages().iter().flat_map(|(page, text)| faults(page, text, &tests)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_page_is_listed_once_under_its_kind() {
    let index = fs::read_to_string(root().join("docs/README.md")).expect("text");
    for page in pages().keys().filter_map(|page| page.strip_prefix("docs/")) {
        let is_listed_elsewhere = page == "README.md" || page.starts_with("adr/") && page != "adr/README.md";
        let times = links(&index).filter(|(link, _)| *link == page).count();
        assert!(is_listed_elsewhere || times == 1, "docs/README.md lists {page} {times} times");
    }
}

#[test]
fn every_file_of_this_suite_is_documented() {
    let text = fs::read_to_string(root().join("docs/testing.md")).expect("text");
    let entries = fs::read_dir(root().join("tests/suite")).expect("readable").map(|entry| entry.expect("readable"));
    let names = entries.map(|entry| {
        let name = entry.file_name().into_string().expect("text");
        if entry.path().is_dir() { format!("{name}/") } else { name }
    });
    let missing: Vec<_> =
        names.filter(|name| !["main.rs", "harness/"].contains(&&**name) && !text.contains(&format!("| `{name}` |"))).collect();
    assert!(missing.is_empty(), "not in docs/testing.md: {missing:?}");
}

#[test]
fn missing_names_are_found() {
    let tests =
        Tests::from([("a/b/c.rs".to_owned(), of_rust("#[test]\nfn one() {}\n#[tokio::test]\nasync fn two() {}\nfn three() {}"))]);
    let table = |last: &str| format!("| what | shown in |\n|---|---|\n| x | {last} |\n");
    for (last, count) in [
        ("`b/c.rs::one`, `two`", 0),
        ("the same", 0),
        ("`b/c.rs::three`", 1),
        ("`c.rs::one`, `x.rs::one`, `four`", 2),
        ("nothing", 1),
        ("", 1),
    ] {
        assert_eq!(faults("page", &table(last), &tests).len(), count, "{last}");
    }
    // In prose too, if it can be nothing else.
    for (text, count) in [("`there_is_no_test_of_this_name` shows it", 1), ("`store_unavailable`, `A_B_C_D_E_F`, `one`", 0)] {
        assert_eq!(faults("page", text, &tests).len(), count, "{text}");
    }
}

#[test]
fn links_and_paths_are_told_from_other_text() {
    let text = "[a](docs/x.md#part) [b](https://example.org/y) [c](#here) [d](docs/y.md)";
    let found: Vec<_> = links(text).collect();
    assert_eq!(found, [("docs/x.md", Some("part")), ("", Some("here")), ("docs/y.md", None)]);
    let page = "# One\n```\n# not one\n```\n## 2. An issuer's `token`, \u{2026}\n";
    assert_eq!(anchors(page), BTreeSet::from(["one".to_owned(), "2-an-issuers-token-".to_owned()]));
    let folders = BTreeSet::from(["src".to_owned()]);
    for (quote, expected) in [("src/main.rs", true), ("src/{a,b}", false), ("text/html", false), ("src", false)] {
        assert_eq!(is_a_path(quote, &folders), expected, "{quote}");
    }
}
