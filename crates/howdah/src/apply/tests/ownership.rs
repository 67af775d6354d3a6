//! Several deployments on one server: each changes and drops only what is its own.

use howdah_plan::internal_schema;
use howdah_plan::migrate;
use howdah_plan::problem::{Kind, Problem};
use howdah_plan::spec::Spec;

use super::{Server, options, spec};
use crate::apply::{Options, Outcome};

const A: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const B: &str = "bbbbbbbb-0000-4000-8000-000000000002";
const C: &str = "cccccccc-0000-4000-8000-000000000003";

/// A deployment, and how it is applied.
struct Deployment {
    id: &'static str,
    spec: Spec,
}

impl Deployment {
    fn options(&self, allow_destroy: bool, take_over: bool) -> Options {
        let deployment = self.id.to_owned();
        let plan = migrate::Options { deployment, allow_destroy, take_over, ..migrate::Options::default() };
        Options { plan, ..options() }
    }

    async fn try_apply(&self, server: &Server) -> Result<Outcome, Problem> {
        server.try_apply(&self.spec, &self.options(false, false)).await
    }

    async fn apply(&self, server: &Server) -> Outcome {
        self.try_apply(server).await.unwrap_or_else(|problem| panic!("{problem:#?}"))
    }

    async fn destroy(&self, server: &Server) -> Outcome {
        let outcome = server.try_apply(&self.spec, &self.options(true, false)).await;
        outcome.unwrap_or_else(|problem| panic!("{problem:#?}"))
    }

    async fn take_over(&self, server: &Server) -> Outcome {
        let outcome = server.try_apply(&self.spec, &self.options(false, true)).await;
        outcome.unwrap_or_else(|problem| panic!("{problem:#?}"))
    }

    async fn plan(&self, server: &Server) -> migrate::Plan {
        crate::apply::plan(&server.pools, &self.spec, &self.options(false, false).plan).await.expect("a plan")
    }

    async fn is_as_declared(&self, server: &Server) {
        let plan = self.plan(server).await;
        assert!(plan.is_empty(), "{}: {plan}", self.spec.name);
    }
}

fn team(letter: &str, id: &'static str) -> Deployment {
    let text = format!(
        r#"
name = "team-{letter}"
[databases.app]
extensions = {{ vector = "*" }}
schemas = ["shared", "only_{letter}"]

[roles.{letter}_app]
login = true
password_env = "APP_PASSWORD"
[[roles.{letter}_app.grants]]
database = "app"
privileges = ["select", "insert"]

[collections.{letter}_docs]
dimensions = 3
fields = {{ year = "int" }}

[tables.{letter}_orders]
table = "shared.{letter}_orders"
primary_key = ["id"]
columns = [{{ name = "id", type = "bigint", identity = true }}, {{ name = "note", type = "text" }}]
indexes = [{{ columns = ["note"] }}]
"#
    );
    Deployment { id, spec: spec(&text) }
}

fn changed(one: &Deployment, change: impl FnOnce(&mut Spec)) -> Deployment {
    let mut spec = one.spec.clone();
    change(&mut spec);
    Deployment { id: one.id, spec }
}

#[tokio::test]
async fn two_deployments_in_one_database_leave_each_other_alone() {
    let server = Server::start();
    let (a, b) = (team("a", A), team("b", B));
    a.apply(&server).await;
    b.apply(&server).await;
    server.sql("app", "INSERT INTO shared.a_orders (note) VALUES ('one'); INSERT INTO shared.b_orders (note) VALUES ('two')").await;
    for _ in 0..2 {
        // In both orders, whatever is allowed.
        for one in [&a, &b] {
            one.is_as_declared(&server).await;
            let outcome = one.destroy(&server).await;
            assert!(outcome.done.is_empty() && outcome.left.blocked.is_empty(), "{outcome:?}");
        }
    }
    let known = "SELECT string_agg(name || ' ' || id, ', ' ORDER BY name) FROM howdah.deployments";
    assert_eq!(server.value("app", known).await, format!("team-a {A}, team-b {B}"));

    // One that wants nothing any more drops all that is its own, and nothing else.
    let nothing = changed(&b, |spec| {
        spec.tables.clear();
        spec.collections.clear();
        spec.roles.clear();
        spec.databases["app"].extensions.clear();
        spec.databases["app"].schemas.clear();
    });
    let outcome = nothing.destroy(&server).await;
    assert!(outcome.left.blocked.is_empty(), "{}", outcome.left);
    nothing.is_as_declared(&server).await;
    let tables = "SELECT string_agg(c.relname, ' ' ORDER BY c.relname) FROM pg_class c \
                  JOIN pg_namespace n ON n.oid = c.relnamespace \
                  WHERE c.relkind = 'r' AND n.nspname IN ('public', 'shared')";
    assert_eq!(server.value("app", tables).await, "a_docs a_orders");
    let schemas =
        "SELECT string_agg(nspname, ' ' ORDER BY nspname) FROM pg_namespace WHERE nspname ~ '^(only|shared)'";
    assert_eq!(server.value("app", schemas).await, "only_a shared");
    let roles =
        "SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles WHERE rolname IN ('a_app', 'b_app')";
    assert_eq!(server.value("app", roles).await, "a_app");
    assert_eq!(server.value("app", "SELECT count(*) FROM pg_extension WHERE extname = 'vector'").await, "1");
    assert_eq!(server.value("app", "SELECT count(*) FROM shared.a_orders").await, "1");
    a.is_as_declared(&server).await;
}

