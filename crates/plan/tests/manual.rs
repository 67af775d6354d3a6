//! The manual holds together: its links lead somewhere, its declarations are read, its tables are the code's.

#![allow(clippy::unwrap_used, reason = "a test may stop on a surprise")]

use std::path::{Path, PathBuf};

use howdah_plan::problem::Kind;
use howdah_plan::spec::schema;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

fn pages() -> Vec<(PathBuf, String)> {
    let mut pages = Vec::new();
    let mut directories = vec![docs()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|suffix| suffix == "md") {
                let text = std::fs::read_to_string(&path).unwrap();
                pages.push((path, text));
            }
        }
    }
    pages.sort();
    pages
}

#[test]
fn every_link_between_pages_leads_to_a_page() {
    for (path, text) in pages() {
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://") && !target.starts_with('#')) {
            let file = target.split('#').next().unwrap_or_default();
            let linked = path.parent().unwrap().join(file);
            assert!(linked.exists(), "{}: there is no `{target}`", path.display());
        }
    }
}

#[test]
fn every_page_has_one_title_and_is_reached_from_the_first() {
    let first = std::fs::read_to_string(docs().join("README.md")).unwrap();
    for (path, text) in pages() {
        let mut code = false;
        let titles = text.lines().filter(|line| {
            code ^= line.starts_with("```");
            !code && line.starts_with("# ")
        });
        assert_eq!(titles.count(), 1, "{}", path.display());
        assert!(text.starts_with("# "), "{}", path.display());
        let name = path.strip_prefix(docs()).unwrap().to_str().unwrap();
        assert!(
            name == "README.md" || first.contains(&format!("({name})")),
            "{name} is not in docs/README.md"
        );
    }
}

#[test]
fn every_declaration_in_the_manual_is_toml_with_keys_that_exist() {
    let tables = schema::schema()["properties"].as_object().unwrap();
    for (path, text) in pages() {
        for block in text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            let parsed: toml::Table =
                toml::from_str(block).unwrap_or_else(|error| panic!("{}: {error}\n{block}", path.display()));
            for key in parsed.keys() {
                assert!(tables.contains_key(key), "{}: unknown `{key}`", path.display());
            }
        }
    }
}

#[test]
fn the_page_on_errors_lists_every_kind_as_the_table_has_it() {
    let page = std::fs::read_to_string(docs().join("reference/errors.md")).unwrap();
    for kind in Kind::ALL {
        let row = kind.row();
        let line = format!("| `{}` | {} | {} |", row.name, row.http, row.exit);
        assert!(page.contains(&line), "{line}");
    }
}

#[test]
fn the_page_on_the_doctor_is_the_one_the_checks_give() {
    let path = docs().join("doctor.md");
    let page = howdah_plan::check::manual::page();
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == page, "docs/doctor.md is old: UPDATE_SCHEMA=1 cargo test -p howdah-plan");
}

#[test]
fn the_page_on_settings_is_the_one_the_table_gives() {
    let path = docs().join("reference/settings.md");
    let page = howdah_plan::settings::manual::page();
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == page,
        "docs/reference/settings.md is old: UPDATE_SCHEMA=1 cargo test -p howdah-plan"
    );
}
