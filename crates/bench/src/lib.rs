//! How do the indexes compare, at equal recall, on one server?
//!
//! [`index`] builds, asks, fills and vacuums the peers side by side; [`Dated`] is the form of every report. Nothing here knows
//! the product above PostgreSQL: the benches of search and ingest stand beside what they measure.

use std::path::Path;

use howdah_plan::problem::{Kind, Problem};
use serde::Serialize;

use howdah_postgres::machine;

pub mod index;
pub mod npy;

/// A report with the day (UTC) and the machine it was made on.
#[derive(Debug, Serialize)]
pub struct Dated<'a, T: Serialize> {
    /// Day, `2026-01-31`.
    pub date: String,
    /// Processor, cores, memory.
    pub machine: String,
    /// What was found.
    #[serde(flatten)]
    pub report: &'a T,
}

impl<'a, T: Serialize> Dated<'a, T> {
    /// Of today, on this machine.
    pub fn now(report: &'a T) -> Self {
        let date = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
        Dated { date, machine: machine::described(), report }
    }

    /// Writes it to `path` as JSON.
    ///
    /// # Errors
    /// `machine` when it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Problem> {
        let json = serde_json::to_string_pretty(self).map_err(|e| {
            Problem::new(Kind::Internal, "the report cannot be written").detail(e.to_string())
        })?;
        write(path, &(json + "\n"))
    }
}

fn write(path: &Path, text: &str) -> Result<(), Problem> {
    std::fs::write(path, text).map_err(|e| {
        Problem::new(Kind::Machine, format!("cannot write `{}`", path.display())).detail(e.to_string())
    })
}

/// The middle one of some numbers.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
