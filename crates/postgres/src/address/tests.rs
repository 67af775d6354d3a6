//! Addresses as libpq takes them: by a table, and held against `psql` on a real server.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::*;
use crate::{connect, testing};

fn nothing(_: &str) -> Option<String> {
    None
}

/// Host and port, user, password, database.
fn seen(target: &Target) -> (String, &str, &str, &str) {
    let password = target.password.as_ref().map_or("", Secret::expose);
    (target.place(), &target.user, password, &target.database)
}

#[test]
fn an_address_is_read_as_libpq_reads_it() {
    for (text, expected) in [
        ("postgres://u:p@h:1/d", ("h:1", "u", "p", "d")),
        ("postgresql://u@h/", ("h:5432", "u", "", "u")),
        ("postgres://u:p@/d?host=h&port=6", ("h:6", "u", "p", "d")),
        ("postgres://h/d?user=u&password=a+b", ("h:5432", "u", "a+b", "d")),
        ("postgres://h/d?user=u&password=a%2Bb%20c", ("h:5432", "u", "a+b c", "d")),
        ("postgres://u:a#b?c@h/d", ("h:5432", "u", "a#b?c", "d")),
        ("postgres://u:a:b@h/d", ("h:5432", "u", "a:b", "d")),
        ("postgres://u@[::1]:7/d", ("::1:7", "u", "", "d")),
        ("postgres://u@[fe80::1]/d", ("fe80::1:5432", "u", "", "d")),
        ("postgres://u@%2Frun%2Fpg/d", ("/run/pg/.s.PGSQL.5432", "u", "", "d")),
        ("postgres://u@/d?host=/run/pg&port=9", ("/run/pg/.s.PGSQL.9", "u", "", "d")),
        ("postgres://u@h/d?dbname=e&user=v&host=i", ("i:5432", "v", "", "e")),
        ("postgres://u@h?dbname=e", ("h:5432", "u", "", "e")),
        ("postgres://u@h/a%20b#c", ("h:5432", "u", "", "a b#c")),
    ] {
        let target = read(text, &nothing).unwrap_or_else(|problem| panic!("{text}: {problem:?}"));
        let (place, user, password, database) = expected;
        assert_eq!(seen(&target), (place.to_owned(), user, password, database), "{text}");
    }
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name_and_no_password_is_said() {
    for (text, words) in [
        ("postgres://u:s3cret@h/d?target_session_attrs=nonsense", "target_session_attrs=nonsense"),
        ("postgres://u:s3cret@h/d?sslmode=", "`sslmode=`"),
        ("postgres://u:s3cret@h/d?sslmode=on", "sslmode=on"),
        ("postgres://u:s3cret@h/d?sslcert=x", "`sslcert`"),
        ("postgres://u:s3cret@h/d?hostaddr=127.0.0.1", "`hostaddr`"),
        ("postgres://u:s3cret@h/d?gssencmode=require", "gssencmode=require"),
        ("postgres://u:s3cret@h/d?channel_binding=perhaps", "channel_binding=perhaps"),
        ("postgres://u:s3cret@h/d?connect_timeout=soon", "connect_timeout=soon"),
        ("postgres://u:s3cret@h/d?client_encoding=LATIN1", "client_encoding=LATIN1"),
        ("postgres://u:s3cret@h/d?sslrootcert=system&sslmode=require", "sslrootcert=system"),
        ("postgres://u:s3cret@h,i/d", "several hosts"),
        ("postgres://u:s3cret@/d?host=h,i", "several hosts"),
        ("postgres://u:s3cret@h:0/d", "port"),
        ("postgres://u:s3cret@[::1/d", "`]`"),
        ("postgres://u:s3cret@[::1]x/d", "`]`"),
        ("postgres://u:s3cret@h/d?sslmode", "no `=`"),
        ("postgres://u:s3cret@h/d?options=-c a=b", "%3D"),
        ("postgres://u:s3cret@h/d?service=nowhere", "`nowhere`"),
        ("postgres://u:s3cret%zz@h/d", "hexadecimal"),
        ("postgres://u:s3cret%00@h/d", "%00"),
    ] {
        let problem = read(text, &nothing).expect_err(text);
        assert_eq!(problem.kind, Kind::Usage, "{text}");
        let whole = format!("{problem:?}");
        assert!(problem.message.contains(words), "{text}: {whole}");
        assert!(!whole.contains("s3cret"), "{whole}");
    }
}

#[test]
fn a_password_that_is_not_encoded_is_told_how_to_be() {
    for text in [
        "postgres://u:p@s3:w/cret@h:5432/d",
        "postgres://u:s3/cret@h:5432/d",
        "postgres://u:s3cret@s3cret@h/d",
        "postgres://u:50%s3cret@h/d",
        "postgres://u:12/s3cret@h/d",
    ] {
        let problem = read(text, &nothing).expect_err(text);
        assert!(problem.hint.as_deref().unwrap_or_default().contains("`%40`"), "{text}: {problem:?}");
        let said = format!("{problem:?}");
        assert!(!said.contains("s3") && !said.contains("cret"), "{text}: {said}");
    }
}

#[test]
fn what_is_left_out_comes_from_the_service_then_from_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let service = dir.path().join("services");
    fs::write(&service, "# ours\n[other]\nhost=no\n\n[app]\nhost=db\nport=6\nsslmode=require\nuser=su\n")
        .unwrap();
    let passwords = dir.path().join("passwords");
    fs::write(&passwords, "db:6:*:su:from the file\n").unwrap();
    fs::set_permissions(&passwords, fs::Permissions::from_mode(0o600)).unwrap();
    let environment = |name: &str| match name {
        "PGSERVICEFILE" => Some(service.display().to_string()),
        "PGPASSFILE" => Some(passwords.display().to_string()),
        "PGPORT" => Some("7".into()),
        "PGDATABASE" => Some("ed".into()),
        _ => None,
    };
    let target = read("postgres:///?service=app", &environment).unwrap();
    assert_eq!(seen(&target), ("db:6".into(), "su", "from the file", "ed"));
    assert_eq!(target.sslmode, SslMode::Require);
    let target = read("postgres://u:p@h/d?service=app", &environment).unwrap();
    assert_eq!(seen(&target), ("h:6".into(), "u", "p", "d"));
    assert_eq!(seen(&read("postgres://u@h/d", &environment).unwrap()).0, "h:7");
    let certificate = |name: &str| (name == "PGSSLCERT").then(|| "/x.pem".to_owned());
    assert!(read("postgres://u@h/d", &certificate).unwrap_err().message.starts_with("PGSSLCERT is set"));
}

