//! Each clause of the specification is cited in code and in a test, or excused; each citation names a clause.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Ids such as `FRM-10` between brackets in a text: `[FRM-10]`, `\[FRM-10\]`, `**[FRM-10]**`.
fn bracketed(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices('[') {
        let rest = &text[at + 1..];
        let Some(end) = rest.find([']', '\\']) else { continue };
        let id = &rest[..end];
        if let Some((prefix, number)) = id.split_once('-') {
            let prefix_fits =
                (2..=4).contains(&prefix.len()) && prefix.bytes().all(|b| b.is_ascii_uppercase());
            if prefix_fits && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) {
                found.insert(id.to_owned());
            }
        }
    }
    found
}

fn defined() -> BTreeMap<String, String> {
    let mut clauses = BTreeMap::new();
    for path in super::files(&super::workspace().join("proto-spec/spec"), &[".md"]) {
        for line in fs::read_to_string(&path).unwrap().lines() {
            let Some(rest) = line.strip_prefix("**[") else { continue };
            let id = rest.split(']').next().unwrap().to_owned();
            let file = path.file_name().unwrap().to_string_lossy().into_owned();
            assert!(clauses.insert(id.clone(), file).is_none(), "{id} is defined twice");
        }
    }
    clauses
}

/// Citations in code and in tests. A file below a `tests` or `fuzz` folder is a test; in any other, what follows
/// `#[cfg(test)]` is.
fn cited() -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut code, mut tests) = (BTreeSet::new(), BTreeSet::new());
    for path in super::files(&super::workspace(), &[".rs", ".proto"]) {
        let text = fs::read_to_string(&path).unwrap();
        let is_test =
            path.components().any(|part| ["tests", "fuzz"].iter().any(|name| part.as_os_str() == *name));
        let own = path.ends_with(Path::new("tests/house/clauses.rs"));
        if own {
            continue;
        }
        if is_test || path.file_stem().is_some_and(|stem| stem == "tests") {
            tests.extend(bracketed(&text));
        } else {
            let (before, after) = text.split_at(tests_start(&text));
            code.extend(bracketed(before));
            tests.extend(bracketed(after));
        }
    }
    (code, tests)
}

/// Where a source file's own test module begins: `#[cfg(test)]` before a module with a body, not before `mod tests;`.
fn tests_start(text: &str) -> usize {
    let mut marks = text.match_indices("#[cfg(test)]").map(|(at, _)| at);
    let begins = |at: &usize| text[*at..].lines().nth(1).is_some_and(|line| line.trim_end().ends_with('{'));
    marks.find(begins).unwrap_or(text.len())
}

fn excused() -> BTreeMap<String, String> {
    let text = fs::read_to_string(super::workspace().join("proto-spec/spec/exceptions.toml")).unwrap();
    let value: toml::Table = text.parse().unwrap();
    let rows = value.get("clause").map(|rows| rows.as_array().unwrap().as_slice());
    rows.unwrap_or_default()
        .iter()
        .map(|row| (row["id"].as_str().unwrap().to_owned(), row["reason"].as_str().unwrap().to_owned()))
        .collect()
}

#[test]
fn clauses_are_cited_in_code_and_in_tests() {
    let (defined, (code, tests), excused) = (defined(), cited(), excused());
    assert!(defined.len() > 50, "the search for clauses finds them");
    let mut faults = Vec::new();
    for (id, file) in &defined {
        if excused.contains_key(id) {
            continue;
        }
        match (code.contains(id), tests.contains(id)) {
            (true, true) => {}
            (false, true) => faults.push(format!("{id} ({file}) is cited in no code")),
            (true, false) => faults.push(format!("{id} ({file}) is cited in no test")),
            (false, false) => faults.push(format!("{id} ({file}) is cited nowhere")),
        }
    }
    for id in code.union(&tests).filter(|id| !defined.contains_key(*id)) {
        faults.push(format!("{id} is cited and defined nowhere"));
    }
    for (id, reason) in &excused {
        if !defined.contains_key(id) {
            faults.push(format!("{id} is excused and defined nowhere"));
        }
        if code.contains(id) && tests.contains(id) {
            faults.push(format!("{id} is excused and yet cited in both"));
        }
        assert!(reason.len() > 20, "{id} is excused without a reason");
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
