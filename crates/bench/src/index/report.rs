//! What the bench of indexes found, as numbers and as a page to read.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use howdah_plan::problem::{Kind, Problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::peers::Peer;
use super::{Options, Scratch};
use crate::{self as bench, Dated};

/// Everything that was found in one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// PostgreSQL and its settings.
    pub server: String,
    /// Timed rounds.
    pub rounds: usize,
    /// Bytes a second that one core reads from memory, front to back; 0 where it was not measured.
    #[serde(default)]
    pub memory_bytes_a_second: f64,
    /// What was left out, in words.
    pub notes: Vec<String>,
    /// By number of rows.
    pub sizes: Vec<Measured>,
}

/// One number of rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measured {
    /// Name of the data.
    pub set: String,
    /// Dimensions.
    pub dimensions: usize,
    /// Rows.
    pub rows: usize,
    /// Questions.
    pub questions: usize,
    /// Inserts and VACUUM of the table without an index.
    pub bare: Outcome,
    /// The peers, the first being what the others are held against.
    pub peers: Vec<Outcome>,
}

/// One peer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// Seconds of CREATE INDEX by the clock.
    pub build_seconds: f64,
    /// Processor seconds of the whole server meanwhile.
    pub build_cpu_seconds: Option<f64>,
    /// Bytes of the index.
    pub bytes: i64,
    /// Questions at the efforts that reach the wanted recalls.
    pub points: Vec<Point>,
    /// Microseconds of the backend for a row inserted in a transaction of its own.
    pub insert_micros: f64,
    /// The same in transactions of a hundred.
    pub insert_batch_micros: f64,
    /// Seconds of VACUUM by the clock after one row in ten was deleted.
    pub vacuum_seconds: f64,
    /// Processor seconds of it.
    pub vacuum_cpu_seconds: Option<f64>,
    /// What `howdah_index_info` says at the end.
    pub info: Option<serde_json::Value>,
    /// Problems that `howdah_index_check` finds at the end.
    pub problems: Option<i64>,
}

/// Questions at one effort.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Point {
    /// Of how many rows one passes the filter; 1 without a filter.
    pub one_in: usize,
    /// Recall at 10 that was wanted.
    pub wanted: f64,
    /// Recall at 10 that was found.
    pub recall: f64,
    /// The setting that reaches it.
    pub effort: String,
    /// Rows of the shortest answer.
    pub least_rows: usize,
    /// Bytes of the index read for a question, where the index says.
    #[serde(default)]
    pub bytes: Option<f64>,
    /// Microseconds of the backend for a question.
    pub cpu_micros: f64,
    /// Microseconds by the clock, from the client.
    pub wall_micros: f64,
}

impl Outcome {
    pub(super) fn of(peer: &Peer) -> Self {
        Outcome { name: peer.name.to_owned(), ..Outcome::default() }
    }

    fn point(&self, one_in: usize, wanted: f64) -> Option<&Point> {
        self.points.iter().find(|point| point.one_in == one_in && point.wanted == wanted)
    }
}

impl Report {
    pub(super) fn new(scratch: &Scratch, options: &Options) -> Self {
        let settings: Vec<String> =
            scratch.settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
        Report {
            server: format!("PostgreSQL {}; {}", scratch.version, settings.join(", ")),
            rounds: options.rounds,
            memory_bytes_a_second: 0.0,
            notes: Vec::new(),
            sizes: Vec::new(),
        }
    }

    /// Writes the report into `directory` as JSON and as a page, named by day, data and server. Returns both paths.
    ///
    /// # Errors
    /// `machine` when they cannot be written.
    pub fn write(&self, directory: &Path) -> Result<[PathBuf; 2], Problem> {
        std::fs::create_dir_all(directory).map_err(|e| {
            Problem::new(Kind::Machine, format!("cannot make `{}`", directory.display()))
                .detail(e.to_string())
        })?;
        let dated = Dated::now(self);
        let set = self.sizes.first().map_or("none", |size| size.set.as_str());
        let major = self.server.split(['.', ' ']).nth(1).unwrap_or_default();
        let json = directory.join(format!("{}-index-{set}-pg{major}.json", dated.date));
        let page = json.with_file_name(format!("{}-index-{set}-pg{major}.md", dated.date));
        dated.write(&json)?;
        bench::write(&page, &dated.page())?;
        Ok([json, page])
    }

