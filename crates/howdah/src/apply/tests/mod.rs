//! Stories of applying, on real servers.
//!
//! Roles, databases and the lock belong to a whole cluster, so each story has a cluster of its own.

mod adopted;
mod adopted_shapes;
mod broken_off;
mod converge;
mod drift;
mod fill;
mod internal_schema;
mod own_index;
mod ownership;
mod portrait;
mod rename;
mod rights;
mod service;

use std::sync::Mutex;

use howdah_plan::migrate::{self, Plan};
use howdah_plan::problem::Problem;
use howdah_plan::spec::{Spec, read};

use super::{ApplyEvent, Options, Outcome};
use howdah_postgres::testing::Cluster;
use howdah_postgres::{Pools, Secret};

/// A server to mistreat.
struct Server {
    cluster: Cluster,
    pools: Pools,
}

impl Server {
    fn start() -> Server {
        Server::with(&[])
    }

    fn with(settings: &[&str]) -> Server {
        let cluster = Cluster::start(settings);
        let pools = Pools::new(cluster.target.clone(), 4);
        Server { cluster, pools }
    }

    async fn plan(&self, spec: &Spec) -> Plan {
        super::plan(&self.pools, spec, &migrate::Options::default()).await.expect("a plan")
    }

    async fn try_apply(&self, spec: &Spec, options: &Options) -> Result<Outcome, Problem> {
        super::run(&self.pools, spec, options, &|_| {}).await
    }

    async fn apply(&self, spec: &Spec) -> Outcome {
        self.try_apply(spec, &options()).await.unwrap_or_else(|problem| panic!("{problem:#?}"))
    }

    async fn destroy(&self, spec: &Spec) -> Outcome {
        self.try_apply(spec, &destroying()).await.unwrap_or_else(|problem| panic!("{problem:#?}"))
    }

    /// Applies and returns what was told.
    async fn told(&self, spec: &Spec, options: &Options) -> Vec<ApplyEvent> {
        let events = Mutex::new(Vec::new());
        let tell = |event| events.lock().unwrap().push(event);
        super::run(&self.pools, spec, options, &tell).await.unwrap_or_else(|problem| panic!("{problem:#?}"));
        events.into_inner().unwrap()
    }

    async fn sql(&self, database: &str, sql: &str) {
        let client = self.pools.own(database).await.expect("a connection");
        client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    async fn value(&self, database: &str, sql: &str) -> String {
        let client = self.pools.own(database).await.expect("a connection");
        let row = client.query_one(&format!("SELECT ({sql})::text"), &[]).await;
        let row = row.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        row.get::<_, Option<String>>(0).unwrap_or_default()
    }

    /// Whether a role may do something, by trying it as that role over TCP with its password.
    async fn try_as(&self, role: &str, password: &str, database: &str, sql: &str) -> Result<(), Problem> {
        let mut target = self.cluster.target.with_database(database);
        target.user = role.into();
        target.password = Some(Secret::new(password));
        let client = howdah_postgres::connect::connect(&target).await?;
        client.batch_execute(sql).await.map_err(|e| howdah_postgres::problem::from_pg(&e, "try"))
    }
}

fn options() -> Options {
    let password = ("APP_PASSWORD".to_owned(), Secret::new("correct horse"));
    Options { environment: [password].into(), ..Options::default() }
}

fn destroying() -> Options {
    let plan = migrate::Options { allow_destroy: true, ..migrate::Options::default() };
    Options { plan, ..options() }
}

fn spec(text: &str) -> Spec {
    read::from_str(text, "howdah.toml").unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// One deployment with something of everything.
const SHOP: &str = r#"
name = "shop"

[databases.shop]
owner = "shop_owner"
extensions = { vector = "*" }
schemas = ["archive"]
settings = { work_mem = "16MB", "hnsw.ef_search" = 100 }

[roles.shop_owner]

[roles.shop_app]
login = true
password_env = "APP_PASSWORD"
connection_limit = 20
member_of = ["pg_monitor"]
settings = { statement_timeout = "30s" }

[[roles.shop_app.grants]]
database = "shop"
privileges = ["select", "insert", "update", "delete"]

[[roles.shop_app.grants]]
database = "shop"
schema = "archive"
privileges = ["select"]

[collections.notes]
dimensions = 8
fields = { year = "int", lang = "varchar(8)" }

[collections.pictures]
dimensions = 2100
metric = "l2"
id_type = "uuid"
language = "german"

[tables.events]
table = "archive.events"
primary_key = ["id"]
columns = [
  { name = "id", type = "bigint", identity = true },
  { name = "kind", type = "varchar(20)", nullable = false, default = "'new'" },
  { name = "score", type = "float8", default = "-1" },
  { name = "tags", type = "text[]", default = "'{}'" },
  { name = "at", type = "timestamptz", nullable = false, default = "now()" },
]
indexes = [
  { columns = ["kind", "at"] },
  { columns = ["kind"], unique = true, where = "score > 0.5 AND kind <> 'old'" },
  { columns = ["tags"], method = "gin" },
]

[settings]
log_min_duration_statement = "250ms"
max_wal_senders = 7
wal_compression = true
"#;
