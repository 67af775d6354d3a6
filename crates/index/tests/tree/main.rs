//! Which files use each other: no circle of `use` is larger than three files, in no crate of the workspace.
//!
//! Whoever changes one file of a circle has to know all of them. Three may be one thought in three files (a round of a
//! search, its state, the search); more are a tangle.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

mod graph;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use graph::{Circle, Graph};

/// Files that a circle may have.
const MOST: usize = 3;

/// Circles that are allowed all the same: crate and files below its `src`. There are none; a file that is listed and in no
/// large circle has to be taken out.
const KNOWN: &[(&str, &[&str])] = &[];

#[test]
fn no_circle_of_files_is_larger_than_three() {
    let found = circles_of_the_workspace();
    let known: BTreeMap<&str, BTreeSet<&str>> =
        KNOWN.iter().fold(BTreeMap::new(), |mut all, (name, files)| {
            all.entry(*name).or_default().extend(files.iter());
            all
        });
    let mut wrong = Vec::new();
    let mut left = known.clone();
    for (name, circle) in &found {
        let new: Vec<&String> = circle
            .files
            .iter()
            .filter(|file| !known.get(name.as_str()).is_some_and(|known| known.contains(file.as_str())))
            .collect();
        if !new.is_empty() {
            wrong.push(format!(
                "crate {name}: {} files use each other in a circle: {}\nnot known so far: {new:?}\n  {}",
                circle.files.len(),
                circle.files.join(", "),
                circle.uses.join("\n  ")
            ));
        }
        if let Some(left) = left.get_mut(name.as_str()) {
            left.retain(|file| !circle.files.iter().any(|f| f == file));
        }
    }
    for (name, files) in left.iter().filter(|(_, files)| !files.is_empty()) {
        wrong.push(format!("crate {name}: take these out of KNOWN, they are in no large circle: {files:?}"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn circles_of_the_workspace() -> Vec<(String, Circle)> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    for folder in folders_with_a_manifest(crates) {
        let name = folder.strip_prefix(crates).unwrap().display().to_string();
        let files = files_below(&folder.join("src"));
        let graph = Graph::new(files.iter().map(|(name, text)| (name.as_str(), text.as_str())));
        found.extend(graph.circles().into_iter().filter(|c| c.files.len() > MOST).map(|c| (name.clone(), c)));
    }
    found
}

fn folders_with_a_manifest(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
        if !["src", "target", "tests"].contains(&entry.file_name().to_string_lossy().as_ref()) {
            out.extend(entry.path().join("Cargo.toml").is_file().then(|| entry.path()));
            out.extend(folders_with_a_manifest(&entry.path()));
        }
    }
    out
}

/// The Rust files below a folder, by their paths with `/`, in order.
fn files_below(folder: &Path) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() {
            out.extend(files_below(&path).into_iter().map(|(below, text)| (format!("{name}/{below}"), text)));
        } else if name.ends_with(".rs") {
            out.insert(name, std::fs::read_to_string(path).unwrap());
        }
    }
    out
}

#[test]
fn every_crate_is_read() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let read: Vec<String> = folders_with_a_manifest(crates)
        .iter()
        .map(|folder| folder.strip_prefix(crates).unwrap().display().to_string())
        .collect();
    for name in
        ["index", "plan", "bundle", "postgres", "embed", "bench", "howdah", "extension", "extension/stories"]
    {
        assert!(
            read.iter().any(|folder| Path::new(folder) == Path::new(name)),
            "{name} is not among {read:?}"
        );
    }
}

/// The circles of a crate made of these files, each as its files.
fn circles(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    Graph::new(files.iter().copied()).circles().into_iter().map(|circle| circle.files).collect()
}

#[test]
fn a_circle_of_four_is_found() {
    let found = circles(&[
        ("lib.rs", "mod a; mod b; mod c; pub mod d;"),
        ("a.rs", "use crate::b::Second; pub struct First;"),
        ("b.rs", "pub struct Second; fn f() { let _ = super::c::third(); }"),
        ("c/mod.rs", "pub fn third() -> crate::d::Fourth { todo!() }"),
        ("d.rs", "use crate::{a::{self}, b as other}; pub struct Fourth; fn g(_: a::First) {}"),
    ]);
    assert_eq!(found, [["a.rs", "b.rs", "c/mod.rs", "d.rs"]]);
    assert!(found[0].len() > MOST);
}

