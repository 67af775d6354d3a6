//! The table of settings. Defaults, units, ranges and contexts are those of `pg_settings` on 15, 16 and 18; a test walks
//! the table against a live server.

use super::Context::{Fixed, Reload, Restart, Session};
use super::Kind::{Bool, Enum, Integer, List, Real, Text};
use super::Setting;
use super::Unit::{Blocks, Bytes, Kilobytes, Megabytes, Milliseconds, None as Count, Seconds};

const INT: f64 = 2_147_483_647.0;
const BACKENDS: f64 = 262_143.0;

/// Every setting Howdah knows, grouped as PostgreSQL's manual groups them.
pub static SETTINGS: &[Setting] = &[
    // Memory.
    Setting::new("shared_buffers", Integer(Blocks), "128MB", Restart).range(16.0, 1_073_741_823.0).says(
        "Memory the server keeps pages in, shared by all sessions.",
        "A vector search touches pages at random; an index that does not fit here is read from the kernel or the disk.",
    ),
    Setting::new("huge_pages", Enum(&["off", "on", "try"]), "try", Restart).says(
        "Whether shared memory asks the kernel for huge pages.",
        "Graph searches miss the translation cache on small pages and spend about twice the CPU a query.",
    ),
    Setting::new("huge_pages_status", Enum(&["off", "on", "unknown"]), "unknown", Fixed).since(17).says(
        "Whether the server got its huge pages.",
        "`try` stays silent when there are none.",
    ),
    Setting::new("effective_cache_size", Integer(Blocks), "4GB", Session).range(1.0, INT).says(
        "What the planner believes to be cached by server and kernel together; nothing is allocated.",
        "Too small and the planner thinks an index scan dearer than it is; larger than the machine is a lie to it.",
    ),
    Setting::new("work_mem", Integer(Kilobytes), "4MB", Session).range(64.0, INT).says(
        "Memory of one sort, hash or vector scan before it spills; a query may have several.",
        "Multiplied by connections it is the largest commitment nobody adds up; pgvector's iterative scans are bounded by it.",
    ),
    Setting::new("hash_mem_multiplier", Real, "1.0", Session).range(1.0, 1000.0).default_from(15, "2.0").says(
        "How many times `work_mem` a hash may take.",
        "Part of the worst case of `work_mem`.",
    ),
    Setting::new("maintenance_work_mem", Integer(Kilobytes), "64MB", Session).range(64.0, INT).says(
        "Memory of one index build or vacuum.",
        "An HNSW build whose graph does not fit here goes on from disk, several times slower.",
    ),
    Setting::new("autovacuum_work_mem", Integer(Kilobytes), "-1", Reload).range(-1.0, INT).says(
        "Memory of one autovacuum worker; -1 means `maintenance_work_mem`.",
        "Without it, memory meant for one index build is given to every autovacuum worker at once.",
    ),
    Setting::new("vacuum_buffer_usage_limit", Integer(Kilobytes), "256kB", Session)
        .since(16)
        .default_from(18, "2MB")
        .range(0.0, 16_777_216.0)
        .says("Shared buffers a vacuum may use.", "Keeps a vacuum from pushing the vector index out of memory."),
    Setting::new("temp_buffers", Integer(Blocks), "8MB", Session)
        .range(100.0, 1_073_741_823.0)
        .says("Memory of one session's temporary tables.", "Part of what a connection may commit."),
    Setting::new("temp_file_limit", Integer(Kilobytes), "-1", Session)
        .range(-1.0, INT)
        .says("Most disk one session may use for spilled sorts; -1 means no limit.", "One bad query fills the disk."),
    Setting::new("dynamic_shared_memory_type", Enum(&["posix", "sysv", "mmap", "windows"]), "posix", Restart).says(
        "Where parallel workers share memory; `posix` is /dev/shm on Linux.",
        "A parallel HNSW build puts its whole graph there, and containers give 64 MB.",
    ),
    Setting::new("min_dynamic_shared_memory", Integer(Megabytes), "0", Restart)
        .range(0.0, INT)
        .says("Memory set aside at start for parallel workers.", "Read to judge whether a parallel build has room."),
    Setting::new("shared_memory_type", Enum(&["mmap", "sysv", "windows"]), "mmap", Restart)
        .says("How shared buffers are allocated.", "Part of judging the limits of a container."),
    // Connections.
    Setting::new("listen_addresses", List, "localhost", Restart)
        .says("Addresses the server listens on.", "A server that Howdah runs listens on loopback unless declared."),
    Setting::new("port", Integer(Count), "5432", Restart)
        .range(1.0, 65_535.0)
        .says("TCP port.", "Another PostgreSQL may have 5432 already."),
    Setting::new("unix_socket_directories", List, "/tmp", Restart)
        .says("Directories of the unix sockets.", "Local clients without a password over TCP."),
    Setting::new("max_connections", Integer(Count), "100", Restart).range(1.0, BACKENDS).says(
        "Sessions allowed at a time.",
        "Each costs memory by itself and may take `work_mem`; a pool in front wants few.",
    ),
    Setting::new("superuser_reserved_connections", Integer(Count), "3", Restart)
        .range(0.0, BACKENDS)
        .says("Sessions kept for superusers.", "What is left when applications have taken the rest."),
    Setting::new("max_prepared_transactions", Integer(Count), "0", Restart)
        .range(0.0, BACKENDS)
        .says("Two-phase transactions allowed at a time.", "Forgotten ones hold back vacuum for ever."),
    Setting::new("tcp_keepalives_idle", Integer(Seconds), "0", Session)
        .range(0.0, INT)
        .says("Seconds of silence before a keepalive; 0 means the kernel's.", "Dead clients keep their session."),
    // Workers and planner.
    Setting::new("max_worker_processes", Integer(Count), "8", Restart).range(0.0, BACKENDS).says(
        "Background processes of all kinds at a time.",
        "Parallel queries and builds, replication and extensions share them.",
    ),
    Setting::new("max_parallel_workers", Integer(Count), "8", Session)
        .range(0.0, 1024.0)
        .says("Workers of all parallel queries together.", "More than cores only adds switching."),
    Setting::new("max_parallel_workers_per_gather", Integer(Count), "2", Session).range(0.0, 1024.0).says(
        "Workers one query may ask for.",
        "Exact searches and full-text searches over a large table use them; an index scan of pgvector does not.",
    ),
    Setting::new("max_parallel_maintenance_workers", Integer(Count), "2", Session).range(0.0, 1024.0).says(
        "Workers one index build may ask for.",
        "An HNSW build scales with them, as long as the graph fits into shared memory.",
    ),
    Setting::new("random_page_cost", Real, "4", Session).range(0.0, 1.797_69e308).says(
        "Price of a page read at random, in sequential pages.",
        "At 4 on flash the planner prefers to read the whole table to walking an index.",
    ),
    Setting::new("effective_io_concurrency", Integer(Count), "1", Session)
        .range(0.0, 1000.0)
        .default_from(18, "16")
        .says(
            "Reads asked for ahead of time.",
            "Flash serves many reads at once; before 18 the default asks for one.",
        ),
    Setting::new("maintenance_io_concurrency", Integer(Count), "10", Session)
        .range(0.0, 1000.0)
        .default_from(18, "16")
        .says("The same for vacuum and index builds.", "Read beside `effective_io_concurrency`."),
    Setting::new("io_method", Enum(&["sync", "worker", "io_uring"]), "worker", Restart)
        .since(18)
        .says("How reads are done asynchronously.", "Says what `effective_io_concurrency` means on 18."),
    Setting::new("io_workers", Integer(Count), "3", Reload)
        .since(18)
        .range(1.0, 32.0)
        .says("Processes that read for the others.", "Part of the machine's processes."),
    Setting::new("jit", Bool, "on", Session).says(
        "Whether expensive queries are compiled.",
        "A vector index scan looks expensive to the planner; compiling it costs more than running it.",
    ),
    Setting::new("enable_seqscan", Bool, "on", Session)
        .says("Whether the planner may read whole tables.", "Off by hand it hides a missing index."),
    Setting::new("plan_cache_mode", Enum(&["auto", "force_generic_plan", "force_custom_plan"]), "auto", Session)
        .says("How prepared statements are planned.", "A generic plan does not see the limit or the filter."),
    Setting::new("default_statistics_target", Integer(Count), "100", Session)
        .range(1.0, 10_000.0)
        .says("How many values ANALYZE samples.", "Filters on skewed columns are estimated from them."),
    // Write-ahead log and durability.
    Setting::new("wal_level", Enum(&["minimal", "replica", "logical"]), "replica", Restart)
        .says("How much the write-ahead log tells.", "Replicas and point-in-time recovery need `replica`."),
    Setting::new("fsync", Bool, "on", Reload)
        .says("Whether writes are forced to disk.", "Off, a power cut destroys the cluster."),
    Setting::new("full_page_writes", Bool, "on", Reload)
        .says("Whether a page's first change logs the whole page.", "Off, a torn write cannot be repaired."),
    Setting::new(
        "synchronous_commit",
        Enum(&["local", "remote_write", "remote_apply", "on", "off"]),
        "on",
        Session,
    )
    .says("What a commit waits for.", "Off, the last commits before a crash are lost."),
    Setting::new("wal_compression", Enum(&["pglz", "lz4", "zstd", "off"]), "off", Session).says(
        "Whether full pages in the log are compressed.",
        "HNSW inserts touch many pages each; compressed, the log is shorter on slow disks, links and archives.",
    ),
    Setting::new("wal_buffers", Integer(Blocks), "-1", Restart)
        .range(-1.0, BACKENDS)
        .says("Log kept in memory before it is written; -1 means 1/32 of `shared_buffers`.", "Up to 16 MB."),
    Setting::new("wal_log_hints", Bool, "off", Restart)
        .says("Whether hint bits are logged.", "pg_rewind needs it where there are no checksums."),
    Setting::new("checkpoint_timeout", Integer(Seconds), "5min", Reload)
        .range(30.0, 86_400.0)
        .says("Longest time between checkpoints.", "Longer means fewer full pages in the log and a longer recovery."),
    Setting::new("checkpoint_completion_target", Real, "0.9", Reload)
        .range(0.0, 1.0)
        .says("Part of the interval a checkpoint spreads its writes over.", "Spread writes do not stall searches."),
    Setting::new("max_wal_size", Integer(Megabytes), "1GB", Reload)
        .range(2.0, INT)
        .says("Log between two checkpoints.", "Reached early in an index build, it forces checkpoint after checkpoint."),
    Setting::new("min_wal_size", Integer(Megabytes), "80MB", Reload)
        .range(2.0, INT)
        .says("Log kept for reuse.", "Saves making files anew after a quiet time."),
    Setting::new("archive_mode", Enum(&["always", "on", "off"]), "off", Restart)
        .says("Whether finished log files are archived.", "Without it there is no point-in-time recovery."),
    Setting::new("archive_command", Text, "", Reload)
        .says("Shell command that archives a log file.", "Plain `cp` overwrites and does not sync."),
    Setting::new("archive_library", Text, "", Reload)
        .since(15)
        .says("Library that archives log files.", "Takes the place of `archive_command`."),
    Setting::new("archive_timeout", Integer(Seconds), "0", Reload)
        .range(0.0, 1_073_741_823.0)
        .says("Longest time before an unfinished log file is archived.", "At 0 a quiet database has no bound on loss."),
    Setting::new("restore_command", Text, "", Reload)
        .says("Shell command that fetches an archived log file.", "The other half of the archive."),
    // Replication.
    Setting::new("max_wal_senders", Integer(Count), "10", Restart)
        .range(0.0, BACKENDS)
        .says("Replicas and base backups at a time.", "Each takes one."),
    Setting::new("max_replication_slots", Integer(Count), "10", Restart)
        .range(0.0, BACKENDS)
        .says("Replication slots.", "One a replica."),
    Setting::new("max_slot_wal_keep_size", Integer(Megabytes), "-1", Reload)
        .range(-1.0, INT)
        .says("Log kept for a slot whose reader is away; -1 means all.", "A dead replica fills the disk."),
    Setting::new("wal_keep_size", Integer(Megabytes), "0", Reload)
        .range(0.0, INT)
        .says("Log kept for replicas without a slot.", "A replica that falls behind further starts anew."),
    Setting::new("wal_sender_timeout", Integer(Milliseconds), "60s", Session)
        .range(0.0, INT)
        .says("How long a silent replica is waited for.", "Sets how soon a lost replica is noticed."),
    Setting::new("hot_standby", Bool, "on", Restart)
        .says("Whether a replica answers queries.", "Searches may go to replicas."),
    Setting::new("hot_standby_feedback", Bool, "off", Reload)
        .says("Whether a replica keeps rows alive on the primary.", "Long searches on replicas are cancelled without."),
    Setting::new("max_standby_streaming_delay", Integer(Milliseconds), "30s", Reload)
        .range(-1.0, INT)
        .says("How long a replica's queries may hold up its replay.", "Then they are cancelled."),
    Setting::new("synchronous_standby_names", Text, "", Reload)
        .says("Replicas a commit waits for.", "Named and absent, every write hangs."),
    Setting::new("primary_conninfo", Text, "", Reload).says("Where a replica streams from.", "Read only."),
    // Vacuum.
    Setting::new("autovacuum", Bool, "on", Reload).says(
        "Whether tables are vacuumed by themselves.",
        "Dead rows stay in the graph of an HNSW index and take the places of live ones in its answers.",
    ),
    Setting::new("autovacuum_max_workers", Integer(Count), "3", Restart)
        .range(1.0, BACKENDS)
        .context_from(18, Reload)
        .says("Autovacuum workers at a time.", "Each may take `autovacuum_work_mem`."),
    Setting::new("autovacuum_naptime", Integer(Seconds), "1min", Reload)
        .range(1.0, 2_147_483.0)
        .says("Time between two looks at a database.", "Bounds how stale a table may get."),
    Setting::new("autovacuum_vacuum_scale_factor", Real, "0.2", Reload).range(0.0, 100.0).says(
        "Part of a table that may be dead before it is vacuumed.",
        "A fifth is too much for a graph: dead rows use up `hnsw.ef_search` and answers come back short.",
    ),
    Setting::new("autovacuum_analyze_scale_factor", Real, "0.1", Reload)
        .range(0.0, 100.0)
        .says("Part of a table that may change before it is analysed.", "Filters are planned from these statistics."),
    Setting::new("autovacuum_vacuum_insert_scale_factor", Real, "0.2", Reload)
        .range(0.0, 100.0)
        .says("Part of a table that may be new before it is vacuumed.", "Marks pages for index-only scans."),
    Setting::new("autovacuum_vacuum_cost_limit", Integer(Count), "-1", Reload)
        .range(-1.0, 10_000.0)
        .says("Work a worker does before it rests; -1 means 200.", "A vacuum of a large graph takes hours at 200."),
    // Log.
    Setting::new("logging_collector", Bool, "off", Restart)
        .says("Whether the server writes its own log files.", "Howdah keeps the log of a server it runs itself."),
    Setting::new("log_destination", List, "stderr", Reload).says("Where the log goes.", "Read only."),
    Setting::new("log_directory", Text, "log", Reload).says("Directory of the log files.", "Read only."),
    Setting::new("log_line_prefix", Text, "%m [%p] ", Reload)
        .says("What each line of the log begins with.", "Time and process are needed to read it."),
    Setting::new("log_min_duration_statement", Integer(Milliseconds), "-1", Session)
        .range(-1.0, INT)
        .says("Statements that take longer are logged; -1 means none.", "The slow ones are the first thing asked for."),
    Setting::new("log_parameter_max_length", Integer(Bytes), "-1", Session).range(-1.0, 1_073_741_823.0).says(
        "Bytes of each bound parameter that are logged; -1 means all.",
        "One embedding of 1,536 dimensions is 20 kB of log a statement.",
    ),
    Setting::new("log_statement", Enum(&["none", "ddl", "mod", "all"]), "none", Session).says(
        "Which statements are logged whatever they take.",
        "`ddl` and `all` write the password of `CREATE ROLE … PASSWORD` into the log.",
    ),
    Setting::new("log_checkpoints", Bool, "off", Reload)
        .default_from(15, "on")
        .says("Whether checkpoints are logged.", "Says whether builds force them."),
    Setting::new("log_lock_waits", Bool, "off", Session)
        .says("Whether long waits for a lock are logged.", "A blocked migration is seen in the log."),
    Setting::new("log_temp_files", Integer(Kilobytes), "-1", Session)
        .range(-1.0, INT)
        .says("Spilled files from this size are logged; -1 means none.", "Says where `work_mem` is too small."),
    Setting::new("log_autovacuum_min_duration", Integer(Milliseconds), "10min", Reload)
        .range(-1.0, INT)
        .says("Autovacuums that take longer are logged.", "Says how long a graph takes to clean."),
    Setting::new("log_connections", List, "off", Session).says("What of a connection is logged.", "Read only."),
    Setting::new("track_io_timing", Bool, "off", Session)
        .says("Whether reads and writes are timed.", "`--explain` and statistics then say what came from disk."),
    // Guards.
    Setting::new("statement_timeout", Integer(Milliseconds), "0", Session)
        .range(0.0, INT)
        .says("Longest a statement may take; 0 means for ever.", "Per role, never for all: index builds take long."),
    Setting::new("lock_timeout", Integer(Milliseconds), "0", Session)
        .range(0.0, INT)
        .says("Longest a statement may wait for a lock.", "A waiting migration blocks everybody behind it."),
    Setting::new("idle_in_transaction_session_timeout", Integer(Milliseconds), "0", Session)
        .range(0.0, INT)
        .says("Longest a transaction may do nothing.", "A forgotten one holds back vacuum, so dead rows stay."),
    Setting::new("idle_session_timeout", Integer(Milliseconds), "0", Session)
        .range(0.0, INT)
        .says("Longest a session may do nothing.", "Ends pooled connections behind the pool's back."),
    Setting::new("transaction_timeout", Integer(Milliseconds), "0", Session)
        .since(17)
        .range(0.0, INT)
        .says("Longest a transaction may take.", "Per role, never for all."),
    Setting::new("max_locks_per_transaction", Integer(Count), "64", Restart)
        .range(10.0, INT)
        .says("Locks a transaction may hold on average.", "Dumps of many partitions need more."),
    // Security and files.
    Setting::new("password_encryption", Enum(&["md5", "scram-sha-256"]), "scram-sha-256", Session)
        .says("How new passwords are kept.", "md5 hashes are as good as the password."),
    Setting::new("ssl", Bool, "off", Reload).says("Whether connections may use TLS.", "Off, everything is readable."),
    Setting::new(
        "ssl_min_protocol_version",
        Enum(&["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"]),
        "TLSv1.2",
        Reload,
    )
    .says("Oldest TLS taken.", "Older ones are broken."),
    Setting::new("ssl_cert_file", Text, "server.crt", Reload).says("The server's certificate.", "TLS needs it."),
    Setting::new("ssl_key_file", Text, "server.key", Reload).says("The server's key.", "TLS needs it."),
    Setting::new("row_security", Bool, "on", Session)
        .says("Whether row policies filter or raise.", "Read before a dump."),
    Setting::new("data_checksums", Bool, "off", Fixed)
        .default_from(18, "on")
        .says("Whether pages carry checksums.", "Without them a damaged page is an answer."),
    Setting::new("search_path", List, "\"$user\", public", Session)
        .says("Schemas names are looked up in.", "The extension's operators have to be found there."),
    Setting::new("shared_preload_libraries", List, "", Restart).says(
        "Libraries loaded when the server starts.",
        "pg_stat_statements needs it; pgvector does not, whatever one reads.",
    ),
    Setting::new("session_preload_libraries", List, "", Session)
        .says("Libraries loaded when a session starts.", "Makes `hnsw.ef_search` exist before the first vector."),
    Setting::new("default_toast_compression", Enum(&["pglz", "lz4"]), "pglz", Session)
        .says("How long values are compressed.", "Embeddings do not compress; long texts do."),
    Setting::new("cluster_name", Text, "", Restart).says("Name in process titles.", "Tells instances apart."),
    Setting::new("timezone", Text, "GMT", Session).says("Time zone of sessions.", "Times are kept with their zone."),
    // pgvector's own, which exist once its library is loaded.
    Setting::new("hnsw.ef_search", Integer(Count), "40", Session).library("vector").range(1.0, 1000.0).says(
        "Candidates an HNSW scan keeps.",
        "A scan without iteration returns at most so many rows, whatever the limit says.",
    ),
    Setting::new("hnsw.iterative_scan", Enum(&["off", "relaxed_order", "strict_order"]), "off", Session)
        .library("vector")
        .says("Whether a scan goes on when a filter left too few rows.", "Off, a filtered search comes back short."),
    Setting::new("hnsw.max_scan_tuples", Integer(Count), "20000", Session)
        .library("vector")
        .range(1.0, INT)
        .says("Rows an iterative scan visits at the most.", "Then it stops, short."),
    Setting::new("hnsw.scan_mem_multiplier", Real, "1", Session)
        .library("vector")
        .range(1.0, 1000.0)
        .says("Memory of an iterative scan, in `work_mem`.", "Then it stops, short."),
    Setting::new("ivfflat.probes", Integer(Count), "1", Session)
        .library("vector")
        .range(1.0, 32_768.0)
        .says("Lists an IVFFlat scan reads.", "One list of a hundred finds what happens to be in it."),
    Setting::new("ivfflat.iterative_scan", Enum(&["off", "relaxed_order"]), "off", Session)
        .library("vector")
        .says("Whether a scan goes on when a filter left too few rows.", "Off, a filtered search comes back short."),
    Setting::new("ivfflat.max_probes", Integer(Count), "32768", Session)
        .library("vector")
        .range(1.0, 32_768.0)
        .says("Lists an iterative scan reads at the most.", "Then it stops, short."),
    // Howdah's own, which exist once the extension's library is loaded; `howdah_index::options` has their ranges.
    Setting::new("howdah.target_recall", Real, "0.97", Session)
        .library("howdah")
        .range(0.1, 0.9999)
        .says("Recall that a search through Howdah's own index is to reach.", "The one knob: higher reads more lists."),
    Setting::new("howdah.probes", Integer(Count), "0", Session)
        .library("howdah")
        .range(0.0, 262_144.0)
        .says("Lists read before the first row; 0 lets the recall decide.", "For comparisons with other indexes."),
    Setting::new("howdah.expected_rows", Integer(Count), "10", Session)
        .library("howdah")
        .range(1.0, 10_000.0)
        .says(
            "Rows a scan has ready before it returns the first.",
            "A scan takes the LIMIT and the filter's guess from the running plan; this is the least, for plans that do not tell.",
        ),
    Setting::new("howdah.ordering", Enum(&["strict", "relaxed"]), "strict", Session).library("howdah").says(
        "Whether rows that a scan finds too late for their place are left out or come late.",
        "Strict, a filter that lets through hardly more rows than the LIMIT may leave it short.",
    ),
];
