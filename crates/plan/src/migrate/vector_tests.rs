//! Which vector index a collection gets, on facts written by hand.

use super::live::{Available, Column, Index, Installed, Live, Memory, Table};
use super::tests::{plan, spec, sql, with_app};
use super::{Options, Plan, diff};
use crate::problem::Kind;
use crate::spec::Spec;

/// A server whose extension `howdah` can be created.
fn with_extension() -> Live {
    let mut live = with_app();
    let version = "0.1.0".to_owned();
    live.available
        .insert("howdah".into(), Available { default_version: version.clone(), versions: [version].into() });
    live
}

fn collection(more: &str) -> Spec {
    spec(&format!("name = \"t\"\n[databases.app]\n[collections.c]\ndimensions = 3\n{more}\n"))
}

/// An adopted table with rows and, on its embedding, an index of a method.
fn with_table(mut live: Live, method: &str, options: &[(&str, &str)]) -> Live {
    let column = |name: &str, sql_type: &str| Column {
        name: name.into(),
        sql_type: sql_type.into(),
        not_null: true,
        ..Column::default()
    };
    let index = |name: &str, method: &str, column: &str| Index {
        name: name.into(),
        method: method.into(),
        columns: vec![column.into()],
        opclasses: vec!["vector_cosine_ops".into()],
        valid: true,
        definition: format!("CREATE INDEX {name} USING {method}"),
        ..Index::default()
    };
    let mut indexes = vec![Index { unique: true, ..index("c_pkey", "btree", "id") }];
    if !method.is_empty() {
        let options = options.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        indexes.push(Index { options, ..index("c_embedding_idx", method, "embedding") });
    }
    let table = Table {
        schema: "public".into(),
        name: "c".into(),
        owner: "postgres".into(),
        columns: vec![column("id", "bigint"), column("embedding", "vector(3)")],
        indexes,
        has_rows: true,
        ..Table::default()
    };
    let inside = &mut live.databases.get_mut("app").unwrap().inside;
    inside.tables.insert("\"public\".\"c\"".into(), table);
    for (kind, name) in [("index", "\"public\".\"c_embedding_idx\""), ("extension", "howdah")] {
        inside.memory.push(Memory { kind: kind.into(), name: name.into(), ..Memory::default() });
    }
    live
}

fn installed(mut live: Live, version: &str) -> Live {
    let extension = Installed { version: version.into(), schema: "public".into() };
    live.databases.get_mut("app").unwrap().inside.extensions.insert("howdah".into(), extension);
    live
}

fn adopted(more: &str) -> Spec {
    collection(&format!("adopt = {{ id = \"id\", embedding = \"embedding\" }}\n{more}"))
}

fn allowing(spec: &Spec, live: &Live) -> Plan {
    diff(spec, live, &Options { allow_destroy: true, ..Options::default() })
}

fn has(plan: &Plan, words: &str) -> bool {
    sql(plan).iter().any(|sql| sql.contains(words))
}

fn noted(plan: &Plan, words: &str) -> bool {
    plan.notes.iter().any(|note| note.text.contains(words))
}

#[test]
fn the_extension_is_taken_only_where_it_is_asked_for() {
    let unsaid = plan(&collection(""), &with_extension());
    assert!(has(&unsaid, "USING hnsw (\"embedding\" vector_cosine_ops)"), "{unsaid}");
    assert!(!has(&unsaid, "EXTENSION IF NOT EXISTS \"howdah\""), "{unsaid}");
    for (declared, operators) in [
        ("index = \"auto\"", "vector_cosine_ops"),
        ("index = { kind = \"howdah\" }\nmetric = \"l2\"", "vector_l2_ops"),
        ("index = \"howdah\"\nmetric = \"inner_product\"\nstorage = \"halfvec\"", "halfvec_ip_ops"),
    ] {
        let plan = plan(&collection(declared), &with_extension());
        assert!(has(&plan, &format!("USING howdah (\"embedding\" {operators})")), "{declared}: {plan}");
        let extension = sql(&plan).iter().position(|sql| sql.contains("EXTENSION IF NOT EXISTS \"howdah\""));
        let index = sql(&plan).iter().position(|sql| sql.contains("USING howdah"));
        assert!(extension.is_some() && extension < index, "{plan}");
    }
}

#[test]
fn auto_says_what_it_is_here_and_why() {
    let auto = |more: &str| collection(&format!("index = \"auto\"\n{more}"));
    let here = plan(&auto(""), &with_extension());
    assert!(
        noted(&here, "collection `c`: index `auto` is `howdah`: extension `howdah` 0.1.0 is available"),
        "{here}"
    );
    let step = here.steps.iter().find(|step| step.id.ends_with("c_embedding_idx")).unwrap();
    assert!(step.reason.contains("`auto` is `howdah`"), "{}", step.reason);
    let elsewhere = plan(&auto(""), &with_app());
    assert!(noted(&elsewhere, "index `auto` is `hnsw`: extension `howdah` is not available on this server"));
    assert!(has(&elsewhere, "USING hnsw"), "{elsewhere}");
    let taxicab = plan(&auto("metric = \"l1\""), &with_extension());
    assert!(
        noted(&taxicab, "no operator class for the metric `l1`") && has(&taxicab, "USING hnsw"),
        "{taxicab}"
    );
    assert!(!has(&taxicab, "\"howdah\""), "{taxicab}");
}

