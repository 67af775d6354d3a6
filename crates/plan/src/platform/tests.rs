//! Signs, steps and verdicts.

use super::*;

fn facts() -> PlatformFacts {
    PlatformFacts {
        version: "PostgreSQL 16.4 on x86_64-pc-linux-gnu, compiled by gcc, 64-bit".into(),
        ..PlatformFacts::default()
    }
}

fn host(name: &str) -> PlatformFacts {
    PlatformFacts { host: Some(name.into()), ..facts() }
}

fn setting(name: &str) -> PlatformFacts {
    PlatformFacts { settings: vec![name.into()], ..facts() }
}

fn role(name: &str) -> PlatformFacts {
    PlatformFacts { roles: vec!["postgres".into(), name.into()], ..facts() }
}

fn version(text: &str) -> PlatformFacts {
    PlatformFacts { version: text.into(), ..PlatformFacts::default() }
}

#[test]
fn every_platform_is_known_by_its_signs() {
    let data = |dir: &str| PlatformFacts { data_directory: Some(dir.into()), ..facts() };
    let red_hat =
        "PostgreSQL 16.3 on x86_64-pc-linux-gnu, compiled by gcc (GCC) 11.4.1 (Red Hat 11.4.1-3), 64-bit";
    for (facts, id) in [
        (host("db.abc.eu-central-1.rds.amazonaws.com"), Id::Rds),
        (host("db.cluster-abc.eu-central-1.rds.amazonaws.com"), Id::Aurora),
        (PlatformFacts { aurora: true, ..role("rds_superuser") }, Id::Aurora),
        (setting("rds.extensions"), Id::Rds),
        (host("my.postgres.database.azure.com"), Id::Azure),
        (setting("azure.extensions"), Id::Azure),
        (role("cloudsqlsuperuser"), Id::CloudSql),
        (setting("alloydb.enable_auto_explain"), Id::AlloyDb),
        (host("db.abc.supabase.co"), Id::Supabase),
        (role("supabase_admin"), Id::Supabase),
        (host("ep-cool.eu-central-1.aws.neon.tech"), Id::Neon),
        (setting("neon.tenant_id"), Id::Neon),
        (PlatformFacts { schemas: vec!["heroku_ext".into()], ..role("rds_superuser") }, Id::Heroku),
        (host("dpg-abc-a.frankfurt-postgres.render.com"), Id::Render),
        (host("dpg-abc-a"), Id::Render),
        (host("db-postgresql-fra1-1.b.db.ondigitalocean.com"), Id::DigitalOcean),
        (host("containers-us-west-1.railway.app"), Id::Railway),
        (host("monorail.proxy.rlwy.net"), Id::Railway),
        (host("pg.aivencloud.com"), Id::Aiven),
        (data("/var/lib/postgresql/data"), Id::Docker),
        (data("/var/lib/postgresql/18/docker"), Id::Docker),
        (PlatformFacts { container: true, ..facts() }, Id::Docker),
        (version("PostgreSQL 16.4 on aarch64-unknown-linux-musl, 64-bit"), Id::Docker),
        (version("PostgreSQL 15.18 (Debian 15.18-0+deb12u1) on x86_64-pc-linux-gnu"), Id::Debian),
        (version("PostgreSQL 16.3 (Ubuntu 16.3-1.pgdg22.04+1) on x86_64-pc-linux-gnu"), Id::Debian),
        (
            PlatformFacts { data_directory: Some("/var/lib/pgsql/16/data".into()), ..version(red_hat) },
            Id::Rhel,
        ),
        // Portable builds say the same of their compiler, wherever they run.
        (PlatformFacts { data_directory: Some("/srv/pg/data".into()), ..version(red_hat) }, Id::Source),
        (version(red_hat), Id::Source),
        (version("PostgreSQL 17.2 (Homebrew) on aarch64-apple-darwin24.1.0"), Id::MacOs),
        (facts(), Id::Source),
    ] {
        let found = detect(&facts);
        assert_eq!(found.id, id, "{facts:?}: {}", found.reason);
        assert!(!found.reason.is_empty());
    }
}

#[test]
fn a_host_that_only_contains_a_platforms_name_is_not_it() {
    for name in ["rds.amazonaws.com.example.org", "neon.tech.example.org", "myrender.company"] {
        assert_eq!(detect(&host(name)).id, Id::Source, "{name}");
    }
}

const ALL: [Id; 17] = [
    Id::Rds,
    Id::Aurora,
    Id::Azure,
    Id::CloudSql,
    Id::AlloyDb,
    Id::Supabase,
    Id::Neon,
    Id::Heroku,
    Id::Render,
    Id::DigitalOcean,
    Id::Railway,
    Id::Aiven,
    Id::Docker,
    Id::Debian,
    Id::Rhel,
    Id::MacOs,
    Id::Source,
];

