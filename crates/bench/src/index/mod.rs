//! Which index is how large, how fast and how right, on the same rows in one run?
//!
//! Every peer gets a table of its own with the same rows. Then, for each wanted recall, the least effort that reaches it
//! is found by halving, so that peers are compared at equal recall; at these efforts the peers are timed in rounds that
//! take turns, and the medians are kept. Filtered questions are asked the same way. Last come inserts into the built index
//! and a VACUUM after one row in ten was deleted.

mod bandwidth;
pub mod data;
pub mod peers;
pub mod report;
mod scratch;
mod session;

use howdah_plan::problem::{Kind, Problem};

use super::median;
use data::{Filter, NEAREST, Set, Source};
use howdah_postgres::{Home, fetch};
use peers::{PEERS, Peer};
use report::{Measured, Outcome, Point, Report};
use scratch::Scratch;
use session::{Cost, SCHEMA, Session};

/// Rows inserted one by one, and as many again in transactions of [`BATCH`].
const INSERTS: usize = 1000;
/// Rows of a larger transaction.
const BATCH: usize = 100;

/// How to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the vectors come from.
    pub source: Source,
    /// Numbers of rows, each measured by itself.
    pub sizes: Vec<usize>,
    /// Recalls at 10 to compare at.
    pub recalls: Vec<f64>,
    /// Names of the peers; all when empty.
    pub only: Vec<String>,
    /// Rounds of timed questions.
    pub rounds: usize,
    /// Major version of the server, 16 or 18.
    pub major: u32,
}

/// Measures on a server of its own, started and removed for it below `home`. `progress` is called with what is done, in
/// words.
///
/// # Errors
/// `usage` for unknown peers or files; whatever keeps a server from starting or answering.
pub async fn run(home: &Home, options: &Options, progress: &dyn Fn(&str)) -> Result<Report, Problem> {
    let wanted = chosen(&options.only)?;
    let scratch = Scratch::start(home, options.major).await?;
    let outcome = measure(&scratch, &wanted, options, progress).await;
    scratch.remove().await?;
    outcome
}

fn chosen(only: &[String]) -> Result<Vec<&'static Peer>, Problem> {
    if only.is_empty() {
        return Ok(PEERS.iter().collect());
    }
    let named = |name: &String| {
        Peer::named(name).ok_or_else(|| {
            let known: Vec<&str> = PEERS.iter().map(|peer| peer.name).collect();
            Problem::new(Kind::Usage, format!("there is no index `{name}` to compare"))
                .hint(format!("Choose from {}.", known.join(", ")))
        })
    };
    only.iter().map(named).collect()
}

async fn measure(
    scratch: &Scratch,
    wanted: &[&'static Peer],
    options: &Options,
    progress: &dyn Fn(&str),
) -> Result<Report, Problem> {
    let admin = Session::open(&scratch.target).await?;
    let mut report = Report::new(scratch, options);
    report.memory_bytes_a_second = fetch::blocking(|| Ok(bandwidth::measure())).await?;
    let mut peers = Vec::new();
    for peer in wanted {
        if scratch.install(&admin, peer.extension).await? {
            peers.push(*peer);
        } else {
            let note = format!("`{}` left out: this server has no extension `{}`", peer.name, peer.extension);
            progress(&note);
            report.notes.push(note);
        }
    }
    if peers.is_empty() {
        return Err(Problem::new(Kind::Usage, "there is no index left to compare")
            .detail(report.notes.join("; "))
            .hint("Build Howdah's own with `make extension build`, or name one of pgvector's."));
    }
    for rows in &options.sizes {
        progress(&format!("{rows} rows: reading them and finding the right answers"));
        let set = Set::load(&options.source, *rows, 2 * INSERTS)?;
        let bench = Bench { scratch, set: &set, options, progress };
        let sized = bench.run(&admin, &peers).await?;
        report.sizes.push(sized);
    }
    Ok(report)
}

/// One number of rows.
struct Bench<'a> {
    scratch: &'a Scratch,
    set: &'a Set,
    options: &'a Options,
    progress: &'a dyn Fn(&str),
}

/// A peer at the effort that reaches a recall.
struct Level {
    peer: usize,
    filter: Filter,
    wanted: f64,
    value: u32,
    found: Quality,
    costs: Vec<Cost>,
}