    fn write_growth(&self, text: &mut String) {
        if self.sizes.len() < 2 {
            return;
        }
        text.push_str("\n## How the costs grow\n\n| index | rows | build s | bytes a row | µs at the least recall | µs at the greatest | insert µs | vacuum s |\n|---|---|---|---|---|---|---|---|\n");
        for name in self.sizes[0].peers.iter().map(|peer| &peer.name) {
            for size in &self.sizes {
                let Some(peer) = size.peers.iter().find(|peer| peer.name == *name) else { continue };
                let mut plain: Vec<&Point> = peer.points.iter().filter(|point| point.one_in == 1).collect();
                plain.sort_by(|a, b| a.wanted.total_cmp(&b.wanted));
                let micros =
                    |point: Option<&&Point>| point.map_or("-".into(), |p| format!("{:.0}", p.cpu_micros));
                let _ = writeln!(
                    text,
                    "| {name} | {} | {:.1} | {:.0} | {} | {} | {:.0} | {:.2} |",
                    size.rows,
                    peer.build_seconds,
                    peer.bytes as f64 / size.rows as f64,
                    micros(plain.first()),
                    micros(plain.last()),
                    peer.insert_micros,
                    peer.vacuum_seconds
                );
            }
        }
    }
}

impl Dated<'_, Report> {
    /// The report in Markdown. In brackets stands how many times better than the first peer a number is.
    pub fn page(&self) -> String {
        let report = self.report;
        let mut text = format!(
            "# Indexes side by side, {}\n\n{}. {}.\n\nOne connection. Times of questions are medians of {} rounds that take \
             turns. A factor is how many times better than the first line; below 1 is worse.\n",
            self.date, self.machine, report.server, report.rounds
        );
        for note in &report.notes {
            let _ = writeln!(text, "\n{note}.");
        }
        for size in &report.sizes {
            size.write(&mut text);
            size.write_reading(&mut text, report.memory_bytes_a_second);
        }
        report.write_growth(&mut text);
        text
    }
}

impl Measured {
    fn write(&self, text: &mut String) {
        let _ = write!(
            text,
            "\n## {}: {} rows of {} dimensions, {} questions\n\n\
             | index | build s | CPU s | MB | insert µs | in batches | VACUUM s |\n|---|---|---|---|---|---|---|\n",
            self.set, self.rows, self.dimensions, self.questions
        );
        let first = &self.peers[0];
        for peer in &self.peers {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} |",
                peer.name,
                beside(peer.build_seconds, first.build_seconds, 2),
                peer.build_cpu_seconds.map_or("-".into(), |cpu| format!("{cpu:.1}")),
                beside(peer.bytes as f64 / 1e6, first.bytes as f64 / 1e6, 1),
                beside(peer.insert_micros, first.insert_micros, 0),
                beside(peer.insert_batch_micros, first.insert_batch_micros, 0),
                beside(peer.vacuum_seconds, first.vacuum_seconds, 2),
            );
        }
        let bare = &self.bare;
        let _ = writeln!(
            text,
            "| no index | | | | {:.0} | {:.0} | {:.2} |",
            bare.insert_micros, bare.insert_batch_micros, bare.vacuum_seconds
        );
        for one_in in [1, 10, 100] {
            self.write_questions(text, one_in);
        }
    }

    fn write_questions(&self, text: &mut String, one_in: usize) {
        let mut recalls: Vec<f64> = self
            .peers
            .iter()
            .flat_map(|p| &p.points)
            .filter(|p| p.one_in == one_in)
            .map(|p| p.wanted)
            .collect();
        recalls.sort_by(f64::total_cmp);
        recalls.dedup();
        if recalls.is_empty() {
            return;
        }
        let which =
            if one_in == 1 { "All rows".into() } else { format!("A filter that one row in {one_in} passes") };
        let _ = write!(
            text,
            "\n{which}, LIMIT 10:\n\n| index | recall@10 wanted | found | effort | fewest rows | µs of the server | µs by the clock | questions a second |\n|---|---|---|---|---|---|---|---|\n"
        );
        for wanted in recalls {
            let first = self.peers[0].point(one_in, wanted);
            for peer in &self.peers {
                let Some(point) = peer.point(one_in, wanted) else {
                    let _ = writeln!(text, "| {} | {wanted} | not reached | | | | | |", peer.name);
                    continue;
                };
                let against = |value: fn(&Point) -> f64| first.map_or(f64::NAN, value);
                let _ = writeln!(
                    text,
                    "| {} | {wanted} | {:.4} | {} | {} | {} | {} | {:.0} |",
                    peer.name,
                    point.recall,
                    point.effort,
                    point.least_rows,
                    beside(point.cpu_micros, against(|p| p.cpu_micros), 0),
                    beside(point.wall_micros, against(|p| p.wall_micros), 0),
                    1e6 / point.wall_micros,
                );
            }
        }
    }
}

