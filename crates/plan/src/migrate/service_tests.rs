//! The roles that the service works as, on facts written by hand.

use super::live::{Acl, Column, Database, Live, Memory, Role, Schema, Sequence, Table};
use super::tests::{fresh, sql, with_app, with_service};
use super::{Options, Plan, StepKind, diff, mark};
use crate::internal_schema;
use crate::problem::Kind;
use crate::spec::{ServiceRoles, Spec};

const NOTES: &str = r#"
name = "shop"
[databases.app]
[databases.other]
[collections.notes]
dimensions = 3
[collections.theirs]
dimensions = 3
table = "archive.docs"
adopt = { id = "id", content = "body", embedding = "embedding" }
"#;

const NAMES: [&str; 4] =
    ["howdah_shop_read", "howdah_shop_write", "howdah_shop_control", "howdah_shop_inspect"];

fn notes() -> Spec {
    with_service(NOTES)
}

fn acl(rights: &[(&str, &[&str])]) -> Acl {
    rights
        .iter()
        .map(|(role, rights)| ((*role).to_owned(), rights.iter().map(|right| (*right).to_owned()).collect()))
        .collect()
}

/// A database `app` with the adopted table in a schema of its own, and pgvector in another.
fn with_tables() -> Live {
    let mut live = with_app();
    let inside = &mut live.databases.get_mut("app").unwrap().inside;
    let schema = |owner: &str| Schema { owner: owner.into(), ..Schema::default() };
    inside.schemas.insert("archive".into(), schema("postgres"));
    inside.schemas.insert("vectors".into(), schema("postgres"));
    inside.extensions.get_mut("vector").unwrap().schema = "vectors".into();
    let column = |name: &str, sql_type: &str| Column {
        name: name.into(),
        sql_type: sql_type.into(),
        not_null: true,
        ..Column::default()
    };
    let docs = Table {
        schema: "archive".into(),
        name: "docs".into(),
        owner: "them".into(),
        columns: vec![column("id", "bigint"), column("body", "text"), column("embedding", "vector(3)")],
        constraints: vec![super::live::Constraint {
            name: "docs_pkey".into(),
            primary: true,
            columns: vec!["id".into()],
        }],
        ..Table::default()
    };
    inside.tables.insert("\"archive\".\"docs\"".into(), docs);
    let secrets = Table {
        schema: "public".into(),
        name: "secrets".into(),
        owner: "postgres".into(),
        ..Table::default()
    };
    inside.tables.insert("\"public\".\"secrets\"".into(), secrets);
    let sequence = Sequence {
        schema: "archive".into(),
        name: "docs_id_seq".into(),
        owner: "them".into(),
        table: Some("\"archive\".\"docs\"".into()),
        ..Sequence::default()
    };
    inside.sequences.insert("\"archive\".\"docs_id_seq\"".into(), sequence);
    internal(inside);
    let mut other = live.databases["app"].clone();
    other.inside.tables.clear();
    other.inside.sequences.clear();
    live.databases.insert("other".into(), other);
    live
}

fn internal(inside: &mut super::live::Inside) {
    inside.internal.schema = Some(Schema { owner: "postgres".into(), ..Schema::default() });
    for name in internal_schema::tables() {
        let table = Table {
            schema: "howdah".into(),
            name: name.into(),
            owner: "postgres".into(),
            ..Table::default()
        };
        inside.internal.tables.insert(format!("\"howdah\".\"{name}\""), table);
    }
}

/// The roles as Howdah made them.
fn with_roles(mut live: Live) -> Live {
    for name in NAMES {
        let comment = Some(mark("shop"));
        let databases = ["app".to_owned(), "other".to_owned()].into();
        let mut role = Role { login: true, connection_limit: -1, comment, databases, ..Role::default() };
        if name.ends_with("_inspect") {
            role.attributes = ["INHERIT".to_owned()].into();
            role.member_of = ["pg_monitor".to_owned()].into();
        }
        live.roles.insert(name.into(), role);
    }
    live
}