#[tokio::test]
async fn a_table_of_another_deployment_is_refused_adopted_or_taken_over() {
    let server = Server::start();
    let (a, b) = (team("a", A), team("b", B));
    a.apply(&server).await;
    let same = changed(&b, |spec| {
        spec.tables.insert("a_orders".into(), a.spec.tables["a_orders"].clone());
    });
    let problem = same.try_apply(&server).await.unwrap_err();
    assert_eq!(problem.kind, Kind::Conflict, "{problem:#?}");
    let said = format!("table `shared.a_orders` belongs to deployment `team-a` ({A})");
    assert_eq!(problem.message, said, "{problem:#?}");
    // What was possible is done.
    assert_eq!(server.value("app", "SELECT to_regclass('shared.b_orders') IS NOT NULL").await, "true");
    a.is_as_declared(&server).await;

    // A collection of the other's name would share its documents.
    let collection = changed(&b, |spec| {
        let mut docs = spec.collections["b_docs"].clone();
        docs.table = Some("public.others".into());
        spec.collections.insert("a_docs".into(), docs);
    });
    let problem = collection.try_apply(&server).await.unwrap_err();
    assert!(problem.message.contains("has a collection `a_docs`"), "{problem:#?}");
    assert_eq!(server.value("app", "SELECT to_regclass('public.others')").await, "");

    // Adopted, nothing of it changes; its index is made once, by who made the table.
    let theirs = spec(
        "name = \"x\"\n[databases.app]\n[collections.theirs]\ntable = \"a_docs\"\ndimensions = 3\n\
         [collections.theirs.adopt]\nid = \"id\"\ncontent = \"content\"\nembedding = \"embedding\"\n",
    );
    let adopting = changed(&b, |spec| spec.collections.extend(theirs.collections));
    adopting.apply(&server).await;
    adopting.is_as_declared(&server).await;
    a.is_as_declared(&server).await;

    b.apply(&server).await;
    let outcome = same.take_over(&server).await;
    assert!(outcome.left.problems.is_empty(), "{}", outcome.left);
    same.is_as_declared(&server).await;
    let problem = a.try_apply(&server).await.unwrap_err();
    assert!(problem.message.contains("belongs to deployment `team-b`"), "{problem:#?}");
}