/// What came back for all questions at one effort.
#[derive(Debug, Clone, Copy)]
struct Quality {
    recall: f64,
    /// Rows of the shortest answer.
    least_rows: usize,
    /// Bytes of the index that were read for a question, where the index says.
    bytes: Option<f64>,
}

impl Bench<'_> {
    async fn run(&self, admin: &Session, peers: &[&Peer]) -> Result<Measured, Problem> {
        admin.run(&format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA}")).await?;
        let mut results = Vec::new();
        for peer in peers {
            results.push(self.build(admin, peer).await?);
        }
        let mut levels = self.levels(peers).await?;
        self.time(peers, &mut levels).await?;
        for level in levels {
            results[level.peer].points.push(self.point(peers[level.peer], &level));
        }
        let bare = self.bare(admin).await?;
        for (peer, result) in peers.iter().zip(&mut results) {
            self.write(admin, peer, result).await?;
        }
        Ok(Measured {
            set: self.set.name.clone(),
            dimensions: self.set.dimensions,
            rows: self.set.len(),
            questions: self.set.questions(),
            bare,
            peers: results,
        })
    }

    async fn build(&self, admin: &Session, peer: &Peer) -> Result<Outcome, Problem> {
        let table = peer.table();
        admin.load(&table, self.set).await?;
        admin.run(&format!("VACUUM (FREEZE, ANALYZE) {table}")).await?;
        admin.run("CHECKPOINT").await?;
        let before = self.scratch.cpu();
        let cost = admin.cost_of(&peer.create(self.set.dimensions, self.set.len())).await?;
        let all = before.zip(self.scratch.cpu()).map(|(before, after)| after - before);
        let bytes = admin.number(&format!("SELECT pg_relation_size('{}')", peer.index())).await?;
        let seconds = cost.wall.as_secs_f64();
        (self.progress)(&format!("{}: built in {seconds:.1} s, {:.1} MB", peer.name, bytes as f64 / 1e6));
        Ok(Outcome {
            build_seconds: seconds,
            build_cpu_seconds: all.map(|cpu| cpu.as_secs_f64()),
            bytes,
            ..Outcome::of(peer)
        })
    }

    /// The least effort of every peer for every recall and filter.
    async fn levels(&self, peers: &[&Peer]) -> Result<Vec<Level>, Problem> {
        let mut levels = Vec::new();
        for (at, peer) in peers.iter().enumerate() {
            for filter in Filter::EACH {
                let mut known = Vec::new();
                for wanted in &self.options.recalls {
                    if let Some((value, found)) = self.least(peer, filter, *wanted, &mut known).await? {
                        let costs = Vec::new();
                        levels.push(Level { peer: at, filter, wanted: *wanted, value, found, costs });
                    } else {
                        let best = known.iter().map(|(_, found)| found.recall).fold(0.0, f64::max);
                        (self.progress)(&format!(
                            "{}: never reaches {wanted} where one row in {} passes, at most {best:.4}",
                            peer.name,
                            filter.one_in()
                        ));
                    }
                }
            }
            (self.progress)(&format!("{}: efforts found", peer.name));
        }
        Ok(levels)
    }

    /// The least effort whose recall is at least `wanted`, by halving; what was measured is kept in `known`.
    async fn least(
        &self,
        peer: &Peer,
        filter: Filter,
        wanted: f64,
        known: &mut Vec<(u32, Quality)>,
    ) -> Result<Option<(u32, Quality)>, Problem> {
        let (mut least, mut most) = (peer.effort.least, peer.effort.most);
        let mut best = None;
        // Start low: most of what is wanted is reached with little.
        let mut next = least.max(most / 32);
        while least <= most {
            let found = match known.iter().find(|(value, _)| *value == next) {
                Some((_, found)) => *found,
                None => {
                    let found = self.recall(peer, filter, next).await?;
                    known.push((next, found));
                    found
                }
            };
            if found.recall >= wanted {
                best = Some((next, found));
                if next == least {
                    break;
                }
                most = next - 1;
            } else {
                least = next + 1;
            }
            // One part in a hundred is as exact as recall can be measured.
            if let Some((value, _)) = best
                && value - least < value / 100
            {
                break;
            }
            next = if best.is_none() {
                most.min(next * 2).max(least)
            } else {
                least + (most.saturating_sub(least)) / 2
            };
        }
        Ok(best)
    }

    async fn recall(&self, peer: &Peer, filter: Filter, value: u32) -> Result<Quality, Problem> {
        let session = Session::open(&self.scratch.target).await?;
        let asking = session.prepare(peer, self.set, filter, value).await?;
        let answers = session.answers(&asking, self.set).await?;
        let bytes = match peer.bytes_read {
            Some(query) => Some(session.number(query).await?),
            None => None,
        };
        let right: usize =
            answers.iter().enumerate().map(|(n, found)| self.set.right(filter, n, found)).sum();
        Ok(Quality {
            recall: right as f64 / (NEAREST * answers.len()) as f64,
            least_rows: answers.iter().map(Vec::len).min().unwrap_or(0),
            bytes: bytes.map(|all| all as f64 / answers.len() as f64),
        })
    }

    /// Times all levels in rounds that take turns.
    async fn time(&self, peers: &[&Peer], levels: &mut [Level]) -> Result<(), Problem> {
        let mut sessions = Vec::new();
        for level in levels.iter() {
            let session = Session::open(&self.scratch.target).await?;
            let asking = session.prepare(peers[level.peer], self.set, level.filter, level.value).await?;
            sessions.push((session, asking));
        }
        for round in 1..=self.options.rounds {
            for (level, (session, asking)) in levels.iter_mut().zip(&sessions) {
                level.costs.push(session.cost_of_asking(asking, self.set).await?);
            }
            (self.progress)(&format!("questions: round {round} of {}", self.options.rounds));
        }
        Ok(())
    }

    fn point(&self, peer: &Peer, level: &Level) -> Point {
        let count = self.set.questions_under(level.filter);
        Point {
            one_in: level.filter.one_in(),
            wanted: level.wanted,
            recall: level.found.recall,
            effort: peer.effort.value(level.value).to_string(),
            least_rows: level.found.least_rows,
            bytes: level.found.bytes,
            cpu_micros: median(level.costs.iter().map(|cost| cost.micros(count))),
            wall_micros: median(level.costs.iter().map(|cost| cost.wall_micros(count))),
        }
    }

    /// What inserts and VACUUM cost without any index.
    async fn bare(&self, admin: &Session) -> Result<Outcome, Problem> {
        admin.load("bare", self.set).await?;
        admin.run("VACUUM (FREEZE, ANALYZE) bare").await?;
        let mut result = Outcome::default();
        self.change(admin, "bare", &mut result).await?;
        Ok(result)
    }

    async fn write(&self, admin: &Session, peer: &Peer, result: &mut Outcome) -> Result<(), Problem> {
        self.change(admin, &peer.table(), result).await?;
        if peer.extension == "howdah" {
            let index = peer.index();
            let info = admin.text(&format!("SELECT howdah_index_info('{index}')::text")).await?;
            result.info = info.and_then(|text| serde_json::from_str(&text).ok());
            let problems =
                admin.number(&format!("SELECT count(*) FROM howdah_index_check('{index}')")).await?;
            result.problems = Some(problems);
        }
        (self.progress)(&format!(
            "{}: insert {:.0} us a row, vacuum {:.2} s",
            peer.name, result.insert_micros, result.vacuum_seconds
        ));
        Ok(())
    }

    async fn change(&self, admin: &Session, table: &str, result: &mut Outcome) -> Result<(), Problem> {
        // A connection of its own: what a backend learns about an index the first time is no cost of a row.
        let session = Session::open(&self.scratch.target).await?;
        let have = self.set.more.len() / self.set.dimensions;
        let half = have / 2;
        session.insert(table, self.set, 0, half.min(20), 1).await?;
        result.insert_micros = session
            .insert(table, self.set, half.min(20), half - half.min(20), 1)
            .await?
            .micros(half - half.min(20));
        result.insert_batch_micros =
            session.insert(table, self.set, half, have - half, BATCH).await?.micros(have - half);
        admin.run(&format!("DELETE FROM {table} WHERE tenth = 3")).await?;
        admin.run("CHECKPOINT").await?;
        let cost =
            admin.cost_of(&format!("VACUUM (INDEX_CLEANUP ON, TRUNCATE OFF, PARALLEL 0) {table}")).await?;
        result.vacuum_seconds = cost.wall.as_secs_f64();
        result.vacuum_cpu_seconds = cost.cpu.map(|cpu| cpu.as_secs_f64());
        Ok(())
    }
}
