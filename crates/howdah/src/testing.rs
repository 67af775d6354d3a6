//! What the tests of several modules share.

use std::sync::Arc;
use std::time::Instant;

use howdah_plan::spec::{Spec, read};

use crate::access::gate::Gate;
use crate::jobs::Jobs;
use crate::runtime::service::Seed;
use crate::runtime::{Context, Declared, Runtime};
use howdah_postgres::testing::TestDatabase;
use howdah_postgres::{Secret, testing};

/// A declaration of one database, with more of it in `rest`.
pub(crate) fn declaration(database: &TestDatabase, rest: &str) -> Spec {
    let text = format!("name = \"{0}\"\n{rest}\n[databases.{0}]\n", database.name);
    read::from_str(&text, "howdah.toml").unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// What skills run on, over a test database.
pub(crate) fn context(database: &TestDatabase, spec: Spec) -> Arc<Context> {
    let home = testing::home();
    let runtime = Runtime {
        declaration: "howdah.toml".into(),
        deployment: String::new(),
        pools: database.pools.clone(),
        address: database.target.url(),
        seed: Seed::new(Secret::new(database.name.clone())),
        gate: Gate::new(0, None),
        jobs: Jobs::default(),
        ending: tokio_util::sync::CancellationToken::new(),
        started: Instant::now(),
        rest: None,
        tuned: Vec::new(),
        machine: None,
        home: home.clone(),
    };
    let declared = Declared::new(spec, &home).expect("no embedders that are wrong");
    Arc::new(Context { runtime: Arc::new(runtime), declared: Arc::new(declared) })
}

/// Howdah's own tables.
pub(crate) async fn internal_schema(database: &TestDatabase) {
    let client = database.client().await;
    for migration in howdah_plan::internal_schema::all() {
        client.batch_execute(migration.sql).await.expect(migration.name);
    }
}