#[tokio::test]
async fn roles_settings_and_databases_of_another_are_used_and_not_changed() {
    let server = Server::start();
    let a = changed(&team("a", A), |spec| {
        spec.settings.insert("work_mem".into(), serde_json::from_str("\"16MB\"").unwrap());
    });
    a.apply(&server).await;
    let b = team("b", B);
    // The same role with the same attributes: it gets rights on what is b's.
    let shared = changed(&b, |spec| {
        let mut role = a.spec.roles["a_app"].clone();
        role.grants[0].tables = Some(vec!["b_docs".into()]);
        spec.roles.insert("a_app".into(), role);
        spec.settings.insert("work_mem".into(), serde_json::from_str("\"16MB\"").unwrap());
    });
    shared.apply(&server).await;
    for one in [&a, &shared] {
        one.is_as_declared(&server).await;
        one.destroy(&server).await;
    }
    let may = "SELECT has_table_privilege('a_app', 'b_docs', 'INSERT')";
    assert_eq!(server.value("app", may).await, "true");

    let otherwise = changed(&b, |spec| {
        let mut role = a.spec.roles["a_app"].clone();
        role.connection_limit = Some(3);
        spec.roles.insert("a_app".into(), role);
        spec.settings.insert("work_mem".into(), serde_json::from_str("\"32MB\"").unwrap());
        spec.databases["app"]
            .settings
            .insert("statement_timeout".into(), serde_json::from_str("\"1s\"").unwrap());
    });
    let problems: Vec<String> =
        otherwise.plan(&server).await.problems.into_iter().map(|problem| problem.message).collect();
    for what in ["role `a_app` belongs to", "setting `work_mem` belongs to", "database `app` belongs to"] {
        assert!(problems.iter().any(|problem| problem.starts_with(what)), "{what}: {problems:?}");
    }
    assert_eq!(otherwise.try_apply(&server).await.unwrap_err().kind, Kind::Conflict);
    assert_eq!(server.value("app", "SELECT rolconnlimit FROM pg_roles WHERE rolname = 'a_app'").await, "-1");
    assert_eq!(server.value("app", "current_setting('work_mem')").await.as_str(), "16MB");
    a.is_as_declared(&server).await;

    // Who made the database no longer wants it: it stays while another works in it.
    let gone = Deployment { id: A, spec: spec("name = \"team-a\"\n[databases.elsewhere]\n") };
    let outcome = gone.destroy(&server).await;
    assert!(outcome.left.notes.iter().any(|note| note.text.contains("`team-b`")), "{}", outcome.left);
    assert_eq!(server.value("app", "SELECT count(*) FROM b_docs").await, "0");
}

#[tokio::test]
async fn two_of_one_name_are_told_apart() {
    let server = Server::start();
    let first = team("a", A);
    let second = Deployment { id: B, spec: first.spec.clone() };
    first.apply(&server).await;
    let problem = second.try_apply(&server).await.unwrap_err();
    assert_eq!(problem.kind, Kind::Conflict, "{problem:#?}");
    let hint = problem.hint.unwrap();
    assert!(hint.contains(&format!("deployment = \"{A}\"")), "{hint}");
    first.is_as_declared(&server).await;
    // In another database of the server only the service's roles meet.
    let elsewhere = Deployment { id: C, spec: spec("name = \"team-a\"\n[databases.second]\n") };
    let problem = elsewhere.try_apply(&server).await.unwrap_err();
    assert!(problem.message.contains("`howdah_team_a"), "{problem:#?}");

    let key = "INSERT INTO howdah.api_keys (name, prefix, hash, scopes, deployment) VALUES ('k', 'p', '', '{read}', '";
    server.sql("app", &format!("{key}{A}')")).await;
    second.take_over(&server).await;
    assert_eq!(server.value("app", "SELECT deployment FROM howdah.api_keys").await, B);
    second.is_as_declared(&server).await;
    assert_eq!(first.try_apply(&server).await.unwrap_err().kind, Kind::Conflict);
    let owners = "SELECT string_agg(DISTINCT deployment, ' ') FROM howdah.managed";
    assert_eq!(server.value("app", owners).await, B);
}

/// As an older howdah left it: records without an owner, marks without an identity.
async fn older(server: &Server, one: &Deployment) {
    let old = Deployment { id: "", spec: one.spec.clone() };
    old.apply(server).await;
    let undo = "ALTER TABLE howdah.jobs DROP COLUMN deployment;
        CREATE UNIQUE INDEX jobs_idempotency_key ON howdah.jobs (skill, caller, idempotency_key)
            WHERE idempotency_key IS NOT NULL;
        ALTER TABLE howdah.api_keys DROP COLUMN deployment;
        DELETE FROM howdah.migrations WHERE domain = 'jobs' AND number = 3 OR domain = 'keys' AND number = 2";
    server.sql("app", undo).await;
    for number in (7..=11).rev() {
        let undo = match number {
            11 => "DROP FUNCTION howdah.claim",
            10 => "DROP FUNCTION howdah.forget(text, text, text)",
            9 => "DROP FUNCTION howdah.remember(text, text, text, text)",
            8 => "ALTER TABLE howdah.managed DROP COLUMN deployment, ADD PRIMARY KEY (kind, name)",
            _ => "DROP TABLE howdah.deployments",
        };
        let record = format!("DELETE FROM howdah.migrations WHERE domain = 'core' AND number = {number}");
        server.sql("app", &format!("{undo}; {record}")).await;
    }
    for number in [4, 5] {
        server.sql("app", internal_schema::find("core", number).unwrap().sql).await;
    }
}

