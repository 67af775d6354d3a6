//! `howdah logs`: Howdah's own log, PostgreSQL's, or both in one.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use howdah_plan::problem::{Kind, Problem};
use jiff::Timestamp;

use super::args::Logs;
use super::common::Common;
use super::print;
use super::refusal::Outcome;
use crate::daemon::declaration::Declaration;
use crate::daemon::directory::{InstanceDirectory, cannot};
use crate::daemon::local;
use crate::observe::log_file::{self, Tail};
use howdah_postgres::instance::Layout;

/// How often a log that is followed is looked at.
const GLANCE: Duration = Duration::from_millis(200);

/// Shows the log.
pub async fn logs(common: &Common, flags: &Logs) -> Outcome {
    let declaration = Declaration::find(common.file.as_deref())?;
    let home = local::home()?;
    let directory = InstanceDirectory::existing(&declaration, &home.instances()).ok_or_else(|| {
        Problem::new(Kind::NotFound, format!("`{}` was never started here", declaration.spec.name))
            .hint("Start it with `howdah up`.")
    })?;
    let postgres = Layout::new(&home, &directory.id, &declaration.spec.server).log_file();
    if flags.all {
        return both(flags, &declaration, directory.log_file(), postgres).await;
    }
    let path = if flags.postgres { postgres } else { directory.log_file() };
    if !path.exists() && !flags.follow {
        return Err(no_log(&declaration, &path, flags.postgres).into());
    }
    let mut source = Source::open("", path, flags.lines).await?;
    print::out(&String::from_utf8_lossy(&std::mem::take(&mut source.last)));
    while flags.follow && !print::unread() {
        tokio::time::sleep(GLANCE).await;
        let more = source.more()?;
        if !more.is_empty() {
            print::out(&String::from_utf8_lossy(&more));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Both logs, in the order of the times that their lines begin with.
async fn both(flags: &Logs, declaration: &Declaration, own: PathBuf, postgres: PathBuf) -> Outcome {
    if !own.exists() && !postgres.exists() && !flags.follow {
        return Err(no_log(declaration, &own, false).into());
    }
    let mut sources = [
        Source::open("howdah", own, flags.lines).await?,
        Source::open("postgres", postgres, flags.lines).await?,
    ];
    let mut entries = Vec::new();
    for source in &mut sources {
        let text = std::mem::take(&mut source.last);
        entries.extend(source.entries(&text));
    }
    let mut merged = merged(entries);
    let lines: usize = merged.iter().map(|entry| entry.lines).sum();
    let mut surplus = lines.saturating_sub(flags.lines);
    merged.retain(|entry| {
        let kept = surplus < entry.lines;
        surplus = surplus.saturating_sub(entry.lines);
        kept
    });
    merged.iter().for_each(|entry| print::out(&entry.text));
    while flags.follow && !print::unread() {
        tokio::time::sleep(GLANCE).await;
        let mut entries = Vec::new();
        for source in &mut sources {
            let text = source.more()?;
            entries.extend(source.entries(&text));
        }
        self::merged(entries).iter().for_each(|entry| print::out(&entry.text));
    }
    Ok(ExitCode::SUCCESS)
}

/// A log that is read.
struct Source {
    name: &'static str,
    path: PathBuf,
    last: Vec<u8>,
    tail: Tail,
    /// When its latest line with a time was written.
    now: Timestamp,
    /// The beginning of a line whose end is not there yet.
    begun: Vec<u8>,
}

/// A line of a log with those that belong to it.
#[derive(Debug)]
struct Entry {
    at: Timestamp,
    text: String,
    lines: usize,
}

impl Source {
    async fn open(name: &'static str, path: PathBuf, lines: usize) -> Result<Source, Problem> {
        let there = path.clone();
        let read = tokio::task::spawn_blocking(move || log_file::last_lines(&there, lines)).await;
        let (last, tail) = read
            .map_err(|error| Problem::new(Kind::Internal, "reading broke off").detail(error.to_string()))?
            .map_err(|error| cannot("read", &path, &error))?;
        Ok(Source { name, path, last, tail, now: Timestamp::MIN, begun: Vec::new() })
    }

    fn more(&mut self) -> Result<Vec<u8>, Problem> {
        self.tail.more().map_err(|error| cannot("read", &self.path, &error))
    }

    /// The whole lines of `text`, each with the name of the log before it. A line without a time goes on with the one before.
    fn entries(&mut self, text: &[u8]) -> Vec<Entry> {
        self.begun.extend_from_slice(text);
        let Some(end) = self.begun.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let rest = self.begun.split_off(end + 1);
        let whole = std::mem::replace(&mut self.begun, rest);
        let mut entries: Vec<Entry> = Vec::new();
        for line in String::from_utf8_lossy(&whole).lines() {
            let at = time_of(line);
            self.now = at.unwrap_or(self.now);
            let text = format!("{:<8} | {line}\n", self.name);
            match entries.last_mut().filter(|_| at.is_none()) {
                Some(entry) => {
                    entry.text.push_str(&text);
                    entry.lines += 1;
                }
                None => entries.push(Entry { at: self.now, text, lines: 1 }),
            }
        }
        entries
    }
}

/// In the order of their times; what has the same time stays as it came.
fn merged(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by_key(|entry| entry.at);
    entries
}

/// When a line was written: Howdah's are JSON with a `timestamp`, PostgreSQL's begin with `%m`, both in UTC unless said.
fn time_of(line: &str) -> Option<Timestamp> {
    if line.starts_with('{') {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        return value["timestamp"].as_str()?.parse().ok();
    }
    let mut words = line.splitn(4, ' ');
    let (day, time, zone) = (words.next()?, words.next()?, words.next()?);
    let local: jiff::civil::DateTime = format!("{day}T{time}").parse().ok()?;
    let zone = jiff::tz::TimeZone::get(zone).unwrap_or(jiff::tz::TimeZone::UTC);
    Some(local.to_zoned(zone).ok()?.timestamp())
}

/// There is nothing to show yet, and why.
fn no_log(declaration: &Declaration, path: &Path, postgres: bool) -> Problem {
    let name = &declaration.spec.name;
    let detail = format!("`{}` does not exist", path.display());
    if postgres {
        Problem::new(Kind::NotFound, format!("PostgreSQL of `{name}` has no log here"))
            .detail(detail)
            .hint("Howdah keeps the log of servers that it starts itself; a declared server keeps its own.")
    } else {
        Problem::new(Kind::NotFound, format!("`{name}` has no log yet"))
            .detail(detail)
            .hint("`howdah up` writes one; with `--foreground` the log goes to standard error.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_logs_are_one_in_the_order_of_their_times() {
        let dir = tempfile::tempdir().unwrap();
        let source = async |name: &'static str| Source::open(name, dir.path().join(name), 10).await.unwrap();
        let (mut own, mut postgres) = (source("howdah").await, source("postgres").await);
        let mut entries = own.entries(
            b"{\"timestamp\":\"2026-11-28T21:00:30.5Z\",\"message\":\"first\"}\n\
              {\"timestamp\":\"2026-11-28T21:00:30.9Z\",\"message\":\"fourth\"}\n{\"timest",
        );
        entries.extend(postgres.entries(
            b"2026-11-28 21:00:30.600 UTC [7] ERROR:  second\n\tDETAIL of it\n2026-11-28 21:00:30.700 UTC [7] LOG:  third\n",
        ));
        let text: String = merged(entries).into_iter().map(|entry| entry.text).collect();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert!(lines[0].starts_with("howdah   | {") && lines[0].contains("first"), "{text}");
        assert!(lines[1].starts_with("postgres | 2026") && lines[1].ends_with("second"), "{text}");
        assert_eq!(lines[2], "postgres | \tDETAIL of it");
        assert!(lines[3].ends_with("third") && lines[4].contains("fourth"), "{text}");
        // The line that was cut off is whole when its end comes.
        let rest = own.entries(b"amp\":\"2026-11-28T21:00:31Z\",\"message\":\"fifth\"}\n");
        assert!(rest.len() == 1 && rest[0].text.contains("fifth"), "{rest:?}");
    }
}
