//! Where the machine's memory goes.
//!
//! One sum, so that no rule gives away what another has given already. All figures are bytes.

use super::{Machine, Wish};
use crate::settings;
use crate::spec::Workload;

const KB: u64 = 1 << 10;
const MB: u64 = 1 << 20;
const GB: u64 = 1 << 30;

/// What a session costs before it runs anything: stack, caches, its part of the lock and process tables.
pub const CONNECTION_BYTES: u64 = 3 * MB;
/// Autovacuum workers that PostgreSQL runs at a time unless told otherwise.
pub const AUTOVACUUM_WORKERS: u64 = 3;

/// The machine's memory, given out once. The sum of all commitments is at most `memory`, unless the declaration itself
/// asks for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// What the machine has.
    pub memory: u64,
    /// Kept for the operating system, the page cache and other services.
    pub reserve: u64,
    /// `shared_buffers`.
    pub shared_buffers: u64,
    /// `wal_buffers`, as the server derives them.
    pub wal_buffers: u64,
    /// `maintenance_work_mem`, for one build at a time.
    pub maintenance: u64,
    /// `autovacuum_work_mem`, for each of the workers.
    pub autovacuum: u64,
    /// `max_connections`.
    pub connections: u64,
    /// `work_mem`, for each connection.
    pub work_mem: u64,
}

impl Budget {
    /// Gives out the memory of `machine`. What `wish` declares is taken as it stands.
    pub fn of(machine: &Machine, wish: &Wish) -> Budget {
        let memory = machine.memory_bytes;
        let narrow = matches!(machine.arch.as_str(), "arm" | "x86");
        // A 32-bit process addresses 3 GiB, shared memory included.
        let cap = |bytes: u64, most: u64| if narrow { bytes.min(most) } else { bytes };

        let reserve = memory / 100 * reserve_percent(wish.workload);
        let shared_buffers = declared_bytes(wish, "shared_buffers")
            .unwrap_or_else(|| cap(round_down(memory / 4), GB).max(128 * KB));
        let (part, most) = match wish.workload {
            Workload::Dedicated => (8, 8 * GB),
            Workload::Mixed | Workload::Edge => (16, 2 * GB),
        };
        let maintenance = declared_bytes(wish, "maintenance_work_mem")
            .unwrap_or_else(|| cap(round_down(memory / part).min(most), 512 * MB).max(MB));
        let autovacuum = declared_bytes(wish, "autovacuum_work_mem")
            .unwrap_or_else(|| round_down(maintenance / 4).clamp(MB, 512 * MB));
        let connections = declared_number(wish, "max_connections")
            .or(wish.max_connections.map(u64::from))
            .unwrap_or_else(|| connections_for(memory));
        let mut budget = Budget {
            memory,
            reserve,
            shared_buffers,
            wal_buffers: (shared_buffers / 32).min(16 * MB),
            maintenance,
            autovacuum,
            connections,
            work_mem: 0,
        };
        let each = memory.saturating_sub(budget.committed()) / connections.max(1);
        budget.work_mem = declared_bytes(wish, "work_mem")
            .unwrap_or_else(|| power_of_two_down(each).clamp(64 * KB, 256 * MB));
        budget
    }

    /// The sum of everything that may be taken at the same time.
    pub fn committed(&self) -> u64 {
        self.reserve
            .saturating_add(self.shared_buffers)
            .saturating_add(self.wal_buffers)
            .saturating_add(self.maintenance)
            .saturating_add(self.autovacuum.saturating_mul(AUTOVACUUM_WORKERS))
            .saturating_add(self.connections.saturating_mul(CONNECTION_BYTES))
            .saturating_add(self.worst_case())
    }

    /// `work_mem` taken once by every connection.
    pub fn worst_case(&self) -> u64 {
        self.work_mem.saturating_mul(self.connections)
    }
}

/// Percent of the memory that PostgreSQL leaves alone.
pub fn reserve_percent(workload: Workload) -> u64 {
    match workload {
        Workload::Edge => 25,
        Workload::Mixed => 15,
        Workload::Dedicated => 10,
    }
}

/// One connection for every 20 MB, at most 100: beyond that a pool is cheaper than sessions.
fn connections_for(memory: u64) -> u64 {
    (memory / (20 * MB)).clamp(5, 100) / 5 * 5
}

/// Rounded down to a figure with few digits: sixteen steps between one power of two and the next. Never decreasing.
pub fn round_down(bytes: u64) -> u64 {
    let step = (power_of_two_down(bytes) / 16).max(1);
    bytes / step * step
}

fn power_of_two_down(bytes: u64) -> u64 {
    if bytes == 0 { 0 } else { 1 << bytes.ilog2() }
}

fn declared_number(wish: &Wish, name: &str) -> Option<u64> {
    let value = settings::text(wish.declared.get(name)?);
    settings::normalise(name, &value).ok()?.parse().ok()
}

fn declared_bytes(wish: &Wish, name: &str) -> Option<u64> {
    settings::value::in_bytes(name, &settings::text(wish.declared.get(name)?))
}
