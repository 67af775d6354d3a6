//! Stories: the fault is made for real, found, mended, and no longer found.

mod contrib;
mod debian;
mod indexes;
mod own;
mod pages;
mod running;
mod security;
mod server;
mod settings;
mod vectors;
mod walk;

use howdah_plan::check::Finding;
use howdah_plan::spec::Spec;
use howdah_plan::tune::Machine;

use super::{Options, Report, run};
use howdah_postgres::testing::{Cluster, TestDatabase};
use howdah_postgres::{Pools, connect};

/// What one check says about one server or database.
struct Look<'a> {
    pools: &'a Pools,
    database: String,
    spec: Option<Spec>,
    machine: Option<Machine>,
}

impl<'a> Look<'a> {
    fn at(database: &'a TestDatabase) -> Look<'a> {
        Look { pools: &database.pools, database: database.name.clone(), spec: None, machine: None }
    }

    fn server(pools: &'a Pools) -> Look<'a> {
        Look { pools, database: "postgres".into(), spec: None, machine: None }
    }

    fn declared(mut self, toml: &str) -> Self {
        self.spec = Some(toml::from_str(toml).expect("a declaration"));
        self
    }

    fn on(mut self, machine: Machine) -> Self {
        self.machine = Some(machine);
        self
    }

    async fn report(&self, id: &str) -> Report {
        let options = Options {
            databases: vec![self.database.clone()],
            checks: vec![id.to_owned()],
            recall: true,
            ..Options::default()
        };
        run(self.pools, self.spec.as_ref(), self.machine.as_ref(), &options).await.expect("a report")
    }

    /// The findings of a check, which has to run.
    async fn finds(&self, id: &str) -> Vec<Finding> {
        let report = self.report(id).await;
        assert_eq!(report.not_run, [], "{id}");
        report.findings
    }

    /// The one finding of a check.
    async fn one(&self, id: &str) -> Finding {
        let mut findings = self.finds(id).await;
        assert_eq!(findings.len(), 1, "{id}: {findings:#?}");
        findings.remove(0)
    }

    /// A check that runs and finds nothing.
    async fn healthy(&self, id: &str) {
        assert_eq!(self.finds(id).await, [], "{id}");
    }
}

async fn sql(database: &TestDatabase, statement: &str) {
    database.client().await.batch_execute(statement).await.unwrap_or_else(|e| panic!("{statement}: {e:?}"));
}

/// A cluster of the test's own, and pools to it.
fn cluster(settings: &[&str]) -> (Cluster, Pools) {
    let cluster = Cluster::start(settings);
    let pools = Pools::new(cluster.target.clone(), 4);
    (cluster, pools)
}

async fn execute(pools: &Pools, statement: &str) {
    let client = connect::connect(&pools.target()).await.expect("a connection");
    // One statement at a time: ALTER SYSTEM and VACUUM do not run in the transaction of several.
    for one in statement.split(";\n") {
        client.batch_execute(one).await.unwrap_or_else(|e| panic!("{one}: {e:?}"));
    }
}