fn candidate() -> Candidate {
    Candidate {
        version_num: 160_004,
        version: "16.4".into(),
        bits: 64,
        database: "app".into(),
        role: "me".into(),
        available: Some("0.8.5".into()),
        installed: None,
        may_create: true,
        refusal: None,
    }
}

fn on(id: Id) -> Platform {
    Platform { id, reason: "a test".into() }
}

#[test]
fn no_platform_is_told_to_preload_or_reboot_and_each_problem_names_it() {
    let missing = Candidate { available: None, ..candidate() };
    let old = Candidate { available: Some("0.8.0".into()), ..candidate() };
    let shut = Candidate { may_create: false, ..candidate() };
    let ancient = Candidate { version_num: 120_003, version: "12.3".into(), ..candidate() };
    for id in ALL {
        for (candidate, kind) in [
            (&missing, Kind::Machine),
            (&old, Kind::Machine),
            (&shut, Kind::Forbidden),
            (&ancient, Kind::Machine),
        ] {
            let problem = judge(candidate, &on(id)).unwrap_err();
            assert_eq!(problem.kind, kind, "{id:?}");
            assert!(problem.detail.as_deref().unwrap().contains(id.name()), "{id:?}: {problem:?}");
            let hint = problem.hint.unwrap().to_lowercase();
            assert!(!hint.contains("reboot-db-instance"), "{hint}");
            assert!(!hint.contains("--name shared_preload_libraries"), "{hint}");
            assert!(!hint.contains("az postgres server"), "single server is retired: {hint}");
            assert!(hint.ends_with('.'), "{hint}");
        }
    }
}

#[test]
fn the_steps_are_the_platforms_own() {
    let hint = |candidate: &Candidate, id| judge(candidate, &on(id)).unwrap_err().hint.unwrap();
    let missing = Candidate { available: None, ..candidate() };
    for (id, words) in [
        (
            Id::Azure,
            "az postgres flexible-server parameter set --resource-group GROUP --server-name SERVER --name azure.extensions --value VECTOR",
        ),
        (Id::Rds, "rds_superuser"),
        (Id::CloudSql, "cloudsqlsuperuser"),
        (Id::Debian, "apt-get install -y postgresql-16-pgvector"),
        (Id::Rhel, "dnf install -y pgvector_16"),
        (Id::Docker, "pgvector/pgvector:pg16"),
        (Id::Source, "git clone --branch v0.8.6"),
        (Id::Source, "OPTFLAGS=\"\""),
        (Id::MacOs, "serves only `postgresql@17` and `postgresql@18`"),
    ] {
        assert!(hint(&missing, id).contains(words), "{id:?}: {}", hint(&missing, id));
    }
    let newer = Candidate { version_num: 170_002, ..missing };
    assert!(hint(&newer, Id::MacOs).contains("brew install pgvector"));
}

#[test]
fn the_verdict_follows_the_library_and_the_address_width() {
    let judge = |available: &str, bits| {
        judge(&Candidate { available: Some(available.into()), bits, ..candidate() }, &on(Id::Source))
    };
    for sound in ["0.8.4", "0.8.5", "0.8.6", "0.9.0", "1.0"] {
        assert_eq!(judge(sound, 64), Ok(vec![]), "{sound}");
    }
    for (version, name) in [
        ("0.6.0", "CVE-2026-3172"),
        ("0.8.1", "CVE-2026-3172"),
        ("0.8.2", "corruption"),
        ("0.8.3", "corruption"),
    ] {
        let problem = judge(version, 64).unwrap_err();
        assert!(problem.detail.as_deref().unwrap().contains(name), "{version}: {problem:?}");
    }
    assert!(judge("0.4.4", 64).is_err());
    assert!(judge("nonsense", 64).is_err());
    let problem = judge("0.8.5", 32).unwrap_err();
    assert!(problem.detail.unwrap().contains("CVE-2026-18022"));
    assert!(problem.hint.unwrap().len() > 20);
    assert_eq!(judge("0.8.6", 32), Ok(vec![]));
}

#[test]
fn an_old_version_in_the_catalog_is_a_note_because_the_new_library_runs() {
    let behind = Candidate { installed: Some("0.7.0".into()), may_create: false, ..candidate() };
    let notes = judge(&behind, &on(Id::Debian)).unwrap();
    assert!(notes[0].contains("ALTER EXTENSION vector UPDATE"), "{notes:?}");
    assert!(notes[1].contains("REINDEX INDEX CONCURRENTLY"), "{notes:?}");
    let current = Candidate { installed: Some("0.8.5".into()), ..candidate() };
    assert_eq!(judge(&current, &on(Id::Debian)), Ok(vec![]));
    let gone = Candidate { installed: Some("0.8.5".into()), available: None, ..candidate() };
    assert!(judge(&gone, &on(Id::Debian)).unwrap_err().message.contains("files are gone"));
    let newest = Candidate { version_num: 190_000, version: "19.0".into(), ..current };
    assert_eq!(judge(&newest, &on(Id::Debian)).unwrap().len(), 1);
}