#[test]
fn an_index_that_serves_is_kept_by_auto_and_replaced_when_howdah_is_said() {
    let live = with_table(with_extension(), "hnsw", &[]);
    let auto = plan(&adopted("index = \"auto\""), &live);
    assert!(auto.is_empty(), "{auto}");
    assert!(
        noted(&auto, "`c_embedding_idx` is there and serves; `index = \"howdah\"` has it replaced"),
        "{auto}"
    );
    let said = adopted("index = \"howdah\"");
    let blocked = plan(&said, &live);
    assert!(blocked.blocked.iter().all(|step| step.id.contains("c_embedding_idx")), "{blocked}");
    assert_eq!(blocked.blocked.len(), 2, "built beside, then swapped: {blocked}");
    let whole = allowing(&said, &live);
    let texts = sql(&whole);
    let at = |words: &str| {
        texts.iter().position(|sql| sql.contains(words)).unwrap_or_else(|| panic!("{words}: {whole}"))
    };
    assert!(
        at("CREATE EXTENSION IF NOT EXISTS \"howdah\"")
            < at("CREATE INDEX CONCURRENTLY \"c_embedding_idx_new\"")
    );
    assert!(at("CREATE INDEX CONCURRENTLY") < at("DROP INDEX \"public\".\"c_embedding_idx\""));
    let build = whole.steps.iter().find_map(|step| step.build.as_ref()).unwrap();
    assert_eq!((build.method.as_str(), build.bytes_per_row), ("howdah", 0));
}

#[test]
fn back_to_a_graph_the_extension_goes_after_its_last_index() {
    let live = installed(with_table(with_extension(), "howdah", &[]), "0.1.0");
    assert!(plan(&adopted("index = \"howdah\""), &live).is_empty());
    assert!(plan(&adopted("index = \"auto\""), &live).is_empty());
    let back = allowing(&adopted("index = \"hnsw\""), &live);
    let texts = sql(&back);
    let swapped = texts.iter().position(|sql| sql.starts_with("DROP INDEX")).unwrap();
    let dropped = texts.iter().position(|sql| *sql == "DROP EXTENSION \"howdah\"").unwrap();
    assert!(swapped < dropped, "{back}");
    let mut shared = live.clone();
    let inside = &mut shared.databases.get_mut("app").unwrap().inside;
    inside.tables.insert(
        "\"public\".\"theirs\"".into(),
        Table {
            schema: "public".into(),
            name: "theirs".into(),
            indexes: vec![Index { name: "theirs_idx".into(), method: "howdah".into(), ..Index::default() }],
            ..Table::default()
        },
    );
    let kept = allowing(&adopted("index = \"hnsw\""), &shared);
    assert!(!has(&kept, "DROP EXTENSION") && noted(&kept, "`theirs_idx` of others does"), "{kept}");
}

#[test]
fn the_options_are_those_of_the_access_method() {
    let live = |options: &[(&str, &str)]| installed(with_table(with_extension(), "howdah", options), "0.1.0");
    let same = |declared: &str, options: &[(&str, &str)]| {
        let index = format!("index = {{ kind = \"howdah\"{declared} }}");
        plan(&adopted(&index), &live(options)).is_empty()
    };
    assert!(same("", &[("bits", "4")]), "4 is the default");
    assert!(!same("", &[("bits", "5")]) && same(", bits = 5", &[("bits", "5")]));
    assert!(same("", &[("lists", "100")]), "undeclared lists are whatever they were");
    assert!(!same(", lists = 100", &[]) && same(", lists = 100", &[("lists", "100")]));
    let made = plan(&collection("index = { kind = \"auto\", m = 8, bits = 5 }"), &with_extension());
    assert!(has(&made, "USING howdah (\"embedding\" vector_cosine_ops) WITH (bits = 5)"), "{made}");
    let graph = plan(&collection("index = { kind = \"auto\", m = 8, bits = 5 }"), &with_app());
    assert!(has(&graph, "USING hnsw (\"embedding\" vector_cosine_ops) WITH (m = 8)"), "{graph}");
}

#[test]
fn howdahs_own_needs_the_extension_and_goes_with_its_files() {
    let missing = plan(&collection("index = \"howdah\""), &with_app());
    assert_eq!(missing.problems.len(), 1, "{missing}");
    assert_eq!(missing.problems[0].kind, Kind::Machine);
    assert_eq!(missing.problems[0].message, "extension `howdah` is not available on this server");
    let wide = collection("index = \"howdah\"\nstorage = \"vector\"").clone();
    let mut wide = wide;
    wide.collections["c"].dimensions = Some(3_000);
    assert!(has(&plan(&wide, &with_extension()), "USING howdah"), "wider than pgvector indexes");
    let old = installed(with_table(with_extension(), "howdah", &[]), "0.0.9");
    let update = plan(&adopted("index = \"howdah\""), &old);
    assert_eq!(sql(&update), ["ALTER EXTENSION \"howdah\" UPDATE TO '0.1.0'"]);
    assert!(update.steps[0].reason.contains("its files are 0.1.0"), "{update}");
    let newer = installed(with_table(with_extension(), "howdah", &[]), "0.2.0");
    assert!(plan(&adopted("index = \"howdah\""), &newer).is_empty(), "an older binary takes nothing back");
    let declared = spec("name = \"t\"\n[databases.app]\nextensions = { howdah = \"*\" }\n");
    let mut bare = with_extension();
    bare.databases.get_mut("app").unwrap().inside.extensions.clear();
    let both = plan(&declared, &bare);
    assert!(sql(&both)[0].contains("\"vector\""), "it requires pgvector: {both}");
}
