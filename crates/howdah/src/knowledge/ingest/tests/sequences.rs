//! Random sequences of what happens to files and to ingests: in the end the collection holds what the files hold, or the
//! report says what differs and why.
//!
//! `HOWDAH_SEQUENCES` says how many sequences are tried, `HOWDAH_SEQUENCES_SEED` where they begin.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use howdah_plan::problem::Kind;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};

use super::super::{IngestReport, IngestRequest};
use super::World;

/// Operations in a sequence.
const LENGTH: usize = 24;

/// What may happen.
#[derive(Debug, Clone, Copy)]
enum Operation {
    Add,
    Change,
    Remove,
    RemoveMany,
    Rename,
    Truncate,
    Records,
    Unmount,
    Mount,
    Kill,
    Load,
    LoadByAnotherWay,
    LoadOtherDeployment,
}

const OPERATIONS: &[(Operation, u32)] = &[
    (Operation::Add, 6),
    (Operation::Change, 3),
    (Operation::Remove, 3),
    (Operation::RemoveMany, 1),
    (Operation::Rename, 2),
    (Operation::Truncate, 1),
    (Operation::Records, 2),
    (Operation::Unmount, 1),
    (Operation::Mount, 2),
    (Operation::Kill, 2),
    (Operation::Load, 4),
    (Operation::LoadByAnotherWay, 2),
    (Operation::LoadOtherDeployment, 1),
];

struct Story {
    world: World,
    random: StdRng,
    /// Another deployment with the same collection: its base, with a file of its own.
    other: tempfile::TempDir,
    log: Vec<String>,
}

impl Story {
    async fn new(seed: u64) -> Story {
        let world = World::new(&[]).await;
        std::fs::create_dir(world.dir.path().join("d")).unwrap();
        std::os::unix::fs::symlink(world.dir.path().join("d"), world.dir.path().join("way")).unwrap();
        let other = tempfile::tempdir().unwrap();
        std::fs::create_dir(other.path().join("theirs")).unwrap();
        std::fs::write(other.path().join("theirs/t.md"), "theirs").unwrap();
        Story { world, random: StdRng::seed_from_u64(seed), other, log: Vec::new() }
    }

    fn folder(&self) -> PathBuf {
        self.world.dir.path().join("d")
    }

