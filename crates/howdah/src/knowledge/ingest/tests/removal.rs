//! What is gone from a folder goes from the collection, unless it looks as if the folder itself were gone.

use std::path::{Path, PathBuf};

use super::super::IngestReport;
use super::World;

/// As `howdah up` loads what is declared.
async fn prune(world: &World, paths: &[&Path]) -> IngestReport {
    let mut request = world.request(paths);
    (request.prune, request.skip_bad) = (true, true);
    world.run(request).await.unwrap()
}

/// So many files in `d`, loaded; their paths.
async fn folder(world: &World, files: usize) -> (PathBuf, Vec<PathBuf>) {
    let paths = (0..files).map(|i| world.file(&format!("d/{i:03}.md"), format!("text {i}"))).collect();
    let dir = world.dir.path().join("d");
    assert_eq!(prune(world, &[&dir]).await.new, files as u64);
    (dir, paths)
}

#[tokio::test]
async fn an_emptied_folder_removes_nothing() {
    let world = World::new(&[]).await;
    let (dir, files) = folder(&world, 3).await;
    files.iter().for_each(|file| std::fs::remove_file(file).unwrap());
    let report = prune(&world, &[&dir]).await;
    assert_eq!((report.removed, report.rows_removed, report.kept), (0, 0, 3), "{report:?}");
    assert_eq!(world.count().await, 3);
    let kept = &report.kept_places[0];
    assert_eq!((kept.place.as_str(), kept.documents, kept.gone), ("d", 3, 3));
    assert!(
        kept.reason.contains("none of the 3 documents of collection `notes` that came from `d`"),
        "{kept:?}"
    );
    assert!(kept.hint.contains("--prune --allow-empty"), "{kept:?}");
    // Somebody who means it says so.
    let mut request = world.request(&[&dir]);
    (request.prune, request.allow_empty) = (true, true);
    let report = world.run(request).await.unwrap();
    assert_eq!((report.removed, report.rows_removed, report.kept), (3, 3, 0), "{report:?}");
    assert_eq!(report.removed_documents, ["d/000.md", "d/001.md", "d/002.md"]);
    assert_eq!(world.count().await, 0);
}

#[tokio::test]
async fn one_of_a_few_files_goes_and_is_counted() {
    let world = World::new(&[]).await;
    let (dir, files) = folder(&world, 3).await;
    std::fs::remove_file(&files[1]).unwrap();
    let report = prune(&world, &[&dir]).await;
    assert_eq!((report.removed, report.rows_removed, report.kept), (1, 1, 0), "{report:?}");
    assert_eq!(report.removed_documents, ["d/001.md"]);
}

#[tokio::test]
async fn a_folder_that_lost_more_than_the_declared_share_keeps_all() {
    let mut world = World::new(&[]).await;
    let (dir, files) = folder(&world, 50).await;
    files[..20].iter().for_each(|file| std::fs::remove_file(file).unwrap());
    let report = prune(&world, &[&dir]).await;
    assert_eq!((report.removed, report.kept), (0, 20), "{report:?}");
    assert!(
        report.kept_places[0].reason.contains("20 of the 50")
            && report.kept_places[0].reason.contains("20 %")
    );
    world.spec.collections["notes"].max_removed = Some("10".into());
    assert_eq!(prune(&world, &[&dir]).await.kept, 20);
    world.spec.collections["notes"].max_removed = Some("40%".into());
    let report = prune(&world, &[&dir]).await;
    assert_eq!((report.removed, report.kept, world.count().await), (20, 0, 30), "{report:?}");
}

