//! What of a directory is read, what is passed over, and what it would come to.

use super::World;
use crate::knowledge::read::Selection;

#[tokio::test]
async fn a_bad_file_does_not_end_a_directory() {
    let world = World::new(&[]).await;
    for i in 0..10 {
        world.file(&format!("d/good{i}.md"), format!("text {i}"));
    }
    world.file("d/empty.md", "");
    world.file("d/blank.txt", "  \n");
    world.file("d/r.jsonl", "{\"content\": \"good\"}\nnot json\n{\"content\": \"as well\"}\n");
    let dir = world.dir.path().join("d");
    let report = world.ingest(&[&dir]).await.unwrap();
    assert_eq!((report.new, report.bad), (12, 1), "{report:?}");
    assert!(report.is_incomplete());
    // Where nothing is in a file there is nothing bad either.
    assert_eq!(report.notes.len(), 2, "{report:?}");
    // A file that was asked for by name does.
    let problem = world.ingest(&[&dir.join("r.jsonl")]).await.unwrap_err();
    assert!(problem.message.contains("r.jsonl:2"), "{problem}");
}

#[tokio::test]
async fn what_is_passed_over_is_named_with_the_reason() {
    let world = World::new(&[]).await;
    for name in ["d/a.gz", "d/b.gz", "d/c.bin", "d/noext", "d/x.md"] {
        world.file(name, "text");
    }
    let dir = world.dir.path().join("d");
    let mut request = world.request(&[&dir]);
    request.selection = Selection::new(&[], &["x.md".into()]).unwrap();
    let report = world.run(request).await.unwrap();
    assert_eq!((report.documents, report.ignored_files, report.ignored.len()), (0, 5, 5), "{report:?}");
    let note = "4 files were passed over, whose format is not known: 2 .gz, 1 without a suffix, 1 .bin";
    assert_eq!(report.notes, [note]);
    let reasons: Vec<&str> = report.ignored.iter().map(|one| one.reason.as_str()).collect();
    assert!(reasons.iter().any(|reason| reason.contains("`.gz`")), "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.contains("--exclude")), "{reasons:?}");
}

#[tokio::test]
async fn a_dry_run_counts_and_changes_nothing() {
    let world = World::new(&[]).await;
    let dir = world.dir.path().join("d");
    let gone = world.file("d/gone.md", "gone");
    world.file("d/same.md", "same");
    world.file("d/changed.md", "before");
    let dry = |prune| {
        let mut request = world.request(&[&dir]);
        (request.dry_run, request.prune) = (true, prune);
        world.run(request)
    };
    let report = dry(false).await.unwrap();
    assert_eq!(
        (report.new, report.embedded, report.rows_written, report.dry_run),
        (3, 3, 3, true),
        "{report:?}"
    );
    assert_eq!((world.count().await, world.embedded().await.len()), (0, 0));
    world.ingest(&[&dir]).await.unwrap();
    std::fs::remove_file(gone).unwrap();
    world.file("d/changed.md", "after");
    world.file("d/new.md", "new");
    let versions = world.versions().await;
    let report = dry(true).await.unwrap();
    let counts = (report.new, report.changed, report.unchanged, report.removed);
    assert_eq!(counts, (1, 1, 1, 1), "{report:?}");
    assert_eq!(world.versions().await, versions);
}