    fn hidden(&self) -> PathBuf {
        self.world.dir.path().join("unmounted")
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(self.folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    fn any_file(&mut self) -> Option<PathBuf> {
        self.files().choose(&mut self.random).cloned()
    }

    fn text(&mut self) -> String {
        format!("text {}", self.random.random_range(0..1_000_000))
    }

    fn new_file(&mut self) -> PathBuf {
        self.folder().join(format!("f{}.md", self.random.random_range(0..40)))
    }

    /// A file of records, each with its own name.
    fn records(&mut self) {
        let count = self.random.random_range(1..30);
        let lines: String = (0..count)
            .map(|i| {
                format!("{{\"id\": \"r{i}\", \"content\": \"record {}\"}}\n", self.random.random_range(0..3))
            })
            .collect();
        std::fs::write(self.folder().join("r.jsonl"), lines).unwrap();
    }

    fn is_mounted(&self) -> bool {
        !self.hidden().exists()
    }

    async fn happens(&mut self, operation: Operation) {
        self.log.push(format!("{operation:?}"));
        match operation {
            Operation::Add => {
                let (path, text) = (self.new_file(), self.text());
                std::fs::write(path, text).unwrap();
            }
            Operation::Change => {
                let text = self.text();
                if let Some(path) = self.any_file().filter(|path| path.extension().is_some_and(|s| s == "md"))
                {
                    std::fs::write(path, text).unwrap();
                }
            }
            Operation::Remove => {
                self.any_file().into_iter().for_each(|path| std::fs::remove_file(path).unwrap());
            }
            Operation::RemoveMany => {
                for path in self.files() {
                    if self.random.random_bool(0.7) {
                        std::fs::remove_file(path).unwrap();
                    }
                }
            }
            Operation::Rename => {
                let to = self.new_file();
                if let Some(path) = self.any_file().filter(|path| path.extension().is_some_and(|s| s == "md"))
                {
                    std::fs::rename(path, to).unwrap();
                }
            }
            Operation::Truncate => {
                self.any_file().into_iter().for_each(|path| std::fs::write(path, "").unwrap());
            }
            Operation::Records => self.records(),
            Operation::Unmount if self.is_mounted() => {
                std::fs::rename(self.folder(), self.hidden()).unwrap();
                std::fs::create_dir(self.folder()).unwrap();
            }
            Operation::Mount if !self.is_mounted() => {
                std::fs::remove_dir_all(self.folder()).unwrap();
                std::fs::rename(self.hidden(), self.folder()).unwrap();
            }
            Operation::Unmount | Operation::Mount => {}
            Operation::Kill => {
                let patience = Duration::from_millis(self.random.random_range(1..60));
                let _ = tokio::time::timeout(patience, self.world.run(self.declared())).await;
                // What was cancelled has to be over before the next one begins.
                tokio::time::sleep(Duration::from_millis(100)).await;
                self.assert_whole().await;
            }
            Operation::Load => {
                let report = self.load(self.declared()).await;
                self.check(&report).await;
            }
            Operation::LoadByAnotherWay => {
                let way = self.world.dir.path().join("way");
                let before = self.sources().await;
                let request = self.world.request(&[&way]);
                self.load(IngestRequest { skip_bad: true, ..request }).await;
                let added: Vec<String> =
                    self.sources().await.into_keys().filter(|name| !before.contains_key(name)).collect();
                let expected = self.expected();
                assert!(added.iter().all(|name| expected.contains_key(name)), "{added:?}\n{:?}", self.log);
            }
            Operation::LoadOtherDeployment => {
                let theirs = self.other.path().join("theirs");
                let request = self.world.request(&[&theirs]);
                let request =
                    IngestRequest { base: Some(self.other.path().to_owned()), prune: true, ..request };
                let report = self.load(request).await;
                assert_eq!((report.removed, report.kept), (0, 0), "{report:?}\n{:?}", self.log);
            }
        }
    }

    /// As `howdah up` loads what is declared.
    fn declared(&self) -> IngestRequest {
        let request = self.world.request(&[&self.folder()]);
        IngestRequest { prune: true, skip_bad: true, ..request }
    }

    async fn load(&self, request: IngestRequest) -> IngestReport {
        for _ in 0..20 {
            match self.world.run(request.clone()).await {
                Ok(report) => return report,
                // One that was killed may still be about to end.
                Err(problem) if problem.kind == Kind::Conflict => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(problem) => panic!("{problem:?}\n{:?}", self.log),
            }
        }
        panic!("there is always somebody else\n{:?}", self.log);
    }

    /// Names and texts that the files hold.
    fn expected(&self) -> BTreeMap<String, String> {
        let mut expected = BTreeMap::new();
        for path in self.files() {
            let text = std::fs::read_to_string(&path).unwrap();
            if path.extension().is_some_and(|suffix| suffix == "jsonl") {
                for line in text.lines() {
                    let record: serde_json::Value = serde_json::from_str(line).unwrap();
                    let part = |key: &str| record[key].as_str().unwrap().to_owned();
                    expected.insert(part("id"), part("content"));
                }
            } else if !text.is_empty() {
                let name = path.file_name().unwrap().to_str().unwrap();
                expected.insert(format!("d/{name}"), text);
            }
        }
        expected
    }

    /// Documents in the collection that are not the other deployment's, and their texts.
    async fn sources(&self) -> BTreeMap<String, String> {
        let texts = self.world.texts().await.into_iter();
        texts.filter(|(name, ..)| !name.starts_with("theirs/")).map(|(name, _, text)| (name, text)).collect()
    }

    /// The collection holds what the files hold; what it holds besides is what the report says.
    async fn check(&self, report: &IngestReport) {
        self.assert_whole().await;
        let (expected, mut there) = (self.expected(), self.sources().await);
        for (name, text) in &expected {
            assert_eq!(there.remove(name).as_ref(), Some(text), "{name}\n{report:?}\n{:?}", self.log);
        }
        let unread: Vec<String> = self
            .files()
            .iter()
            .filter(|path| std::fs::metadata(path).unwrap().len() == 0)
            .map(|path| format!("d/{}", path.file_name().unwrap().to_str().unwrap()))
            .collect();
        assert_eq!(report.bad, 0, "{report:?}\n{:?}", self.log);
        let told = report.notes.iter().filter(|note| note.ends_with("the file is empty")).count();
        assert_eq!(told, unread.len().min(10), "{report:?}\n{:?}", self.log);
        let records_unread = unread.contains(&"d/r.jsonl".to_owned());
        let kept = there
            .keys()
            .filter(|name| !(unread.contains(name) || records_unread && name.starts_with('r')))
            .count();
        assert_eq!(report.kept, kept as u64, "{there:?}\n{report:?}\n{:?}", self.log);
        assert_eq!(report.kept > 0, !report.kept_places.is_empty(), "{report:?}");
    }

    /// Every document is whole.
    async fn assert_whole(&self) {
        let halves = "SELECT count(*) FROM (SELECT source, count(*) AS rows FROM notes GROUP BY source) n
                      FULL JOIN howdah.sources s USING (source) WHERE n.rows IS DISTINCT FROM s.chunks";
        assert_eq!(self.world.value(halves).await, 0, "half a document\n{:?}", self.log);
    }
}

fn drawn(random: &mut impl Rng) -> Operation {
    let all: u32 = OPERATIONS.iter().map(|(_, weight)| weight).sum();
    let mut at = random.random_range(0..all);
    for (operation, weight) in OPERATIONS {
        if at < *weight {
            return *operation;
        }
        at -= weight;
    }
    Operation::Load
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_collection_holds_what_the_files_hold_or_the_report_says_why_not() {
    let (count, first) = (number("HOWDAH_SEQUENCES", 6), number("HOWDAH_SEQUENCES_SEED", 1));
    for seed in first..first + count {
        let mut story = Story::new(seed).await;
        story.log.push(format!("seed {seed}"));
        for _ in 0..LENGTH {
            let operation = drawn(&mut story.random);
            story.happens(operation).await;
        }
        story.happens(Operation::Mount).await;
        story.happens(Operation::Load).await;
        // Loaded again nothing changes, and the same is said.
        let report = story.load(story.declared()).await;
        assert!(report.wrote_nothing(), "{report:?}\n{:?}", story.log);
        story.check(&report).await;
    }
}
