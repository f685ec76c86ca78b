//! Checks that comments and prose are at most 100 columns wide, so that they can be read side by
//! side with code; that cells of tables are short; and that no file is long. Exempt from the width:
//! tables, code blocks, drawings, and words that cannot be broken.

use std::{fs, path::Path};

const WIDTH: usize = 100;
/// Characters of a cell. What needs more becomes text below the table.
const CELL: usize = 200;
/// Lines of a file.
const LENGTH: usize = 500;
const FOLDERS_EXEMPT: [&str; 5] = ["target", "node_modules", "corpus", "seeds", "fixtures"];

fn files(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            if !name.starts_with('.') && !name.starts_with("target") && !FOLDERS_EXEMPT.contains(&name) {
                files(&path, found);
            }
        } else if [".rs", ".js", ".md"].iter().any(|extension| name.ends_with(extension)) {
            found.push((path.display().to_string(), fs::read_to_string(&path).expect("text")));
        }
    }
}

/// The numbers of the lines that are too wide.
fn too_wide(is_page: bool, text: &str) -> Vec<usize> {
    let (mut is_code, mut found) = (false, Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        let trimmed = line.trim_start();
        let comment = ["//!", "///", "//"].iter().find_map(|mark| trimmed.strip_prefix(mark));
        let Some(prose) = (if is_page { Some(line) } else { comment }).map(str::trim_start) else {
            is_code = false;
            continue;
        };
        if prose.starts_with("```") {
            is_code = !is_code;
        }
        let is_drawing = prose.chars().any(|one| ('\u{2500}'..='\u{25ff}').contains(&one));
        let is_one_word = prose.split_whitespace().filter(|word| word.len() > 2).count() < 2;
        if !is_code && !is_drawing && !is_one_word && !prose.starts_with('|') && line.chars().count() > WIDTH {
            found.push(number);
        }
    }
    found
}

#[test]
fn comments_and_prose_are_at_most_100_columns_wide() {
    let mut all = Vec::new();
    files(Path::new(env!("CARGO_MANIFEST_DIR")), &mut all);
    let wide = |(path, text): &(String, String)| {
        too_wide(path.ends_with(".md"), text).into_iter().map(|number| format!("{path}:{number}")).collect::<Vec<_>>()
    };
    let found: Vec<_> = all.iter().flat_map(wide).collect();
    assert!(all.len() > 300, "only {} files were found", all.len());
    assert!(found.is_empty(), "wider than {WIDTH} columns: {found:#?}");
}

/// The numbers of the lines with a cell that is too long.
fn long_cells(text: &str) -> Vec<usize> {
    let rows = (1..).zip(text.lines()).filter(|(_, line)| line.starts_with('|'));
    let is_long = |line: &str| line.replace("\\|", "/").split('|').any(|cell| cell.trim().chars().count() > CELL);
    rows.filter(|(_, line)| is_long(line)).map(|(number, _)| number).collect()
}

#[test]
fn files_and_cells_of_tables_are_short() {
    let mut all = Vec::new();
    files(Path::new(env!("CARGO_MANIFEST_DIR")), &mut all);
    for (path, text) in &all {
        let length = text.lines().count();
        assert!(length <= LENGTH, "{path} has {length} lines: two things live there");
        let cells = if path.ends_with(".md") { long_cells(text) } else { Vec::new() };
        assert!(cells.is_empty(), "{path} has cells of more than {CELL} characters in the lines {cells:?}");
    }
}

#[test]
fn what_may_be_wide_is_not_reported() {
    let long = "word ".repeat(25);
    let code = format!("/// ```\n/// {long}\n/// ```\n/// | {long} |\nlet it = \"{long}\";\n// ──▶ {long}\n");
    assert_eq!(too_wide(false, &code), [0_usize; 0]);
    assert_eq!(too_wide(false, &format!("/// {long}\n    // {long}\n")), [1, 2]);
    assert_eq!(too_wide(true, &format!("```\n{long}\n```\n\n| {long} |\n\n{long}\n")), [7]);
    assert_eq!(long_cells(&format!("| {long} | {long} |\n| {long}{long} |\n{long}{long}\n")), [2]);
}