/// Only what concerns the service's roles.
fn theirs(plan: &Plan) -> String {
    let mut plan = plan.clone();
    plan.steps.retain(|step| NAMES.iter().any(|name| step.id.contains(name)));
    plan.notes.clear();
    plan.restart.clear();
    plan.to_string()
}

#[test]
fn each_role_gets_what_it_serves_with_and_no_more() {
    let plan = diff(&notes(), &with_tables(), &Options::default());
    assert!(plan.problems.is_empty(), "{plan}");
    insta::assert_snapshot!(theirs(&plan));
    // What is granted exists by then.
    let at = |wanted: &str| plan.steps.iter().position(|step| step.id.contains(wanted)).expect(wanted);
    assert!(at("table:app:public.notes") < at("grant:app:howdah_shop_read:public"), "{plan}");
    let own: Vec<&str> = sql(&plan).into_iter().filter(|sql| sql.contains("secrets")).collect();
    assert!(own.is_empty(), "{own:?}");
}

#[test]
fn a_fresh_server_grants_on_what_the_same_plan_makes() {
    let fresh = fresh();
    let declared = with_service("name = \"shop\"\n[databases.app]\n[collections.notes]\ndimensions = 3\n");
    let plan = diff(&declared, &fresh, &Options::default());
    let grants: Vec<&str> = sql(&plan).into_iter().filter(|sql| sql.starts_with("GRANT")).collect();
    insta::assert_snapshot!(grants.join("\n"));
    assert!(!plan.steps.iter().any(|step| step.kind == StepKind::DefaultPrivileges), "{plan}");
}

#[test]
fn what_they_have_too_much_is_taken_from_them() {
    let declared = with_service("name = \"shop\"\n[databases.app]\n");
    let mut live = with_roles(with_tables());
    live.databases.remove("other");
    let app = live.databases.get_mut("app").unwrap();
    app.acl = acl(&[("", &["CONNECT", "TEMPORARY"]), ("howdah_shop_read", &["CREATE", "CONNECT"])]);
    app.inside.internal.schema.as_mut().unwrap().acl = acl(&[
        ("howdah_shop_read", &["USAGE"]),
        ("howdah_shop_write", &["USAGE", "CREATE"]),
        ("howdah_shop_control", &["USAGE"]),
    ]);
    let writes: &[&str] = &["SELECT", "INSERT", "UPDATE", "DELETE"];
    for (table, rights) in [
        ("collections", acl(&[("howdah_shop_read", &["SELECT"]), ("howdah_shop_write", writes)])),
        ("sources", acl(&[("howdah_shop_read", writes), ("howdah_shop_write", writes)])),
        ("api_keys", acl(&[("howdah_shop_control", writes), ("howdah_shop_read", &["SELECT"])])),
        ("jobs", acl(&[("howdah_shop_control", writes)])),
    ] {
        app.inside.internal.tables.get_mut(&format!("\"howdah\".\"{table}\"")).unwrap().acl = rights;
    }
    app.inside.tables.get_mut("\"public\".\"secrets\"").unwrap().acl =
        acl(&[("howdah_shop_write", &["SELECT"])]);
    let read = live.roles.get_mut("howdah_shop_read").unwrap();
    read.attributes = ["CREATEDB".to_owned(), "INHERIT".to_owned()].into();
    read.member_of = ["pg_monitor".to_owned()].into();
    read.databases = ["app".to_owned(), "gone".to_owned(), "left".to_owned()].into();
    live.databases.insert("left".into(), Database { owner: "them".into(), ..Database::default() });
    let plan = diff(&declared, &live, &Options::default());
    assert!(plan.blocked.is_empty() && plan.problems.is_empty(), "{plan}");
    insta::assert_snapshot!(theirs(&plan));
}

