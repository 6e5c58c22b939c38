//! Test: the table of `docs/science.md` against the files it names: a reader of the paper finds an equation where it says.

use std::path::Path;

/// What a reader looks for first. These numbers stand at the code itself, not in the head of its file alone.
const LANDMARKS: [&str; 9] = [
    "Eq. 7",
    "Eq. 10",
    "Eq. 12",
    "Eq. 19",
    "Eq. 20",
    "Eq. 21",
    "Algorithm 1",
    "Algorithm 2",
    "Algorithm 3",
];

/// Whether `mark` is somewhere in the text and is no part of a larger number.
fn stands_in(text: &str, mark: &str) -> bool {
    text.match_indices(mark)
        .any(|(at, _)| !text[at + mark.len()..].starts_with(|next: char| next.is_ascii_digit()))
}

fn without_module_docs(text: &str) -> String {
    let code = text.lines().filter(|line| !line.starts_with("//!"));
    code.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_equation_stands_in_the_file_that_the_table_names() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/science.md")).unwrap();
    let section = page.split("## From equation to code").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut seen = Vec::new();
    // Below the heading and its rule.
    for row in section.lines().filter(|line| line.starts_with('|')).skip(2) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let (marks, code) = (cells[1], cells[3]);
        let quoted = code.split('`').skip(1).step_by(2);
        let paths = quoted.filter(|name| name.contains('/') && name.ends_with(".rs"));
        let files: Vec<String> = paths
            .map(|path| {
                std::fs::read_to_string(root.join(path))
                    .unwrap_or_else(|error| panic!("{marks}: {path}: {error}"))
            })
            .collect();
        for mark in marks.split(", ") {
            let text = if LANDMARKS.contains(&mark) {
                without_module_docs(&files[0])
            } else {
                files[0].clone()
            };
            assert!(
                stands_in(&text, mark),
                "{mark} is not in the first file of: {row}"
            );
            seen.push(mark);
        }
    }
    for landmark in LANDMARKS {
        assert!(seen.contains(&landmark), "the table has no {landmark}");
    }
}

#[test]
fn a_number_is_no_part_of_a_larger_one() {
    assert!(stands_in("// Eq. 12, Eq. 1.", "Eq. 1"));
    assert!(!stands_in("// Eq. 12.", "Eq. 1"));
}