#[tokio::test]
async fn an_older_database_upgrades_by_apply_killed_anywhere() {
    let server = Server::start();
    let a = team("a", A);
    older(&server, &a).await;
    let steps = a.plan(&server).await.steps.len();
    assert!(steps > 3, "migrations, the identity, and marks on the roles and the database");
    for _ in 0..steps {
        let stopped = Options { stop_after: Some(1), ..a.options(false, false) };
        if let Err(problem) = server.try_apply(&a.spec, &stopped).await {
            assert!(problem.message.contains("stopped before step"), "{problem:#?}");
        }
    }
    a.apply(&server).await;
    a.is_as_declared(&server).await;
    let unowned = "SELECT count(*) FROM howdah.managed WHERE deployment <> '";
    assert_eq!(server.value("app", &format!("{unowned}{A}'")).await, "0");
    // What is no longer declared is dropped as before.
    let less = changed(&a, |spec| spec.tables.clear());
    less.destroy(&server).await;
    assert_eq!(server.value("app", "SELECT to_regclass('shared.a_orders')").await, "");
    less.is_as_declared(&server).await;
}

#[tokio::test]
async fn of_an_older_database_of_two_each_claims_its_own_and_nobody_drops_the_rest() {
    let server = Server::start();
    let (a, b) = (team("a", A), team("b", B));
    // The older howdah let the second one plan to drop what the first had made; it was not allowed to.
    let both = changed(&a, |spec| {
        spec.collections.extend(b.spec.collections.clone());
        spec.tables.extend(b.spec.tables.clone());
        let forgotten = "[tables.forgotten]\ncolumns = [{ name = \"id\", type = \"int\" }]\n";
        let more = super::spec(&format!("name = \"x\"\n[databases.app]\n{forgotten}"));
        spec.tables.extend(more.tables);
    });
    older(&server, &both).await;
    a.apply(&server).await;
    a.is_as_declared(&server).await;
    b.apply(&server).await;
    for one in [&a, &b] {
        one.destroy(&server).await;
        one.is_as_declared(&server).await;
    }
    assert_eq!(server.value("app", "SELECT to_regclass('forgotten') IS NOT NULL").await, "true");
    let note = &a.plan(&server).await.notes;
    assert!(note.iter().any(|note| note.text.contains("\"forgotten\"")), "{note:?}");
    a.take_over(&server).await;
    let plan = a.plan(&server).await;
    assert_eq!(plan.blocked.len(), 1, "{plan}");
    a.destroy(&server).await;
    assert_eq!(server.value("app", "SELECT to_regclass('forgotten')").await, "");
    b.is_as_declared(&server).await;
}

#[tokio::test]
async fn an_index_of_another_on_a_shared_table_stays() {
    let server = Server::start();
    let adopting = |id: &'static str, name: &str, index: &str| Deployment {
        id,
        spec: spec(&format!(
            "name = \"{name}\"\n[databases.app]\nextensions = {{ vector = \"*\" }}\n[collections.{name}]\ntable = \"docs\"\n\
             dimensions = 3\n{index}\n[collections.{name}.adopt]\nid = \"id\"\ncontent = \"content\"\n\
             embedding = \"embedding\"\n"
        )),
    };
    let first = Deployment {
        id: A,
        spec: spec("name = \"one\"\n[databases.app]\nextensions = { vector = \"*\" }\n"),
    };
    first.apply(&server).await;
    let table = "CREATE TABLE docs (id bigint PRIMARY KEY, content text, embedding vector(3))";
    server.sql("app", table).await;
    let one = adopting(A, "one", "");
    one.apply(&server).await;
    let two = adopting(B, "two", "");
    two.apply(&server).await;
    two.is_as_declared(&server).await;
    let otherwise = adopting(B, "two", "index = { kind = \"hnsw\", m = 8 }");
    let problem = otherwise.try_apply(&server).await.unwrap_err();
    assert!(problem.message.contains("belongs to deployment `one`"), "{problem:#?}");
    let none = adopting(B, "two", "index = { kind = \"none\" }");
    none.destroy(&server).await;
    one.is_as_declared(&server).await;
    let indexes = "SELECT count(*) FROM pg_indexes WHERE tablename = 'docs' AND indexdef LIKE '%hnsw%'";
    assert_eq!(server.value("app", indexes).await, "1");
}
