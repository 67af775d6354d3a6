//! One file is one document, from wherever it is loaded.

use std::path::Path;
use std::sync::Arc;

use super::super::connection::Connection;
use super::super::writable::WritableTable;
use super::super::{IngestReport, IngestRequest, Input, Limits};
use super::World;
use crate::knowledge::read::Reader;

async fn sources(world: &World) -> Vec<String> {
    let sql = "SELECT source FROM howdah.sources ORDER BY 1";
    let rows = world.database.client().await.query(sql, &[]).await.unwrap();
    let sources: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let in_table =
        world.database.client().await.query("SELECT DISTINCT source FROM notes ORDER BY 1", &[]).await;
    let in_table: Vec<String> = in_table.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(sources, in_table);
    sources
}

/// As an ingest named files before: from a working directory, and without an origin.
async fn load_as_before(world: &World, from: &Path, named: &str) -> IngestReport {
    let report = world.ingest(&[from]).await.unwrap();
    let name = from.strip_prefix(world.dir.path()).unwrap().display().to_string();
    let rename = format!(
        "UPDATE howdah.sources SET source = '{named}' || substr(source, {length}), origin = NULL
         WHERE origin = '{name}';
         UPDATE notes SET source = '{named}' || substr(source, {length})
         WHERE source = '{name}' OR starts_with(source, '{name}#')",
        length = name.len() + 1
    );
    world.database.client().await.batch_execute(&rename).await.unwrap();
    report
}

#[tokio::test]
async fn one_file_is_one_document_whichever_way_leads_there() {
    let world = World::new(&[]).await;
    let file = world.file("corpus/txt/a.txt", "text");
    world.file("corpus/r.jsonl", "{\"content\": \"no name\"}\n{\"id\": \"own\", \"content\": \"named\"}\n");
    let corpus = world.dir.path().join("corpus");
    assert_eq!(world.ingest(&[&corpus]).await.unwrap().new, 3);
    let link = world.dir.path().join("link");
    std::os::unix::fs::symlink(corpus.join("txt"), &link).unwrap();
    let around = corpus.join("txt/../../corpus/./txt/a.txt");
    for way in [file.as_path(), &around, &link, &link.join("a.txt"), &corpus] {
        let report = world.ingest(&[way]).await.unwrap();
        assert!(report.wrote_nothing(), "{}: {report:?}", way.display());
    }
    let sources = sources(&world).await;
    assert!(sources[0].starts_with("corpus/r.jsonl#"), "{sources:?}");
    assert_eq!(sources[1..], ["corpus/txt/a.txt", "own"]);
}

#[tokio::test]
async fn a_file_elsewhere_has_its_absolute_path() {
    let world = World::new(&[]).await;
    let other = tempfile::tempdir().unwrap();
    let file = other.path().join("a.md");
    std::fs::write(&file, "text").unwrap();
    world.ingest(&[&file]).await.unwrap();
    assert_eq!(sources(&world).await, [file.canonicalize().unwrap().display().to_string()]);
    // A declared link keeps its declared name.
    std::os::unix::fs::symlink(other.path(), world.dir.path().join("shared")).unwrap();
    let declared = IngestRequest { declared: vec!["./shared/".into()], ..world.request(&[other.path()]) };
    let report = world.run(declared).await.unwrap();
    assert_eq!(report.new, 1, "{report:?}");
    assert!(sources(&world).await.contains(&"shared/a.md".to_owned()));
}

