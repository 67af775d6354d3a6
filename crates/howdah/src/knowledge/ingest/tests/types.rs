//! Every type that a field can be declared with is filled from every format, and filtered on. So are lists of them, which
//! tables of others have.

use howdah_plan::search::filter::{self, Scope};
use howdah_plan::search::param::Params;
use howdah_plan::spec::check::FIELD_TYPES;
use howdah_postgres::param;
use serde_json::{Value, json};

use super::World;

/// A value of each type as it is written in JSON and in CSV, and one that does not fit.
fn values(sql_type: &str) -> (Value, &'static str, Value) {
    match sql_type {
        "smallint" | "int2" => (json!(-7), "-7", json!(70_000)),
        "integer" | "int" | "int4" => (json!(70_000), "70000", json!(3_000_000_000_i64)),
        "bigint" | "int8" => (json!(9_007_199_254_740_993_i64), "9007199254740993", json!(1.5)),
        "real" | "float4" => (json!(1.5), "1.5", json!("1e39")),
        "double precision" | "float8" => (json!(-2.25), "-2.25", json!("1e400")),
        "numeric" | "decimal" => {
            (json!("12345678901234567890.12345"), "12345678901234567890.12345", json!("x"))
        }
        "boolean" | "bool" => (json!(true), "true", json!("maybe")),
        "text" | "varchar" | "character varying" => (json!("a,b"), "\"a,b\"", json!({"a": 1})),
        "uuid" => {
            let uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8";
            (json!(uuid), uuid, json!("x"))
        }
        "date" => (json!("2024-02-29"), "2024-02-29", json!("2023-02-29")),
        "timestamp" | "timestamp without time zone" => {
            (json!("2024-02-29T12:00:00"), "2024-02-29T12:00:00", json!("soon"))
        }
        "timestamptz" | "timestamp with time zone" => {
            (json!("2024-02-29T12:00:00Z"), "2024-02-29T12:00:00Z", json!("soon"))
        }
        other => panic!("`{other}` can be declared, and has no value here"),
    }
}

#[tokio::test]
async fn every_type_that_can_be_declared_is_filled_and_filtered() {
    let scalars: Vec<(String, &str)> =
        FIELD_TYPES.iter().enumerate().map(|(n, kind)| (format!("f{n}"), *kind)).collect();
    let arrays: Vec<(String, String)> =
        FIELD_TYPES.iter().enumerate().map(|(n, kind)| (format!("a{n}"), format!("{kind}[]"))).collect();
    let mut fields: Vec<(&str, &str)> = scalars.iter().map(|(name, kind)| (name.as_str(), *kind)).collect();
    fields.extend(arrays.iter().map(|(name, kind)| (name.as_str(), kind.as_str())));
    fields.push(("price", "numeric(10,2)"));
    let world = World::new(&fields).await;
    let mut record = json!({"id": "json", "content": "x", "price": 1.50});
    let mut metadata = json!({});
    let (mut header, mut row) = ("id,content,price".to_owned(), "csv,x,1.50".to_owned());
    for ((name, kind), (array, _)) in scalars.iter().zip(&arrays) {
        let (value, cell, _) = values(kind);
        record[name] = value.clone();
        record[array] = json!([value, null]);
        metadata[name] = value.clone();
        metadata[array] = json!([value, null]);
        header.push_str(&format!(",{name},{array}"));
        row.push_str(&format!(",{cell},\"{}\"", json!([value, null]).to_string().replace('"', "\"\"")));
    }
    metadata["price"] = json!("1.5");
    let files = [
        (
            "r.jsonl",
            format!("{record}\n{}\n", json!({"id": "metadata", "content": "x", "metadata": metadata})),
        ),
        ("r.csv", format!("{header}\n{row}\n")),
        ("r.tsv", format!("{header}\n{row}\n").replace("csv,", "tsv,")),
    ];
    for (name, text) in &files[..2] {
        let path = world.file(name, text);
        world.ingest(&[&path]).await.unwrap_or_else(|problem| panic!("{name}: {problem:?}"));
    }
    for (name, kind) in &fields {
        let Some(base) = kind.strip_suffix("[]") else {
            if *kind != "numeric(10,2)" {
                found(&world, &json!({*name: values(kind).0}), name).await;
            }
            continue;
        };
        found(&world, &json!({*name: {"contains": values(base).0}}), name).await;
    }
    found(&world, &json!({"price": 1.5}), "price").await;
    found(&world, &json!({"price": {"in": ["1.50"], "lt": 2}}), "price").await;
    for (name, kind) in &scalars {
        let bad = values(kind).2;
        let path = world.file("bad.jsonl", format!("{}\n", json!({"content": "x", name.as_str(): bad})));
        let problem = world.ingest(&[&path]).await.unwrap_err();
        assert!(problem.message.contains(&format!("`{name}`")), "{kind}: {problem}");
    }
    for bad in ["1.505", "123456789"] {
        let path = world.file("bad.jsonl", format!("{}\n", json!({"content": "x", "price": bad})));
        let problem = world.ingest(&[&path]).await.unwrap_err();
        assert!(
            problem.message.contains("`price`") && problem.message.contains("numeric(10,2)"),
            "{problem}"
        );
    }
}

/// All three rows have the value.
async fn found(world: &World, filter: &Value, name: &str) {
    let expr = filter::parse(filter, &Scope::new(&world.resolved, "bigint"))
        .unwrap_or_else(|problem| panic!("{filter}: {problem:?}"));
    let mut params = Params::default();
    let condition = filter::condition(&expr, "t", &mut params);
    let sql = format!("SELECT count(*) FROM notes t WHERE {condition}");
    let rows = world.database.client().await.query_typed(&sql, &param::typed(&params.0)).await.unwrap();
    assert_eq!(rows[0].get::<_, i64>(0), 3, "{name}: {filter}");
}