#[tokio::test]
async fn a_file_of_records_that_lost_most_of_them_keeps_all() {
    let world = World::new(&[]).await;
    let record = |i: u32| format!("{{\"id\": \"r{i}\", \"content\": \"text {i}\"}}\n");
    let (dir, files) = folder(&world, 3).await;
    let path = world.file("d/r.jsonl", (0..40).map(record).collect::<String>());
    assert_eq!(prune(&world, &[&dir]).await.new, 40);
    assert_eq!(world.count().await, 43);
    world.file("d/r.jsonl", (0..2).map(record).collect::<String>());
    std::fs::remove_file(&files[0]).unwrap();
    let report = prune(&world, &[&dir]).await;
    assert_eq!((report.removed, report.kept), (1, 38), "{report:?}");
    assert_eq!(report.kept_places[0].place, "d/r.jsonl");
    // A few of them are removed, though their names say nothing of the file.
    world.file("d/r.jsonl", (0..38).map(record).collect::<String>());
    let report = prune(&world, &[&dir]).await;
    assert_eq!((report.removed, report.kept, world.count().await), (2, 0, 40), "{report:?}");
    // Nothing but empty lines is nothing left; the file by itself is a place as well.
    world.file("d/r.jsonl", "\n\n");
    for given in [&dir, &path] {
        let report = prune(&world, &[given]).await;
        assert_eq!((report.removed, report.kept), (0, 38), "{report:?}");
    }
}

#[tokio::test]
async fn what_is_not_to_be_read_is_not_gone() {
    let world = World::new(&[]).await;
    let (dir, files) = folder(&world, 8).await;
    let below = world.file("d/deep/e.md", "deep");
    prune(&world, &[&dir]).await;
    std::fs::remove_file(&files[7]).unwrap();
    let mut request = world.request(&[&dir]);
    request.prune = true;
    let patterns = ["deep".to_owned(), "000.md".to_owned()];
    request.selection = crate::knowledge::read::Selection::new(&[], &patterns).unwrap();
    let report = world.run(request).await.unwrap();
    assert_eq!((report.removed, report.kept, report.ignored_files), (1, 0, 2), "{report:?}");
    // The same files by way of a link that is not followed.
    let moved = world.dir.path().join("elsewhere");
    std::fs::rename(below.parent().unwrap(), &moved).unwrap();
    std::os::unix::fs::symlink(&moved, world.dir.path().join("d/deep")).unwrap();
    let report = prune(&world, &[&dir]).await;
    assert_eq!((report.removed, report.kept), (0, 0), "{report:?}");
    assert!(report.ignored[0].reason.contains("link to a directory"), "{report:?}");
}

#[tokio::test]
async fn what_came_over_rest_is_nobodys_file() {
    let world = World::new(&[]).await;
    let (dir, files) = folder(&world, 3).await;
    let posted = vec![serde_json::json!({"source": "d/posted.md", "content": "x"})];
    let input = super::super::Input::Records("documents".into(), posted);
    world.run(super::super::IngestRequest::new(vec![input], world.collection())).await.unwrap();
    std::fs::remove_file(&files[0]).unwrap();
    assert_eq!(prune(&world, &[&dir]).await.removed, 1);
    assert_eq!(world.count().await, 3);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_keeps_its_document_wherever_the_folder_is_named_from() {
    let world = World::new(&[]).await;
    let (dir, files) = folder(&world, 4).await;
    std::fs::write(&files[0], "").unwrap();
    std::fs::remove_file(&files[1]).unwrap();
    std::os::unix::fs::symlink("nowhere", &files[1]).unwrap();
    let report = prune(&world, &[&dir]).await;
    assert_eq!((report.removed, report.bad), (0, 1), "{report:?}");
    assert_eq!(report.notes, ["`d/000.md` is left out: the file is empty"]);
    assert_eq!(world.count().await, 4);
}

#[tokio::test]
async fn a_folder_that_cannot_be_looked_into_keeps_what_came_from_it() {
    let world = World::new(&[]).await;
    let (dir, files) = folder(&world, 6).await;
    let below = world.file("d/deep/e.md", "deep");
    world.file("d/deep/r.jsonl", "{\"id\": \"own\", \"content\": \"record\"}\n");
    assert_eq!(prune(&world, &[&dir]).await.new, 2);
    // Whoever may read everything meets no folder that may not be read, but one that leads to itself.
    let deep = below.parent().unwrap();
    std::fs::remove_dir_all(deep).unwrap();
    std::os::unix::fs::symlink(deep, deep).unwrap();
    std::fs::remove_file(&files[0]).unwrap();
    let report = prune(&world, &[&dir]).await;
    assert_eq!((report.removed, report.kept, report.bad), (1, 0, 1), "{report:?}");
    assert_eq!(report.removed_documents, ["d/000.md"]);
    assert_eq!(world.count().await, 7);
}
