//! The rules, one function a group. Each entry is a setting, its value and the reason in words and figures.

use super::budget::{AUTOVACUUM_WORKERS, CONNECTION_BYTES, reserve_percent};
use super::{Budget, Machine, Wish};
use crate::settings::value::memory_text;
use crate::spec::{Disk, Workload};

const MB: u64 = 1 << 20;
const GB: u64 = 1 << 30;

/// Name, value, reason.
pub(super) type Rule = (&'static str, String, String);

pub(super) fn all(machine: &Machine, wish: &Wish, budget: &Budget) -> Vec<Rule> {
    let mut rules = memory(machine, wish, budget);
    rules.extend(workers(machine, budget));
    rules.extend(planner(machine, wish, budget));
    rules.extend(log(machine, wish));
    rules.extend(vacuum(machine, budget));
    rules.extend(watching());
    rules.extend(searching());
    rules
}

fn memory(machine: &Machine, wish: &Wish, budget: &Budget) -> Vec<Rule> {
    let Budget { memory, shared_buffers, work_mem, connections, maintenance, autovacuum, .. } = *budget;
    let mut rules = vec![
        (
            "shared_buffers",
            memory_text(shared_buffers),
            format!("25 % of {}; the kernel caches pages too, so more would hold them twice", size(memory)),
        ),
        huge_pages(machine, shared_buffers),
        (
            "max_connections",
            connections.to_string(),
            if wish.max_connections.is_some() {
                "declared in `[server]`".to_owned()
            } else {
                format!(
                    "each costs about {} by itself and may take work_mem; clients beyond that belong behind a pool",
                    size(CONNECTION_BYTES)
                )
            },
        ),
        ("work_mem", memory_text(work_mem), work_mem_reason(budget, wish.workload)),
        (
            "maintenance_work_mem",
            memory_text(maintenance),
            format!(
                "1/{} of {}: an HNSW graph that fits here is built in memory, one that does not goes on from disk",
                if wish.workload == Workload::Dedicated { 8 } else { 16 },
                size(memory)
            ),
        ),
        (
            "autovacuum_work_mem",
            memory_text(autovacuum),
            format!(
                "a quarter of maintenance_work_mem, since {AUTOVACUUM_WORKERS} workers may each take it at once"
            ),
        ),
    ];
    if budget.committed() > memory {
        for (name, _, reason) in &mut rules {
            if *name == "work_mem" {
                reason.push_str("; what is declared already asks for more memory than there is");
            }
        }
    }
    rules
}

fn work_mem_reason(budget: &Budget, workload: Workload) -> String {
    format!(
        "worst case {} connections × {} = {}, beside {} shared_buffers, {} for builds and vacuums and {} ({} %) left \
         to everything else, together {} of {}",
        budget.connections,
        memory_text(budget.work_mem),
        size(budget.worst_case()),
        size(budget.shared_buffers),
        size(budget.maintenance + AUTOVACUUM_WORKERS * budget.autovacuum),
        size(budget.reserve),
        reserve_percent(workload),
        size(budget.committed()),
        size(budget.memory),
    )
}

fn huge_pages(machine: &Machine, shared_buffers: u64) -> Rule {
    // Shared memory is a little more than the buffers: locks, processes, the log.
    let wanted = (shared_buffers + shared_buffers / 10 + 64 * MB).div_ceil(2 * MB);
    let reason = match machine.huge_pages_bytes {
        Some(bytes) if bytes >= wanted * 2 * MB => {
            format!(
                "the kernel has set aside {}; graph searches spend about half the CPU on them",
                size(bytes)
            )
        }
        _ => format!(
            "graph searches spend about half the CPU on huge pages; `sysctl vm.nr_hugepages={wanted}` sets them aside, \
             and without them the server starts on small ones"
        ),
    };
    ("huge_pages", "try".into(), reason)
}

fn workers(machine: &Machine, budget: &Budget) -> Vec<Rule> {
    let cores = machine.cores.max(1);
    let gather = (cores / 2).min(4);
    let (build, reason) = match machine.shm_bytes {
        Some(shm) if shm < budget.maintenance => (
            0,
            format!(
                "/dev/shm has {}, less than maintenance_work_mem ({}): a parallel HNSW build would end with `could not \
                 resize shared memory segment`; give the container more (`--shm-size`) to build in parallel",
                size(shm),
                size(budget.maintenance)
            ),
        ),
        _ => ((cores / 2).min(8), format!("half of {cores} cores, so that a build leaves room for searches")),
    };
    vec![
        (
            "max_worker_processes",
            (cores + 6).max(8).to_string(),
            format!(
                "{cores} cores for parallel work, and room for replication and extensions; never below 8"
            ),
        ),
        ("max_parallel_workers", cores.to_string(), format!("one a core ({cores}); more only switch")),
        (
            "max_parallel_workers_per_gather",
            gather.to_string(),
            format!(
                "half of {cores} cores, at most 4: exact and full-text searches of a large table use them"
            ),
        ),
        ("max_parallel_maintenance_workers", build.to_string(), reason),
    ]
}

fn planner(machine: &Machine, wish: &Wish, budget: &Budget) -> Vec<Rule> {
    let mut rules = vec![
        (
            "effective_cache_size",
            memory_text(super::budget::round_down(budget.memory / 4 * 3)),
            format!(
                "75 % of {}: what server and kernel cache together; a belief, not an allocation",
                size(budget.memory)
            ),
        ),
        (
            "jit",
            "off".into(),
            "a vector index scan looks expensive enough to be compiled, and compiling costs more than it"
                .into(),
        ),
    ];
    match machine.disk {
        Disk::Ssd => {
            rules.push((
                "random_page_cost",
                "1.1".into(),
                "flash reads a random page about as fast as the next one; at 4 the planner avoids indexes"
                    .into(),
            ));
            // Without posix_fadvise (macOS) the server refuses any other value than 0; from 18 on reads are asynchronous
            // and the default asks for 16.
            if wish.major < 18 && machine.os == "linux" {
                rules.push((
                    "effective_io_concurrency",
                    "200".into(),
                    "flash serves many reads at once; before 18 the default asks for one".into(),
                ));
            }
        }
        Disk::SdCard => rules.push((
            "random_page_cost",
            "1.5".into(),
            "a card has no arm to move, but reads small pages slower than long runs".into(),
        )),
        Disk::Hdd => {
            rules.push(("random_page_cost", "4".into(), "a spinning disk: the default is made for it".into()))
        }
    }
    rules
}

fn log(machine: &Machine, wish: &Wish) -> Vec<Rule> {
    let edge = wish.workload == Workload::Edge;
    let usual = match wish.workload {
        Workload::Edge => GB,
        Workload::Mixed => 2 * GB,
        Workload::Dedicated => 4 * GB,
    };
    let most = machine.disk_free_bytes.map_or(usual, |free| (free / 10 / (16 * MB) * 16 * MB).max(128 * MB));
    let max_wal = usual.min(most);
    let why_max = if max_wal < usual {
        format!("a tenth of the {} free on the disk", size(machine.disk_free_bytes.unwrap_or_default()))
    } else if edge {
        "log that a small disk can spare; a build writes more and checkpoints more often".into()
    } else {
        "an index build writes its size in log; reached early, it forces checkpoint after checkpoint".into()
    };
    vec![
        ("max_wal_size", memory_text(max_wal), why_max),
        (
            "min_wal_size",
            memory_text(if edge { 80 * MB } else { max_wal / 4 }),
            if edge {
                "five files kept for reuse, the default"
            } else {
                "a quarter of max_wal_size kept for reuse"
            }
            .into(),
        ),
        (
            "checkpoint_timeout",
            if edge { "5min" } else { "15min" }.into(),
            if edge {
                "a board loses power: at most five minutes of log to replay"
            } else {
                "fewer full pages in the log; at most fifteen minutes of it to replay after a crash"
            }
            .into(),
        ),
        (
            "checkpoint_completion_target",
            "0.9".into(),
            "a checkpoint's writes are spread over the interval and do not stall searches".into(),
        ),
        (
            "wal_compression",
            "on".into(),
            "HNSW inserts touch many pages; compressed (pglz, which every build has) the log is shorter"
                .into(),
        ),
    ]
}

fn vacuum(machine: &Machine, budget: &Budget) -> Vec<Rule> {
    let mut rules = vec![
        (
            "autovacuum_vacuum_scale_factor",
            "0.05".into(),
            "dead rows stay in an HNSW graph and take the places of live ones in its answers; a fifth is too many".into(),
        ),
        (
            "autovacuum_analyze_scale_factor",
            "0.05".into(),
            "filters are planned from statistics, and ingest changes them quickly".into(),
        ),
    ];
    if machine.disk == Disk::Ssd {
        rules.push((
            "autovacuum_vacuum_cost_limit",
            if budget.memory >= 4 * GB { "2000" } else { "1000" }.into(),
            "flash bears it; at the default of 200 the vacuum of a large graph takes hours".into(),
        ));
    }
    rules
}

fn watching() -> Vec<Rule> {
    vec![
        (
            "log_min_duration_statement",
            "1000".into(),
            "statements over a second (1000 ms) are logged; a vector search takes milliseconds".into(),
        ),
        (
            "log_parameter_max_length",
            "256".into(),
            "a logged statement would carry its whole embedding, 20 kB at 1,536 dimensions".into(),
        ),
        ("log_lock_waits", "on".into(), "who waits for whom longer than a second is in the log".into()),
        (
            "track_io_timing",
            "on".into(),
            "`--explain` says what came from disk; the clock is cheap on today's machines".into(),
        ),
        (
            "idle_in_transaction_session_timeout",
            "10min".into(),
            "a forgotten transaction holds back vacuum, and dead rows fill the graph".into(),
        ),
    ]
}

/// What every program's searches find set, not only Howdah's own, which say it for each search. It takes effect in sessions
/// that have pgvector's library; before that it is a name without a meaning.
fn searching() -> Vec<Rule> {
    vec![(
        "hnsw.iterative_scan",
        "strict_order".into(),
        "a search with a filter, or for more rows than hnsw.ef_search (40), goes on until its limit is full, also in programs \
         that set nothing; off, it comes back short and says nothing"
            .into(),
    )]
}

/// Bytes for people: at most three digits and a unit.
pub(crate) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["kB", "MB", "GB", "TB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    let digits = usize::from(value < 100.0 && value.fract() > 0.05)
        + usize::from(value < 10.0 && value.fract() > 0.05);
    format!("{value:.digits$} {unit}")
}
