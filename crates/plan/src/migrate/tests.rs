//! Each kind of difference, on facts written by hand.

use super::live::{
    Acl, AppliedMigration, Available, Column, Constraint, Database, Identity, Index, Installed, Live, Memory,
    Role,
};
use super::live::{Schema, Setting, Table};
use super::{Effect, Options, Plan, build_memory, diff, mark};
use crate::internal_schema;
use crate::problem::Kind;
use crate::settings::Context;
use crate::spec::{ServiceRoles, Spec, read};
use crate::tune::Tuned;

/// A declaration whose service works as the declared connection: its own roles are beside the point here, and have tests
/// of their own.
pub(super) fn spec(text: &str) -> Spec {
    let mut spec = with_service(text);
    spec.api.roles = ServiceRoles::Off;
    spec
}

/// A declaration as it stands.
pub(super) fn with_service(text: &str) -> Spec {
    read::from_str(text, "howdah.toml").unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// A fresh server with pgvector at hand.
pub(super) fn fresh() -> Live {
    let mut live = Live::default();
    live.server.version = 180_004;
    live.server.user = "postgres".into();
    live.server.maintenance = "postgres".into();
    live.server.superuser = true;
    live.server.alter_system = true;
    live.server.template_encoding = "UTF8".into();
    live.roles.insert("postgres".into(), Role { login: true, connection_limit: -1, ..Role::default() });
    live.available.insert(
        "vector".into(),
        Available { default_version: "0.8.5".into(), versions: ["0.8.4".into(), "0.8.5".into()].into() },
    );
    let setting = |value: &str, unit: Option<&str>, kind: &str, context: &str| Setting {
        value: value.into(),
        unit: unit.map(Into::into),
        kind: kind.into(),
        context: context.into(),
        source: "default".into(),
        ..Setting::default()
    };
    live.settings.insert("shared_buffers".into(), setting("16384", Some("8kB"), "integer", "postmaster"));
    live.settings.insert("work_mem".into(), setting("4096", Some("kB"), "integer", "user"));
    live.settings.insert("wal_level".into(), setting("replica", None, "enum", "postmaster"));
    live
}

/// The record of every migration.
pub(super) fn recorded() -> Vec<AppliedMigration> {
    let record = |one: &internal_schema::Migration| AppliedMigration {
        domain: one.domain.into(),
        number: one.number,
        name: one.name.into(),
        checksum: one.checksum(),
    };
    internal_schema::all().map(record).collect()
}

/// A server with a database `app` in which Howdah's own tables and pgvector are.
pub(super) fn with_app() -> Live {
    let mut live = fresh();
    let mut database = Database { owner: "postgres".into(), ..Database::default() };
    database.inside.internal.migrations = recorded();
    let installed = Installed { version: "0.8.5".into(), schema: "public".into() };
    database.inside.extensions.insert("vector".into(), installed);
    let acl: Acl = [(String::new(), ["USAGE".to_owned()].into())].into();
    database
        .inside
        .schemas
        .insert("public".into(), Schema { owner: "pg_database_owner".into(), acl, others: 0 });
    live.databases.insert("app".into(), database);
    live
}

pub(super) const EVENTS: &str = r#"
name = "t"
[databases.app]
[tables.events]
primary_key = ["id"]
columns = [
  { name = "id", type = "bigint", identity = true },
  { name = "kind", type = "varchar(20)", nullable = false, default = "'new'" },
]
indexes = [{ columns = ["kind"] }]
"#;

/// The table of [`EVENTS`] as the server has it, made by Howdah, with rows.
fn events() -> Table {
    Table {
        schema: "public".into(),
        name: "events".into(),
        owner: "postgres".into(),
        columns: vec![
            Column {
                name: "id".into(),
                sql_type: "bigint".into(),
                not_null: true,
                identity: Identity::Always,
                ..Column::default()
            },
            Column {
                name: "kind".into(),
                sql_type: "character varying(20)".into(),
                not_null: true,
                default: Some("'new'::character varying".into()),
                ..Column::default()
            },
        ],
        constraints: vec![Constraint {
            name: "events_pkey".into(),
            primary: true,
            columns: vec!["id".into()],
        }],
        indexes: vec![Index {
            name: "events_kind_idx".into(),
            method: "btree".into(),
            columns: vec!["kind".into()],
            default_opclasses: true,
            valid: true,
            ..Index::default()
        }],
        has_rows: true,
        ..Table::default()
    }
}

pub(super) fn with_events(change: impl FnOnce(&mut Table)) -> Live {
    let mut live = with_app();
    let mut table = events();
    change(&mut table);
    let inside = &mut live.databases.get_mut("app").unwrap().inside;
    inside.tables.insert("\"public\".\"events\"".into(), table);
    for (kind, name) in [
        ("table", "\"public\".\"events\""),
        ("column", "\"public\".\"events\".\"id\""),
        ("column", "\"public\".\"events\".\"kind\""),
        ("column", "\"public\".\"events\".\"old\""),
        ("index", "\"public\".\"events_kind_idx\""),
        ("index", "\"public\".\"events_old_idx\""),
    ] {
        inside.memory.push(Memory { kind: kind.into(), name: name.into(), ..Memory::default() });
    }
    live
}

pub(super) fn plan(spec: &Spec, live: &Live) -> Plan {
    diff(spec, live, &Options::default())
}

pub(super) fn sql(plan: &Plan) -> Vec<&str> {
    plan.steps.iter().flat_map(|step| &step.sql).map(String::as_str).collect()
}

fn first(plan: &Plan) -> &str {
    plan.steps.first().map_or("", |step| step.sql[0].as_str())
}

#[test]
fn the_plan_of_a_fresh_server_reads_as_a_script() {
    let spec = with_service(
        r#"
name = "shop"
[databases.app]
owner = "owner"
[roles.owner]
[roles.app]
login = true
password_env = "APP_PASSWORD"
[[roles.app.grants]]
database = "app"
privileges = ["select", "insert"]
[collections.notes]
dimensions = 3
[settings]
shared_buffers = "1GB"
"#,
    );
    let mut text = plan(&spec, &fresh()).to_string();
    for one in internal_schema::all() {
        text = text.replace(&format!("{};\n", one.sql), "").replace(&one.checksum(), "CHECKSUM");
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_server_that_is_as_declared_has_an_empty_plan() {
    let plan = plan(&spec(EVENTS), &with_events(|_| {}));
    assert!(plan.is_empty(), "{plan}");
    assert_eq!(plan.to_string(), "-- nothing to do: the server is as declared\n");
}

#[test]
fn a_column_that_differs_is_altered() {
    type Case = (&'static str, fn(&mut Table), &'static str);
    let cases: &[Case] = &[
        (
            "a missing column",
            |t| drop(t.columns.pop()),
            "ADD COLUMN \"kind\" varchar(20) DEFAULT 'new' NOT NULL",
        ),
        ("another default", |t| t.columns[1].default = Some("'old'::text".into()), "SET DEFAULT 'new'"),
        ("nullable", |t| t.columns[1].not_null = false, "SET NOT NULL"),
        (
            "narrower",
            |t| t.columns[1].sql_type = "character varying(5)".into(),
            "ALTER COLUMN \"kind\" DROP DEFAULT",
        ),
        ("by default", |t| t.columns[0].identity = Identity::ByDefault, "SET GENERATED ALWAYS"),
        ("no identity", |t| t.columns[0].identity = Identity::No, "ADD GENERATED ALWAYS AS IDENTITY"),
        ("no key", |t| t.constraints.clear(), "ADD PRIMARY KEY (\"id\")"),
    ];
    for (what, change, expected) in cases {
        let plan = plan(&spec(EVENTS), &with_events(change));
        assert!(plan.blocked.is_empty() && plan.problems.is_empty(), "{what}: {plan}");
        assert!(first(&plan).contains(expected), "{what}: {plan}");
    }
}

#[test]
fn what_loses_data_is_blocked_and_only_what_howdah_made_is_taken_away() {
    let wider: fn(&mut Table) = |t| t.columns[1].sql_type = "text".into();
    let blocked = plan(&spec(EVENTS), &with_events(wider)).blocked;
    assert_eq!(blocked.len(), 1, "text to varchar(20) cuts");
    let empty = plan(
        &spec(EVENTS),
        &with_events(|t| {
            t.columns[1].sql_type = "text".into();
            t.has_rows = false;
        }),
    );
    assert!(empty.blocked.is_empty(), "without rows nothing is lost");
    let column = |name: &str| Column { name: name.into(), sql_type: "text".into(), ..Column::default() };
    let extra = plan(&spec(EVENTS), &with_events(|t| t.columns.extend([column("old"), column("theirs")])));
    assert_eq!(extra.blocked.len(), 1, "{extra}");
    assert!(extra.blocked[0].sql[0].ends_with("DROP COLUMN \"old\""));
    assert!(extra.notes.iter().any(|note| note.text.contains("`theirs`")));
    let gone = plan(&spec("name = \"t\"\n[databases.app]\n"), &with_events(|_| {}));
    assert_eq!(gone.blocked[0].sql[0], "DROP TABLE \"public\".\"events\"");
    assert!(gone.to_string().contains("-- blocked, it destroys: howdah made table `public.events`"));
}

#[test]
fn a_not_null_column_without_default_cannot_come_to_rows() {
    let declared = EVENTS.replace(", default = \"'new'\"", "");
    let missing = plan(&spec(&declared), &with_events(|t| drop(t.columns.pop())));
    assert_eq!(missing.problems.len(), 1, "{missing}");
    assert_eq!(missing.problems[0].kind, Kind::Conflict);
    let empty = plan(
        &spec(&declared),
        &with_events(|t| {
            t.columns.pop();
            t.has_rows = false;
        }),
    );
    assert!(empty.problems.is_empty());
}

#[test]
fn an_index_is_built_beside_the_writers_where_there_are_rows() {
    let missing = |rows: bool| {
        plan(
            &spec(EVENTS),
            &with_events(|t| {
                t.indexes.clear();
                t.has_rows = rows;
            }),
        )
    };
    assert!(first(&missing(true)).starts_with("CREATE INDEX CONCURRENTLY \"events_kind_idx\""));
    assert!(!missing(true).steps[0].transactional);
    assert!(first(&missing(false)).starts_with("CREATE INDEX \"events_kind_idx\""));
    let invalid = plan(&spec(EVENTS), &with_events(|t| t.indexes[0].valid = false));
    assert!(sql(&invalid)[0].starts_with("DROP INDEX CONCURRENTLY"), "{invalid}");
    assert!(sql(&invalid)[1].starts_with("CREATE INDEX CONCURRENTLY"), "{invalid}");
    let reindex = plan(
        &spec(EVENTS),
        &with_events(|t| {
            t.indexes.push(Index { name: "events_kind_idx_ccnew1".into(), ..t.indexes[0].clone() });
            t.indexes[1].valid = false;
        }),
    );
    assert!(first(&reindex).ends_with("\"events_kind_idx_ccnew1\""), "{reindex}");
    let old = plan(
        &spec(EVENTS),
        &with_events(|t| {
            t.indexes.push(Index { name: "events_old_idx".into(), ..t.indexes[0].clone() });
            t.indexes.push(Index { name: "their_idx".into(), ..t.indexes[0].clone() });
        }),
    );
    assert_eq!(old.blocked.len(), 1, "{old}");
    assert!(old.notes.iter().any(|note| note.text.contains("`their_idx`")));
}

#[test]
fn an_index_that_differs_is_replaced_by_one_built_beside_it() {
    let allow = Options { allow_destroy: true, ..Options::default() };
    let unique = |t: &mut Table| t.indexes[0].unique = true;
    let whole = diff(&spec(EVENTS), &with_events(unique), &allow);
    assert!(sql(&whole)[0].starts_with("CREATE INDEX CONCURRENTLY \"events_kind_idx_new\""), "{whole}");
    assert_eq!(sql(&whole)[1], "DROP INDEX \"public\".\"events_kind_idx\"");
    // Killed after the build: only the swap is left. Killed after the swap: nothing is.
    let built = diff(
        &spec(EVENTS),
        &with_events(|t| {
            t.indexes.push(Index { name: "events_kind_idx_new".into(), ..t.indexes[0].clone() });
            t.indexes[0].unique = true;
        }),
        &allow,
    );
    assert_eq!(built.steps.len(), 1, "{built}");
    // The declaration went back meanwhile: the successor is dropped.
    let back = diff(
        &spec(EVENTS),
        &with_events(|t| {
            t.indexes.push(Index { name: "events_kind_idx_new".into(), ..t.indexes[0].clone() });
        }),
        &allow,
    );
    assert!(first(&back).starts_with("DROP INDEX CONCURRENTLY IF EXISTS \"public\".\"events_kind_idx_new\""));
}

#[test]
fn an_expression_is_known_by_what_the_server_made_of_it() {
    let declared = EVENTS.replace("\"'new'\"", "\"concat_ws('-', 'a', 'b')\"");
    let live = |rendered: &str| {
        let mut live = with_events(|t| t.columns[1].default = Some("something(else)".into()));
        live.databases.get_mut("app").unwrap().inside.memory.push(Memory {
            kind: "default".into(),
            name: "\"public\".\"events\".\"kind\"".into(),
            declared: "concat_ws('-', 'a', 'b')".into(),
            rendered: rendered.into(),
            ..Memory::default()
        });
        live
    };
    assert!(plan(&spec(&declared), &live("something(else)")).is_empty());
    assert!(!plan(&spec(&declared), &live("another(thing)")).is_empty(), "changed by hand");
}

const ROLE: &str = r#"
name = "t"
[databases.app]
[roles.app]
login = true
member_of = ["readers"]
[roles.readers]
"#;

#[test]
fn rights_are_taken_only_from_roles_that_howdah_made() {
    let live = |comment: Option<String>| {
        let mut live = with_app();
        let role = Role { login: true, connection_limit: 5, comment, ..Role::default() };
        let member_of = ["readers".to_owned(), "pg_monitor".to_owned()].into();
        live.roles.insert("app".into(), Role { member_of, ..role.clone() });
        live.roles.insert("readers".into(), Role { login: false, connection_limit: -1, ..role });
        live
    };
    let ours = plan(&spec(ROLE), &live(Some(mark("t"))));
    assert_eq!(sql(&ours), ["ALTER ROLE \"app\" CONNECTION LIMIT -1", "REVOKE \"pg_monitor\" FROM \"app\""]);
    for (theirs, notes) in [(None, 1), (Some(mark("another")), 0), (Some(mark("t2")), 0)] {
        let plan = plan(&spec(ROLE), &live(theirs));
        assert!(plan.is_empty(), "{plan}");
        assert_eq!(plan.notes.len(), notes, "another deployment's memberships are its own matter");
    }
    let gone = plan(&spec("name = \"t\"\n[databases.app]\n"), &live(Some(mark("t"))));
    let blocked: Vec<&str> = gone.blocked.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(
        blocked,
        ["role:app:disown:app", "role:app:drop", "role:readers:disown:app", "role:readers:drop"]
    );
}

#[test]
fn a_step_says_what_it_does_beyond_its_statements() {
    let odd = "we\"ird DROP DATABASE \"x";
    let mut live = fresh();
    let database = Database { owner: "postgres".into(), comment: Some(mark("t")), ..Database::default() };
    live.databases.insert(odd.into(), database);
    let declared = spec(
        "name = \"t\"\n[databases.app]\nextensions = { vector = \"*\" }\n[settings]\nwork_mem = \"9MB\"\n",
    );
    let plan = diff(&declared, &live, &Options { allow_destroy: true, ..Options::default() });
    let effects: Vec<&Effect> = plan.steps.iter().filter_map(|step| step.effect.as_ref()).collect();
    let expected = [
        &Effect::CreatesExtension("vector".into()),
        &Effect::ReloadsConfiguration,
        &Effect::DropsDatabase(odd.into()),
    ];
    assert_eq!(effects, expected, "{plan}");
    live.available.clear();
    assert_eq!(diff(&declared, &live, &Options::default()).unavailable, ["vector"]);
}

#[test]
fn extensions_are_installed_updated_and_missed() {
    let declared = "name = \"t\"\n[databases.app]\nextensions = { vector = \"*\" }\n";
    let mut old = with_app();
    old.databases.get_mut("app").unwrap().inside.extensions.get_mut("vector").unwrap().version =
        "0.8.4".into();
    assert_eq!(sql(&plan(&spec(declared), &old)), ["ALTER EXTENSION \"vector\" UPDATE TO '0.8.5'"]);
    let pinned = declared.replace('*', "0.8.4");
    assert!(plan(&spec(&pinned), &old).is_empty());
    let unknown = plan(&spec(&declared.replace('*', "0.9.9")), &old);
    assert_eq!(unknown.problems[0].detail.as_deref(), Some("database `app`; available: 0.8.4, 0.8.5"));
    let mut without = fresh();
    without.available.clear();
    let missing = plan(&spec(declared), &without);
    assert_eq!(missing.problems[0].message, "extension `vector` is not available on this server");
}

#[test]
fn a_setting_is_written_read_again_or_waits() {
    let declared = spec("name = \"t\"\n[settings]\nshared_buffers = \"1GB\"\nwork_mem = \"4MB\"\n");
    let live = fresh();
    let new = plan(&declared, &live);
    assert_eq!(sql(&new), ["ALTER SYSTEM SET shared_buffers = '1GB'", "SELECT pg_reload_conf()"]);
    assert_eq!(new.restart, ["shared_buffers"]);
    let mut written = live.clone();
    written.settings.get_mut("shared_buffers").unwrap().file_value = Some("1048576kB".into());
    assert_eq!(sql(&plan(&declared, &written)), ["SELECT pg_reload_conf()"], "killed before the reload");
    written.settings.get_mut("shared_buffers").unwrap().pending_restart = true;
    let waits = plan(&declared, &written);
    assert!(waits.is_empty() && waits.restart == ["shared_buffers"], "{waits}");
    let mut fixed = live.clone();
    fixed.settings.get_mut("shared_buffers").unwrap().source = "command line".into();
    assert!(plan(&declared, &fixed).is_empty());
    let mut hosted = live.clone();
    hosted.server.alter_system = false;
    let hosted = plan(&declared, &hosted);
    assert!(hosted.is_empty() && hosted.notes[0].text.contains("`shared_buffers` should be 1GB"), "{hosted}");
    let unknown = plan(&spec("name = \"t\"\n[settings]\nwork_men = \"4MB\"\n"), &live);
    assert_eq!(unknown.problems[0].hint.as_deref(), Some("Did you mean `work_mem`?"));
}

#[test]
fn tuning_is_overruled_by_the_declaration() {
    let tuned = |name: &str, value: &str| Tuned {
        name: name.into(),
        value: value.into(),
        reason: "a quarter of the memory".into(),
        declared: false,
        context: Context::Restart,
    };
    let tuned =
        vec![tuned("shared_buffers", "512MB"), tuned("work_mem", "8MB"), tuned("of_another_major", "1")];
    let options = Options { tuned, ..Options::default() };
    let plan = diff(&spec("name = \"t\"\n[settings]\nwork_mem = \"4MB\"\n"), &fresh(), &options);
    assert_eq!(sql(&plan), ["ALTER SYSTEM SET shared_buffers = '512MB'", "SELECT pg_reload_conf()"]);
    assert!(plan.steps[0].reason.contains("a quarter of the memory"));
}

#[test]
fn a_collection_that_cannot_be_indexed_says_why() {
    let collection = |more: &str| spec(&format!("name = \"t\"\n[databases.app]\n[collections.c]\n{more}\n"));
    let vector_index =
        |plan: &Plan| sql(plan).iter().any(|sql| sql.contains("USING hnsw") || sql.contains("USING ivf"));
    let large = plan(&collection("dimensions = 2001"), &with_app());
    assert!(sql(&large).iter().any(|sql| sql.contains("(\"embedding\" halfvec_cosine_ops)")), "{large}");
    let lists = plan(&collection("dimensions = 3\nindex = { kind = \"ivfflat\" }"), &with_app());
    assert!(!vector_index(&lists) && lists.notes[0].text.contains("ivfflat learns its lists"), "{lists}");
    let exact = plan(&collection("dimensions = 3\nindex = { kind = \"none\" }"), &with_app());
    assert!(!vector_index(&exact) && exact.notes.is_empty());
}

#[test]
fn memory_for_a_build_is_what_it_needs_and_no_more_than_allowed() {
    const MIB: u64 = 1 << 20;
    assert_eq!(build_memory(1000, 3872, 64 * MIB, 1024 * MIB), None, "what is set will do");
    let (bytes, _) = build_memory(60_000, 3872, 64 * MIB, 1024 * MIB).unwrap();
    assert!(bytes > 60_000 * 3872 && bytes < 300 * MIB);
    let (bytes, reason) = build_memory(10_000_000, 3872, 64 * MIB, 1024 * MIB).unwrap();
    assert!(bytes == 1024 * MIB && reason.contains("not all of it fits"), "{reason}");
    assert_eq!(build_memory(10_000_000, 0, 64 * MIB, 1024 * MIB), None, "no graph");
}
