//! A field that is declared after rows came in is filled from their metadata.

use super::{Server, options, spec};

const BEFORE: &str =
    "name = \"late\"\n[databases.app]\nextensions = { vector = \"*\" }\n[collections.docs]\ndimensions = 3\n";

/// Each field, its type, the JSON in the metadata, and what the column has then; none where the value does not fit.
const FIELDS: &[(&str, &str, &str, Option<&str>)] = &[
    ("whole", "integer", "7", Some("7")),
    ("point_zero", "bigint", "7.0", Some("7")),
    ("spelled", "smallint", "\"8\"", Some("8")),
    ("half", "integer", "7.5", None),
    ("large", "smallint", "70000", None),
    ("price", "numeric(10,2)", "1.50", Some("1.50")),
    ("fine", "numeric(10,2)", "1.505", None),
    ("long", "numeric", "123456789012345678901234567890", Some("123456789012345678901234567890")),
    ("open", "boolean", "true", Some("true")),
    ("word", "text", "\"a 'b'\"", Some("a 'b'")),
    ("short", "varchar(3)", "\"abcd\"", None),
    ("object", "text", "{\"a\": 1}", None),
    ("none", "text", "null", None),
    ("day", "date", "\"2026-01-31\"", Some("2026-01-31")),
    ("soon", "date", "\"tomorrow\"", None),
    ("seen", "timestamptz", "\"2026-01-31T12:00:00\"", Some("2026-01-31 12:00:00")),
    ("key", "uuid", "\"67e55044-10b1-426f-9247-bb680e5fe0c8\"", Some("67e55044-10b1-426f-9247-bb680e5fe0c8")),
    ("not_key", "uuid", "\"x\"", None),
    ("it's $howdah$", "text", "\"quoted\"", Some("quoted")),
];

#[tokio::test]
async fn a_field_that_is_declared_later_is_filled_from_the_metadata() {
    let server = Server::start();
    server.apply(&spec(BEFORE)).await;
    let pairs: Vec<String> = FIELDS.iter().map(|(name, _, json, _)| format!("\"{name}\": {json}")).collect();
    let metadata = format!("{{{}}}", pairs.join(", ")).replace('\'', "''");
    let rows = format!(
        "INSERT INTO docs (source, chunk, content, content_hash, metadata)
         SELECT 'a', n, repeat('x', 500), '', '{metadata}' FROM generate_series(1, 6000) n;
         INSERT INTO docs (source, chunk, content, content_hash) VALUES ('b', 0, 'x', '');"
    );
    server.sql("app", &rows).await;
    let fields: String = FIELDS.iter().map(|(name, kind, ..)| format!("\"{name}\" = \"{kind}\"\n")).collect();
    let after = spec(&format!("{BEFORE}[collections.docs.fields]\n{fields}"));
    // A run that ends before the rows are filled is gone on with by the next one.
    let broken = server.plan(&after).await;
    let add =
        broken.steps.iter().position(|step| step.sql.iter().any(|sql| sql.contains("ADD COLUMN \"whole\"")));
    for statement in &broken.steps[add.unwrap()].sql {
        server.sql("app", statement).await;
    }
    server.try_apply(&after, &options()).await.unwrap_or_else(|problem| panic!("{problem:#?}"));
    for (name, _, _, expected) in FIELDS {
        let column = format!("\"{name}\"");
        let filled =
            server.value("app", &format!("SELECT count(*) FROM docs WHERE {column} IS NOT NULL")).await;
        assert_eq!(filled, if expected.is_some() { "6000" } else { "0" }, "{name}");
        if let Some(expected) = expected {
            let shown = if *name == "seen" { format!("{column} AT TIME ZONE 'UTC'") } else { column };
            let value = server.value("app", &format!("SELECT min(({shown})::text) FROM docs")).await;
            assert_eq!(value, *expected, "{name}");
        }
    }
    assert!(server.plan(&after).await.steps.is_empty());
}