#[test]
fn three_files_in_a_circle_are_accepted() {
    let found = circles(&[
        ("lib.rs", "mod a; mod b; mod c; mod d;"),
        ("a.rs", "use crate::b::B; pub struct A;"),
        ("b.rs", "use crate::c::C; pub struct B;"),
        ("c.rs", "use crate::a::A; pub struct C;"),
        ("d.rs", "use crate::a::A; pub struct D;"),
    ]);
    assert_eq!(found, [["a.rs", "b.rs", "c.rs"]]);
    assert!(found[0].len() <= MOST);
}

#[test]
fn a_parent_that_declares_and_exports_is_in_no_circle() {
    let found = circles(&[
        ("lib.rs", "pub mod room;"),
        ("room/mod.rs", "mod a; mod b; mod c; pub use a::A; pub(crate) use self::b::*; pub use c::C as Sea;"),
        ("room/a.rs", "use super::B; pub struct A;"),
        ("room/b.rs", "use crate::room::Sea; pub struct B;"),
        ("room/c.rs", "pub struct C;"),
    ]);
    assert_eq!(found, Vec::<Vec<String>>::new());
}

#[test]
fn a_parent_that_uses_and_is_used_is_in_the_circle() {
    let found = circles(&[
        ("lib.rs", "pub mod room;"),
        ("room/mod.rs", "mod a; mod b; mod c; pub struct Own; fn f() { a::f(); b::f(); c::f(); }"),
        ("room/a.rs", "use super::Own; pub fn f() {}"),
        ("room/b.rs", "use super::*; pub fn f() -> Own { Own }"),
        ("room/c.rs", "pub fn f() -> crate::room::Own { todo!() }"),
    ]);
    assert_eq!(found, [["room/a.rs", "room/b.rs", "room/c.rs", "room/mod.rs"]]);
}

#[test]
fn tests_comments_and_strings_do_not_count() {
    let found = circles(&[
        ("lib.rs", "mod a; mod b; #[cfg(test)] mod tests;"),
        (
            "a.rs",
            r####"
            // use crate::b::B;
            /* crate::b::B /* crate::b::B */ crate::b::B */
            /// [`crate::b::B`]
            pub struct A { #[cfg(test)] b: crate::b::B, c: char }
            const TEXT: &str = "crate::b::B \" crate::b::B";
            const RAW: &str = r#"crate::b::B " crate::b::B"#;
            const MARK: char = '"'; fn f<'a>(_: &'a str) { let _ = ('\'', b'"', '\u{41}'); }
            #[cfg(test)]
            use crate::b::{B, f};
            #[cfg(all(test, unix))]
            #[allow(dead_code)]
            fn only_in_tests(_: [u8; 2]) -> crate::b::B { crate::b::f() }
            #[cfg(test)]
            #[path = "b_tests.rs"]
            mod of_b;
            #[cfg(test)]
            mod tests { use crate::b::B; mod deeper { fn f() { crate::b::f() } } }
            "####,
        ),
        ("b.rs", "use crate::a::A; pub struct B; pub fn f() {}"),
        ("b_tests.rs", "use crate::tests::T; pub fn g() {}"),
        ("tests.rs", "use crate::b_tests::g; pub struct T;"),
    ]);
    assert_eq!(found, Vec::<Vec<String>>::new());
}

#[test]
fn what_follows_a_test_counts() {
    let found = circles(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "#[cfg(test)] use std::fs; #[cfg(not(test))] use crate::b::B; pub struct A;"),
        ("b.rs", "#[cfg(test)] mod tests { fn f() {} } pub struct B; fn g(_: crate::a::A) {}"),
    ]);
    assert_eq!(found, [["a.rs", "b.rs"]]);
}

#[test]
fn other_names_of_a_module_lead_to_its_file() {
    let found = circles(&[
        ("lib.rs", "mod a; mod b; mod folder;"),
        ("a.rs", "use crate::folder; pub struct A; fn f() { folder::inner::g() }"),
        ("b.rs", "use crate::a as first; pub fn h(_: first::A) {}"),
        ("folder/mod.rs", "pub mod inner;"),
        ("folder/inner.rs", "pub fn g() { use super::super::b; b::h(todo!()) }"),
    ]);
    assert_eq!(found, [["a.rs", "b.rs", "folder/inner.rs"]]);
}
