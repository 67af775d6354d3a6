//! Every block that is proposed is a declaration without mistakes.

use super::*;
use crate::spec::read;

fn relation(schema: &str, name: &str, columns: &[(&str, &str)], keys: &[&[&str]]) -> Relation {
    Relation {
        schema: schema.into(),
        name: name.into(),
        rows: 3,
        columns: columns
            .iter()
            .map(|(name, kind)| Column { name: (*name).into(), sql_type: (*kind).into() })
            .collect(),
        keys: keys.iter().map(|key| key.iter().map(|column| (*column).to_owned()).collect()).collect(),
        ..Relation::default()
    }
}

fn proposed(relations: &[Relation]) -> Adoption {
    let adoption = propose(relations, &Wanted { spec: None, database: "app", tables: &[] });
    let text = format!("name = \"it\"\n{}", adoption.toml);
    read::from_str(&text, "howdah.toml").unwrap_or_else(|problems| panic!("{text}\n{problems:#?}"));
    adoption
}

#[test]
fn a_library_is_known_by_the_shape_of_its_table() {
    let lang = relation(
        "public",
        "lang",
        &[
            ("langchain_id", "uuid"),
            ("content", "text"),
            ("embedding", "vector(3)"),
            ("langchain_metadata", "json"),
        ],
        &[&["langchain_id"]],
    );
    let adoption = proposed(&[lang]);
    insta::assert_snapshot!(adoption.toml, @r#"
    [databases.app]

    # `public.lang`: table of LangChain `PGVectorStore`, about 3 rows.
    # metric: the default of LangChain `PGVectorStore`; no index says otherwise
    [collections.lang]
    metric = "cosine"

    [collections.lang.adopt]
    id = "langchain_id"
    content = "content"
    embedding = "embedding"
    metadata = "langchain_metadata"
    "#);
}

#[test]
fn collections_that_share_a_table_have_a_filter_each() {
    let mut legacy = relation(
        "public",
        "langchain_pg_embedding",
        &[
            ("id", "character varying"),
            ("collection_id", "uuid"),
            ("embedding", "vector"),
            ("document", "character varying"),
            ("cmetadata", "jsonb"),
        ],
        &[&["id"]],
    );
    let part = |value: &str, name: &str, dimensions: &[(u32, u64)]| Part {
        column: "collection_id".into(),
        value: value.into(),
        name: name.into(),
        dimensions: dimensions.iter().copied().collect(),
    };
    legacy.parts = vec![part("1-1", "my docs", &[(3, 7)]), part("2-2", "other", &[])];
    let adoption = proposed(&[legacy]);
    assert_eq!(adoption.collections.len(), 2);
    let first = &adoption.collections[0];
    assert_eq!((first.collection.as_str(), first.dimensions), ("my_docs", Some(3)));
    assert!(first.toml.contains("filter = { collection_id = \"1-1\" }"), "{}", first.toml);
    assert!(first.toml.contains("dimensions = 3"), "{}", first.toml);
    assert!(adoption.collections[1].toml.contains("no row tells them"), "{}", adoption.toml);
}

#[test]
fn other_tables_are_read_by_their_names_and_types() {
    let mut odd = relation(
        "sales",
        "docs.\"v2\"",
        &[
            ("id", "bigint"),
            ("kind", "text"),
            ("body", "text"),
            ("made at", "timestamp(3) with time zone"),
            ("tags", "text[]"),
            ("small", "halfvec(8)"),
            ("wide", "vector(3072)"),
            ("extra", "jsonb"),
        ],
        &[&["id", "kind"]],
    );
    odd.opclasses = vec![
        ("small".into(), "halfvec_l2_ops".into()),
        ("wide".into(), "vector_ip_ops".into()),
        ("wide".into(), "vector_l1_ops".into()),
    ];
    let mut view = relation("public", "seen", &[("id", "bigint"), ("vec", "vector(3)")], &[]);
    view.relation = live::Relation::View;
    let mut blind = view.clone();
    blind.columns.remove(0);
    blind.name = "blind".into();
    let bare = relation("public", "bare", &[("note", "text"), ("vec", "vector(3)")], &[]);
    let sparse = relation("public", "sparse", &[("id", "bigint"), ("vec", "sparsevec(9)")], &[&["id"]]);
    let adoption = proposed(&[odd, view, blind, bare, sparse]);
    let skipped: Vec<&str> = adoption.skipped.iter().map(|one| one.table.as_str()).collect();
    assert_eq!(skipped, ["public.blind", "public.sparse"]);
    insta::assert_snapshot!(adoption.toml);
}

#[test]
fn what_is_declared_is_not_proposed_again() {
    let spec = read::from_str(
        "name = \"it\"\n[databases.app]\n[collections.lang]\ntable = \"docs\"\n[collections.lang.adopt]\nid = \"id\"\nembedding = \"vec\"\n",
        "howdah.toml",
    )
    .unwrap();
    let columns = [("id", "bigint"), ("vec", "vector(3)")];
    let relations =
        [relation("public", "docs", &columns, &[&["id"]]), relation("public", "lang", &columns, &[&["id"]])];
    let adoption = propose(&relations, &Wanted { spec: Some(&spec), database: "app", tables: &[] });
    assert_eq!(adoption.skipped[0].why, "collection `lang` has it already");
    assert_eq!(adoption.collections[0].collection, "lang_2");
    assert!(!adoption.toml.contains("[databases"), "{}", adoption.toml);
    let only =
        propose(&relations, &Wanted { spec: None, database: "app", tables: &["public.docs".to_owned()] });
    assert_eq!(only.collections.len(), 1);
}
