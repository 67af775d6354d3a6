//! What cannot be is named, and nothing that follows from it is planned.

use super::tests::{fresh, plan, spec, with_app, with_service};
use super::{Options, diff, imagined};
use crate::problem::Kind;

const BOTH: &str = r#"
name = "t"
[databases.app]
settings = { "hnsw.ef_search" = 100 }
[roles.reader]
[[roles.reader.grants]]
database = "app"
privileges = ["select"]
tables = ["notes"]
[collections.notes]
dimensions = 3
[tables.vectors]
columns = [{ name = "v", type = "vector(3)" }]
[tables.events]
columns = [{ name = "id", type = "bigint" }]
"#;

#[test]
fn without_pgvector_only_what_needs_none_is_planned() {
    let mut live = fresh();
    live.available.clear();
    let plan = plan(&with_service(BOTH), &live);
    assert_eq!(plan.problems.len(), 1, "{plan}");
    assert_eq!(plan.problems[0].kind, Kind::Machine);
    let text: Vec<&str> = plan.steps.iter().flat_map(|step| &step.sql).map(String::as_str).collect();
    let text = text.join("\n");
    assert!(text.contains("CREATE TABLE \"public\".\"events\""), "{text}");
    for follows in ["\"notes\"", "\"vectors\"", "hnsw", "EXTENSION"] {
        assert!(!text.contains(follows), "{follows}: {text}");
    }
}

#[test]
fn one_impossible_collection_leaves_the_others_and_destroys_nothing() {
    let text = format!(
        "{BOTH}[collections.old]\ndimensions = 3\n[collections.old.adopt]\nid = \"id\"\nembedding = \"e\"\n"
    );
    let mut live = with_app();
    let inside = &mut live.databases.get_mut("app").unwrap().inside;
    let gone = super::live::Table { schema: "public".into(), name: "gone".into(), ..Default::default() };
    inside.tables.insert("\"public\".\"gone\"".into(), gone);
    let memory = super::live::Memory {
        kind: "table".into(),
        name: "\"public\".\"gone\"".into(),
        ..Default::default()
    };
    inside.memory.push(memory);
    let plan = diff(&spec(&text), &live, &Options { allow_destroy: true, ..Options::default() });
    assert_eq!(plan.problems.len(), 1, "{plan}");
    let named = Options { deployment: "aaaaaaaa-0000-4000-8000-000000000001".into(), ..Options::default() };
    let own = diff(&spec(&text), &live, &named);
    assert!(!own.to_string().contains("howdah.remember('collection'"), "nothing is kept for it: {own}");
    assert!(plan.problems[0].message.contains("`public.old` is not there"), "{plan}");
    assert!(plan.steps.iter().any(|step| step.id == "table:app:public.notes"), "{plan}");
    let blocked: Vec<&str> = plan.blocked.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(blocked, ["table:app:public.gone:drop"], "{plan}");
}

#[test]
fn a_server_that_is_not_there_yet_gets_all_that_is_declared() {
    let text = format!("{BOTH}[settings]\nwork_mem = \"64MB\"\nmax_wal_senders = 3\n");
    let text = text
        .replace("[databases.app]", "[databases.app]\nextensions = { vector = \"*\", pg_trgm = \"1.6\" }");
    let declared = with_service(&text);
    let plan = diff(&declared, &imagined(&declared, false), &Options::default());
    assert!(plan.problems.is_empty() && plan.blocked.is_empty(), "{plan}");
    for id in [
        "database:app",
        "extension:app:vector",
        "extension:app:pg_trgm",
        "table:app:public.notes",
        "setting:work_mem",
    ] {
        assert!(plan.steps.iter().any(|step| step.id == id), "{id}: {plan}");
    }
    assert_eq!(plan.restart, ["max_wal_senders"], "{plan}");
}