#[test]
fn their_passwords_are_set_again_only_when_the_service_asks() {
    let declared = with_service("name = \"shop\"\n");
    let live = with_roles(fresh());
    for options in [Options::default(), Options { set_passwords: true, ..Options::default() }] {
        let plan = diff(&declared, &live, &options);
        assert!(plan.is_empty(), "{plan}");
    }
    let again = diff(&declared, &live, &Options { set_service_passwords: true, ..Options::default() });
    let from: Vec<(&str, &str)> = again
        .steps
        .iter()
        .filter_map(|step| step.password.as_ref())
        .map(|password| (password.role.as_str(), password.env.as_str()))
        .collect();
    assert_eq!(
        from,
        [
            ("howdah_shop_read", "HOWDAH_SERVICE_PASSWORD_READ"),
            ("howdah_shop_write", "HOWDAH_SERVICE_PASSWORD_WRITE"),
            ("howdah_shop_control", "HOWDAH_SERVICE_PASSWORD_CONTROL"),
            ("howdah_shop_inspect", "HOWDAH_SERVICE_PASSWORD_INSPECT")
        ]
    );
    assert_eq!(again.steps.len(), 4, "{again}");
}

#[test]
fn switched_off_they_go_without_being_allowed_to_destroy() {
    let mut declared = with_service("name = \"shop\"\n[databases.app]\n");
    declared.api.roles = ServiceRoles::Off;
    let mut live = with_roles(with_tables());
    live.databases.insert("other".into(), Database::default());
    let plan = diff(&declared, &live, &Options::default());
    assert!(plan.blocked.is_empty(), "{plan}");
    insta::assert_snapshot!(theirs(&plan));
    live.server.superuser = false;
    let cannot = diff(&declared, &live, &Options::default());
    assert_eq!(theirs(&cannot), "-- nothing to do: the server is as declared\n");
    assert_eq!(cannot.notes.iter().filter(|note| note.text.contains("no longer works as")).count(), 4);
}

#[test]
fn who_is_no_superuser_serves_as_declared_and_touches_no_roles() {
    let mut live = with_roles(with_tables());
    live.server.superuser = false;
    live.server.user = "admin".into();
    let plan = diff(&notes(), &live, &Options { allow_destroy: true, ..Options::default() });
    assert_eq!(theirs(&plan), "-- nothing to do: the server is as declared\n");
}

#[test]
fn a_role_of_somebody_else_is_not_taken_over() {
    let mut live = fresh();
    for comment in [None, Some(mark("another"))] {
        live.roles.insert("howdah_shop_read".into(), Role { login: true, comment, ..Role::default() });
        let plan = diff(&with_service("name = \"shop\"\n"), &live, &Options::default());
        assert_eq!(plan.problems[0].kind, Kind::Conflict);
        assert!(plan.steps.is_empty(), "{plan}");
    }
    let declared = with_service("name = \"shop\"\n[roles.howdah_shop_read]\n");
    let plan = diff(&declared, &fresh(), &Options::default());
    assert!(plan.problems[0].message.ends_with("it is declared as well"), "{plan}");
}

#[test]
fn a_removed_collection_takes_its_rights_along() {
    let mut live = with_roles(with_tables());
    let app = live.databases.get_mut("app").unwrap();
    let docs = app.inside.tables.get_mut("\"archive\".\"docs\"").unwrap();
    docs.acl = acl(&[("howdah_shop_read", &["SELECT"])]);
    let archive = app.inside.schemas.get_mut("archive").unwrap();
    archive.acl = acl(&[("howdah_shop_read", &["USAGE"])]);
    app.inside.memory.push(Memory::default());
    let without = NOTES.split("[collections.theirs]").next().unwrap();
    let plan = diff(&with_service(without), &live, &Options::default());
    let revoked: Vec<&str> = sql(&plan).into_iter().filter(|sql| sql.starts_with("REVOKE")).collect();
    assert_eq!(
        revoked,
        [
            "REVOKE SELECT ON TABLE \"archive\".\"docs\" FROM \"howdah_shop_read\"",
            "REVOKE USAGE ON SCHEMA \"archive\" FROM \"howdah_shop_read\""
        ]
    );
}
