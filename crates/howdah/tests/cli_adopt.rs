//! `howdah adopt`: from an address to a declaration, and into one that is there.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Story, told};

const DECLARED: &str =
    "# It says why.\nname = \"story\"   # kept\n\n[databases.app]\nextensions = { vector = \"*\" }\n";

const TABLES: &str = "
CREATE SCHEMA cms;
CREATE TABLE cms.pages (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), body text, kind text, meta json, vec vector(3));
INSERT INTO cms.pages (body, kind, meta, vec) VALUES ('elephants', 'big', '{\"legs\": 4}', '[1,0,0]'),
  ('wrens', 'small', '{\"legs\": 2}', '[0,1,0]');
CREATE INDEX ON cms.pages USING hnsw (vec vector_l2_ops)";

#[test]
fn a_table_is_adopted_into_a_declaration_once_and_the_rest_of_it_stays() {
    let story = Story::new();
    story.write("howdah.toml", DECLARED);
    story.ok(&["up", "--quiet"]);
    let nothing = story.run(&["adopt"]);
    assert_eq!(nothing.status.code(), Some(1), "{}", told(&nothing));
    story.sql(TABLES);

    let block = story.ok(&["adopt", "--quiet"]);
    for line in [
        "[collections.pages]",
        "table = \"cms.pages\"",
        "metric = \"l2\"",
        "metadata = \"meta\"",
        "kind = \"text\"",
    ] {
        assert!(block.contains(line), "{line} in {block}");
    }
    let file = || std::fs::read_to_string(story.project.join("howdah.toml")).unwrap();
    assert_eq!(file(), DECLARED, "without `--write` nothing is written");
    story.ok(&["adopt", "--write", "--quiet"]);
    assert!(file().starts_with(DECLARED) && file().contains(&block), "{}", file());
    let before = file();
    let again = story.run(&["adopt", "--write"]);
    assert_eq!(again.status.code(), Some(6), "{}", told(&again));
    assert_eq!(file(), before);

    story.ok(&["apply", "--quiet"]);
    story.ok(&["plan", "--check", "--quiet"]);
    let found = story.ok(&[
        "search",
        "-c",
        "pages",
        "--vector",
        "[1,0,0]",
        "--where",
        "metadata.legs=2",
        "-o",
        "json",
    ]);
    assert!(found.contains("wrens") && !found.contains("elephants"), "{found}");
    // A view beside it, which nothing may be written into.
    story.sql("CREATE VIEW cms.small AS SELECT * FROM cms.pages WHERE kind = 'small'");
    story.ok(&["adopt", "--table", "cms.small", "--write", "--quiet"]);
    story.ok(&["apply", "--quiet"]);
    story.write("more.jsonl", "{\"source\": \"a\", \"content\": \"x\", \"embedding\": [1, 0, 0]}\n");
    let refused = story.run(&["ingest", "small", "more.jsonl"]);
    assert!(told(&refused).contains("collection `small` is only read: it is a view"), "{}", told(&refused));

    // Somebody who has only the address.
    let address: serde_json::Value = serde_json::from_str(&story.ok(&["env", "-o", "json"])).unwrap();
    let address = address["DATABASE_URL"].as_str().unwrap();
    let password = address.split(':').nth(2).unwrap().split('@').next().unwrap();
    let output = story.run(&["adopt", address, "--file", "fresh.toml", "--write"]);
    assert!(output.status.success(), "{}", told(&output));
    let fresh = std::fs::read_to_string(story.project.join("fresh.toml")).unwrap();
    assert!(fresh.contains("[server]") && fresh.contains("[collections.pages]"), "{fresh}");
    assert!(!fresh.contains(password) && !told(&output).contains(password), "{fresh}");
}