impl Measured {
    /// What an index reads of itself, as a share of what memory allows in the time that a question takes.
    fn write_reading(&self, text: &mut String, bytes_a_second: f64) {
        let points = self.peers.iter().flat_map(|peer| peer.points.iter().map(move |point| (peer, point)));
        let mut rows = points.filter_map(|(peer, point)| Some((peer, point, point.bytes?))).peekable();
        if rows.peek().is_none() || bytes_a_second <= 0.0 {
            return;
        }
        let _ = write!(
            text,
            "\nRead of the index for a question, beside what one core reads from memory ({:.1} GB a second):\n\n\
             | index | one row in | recall@10 wanted | MB | µs that memory takes | share of the question |\n|---|---|---|---|---|---|\n",
            bytes_a_second / 1e9
        );
        for (peer, point, bytes) in rows {
            let micros = bytes / bytes_a_second * 1e6;
            let _ = writeln!(
                text,
                "| {} | {} | {} | {:.2} | {micros:.0} | {:.0} % |",
                peer.name,
                point.one_in,
                point.wanted,
                bytes / 1e6,
                100.0 * micros / point.cpu_micros
            );
        }
    }
}

/// A number, and how many times smaller than `first` it is.
fn beside(value: f64, first: f64, digits: usize) -> String {
    if value == first || !first.is_finite() || value <= 0.0 {
        return format!("{value:.digits$}");
    }
    format!("{value:.digits$} ({:.1}×)", first / value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str, factor: f64) -> Outcome {
        let point = |wanted: f64| Point {
            one_in: 1,
            wanted,
            recall: wanted,
            effort: "40".into(),
            least_rows: 10,
            bytes: (factor > 1.0).then_some(1e6),
            cpu_micros: 800.0 / factor,
            wall_micros: 900.0 / factor,
        };
        Outcome {
            name: name.into(),
            build_seconds: 30.0 / factor,
            bytes: 1_000_000,
            points: vec![point(0.95), point(0.99)],
            insert_micros: 2000.0 / factor,
            ..Outcome::default()
        }
    }

    #[test]
    fn a_page_says_how_many_times_better() {
        let size = |rows| Measured {
            set: "generated8".into(),
            dimensions: 8,
            rows,
            questions: 5,
            bare: Outcome::default(),
            peers: vec![peer("hnsw", 1.0), peer("howdah", 10.0)],
        };
        let report = Report {
            server: "s".into(),
            rounds: 3,
            memory_bytes_a_second: 2e10,
            notes: vec!["`x` left out".into()],
            sizes: vec![size(10), size(20)],
        };
        let dated = Dated { date: "2026-01-01".into(), machine: "m".into(), report: &report };
        let page = dated.page();
        assert!(page.contains("| howdah | 3.00 (10.0×) |"), "{page}");
        assert!(
            page.contains("| howdah | 0.95 | 0.9500 | 40 | 10 | 80 (10.0×) | 90 (10.0×) | 11111 |"),
            "{page}"
        );
        assert!(page.contains("## How the costs grow"), "{page}");
        assert!(page.contains("| howdah | 1 | 0.95 | 1.00 | 50 | 62 % |"), "{page}");
        assert!(!page.contains("| hnsw | 1 | 0.95 | 1.00"), "{page}");
        let again: Report = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
        assert_eq!(again, report);
    }
}