#[tokio::test]
async fn documents_named_by_an_older_rule_get_their_name_and_lose_their_doubles() {
    let world = World::new(&[]).await;
    let file = world.file("corpus/txt/a.txt", "text");
    let records = world.file("corpus/r.jsonl", "{\"content\": \"no name\"}\n");
    load_as_before(&world, &file, "a.txt").await;
    load_as_before(&world, &records, "../corpus/r.jsonl").await;
    let corpus = world.dir.path().join("corpus");
    let report = world.ingest(&[&corpus]).await.unwrap();
    assert_eq!((report.renamed, report.new, report.removed, report.unchanged), (2, 0, 0, 2), "{report:?}");
    assert_eq!((report.embedded, world.count().await), (0, 2));
    let now = sources(&world).await;
    assert!(now[0].starts_with("corpus/r.jsonl#") && now[1] == "corpus/txt/a.txt", "{now:?}");
    assert!(world.ingest(&[&corpus]).await.unwrap().wrote_nothing());

    // The same file three times, and not under its name: one stays, and gets it.
    let client = world.database.client().await;
    for older in ["a.txt", "../txt/a.txt", "txt/a.txt"] {
        let copy = format!(
            "INSERT INTO howdah.sources SELECT collection, '{older}', content_hash, chunks
             FROM howdah.sources WHERE source = 'corpus/txt/a.txt';
             INSERT INTO notes (source, chunk, title, content, content_hash, metadata, embedding)
             SELECT '{older}', chunk, title, content, content_hash, metadata, embedding
             FROM notes WHERE source = 'corpus/txt/a.txt'"
        );
        client.batch_execute(&copy).await.unwrap();
    }
    let own = "DELETE FROM howdah.sources WHERE source = 'corpus/txt/a.txt';
               DELETE FROM notes WHERE source = 'corpus/txt/a.txt'";
    client.batch_execute(own).await.unwrap();
    assert_eq!(world.count().await, 4);
    let report = world.ingest(&[&corpus]).await.unwrap();
    assert_eq!((report.renamed, report.removed, report.new), (1, 2, 0), "{report:?}");
    assert_eq!((sources(&world).await, world.count().await), (now, 2));
}

#[tokio::test]
async fn a_document_of_an_older_name_is_cut_anew_and_gets_its_name_at_once() {
    let world = World::new(&[]).await;
    let file = world.file("docs/a.md", "资料库每天晚上备份一次。".repeat(20));
    load_as_before(&world, &file, "a.md").await;
    let rows = world.count().await;
    assert!(rows > 1);
    // The hash of before texts without spaces were cut.
    let connection = Connection::Lent(world.pools().get(&world.resolved.database).await.unwrap());
    let facts = world.embedder.as_ref().unwrap().facts().await.unwrap();
    let target = WritableTable::read(&connection, &world.resolved, Some(facts)).await.unwrap();
    let shape = Arc::new(target.shape(&world.resolved, &world.collection().chunking));
    let input = Input::Path(file.display().to_string());
    let naming = world.request(&[&file]).naming();
    let mut reader = Reader::new(vec![input], None, Limits::default(), shape).named(naming);
    let hash = reader.next().unwrap().unwrap().hash.to_vec();
    let sql = "UPDATE howdah.sources SET content_hash = $1";
    world.database.client().await.execute(sql, &[&hash]).await.unwrap();
    let report = world.ingest(&[&file]).await.unwrap();
    assert_eq!((report.renamed, report.changed, report.new, report.embedded), (1, 1, 0, 0), "{report:?}");
    assert_eq!((sources(&world).await, world.count().await), (vec!["docs/a.md".to_owned()], rows));
    assert!(world.ingest(&[&file]).await.unwrap().wrote_nothing());
}

#[tokio::test]
async fn a_name_that_is_right_for_another_file_stays_and_another_text_is_said() {
    let world = World::new(&[]).await;
    let (own, other) = (world.file("README.md", "text"), world.file("docs/README.md", "text"));
    load_as_before(&world, &own, "README.md").await;
    world.ingest(&[&other]).await.unwrap();
    assert_eq!(sources(&world).await, ["README.md", "docs/README.md"], "both are files of their own");
    // One whose text is another than the file's may be another file's.
    let a = world.file("docs/a.md", "before");
    load_as_before(&world, &a, "a.md").await;
    world.file("docs/a.md", "after");
    let report = world.ingest(&[&a]).await.unwrap();
    assert_eq!((report.new, report.renamed, report.removed), (1, 0, 0), "{report:?}");
    assert!(report.notes[0].contains("`a.md` may be an older name of `docs/a.md`"), "{report:?}");
}

#[tokio::test]
async fn documents_that_keep_their_name_only_learn_where_they_came_from() {
    let world = World::new(&[]).await;
    let dir = world.dir.path().join("d");
    let (one, _) = (world.file("d/a.md", "one"), world.file("d/b.md", "two"));
    world.ingest(&[&dir]).await.unwrap();
    let client = world.database.client().await;
    client.batch_execute("UPDATE howdah.sources SET origin = NULL").await.unwrap();
    // What vanished before the upgrade is found by its name.
    std::fs::remove_file(one).unwrap();
    let mut request = world.request(&[&dir]);
    request.prune = true;
    let report = world.run(request).await.unwrap();
    assert_eq!((report.removed, report.unchanged, report.rows_written), (1, 1, 0), "{report:?}");
    assert_eq!(world.value("SELECT count(*) FROM howdah.sources WHERE origin = 'd/b.md'").await, 1);
}
