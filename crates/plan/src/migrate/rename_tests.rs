//! Another name keeps the rows; and what a change of type costs is said.

use super::live::Live;
use super::tests::{EVENTS, plan, spec, sql, with_events};

fn ids(live: &Live, text: &str) -> Vec<String> {
    plan(&spec(text), live).steps.into_iter().map(|step| step.id).collect()
}

#[test]
fn a_table_is_renamed_with_its_rows_and_indexes() {
    let text = EVENTS.replace("[tables.events]", "[tables.happenings]\nrenamed_from = \"events\"");
    let renaming = plan(&spec(&text), &with_events(|_| {}));
    assert!(renaming.problems.is_empty() && renaming.blocked.is_empty(), "{renaming}");
    let statements = sql(&renaming);
    assert_eq!(statements[0], "ALTER TABLE \"public\".\"events\" RENAME TO \"happenings\"", "{renaming}");
    assert!(
        statements.contains(&"ALTER INDEX \"public\".\"events_kind_idx\" RENAME TO \"happenings_kind_idx\"")
    );
    assert!(!statements.iter().any(|one| one.starts_with("CREATE") || one.starts_with("DROP")), "{renaming}");

    // In a fresh place there is nothing to rename.
    assert!(ids(&super::tests::with_app(), &text).contains(&"table:app:public.happenings".to_owned()));
}

#[test]
fn where_it_may_be_a_renaming_the_plan_asks() {
    let silent = EVENTS.replace("[tables.events]", "[tables.happenings]");
    let asked = plan(&spec(&silent), &with_events(|_| {}));
    assert_eq!(asked.blocked.len(), 1, "{asked}");
    assert!(
        asked.to_string().contains("write `renamed_from = \"events\"` into `[tables.happenings]`"),
        "{asked}"
    );

    let silent = EVENTS.replace("name = \"kind\"", "name = \"sort\"").replace("[\"kind\"]", "[\"sort\"]");
    let asked = plan(&spec(&silent), &with_events(|_| {}));
    assert!(asked.to_string().contains("write `renamed_from = \"kind\"` beside its name"), "{asked}");
}

#[test]
fn a_column_is_renamed_with_its_values_and_indexes() {
    let text = EVENTS
        .replace("name = \"kind\"", "name = \"sort\", renamed_from = \"kind\"")
        .replace("[\"kind\"]", "[\"sort\"]");
    let live = with_events(|_| {});
    let renaming = plan(&spec(&text), &live);
    assert!(renaming.problems.is_empty() && renaming.blocked.is_empty(), "{renaming}");
    let statements = sql(&renaming);
    assert_eq!(
        statements[0], "ALTER TABLE \"public\".\"events\" RENAME COLUMN \"kind\" TO \"sort\"",
        "{renaming}"
    );
    assert!(statements.contains(&"ALTER INDEX \"public\".\"events_kind_idx\" RENAME TO \"events_sort_idx\""));
    assert!(!statements.iter().any(|one| one.starts_with("CREATE") || one.starts_with("DROP")), "{renaming}");
}

#[test]
fn what_is_rewritten_is_said_with_its_lock_and_size() {
    let live = with_events(|table| {
        table.columns[1].sql_type = "integer".into();
        table.columns[1].default = None;
        (table.estimated_rows, table.bytes) = (12_000, 50 << 20);
    });
    let text = EVENTS
        .replace("\"varchar(20)\", nullable = false, default = \"'new'\"", "\"bigint\", nullable = false");
    let changed = plan(&spec(&text), &live).to_string();
    assert!(changed.contains("ACCESS EXCLUSIVE): about 12000 rows, 50 MB with indexes"), "{changed}");
    // A longer text is stored as it was.
    let wider = plan(&spec(&EVENTS.replace("varchar(20)", "varchar(30)")), &with_events(|_| {})).to_string();
    assert!(wider.contains("ALTER COLUMN") && !wider.contains("ACCESS EXCLUSIVE"), "{wider}");
}
