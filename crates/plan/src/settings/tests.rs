use super::*;

#[test]
fn a_value_is_the_same_however_it_is_written() {
    for (name, a, b) in [
        ("shared_buffers", "512MB", "65536"),
        ("shared_buffers", "0.5GB", "524288kB"),
        ("max_wal_size", "1GB", "1024"),
        ("work_mem", "16MB", "16384"),
        ("checkpoint_timeout", "5min", "300"),
        ("checkpoint_timeout", "300s", "5 min"),
        ("log_min_duration_statement", "1s", "1000"),
        ("jit", "false", "off"),
        ("wal_compression", "on", "pglz"),
        ("wal_compression", "no", "off"),
        ("huge_pages", "TRY", "try"),
        ("random_page_cost", "1.10", "1.1"),
        ("shared_preload_libraries", "a, b", "a,b"),
        ("shared_preload_libraries", "\"a\",b", "a, b"),
        ("pg_stat_statements.track_utility", "yes", "on"),
        ("SHARED_BUFFERS", "128kB", "16"),
    ] {
        assert!(same(name, a, b), "{name}: {a} and {b}: {:?} {:?}", normalise(name, a), normalise(name, b));
    }
    for (name, a, b) in [
        ("shared_buffers", "512MB", "512kB"),
        ("jit", "on", "off"),
        ("archive_command", "cp a b", "cp a  b"),
        ("search_path", "a,b", "b,a"),
        ("jit", "sideways", "off"),
    ] {
        assert!(!same(name, a, b), "{name}: {a} and {b}");
    }
}

#[test]
fn a_value_the_setting_does_not_take_is_refused_in_words() {
    let refused = |name, value| normalise(name, value).unwrap_err();
    assert_eq!(
        refused("shared_buffers", "512mb"),
        "`512mb` has a unit that does not fit (units are case-sensitive: B, kB, MB, GB, TB)"
    );
    assert!(refused("checkpoint_timeout", "1GB").contains("us, ms, s, min, h, d"));
    assert!(refused("max_connections", "1GB").contains("a plain number"));
    assert!(refused("max_connections", "many").contains("not a number"));
    assert!(refused("hnsw.ef_search", "5000").contains("outside 1 to 1000"));
    assert_eq!(
        refused("wal_compression", "zst"),
        "`zst` is none of pglz, lz4, zstd, off; did you mean `zstd`?"
    );
    assert!(refused("jit", "sometimes").contains("neither on nor off"));
}

#[test]
fn a_setting_of_another_major_or_a_fixed_one_cannot_be_declared() {
    assert!(check("io_method", "worker", 18).is_ok());
    let problem = check("io_method", "worker", 16).unwrap_err();
    assert_eq!(problem.message, "PostgreSQL 16 has no setting `io_method`");
    let problem = check("data_checksums", "on", 18).unwrap_err();
    assert_eq!(problem.message, "`data_checksums` cannot be set");
    assert!(check("work_mem", "lots", 16).unwrap_err().hint.unwrap().contains("default is `4MB`"));
    assert!(check("somebody.elses", "anything", 16).is_ok());
}

#[test]
fn a_value_is_quoted_for_sql_and_for_the_file() {
    assert_eq!(conf_line("archive_command", "test ! -f 'a b'"), "archive_command = 'test ! -f ''a b'''");
    assert_eq!(literal("shared_preload_libraries", "a, b"), "'a', 'b'");
    assert_eq!(literal("work_mem", "16MB"), "'16MB'");
    assert_eq!(literal("archive_command", "cp a, b"), "'cp a, b'");
}

#[test]
fn memory_is_read_and_written_as_people_do() {
    assert_eq!(value::bytes("2GiB"), Ok(2 << 30));
    assert_eq!(value::bytes("2 GB"), Ok(2 << 30));
    assert_eq!(value::bytes("1.5GiB"), Ok(3 << 29));
    assert!(value::bytes("a lot").is_err());
    assert!(value::bytes("-1GB").is_err());
    assert_eq!(value::memory_text(512 << 20), "512MB");
    assert_eq!(value::memory_text((1 << 20) + 1), "1048577B");
}

#[test]
fn every_row_is_whole_and_takes_its_own_default() {
    for (n, setting) in SETTINGS.iter().enumerate() {
        assert!(!setting.meaning.is_empty() && !setting.why.is_empty(), "{}", setting.name);
        assert!(setting.meaning.ends_with('.') && setting.why.ends_with('.'), "{}", setting.name);
        assert!(!SETTINGS[..n].iter().any(|other| other.name == setting.name), "{} twice", setting.name);
        for major in OLDEST..=NEWEST {
            let default = setting.default_in(major);
            assert!(normalise(setting.name, default).is_ok(), "{}: {default}", setting.name);
        }
    }
    assert_eq!(find("autovacuum_max_workers").unwrap().context_in(16), Context::Restart);
    assert_eq!(find("autovacuum_max_workers").unwrap().context_in(18), Context::Reload);
    assert_eq!(find("Jit").unwrap().name, "jit");
}

#[test]
fn howdahs_own_settings_are_those_of_the_index() {
    use howdah_index::options::{Kind as Option, OPTIONS, Scope};
    let of_sessions: Vec<_> = OPTIONS.iter().filter(|option| option.scope == Scope::Session).collect();
    let ours = SETTINGS.iter().filter(|setting| setting.library == Some("howdah"));
    assert_eq!(ours.count(), of_sessions.len());
    for option in of_sessions {
        let setting = find(&format!("howdah.{}", option.name)).unwrap();
        let range = match option.kind {
            Option::Integer { min, max, .. } => (f64::from(min), f64::from(max)),
            Option::Real { min, max, .. } => (min, max),
            Option::Choice { words, default } => {
                assert_eq!(
                    (setting.kind, setting.default),
                    (Kind::Enum(words), words[default]),
                    "{}",
                    option.name
                );
                continue;
            }
        };
        assert_eq!(setting.range, Some(range), "{}", option.name);
        assert_eq!(setting.default.parse(), Ok(option.default_value()), "{}", option.name);
    }
}
