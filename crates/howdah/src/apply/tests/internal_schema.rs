//! Howdah's own tables, from any state that an older howdah left.

use howdah_plan::internal_schema::{self, Migration};
use howdah_plan::problem::Kind;

use super::{Server, options, spec};

/// Each database is as a howdah left it that counted so many statements.
#[tokio::test]
async fn a_database_of_every_older_count_opens() {
    let server = Server::start();
    let mut text = "name = \"old\"\n".to_owned();
    for count in 0..=8 {
        let name = format!("old{count}");
        text += &format!("[databases.{name}]\n");
        server.sql("postgres", &format!("CREATE DATABASE {name}")).await;
        let find = |(domain, number): &(&str, u32)| internal_schema::find(domain, *number).unwrap();
        let ran: Vec<&Migration> = internal_schema::counted(count).unwrap().iter().map(find).collect();
        for one in &ran {
            server.sql(&name, one.sql).await;
        }
        if count >= 2 {
            server.sql(&name, &format!("INSERT INTO howdah.meta VALUES ('steps', '{count}')")).await;
        }
        if count >= 4 {
            server.sql(&name, "INSERT INTO howdah.sources VALUES ('c', 'a.md', '', 1)").await;
        }
    }
    let old = spec(&text);
    server.apply(&old).await;
    let plan = server.plan(&old).await;
    assert!(plan.is_empty(), "{plan}");
    for count in 0..=8 {
        let name = format!("old{count}");
        let recorded = server.value(&name, "SELECT count(*) FROM howdah.migrations").await;
        assert_eq!(recorded, internal_schema::all().count().to_string(), "{name}");
        let kept = if count >= 4 { "1" } else { "0" };
        assert_eq!(server.value(&name, "SELECT count(*) FROM howdah.sources").await, kept, "{name}");
        server
            .sql(&name, "SELECT howdah.remember('extension', 'none'), howdah.forget('extension', 'none')")
            .await;
        server
            .sql(&name, "INSERT INTO howdah.jobs (skill, input, caller) VALUES ('ingest', '{}', 'me')")
            .await;
    }
}

#[tokio::test]
async fn what_another_howdah_made_is_refused_before_anything_is_done() {
    let server = Server::start();
    let declared = spec("name = \"t\"\n[databases.app]\n");
    server.apply(&declared).await;
    let more =
        spec("name = \"t\"\n[databases.app]\n[tables.a]\ncolumns = [{ name = \"a\", type = \"int\" }]\n");
    for (change, said) in [
        (
            "INSERT INTO howdah.migrations (domain, number, name, checksum) VALUES ('core', 1000, 'later', '')",
            "howdah's own tables were made by a newer howdah",
        ),
        (
            "DELETE FROM howdah.migrations WHERE number = 1000; \
             UPDATE howdah.migrations SET checksum = 'other' WHERE domain = 'keys'",
            "migration keys 1 (`api_keys`) ran here with other statements",
        ),
    ] {
        server.sql("app", change).await;
        let problem = server.try_apply(&more, &options()).await.unwrap_err();
        assert_eq!((problem.kind, problem.message.as_str()), (Kind::Conflict, said), "{problem:#?}");
        assert!(problem.detail.unwrap().contains("database `app`"));
        assert_eq!(server.value("app", "SELECT to_regclass('public.a')").await, "");
    }
}
