//! Which settings fit this machine, and why?
//!
//! [`tune`] turns facts about the machine and the wish of its owner into settings, each with its reason in words. The
//! rules are arithmetic on one budget: memory that the operating system and other services keep, `shared_buffers`,
//! maintenance, what connections cost by themselves, and `work_mem` for all of them at once have to fit into the machine
//! together. `effective_cache_size` is a belief of the planner and commits nothing.

use indexmap::IndexMap;

use crate::problem::{Kind, Problem};
use crate::settings::{self, Context, value::bytes};
use crate::spec::{Disk, SettingValue, Spec, Workload};

pub mod budget;
mod rules;

pub(crate) use rules::size;

pub use budget::Budget;

/// What is known about the machine and the server program on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    /// Memory in bytes: what the control group allows, where that is less than the machine has.
    pub memory_bytes: u64,
    /// CPU cores this process may use, at least 1.
    pub cores: u32,
    /// Processor architecture as Rust names it: `x86_64`, `aarch64`, `arm`, ….
    pub arch: String,
    /// Operating system as Rust names it: `linux`, `macos`, ….
    pub os: String,
    /// Kind of disk.
    pub disk: Disk,
    /// Bytes free on the disk of the data directory.
    pub disk_free_bytes: Option<u64>,
    /// Whether it runs in a container.
    pub container: bool,
    /// Size of `/dev/shm` in bytes, where parallel workers share memory.
    pub shm_bytes: Option<u64>,
    /// Bytes of huge pages that the kernel has set aside.
    pub huge_pages_bytes: Option<u64>,
}

impl Default for Machine {
    /// A machine of 4 GiB and two cores, of which nothing else is known.
    fn default() -> Self {
        Machine {
            memory_bytes: 4 << 30,
            cores: 2,
            arch: "x86_64".into(),
            os: "linux".into(),
            disk: Disk::Ssd,
            disk_free_bytes: None,
            container: false,
            shm_bytes: None,
            huge_pages_bytes: None,
        }
    }
}

/// What the owner wishes.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    /// Major version of the server.
    pub major: u32,
    /// Kind of work.
    pub workload: Workload,
    /// Connections to allow, where declared.
    pub max_connections: Option<u32>,
    /// Settings that overrule the rules. The rules reckon with them.
    pub declared: IndexMap<String, SettingValue>,
}

/// One setting, with its reason.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Tuned {
    /// Name of the setting.
    pub name: String,
    /// Value, as `postgresql.conf` takes it.
    pub value: String,
    /// Why this value, in words and figures.
    pub reason: String,
    /// Whether the declaration said so, rather than a rule.
    pub declared: bool,
    /// What a change costs.
    pub context: Context,
}

/// The settings for `machine`, in the order of the table of settings; declared ones that no rule speaks of come last.
pub fn tune(machine: &Machine, wish: &Wish) -> Vec<Tuned> {
    let budget = Budget::of(machine, wish);
    let mut tuned: Vec<Tuned> = rules::all(machine, wish, &budget)
        .into_iter()
        .map(|(name, value, reason)| entry(name, value, reason, false, wish.major))
        .collect();
    for (name, value) in &wish.declared {
        let value = settings::text(value);
        let reason = "declared in `[settings]`".to_owned();
        match tuned.iter_mut().find(|row| row.name.eq_ignore_ascii_case(name)) {
            Some(row) => (row.value, row.reason, row.declared) = (value, reason, true),
            None => tuned.push(entry(name, value, reason, true, wish.major)),
        }
    }
    tuned.retain(|row| settings::find(&row.name).is_none_or(|setting| setting.exists_in(wish.major)));
    tuned
}

/// The settings that a declaration asks for on `machine`: tuned unless `server.tune = false`, with `server.memory`,
/// `server.cores` and `server.disk` in the place of the machine's own.
///
/// # Errors
/// `usage` when `server.memory` is no quantity or a declared setting does not take its value.
pub fn for_spec(machine: &Machine, major: u32, spec: &Spec) -> Result<Vec<Tuned>, Problem> {
    for (name, value) in &spec.settings {
        settings::check(name, &settings::text(value), major)?;
    }
    let wish = Wish {
        major,
        workload: spec.server.workload,
        max_connections: spec.server.max_connections,
        declared: spec.settings.clone(),
    };
    let mut tuned = tune(&declared_machine(machine, spec)?, &wish);
    if !spec.server.tune {
        tuned.retain(|row| row.declared);
    }
    Ok(tuned)
}

/// The machine to tune for: the real one, with what the declaration says in its place.
///
/// # Errors
/// `usage` when `server.memory` is no quantity or smaller than 64 MB.
pub fn declared_machine(machine: &Machine, spec: &Spec) -> Result<Machine, Problem> {
    let mut machine = Machine { disk: spec.server.disk, ..machine.clone() };
    if let Some(memory) = &spec.server.memory {
        let refuse = |why: String| {
            Problem::new(Kind::Usage, format!("`server.memory` is not `{memory}`"))
                .detail(why)
                .hint("Write a quantity of at least 64 MB, as in `memory = \"2GiB\"`.")
        };
        machine.memory_bytes = bytes(memory).map_err(refuse)?;
        if machine.memory_bytes < 64 << 20 {
            return Err(refuse("PostgreSQL does not run well in less".into()));
        }
    }
    if let Some(cores) = spec.server.cores {
        machine.cores = cores.max(1);
    }
    Ok(machine)
}

fn entry(name: &str, value: String, reason: String, declared: bool, major: u32) -> Tuned {
    let context = settings::find(name).map_or(Context::Session, |setting| setting.context_in(major));
    Tuned { name: name.to_owned(), value, reason, declared, context }
}

#[cfg(test)]
mod tests;
