//! The manual is the first corpus: questions of people who keep embeddings in PostgreSQL find the page that answers them.

#![allow(clippy::unwrap_used, reason = "a test may stop on a surprise")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use howdah::apply;
use howdah::faces::cli::args;
use howdah::knowledge::ingest::{self, IngestRequest};
use howdah::knowledge::search;
use howdah::observe::progress::Silent;
use howdah::skills::SKILLS;
use howdah_embed::Embedders;
use howdah_plan::preset;
use howdah_plan::search::SearchRequest;
use howdah_plan::spec::read;
use howdah_plan::spec::resolve::resolve;
use howdah_postgres::Pools;
use howdah_postgres::testing::{self, Cluster};

/// Rows looked at for an answer.
const LOOKED_AT: u32 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn questions_find_the_page_that_answers_them() {
    let root = root();
    let spec = read::from_str(&preset::render(preset::DEFAULT).unwrap(), preset::DECLARATION).unwrap();
    let cluster = Cluster::start(&[]);
    let pools = Pools::new(cluster.target.clone(), 4);
    apply::run(&pools, &spec, &apply::Options::default(), &|_| {}).await.unwrap();

    let embedders = Embedders::from_spec(&spec, &testing::home()).unwrap();
    let resolved = resolve(&spec, "manual").unwrap();
    let embedder = embedders.of_collection(&resolved).unwrap();
    let load = || IngestRequest::paths([root.join("docs").to_str().unwrap()], &spec.collections["manual"]);
    let report = ingest::run(&pools, embedder.clone(), &resolved, load(), Arc::new(Silent)).await.unwrap();
    assert!(report.rows_written > 300, "{report:?}");
    let again = ingest::run(&pools, embedder, &resolved, load(), Arc::new(Silent)).await.unwrap();
    assert!(again.wrote_nothing(), "{again:?}");

    let questions = std::fs::read_to_string(root.join("tests/manual/questions.tsv")).unwrap();
    let mut missed = Vec::new();
    let mut asked = 0;
    for (question, pages) in questions.lines().filter_map(|line| line.split_once('\t')) {
        let request = SearchRequest {
            collection: "manual".into(),
            text: Some(question.into()),
            limit: Some(LOOKED_AT),
            ..SearchRequest::default()
        };
        let answer = search::run(&pools, &embedders, &resolved, &request).await.unwrap();
        assert!(answer.complete, "{question}: {}", answer.complete_reason);
        let found: Vec<String> = answer
            .results
            .iter()
            .filter_map(|hit| hit.source.clone())
            .map(|source| source.rsplit_once("docs/").map_or(source.clone(), |(_, page)| page.to_owned()))
            .collect();
        asked += 1;
        if !found.iter().any(|page| pages.split(' ').any(|right| right == page)) {
            missed.push(format!("{question}: {found:?}"));
        }
    }
    eprintln!("{asked} questions, {} missed: {missed:#?}", missed.len());
    assert!(missed.len() * 20 <= asked, "more than one in twenty missed: {missed:#?}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Texts that tell people what to type.
fn texts() -> Vec<(PathBuf, String)> {
    let mut found = vec![];
    let mut directories = vec![root().join("docs"), root().join("examples")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|suffix| suffix == "md") {
                found.push((path.clone(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// The commands in a text: lines of shell blocks and code within sentences, that begin with `howdah`.
fn commands(text: &str) -> Vec<String> {
    let mut block = "";
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("```") {
            block = if block.is_empty() { if kind.is_empty() { "plain" } else { kind } } else { "" };
        } else if block == "sh" {
            found.extend(
                line.split(['|', '(']).map(|part| part.split(" #").next().unwrap_or(part).trim().to_owned()),
            );
        } else if block.is_empty() {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found.retain(|command| command.starts_with("howdah "));
    found
}

#[test]
fn every_command_and_flag_in_the_manual_exists() {
    let all = args::command();
    let mut checked = 0;
    for (path, text) in texts() {
        for line in commands(&text) {
            let mut command = &all;
            let mut words = line.split_whitespace().skip(1).peekable();
            while let Some(next) = words.peek().and_then(|word| command.find_subcommand(word)) {
                command = next;
                words.next();
            }
            let first = words.peek().copied().unwrap_or_default();
            let placeholder = first.is_empty() || first.chars().all(|c| c.is_uppercase() || c == '…');
            let named = !std::ptr::eq(command, &all) || placeholder || first.starts_with('-');
            assert!(named, "{}: there is no command `{line}`", path.display());
            for flag in words.filter_map(|word| word.strip_prefix("--")) {
                let flag = flag.split('=').next().unwrap_or(flag);
                let known = command.get_arguments().chain(all.get_arguments());
                let known = known.filter_map(|one| one.get_long()).chain(["help", "version"]);
                assert!(
                    known.into_iter().any(|one| one == flag),
                    "{}: there is no `--{flag}`: {line}",
                    path.display()
                );
            }
            checked += 1;
        }
    }
    assert!(checked > 80, "{checked}");
}

#[test]
fn the_page_on_rest_names_every_path_and_the_page_on_commands_every_command() {
    let rest = std::fs::read_to_string(root().join("docs/reference/rest.md")).unwrap();
    for skill in SKILLS {
        let call = format!("`{} {}`", skill.route.method, skill.route.path);
        assert!(rest.contains(&call), "{call} is not in docs/reference/rest.md");
    }
    let page = std::fs::read_to_string(root().join("docs/reference/commands.md")).unwrap();
    for command in args::command().get_subcommands().filter(|one| one.get_name() != "help") {
        let name = command.get_name();
        assert!(
            page.contains(&format!("`howdah {name}")),
            "`howdah {name}` is not in docs/reference/commands.md"
        );
    }
}