/// What a session says of itself, or that there was none.
const SAYS: &str = "SELECT current_user || ' ' || current_database() || ' ' || current_setting('application_name') || ' ' || \
                    current_setting('work_mem') || ' ' || coalesce(inet_server_port()::text, 'socket')";

/// The same addresses for `psql` and for us: both get the same session, or neither gets one.
#[tokio::test]
async fn psql_and_howdah_agree_about_every_address() {
    let psql = Path::new("/usr/lib/postgresql/15/bin/psql");
    if !psql.is_file() {
        eprintln!("skipped: needs Debian's psql 15");
        return;
    }
    let database = testing::empty_database().await;
    let (at, name) = (&database.target, database.name.as_str());
    let Host::Socket(socket) = &at.host else { panic!("the tests' server has a socket") };
    let (port, socket) = (at.port, socket.display().to_string());
    let admin = database.client().await;
    let role = format!("role_{name}");
    admin.batch_execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'a+b/c@d'")).await.unwrap();
    let encoded = socket.replace('/', "%2F");
    let service = testing::directory().join("services");
    fs::write(&service, format!("[here]\nhost=127.0.0.1\nport={port}\nuser={role}\npassword=a+b/c@d\n"))
        .unwrap();
    let mut differ = Vec::new();
    for address in [
        format!("postgres://{role}:a+b%2Fc%40d@127.0.0.1:{port}/{name}"),
        format!("postgresql://{role}:a+b%2Fc%40d@/{name}?host=127.0.0.1&port={port}"),
        format!("postgres://127.0.0.1/{name}?user={role}&password=a+b%2Fc%40d&port={port}"),
        format!("postgres://127.0.0.1:{port}/{name}?user={role}&password=a+b/c@d"),
        format!("postgres://{role}:a+b%2Fc%40d@localhost:{port}/{name}?application_name=x+y&options=-cwork_mem%3D5MB"),
        format!("postgres://{role}:a+b%2Fc%40d@{encoded}:{port}/{name}"),
        format!("postgres://{role}:a+b%2Fc%40d@/{name}?host={encoded}&port={port}&connect_timeout=2"),
        format!("postgres:///{name}?service=here"),
        format!("postgres:///{name}?service=not_there"),
        format!("postgres://{role}:a+b/c@d@127.0.0.1:{port}/{name}"),
        format!("postgres://{role}:wrong@127.0.0.1:{port}/{name}"),
        format!("postgres://{role}:a+b%2Fc%40d@127.0.0.1:{port}/{name}?keepalives=1&keepalives_idle=9"),
    ]
    .into_iter()
    .chain(
        [
            "target_session_attrs=any",
            "target_session_attrs=read-write",
            "target_session_attrs=primary",
            "target_session_attrs=prefer-standby",
            "target_session_attrs=standby",
            "target_session_attrs=read-only",
            "target_session_attrs=read-only&options=-cdefault_transaction_read_only%3Don",
            "target_session_attrs=read-write&options=-cdefault_transaction_read_only%3Don",
            "target_session_attrs=nonsense",
            "target_session_attrs=",
            "sslmode=disable",
            "sslmode=allow",
            "sslmode=prefer",
            "sslmode=require",
            "sslmode=verify-full&sslrootcert=/dev/null",
            "sslmode=",
            "sslmode=on",
            "ssl=true",
            "connect_timeout=x",
            "connect_timeout=0",
            "nonsense=1",
            "sslmode",
            "application_name=a=b",
            "application_name=%zz",
            "channel_binding=disable",
            "channel_binding=require",
            "channel_binding=nonsense",
            "gssencmode=disable",
            "gssencmode=nonsense",
            "port=0",
            "port=x",
            "client_encoding=UTF8",
        ]
        .map(|query| format!("postgres://{role}:a+b%2Fc%40d@127.0.0.1:{port}/{name}?{query}")),
    ) {
        let output = Command::new(psql)
            .args(["-XAtqc", SAYS, &address])
            .env_clear()
            .env("PGSERVICEFILE", &service)
            .env("HOME", "/nonexistent")
            .output()
            .unwrap();
        let theirs = output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        let environment = |name: &str| match name {
            "PGSERVICEFILE" => Some(service.display().to_string()),
            // What psql calls itself where nobody says so.
            "PGAPPNAME" if !address.contains("application_name") => Some("psql".into()),
            _ => None,
        };
        let ours = match read(&address, &environment) {
            Ok(target) => session(&target).await,
            Err(problem) => {
                assert!(!format!("{problem:?}").contains("a+b"), "{problem:?}");
                None
            }
        };
        if ours != theirs {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            differ.push(format!("{address}\n  psql {theirs:?} {said}\n  howdah {ours:?}"));
        }
    }
    admin.batch_execute(&format!("DROP ROLE {role}")).await.unwrap();
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

async fn session(target: &Target) -> Option<String> {
    let client = connect::connect(target).await.ok()?;
    client.query_one(SAYS, &[]).await.ok()?.get(0)
}
