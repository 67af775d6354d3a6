//! A server for one bench: started for it, tuned for it, removed after it.

use std::time::Duration;

use howdah_plan::problem::{Kind, Problem};
use howdah_plan::spec::Server;

use super::session::Session;
use howdah_postgres::instance::{Patience, RunningServer};
use howdah_postgres::{Home, Instance, Target, bundle, fetch, machine};

/// A running server.
#[derive(Debug)]
pub struct Scratch {
    /// Its address.
    pub target: Target,
    /// PostgreSQL's version.
    pub version: String,
    /// Settings it was started with.
    pub settings: Vec<(&'static str, String)>,
    instance: Instance,
    /// Until it is stopped.
    running: Option<RunningServer>,
}

impl Drop for Scratch {
    /// Interrupted: nobody waits any more, and nothing in the server is worth a proper end.
    fn drop(&mut self) {
        let Some(running) = self.running.take() else { return };
        running.abandon();
        let _ = std::fs::remove_dir_all(&self.instance.layout.root);
    }
}

impl Scratch {
    /// Starts a portable server of this major below `home`.
    ///
    /// # Errors
    /// `conflict` when another bench runs; whatever keeps the server from starting.
    pub async fn start(home: &Home, major: u32) -> Result<Scratch, Problem> {
        let from = home.clone();
        let programs = fetch::blocking(move || bundle::programs(&from, major)).await?;
        let version = programs.version.clone();
        let instance = Instance::new(home, &format!("bench-index-{major}"), &Server::default(), programs)?;
        instance.init().await?;
        let facts = machine::read(&instance.layout.root);
        let settings = settings(facts.memory_bytes, facts.cores, facts.shm_bytes);
        instance.configure(settings.iter().map(|(name, value)| (*name, value.as_str())))?;
        let running = instance.start().await?;
        Ok(Scratch { target: running.target.clone(), version, settings, instance, running: Some(running) })
    }

    /// Makes `extension` in the server. False when it is not available there.
    ///
    /// # Errors
    /// What the server says.
    pub async fn install(&self, admin: &Session, extension: &str) -> Result<bool, Problem> {
        let available = format!("SELECT count(*) FROM pg_available_extensions WHERE name = '{extension}'");
        if admin.number(&available).await? == 0 {
            return Ok(false);
        }
        admin.run(&format!("CREATE EXTENSION IF NOT EXISTS {extension} SCHEMA public CASCADE")).await?;
        Ok(true)
    }

    /// Processor time of the server and all its processes, those that ended included; only Linux says.
    pub fn cpu(&self) -> Option<Duration> {
        self.running.as_ref()?.cpu()
    }

    /// Stops the server and removes all it had.
    ///
    /// # Errors
    /// `timeout` when it does not stop; `machine` when something cannot be removed.
    pub async fn remove(mut self) -> Result<(), Problem> {
        let patience = Patience { smart: Duration::ZERO, ..Patience::default() };
        if let Some(running) = self.running.take() {
            running.stop(patience).await?;
        }
        let root = &self.instance.layout.root;
        std::fs::remove_dir_all(root).map_err(|e| {
            Problem::new(Kind::Machine, format!("cannot remove `{}`", root.display())).detail(e.to_string())
        })
    }
}

/// Settings under which a bench is about indexes: everything in memory, nothing else going on, writes as safe as in
/// production but for the commit that is waited for.
fn settings(memory: u64, cores: u32, shared: Option<u64>) -> Vec<(&'static str, String)> {
    let megabytes = |part: u64| format!("{}MB", (memory / part) >> 20);
    vec![
        ("shared_buffers", megabytes(3)),
        ("maintenance_work_mem", megabytes(4)),
        ("effective_cache_size", megabytes(2)),
        ("work_mem", "64MB".into()),
        ("max_parallel_maintenance_workers", cores.to_string()),
        ("max_parallel_workers_per_gather", "0".into()),
        ("huge_pages", "try".into()),
        ("jit", "off".into()),
        ("autovacuum", "off".into()),
        ("max_wal_size", "32GB".into()),
        ("checkpoint_timeout", "1h".into()),
        // Parallel builds of HNSW keep their graph in shared memory. Files do where there is little, as in containers, but all
        // of `maintenance_work_mem` is written to them first.
        ("dynamic_shared_memory_type", if shared >= Some(memory / 4) { "posix" } else { "mmap" }.into()),
        ("max_connections", "50".into()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_shared_out() {
        let settings = settings(12 << 30, 2, Some(64 << 20));
        let value = |name| settings.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str());
        assert_eq!(value("shared_buffers"), Some("4096MB"));
        assert_eq!(value("maintenance_work_mem"), Some("3072MB"));
        assert_eq!(value("dynamic_shared_memory_type"), Some("mmap"));
        assert!(
            super::settings(12 << 30, 2, Some(8 << 30))
                .contains(&("dynamic_shared_memory_type", "posix".into()))
        );
    }
}
