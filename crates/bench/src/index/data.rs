//! Vectors to index, questions to ask, and the right answers.

use std::path::PathBuf;
use std::thread;

use howdah_index::distance::{dot, l2_squared};
use howdah_index::generate::TextLike;
use howdah_plan::problem::{Kind, Problem};

use crate::npy::read_npy;

/// Right answers known for each question.
pub const NEAREST: usize = 10;
/// Two rows whose squared distances differ by less are equally near: what float32 arithmetic in another order gives.
const TIE: f32 = 2e-6;
/// Questions asked under a filter: they take ten to a hundred times as long.
const FILTERED_QUESTIONS: usize = 200;
/// With fewer rows there are no ten that pass the narrowest filter.
const FEWEST_ROWS: usize = 1000;
/// Seed of generated vectors.
const SEED: u64 = 1;

/// Where vectors come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `.npy` files of float32 or float16: rows, and questions.
    Files {
        /// The rows.
        vectors: PathBuf,
        /// The questions.
        queries: PathBuf,
        /// Rows to insert later; the last ones of `vectors` without it.
        inserts: Option<PathBuf>,
    },
    /// Generated, with neighbourhoods like those of text embeddings.
    Generated {
        /// Dimensions of each vector.
        dimensions: usize,
        /// Number of questions.
        queries: usize,
    },
}

/// Which rows a question may be answered with: all, or those whose number leaves the same remainder as the question's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Filter {
    /// All rows.
    All,
    /// One row in ten.
    Tenth,
    /// One row in a hundred.
    Hundredth,
}

impl Filter {
    /// All of them.
    pub const EACH: [Filter; 3] = [Filter::All, Filter::Tenth, Filter::Hundredth];

    /// Of how many rows one passes.
    pub fn one_in(self) -> usize {
        match self {
            Filter::All => 1,
            Filter::Tenth => 10,
            Filter::Hundredth => 100,
        }
    }

    fn passes(self, question: usize, row: usize) -> bool {
        row % self.one_in() == question % self.one_in()
    }
}

/// Rows to index, further rows to insert, questions, and the distance of the last right answer to each.
#[derive(Debug)]
pub struct Set {
    /// Name, for the report.
    pub name: String,
    /// Dimensions of each vector.
    pub dimensions: usize,
    /// Rows of the index, one after the other.
    pub rows: Vec<f32>,
    /// Rows to insert later.
    pub more: Vec<f32>,
    /// Questions.
    pub queries: Vec<f32>,
    /// Squared distance of the [`NEAREST`]-th row that passes each filter, by filter and question.
    limits: [Vec<f32>; 3],
}

impl Set {
    /// Reads or makes `rows` rows and `more` further ones, at most as many as there are; then finds the right answers.
    ///
    /// # Errors
    /// `usage` when a file is not what it should be.
    pub fn load(source: &Source, rows: usize, more: usize) -> Result<Set, Problem> {
        let (name, dimensions, mut all, queries, inserts) = match source {
            Source::Files { vectors, queries, inserts } => {
                let (all, asked) = (read_npy(vectors)?, read_npy(queries)?);
                let inserts = inserts.as_deref().map(read_npy).transpose()?;
                let dimensions = all.first().map_or(0, Vec::len);
                let others = asked.iter().chain(inserts.iter().flatten());
                if all.is_empty() || asked.is_empty() || others.clone().any(|row| row.len() != dimensions) {
                    return Err(Problem::new(Kind::Usage, "rows and questions do not fit together")
                        .detail(format!("rows have {dimensions} dimensions"))
                        .hint("Give .npy files with vectors of the same model."));
                }
                let name = vectors.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                (name, dimensions, all.concat(), asked.concat(), inserts.map(|rows| rows.concat()))
            }
            Source::Generated { dimensions, queries } => {
                let mut texts = TextLike::new(*dimensions, SEED);
                // The questions first: they are then the same whatever the number of rows.
                let asked = texts.take(*queries);
                (format!("generated{dimensions}"), *dimensions, texts.take(rows + more), asked, None)
            }
        };
        let have = all.len() / dimensions;
        let rows = rows.min(if inserts.is_some() { have } else { have.saturating_sub(more) });
        let rest = all.split_off(rows * dimensions);
        if rows < FEWEST_ROWS {
            return Err(Problem::new(Kind::Usage, format!("{rows} rows are too few to compare indexes"))
                .detail(format!(
                    "there are {have}, of which {more} are kept to be inserted when no other file has them"
                ))
                .hint(format!("Take {FEWEST_ROWS} rows or more.")));
        }
        let mut later = inserts.unwrap_or(rest);
        later.truncate(more * dimensions);
        let mut set = Set { name, dimensions, rows: all, more: later, queries, limits: Default::default() };
        set.limits = set.answer();
        Ok(set)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len() / self.dimensions
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Number of questions.
    pub fn questions(&self) -> usize {
        self.queries.len() / self.dimensions
    }

    /// Number of questions that are asked under `filter`.
    pub fn questions_under(&self, filter: Filter) -> usize {
        if filter == Filter::All { self.questions() } else { self.questions().min(FILTERED_QUESTIONS) }
    }

    /// Vector of question `n`.
    pub fn question(&self, n: usize) -> &[f32] {
        &self.queries[n * self.dimensions..(n + 1) * self.dimensions]
    }

    /// Vector of row `n`.
    pub fn row(&self, n: usize) -> &[f32] {
        &self.rows[n * self.dimensions..(n + 1) * self.dimensions]
    }

    /// How many of the rows `found` are right answers to question `n` under `filter`, equally near ones counted.
    pub fn right(&self, filter: Filter, n: usize, found: &[i64]) -> usize {
        let limit = self.limits[filter as usize][n] + TIE;
        let right = |row: &&i64| {
            usize::try_from(**row)
                .is_ok_and(|row| row < self.len() && filter.passes(n, row) && self.apart(n, row) <= limit)
        };
        found.iter().take(NEAREST).filter(right).count()
    }

    fn apart(&self, question: usize, row: usize) -> f32 {
        let (q, r) = (self.question(question), self.row(row));
        let lengths = (dot(q, q) * dot(r, r)).sqrt();
        // Twice the cosine distance: what squared distance is at unit length.
        if lengths > 0.0 { 2.0 - 2.0 * dot(q, r) / lengths } else { l2_squared(q, r) }
    }

    fn answer(&self) -> [Vec<f32>; 3] {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let share = self.questions().div_ceil(cores).max(1);
        let parts: Vec<Vec<[f32; 3]>> = thread::scope(|scope| {
            let numbers: Vec<usize> = (0..self.questions()).collect();
            let work: Vec<_> = numbers
                .chunks(share)
                .map(|chunk| {
                    let chunk = chunk.to_vec();
                    scope.spawn(move || chunk.into_iter().map(|n| self.limits_of(n)).collect())
                })
                .collect();
            work.into_iter().map(|one| one.join().unwrap_or_default()).collect()
        });
        let all = parts.concat();
        [0, 1, 2].map(|filter| all.iter().map(|limits| limits[filter]).collect())
    }

    fn limits_of(&self, question: usize) -> [f32; 3] {
        let mut apart: Vec<(f32, usize)> =
            (0..self.len()).map(|row| (self.apart(question, row), row)).collect();
        apart.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        Filter::EACH.map(|filter| {
            let mut passing = apart.iter().filter(|(_, row)| filter.passes(question, *row));
            passing.nth(NEAREST - 1).map_or(f32::INFINITY, |(apart, _)| *apart)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_answers_are_those_that_no_other_row_beats() {
        let source = Source::Generated { dimensions: 16, queries: 20 };
        let set = Set::load(&source, 2000, 100).unwrap();
        assert_eq!((set.len(), set.questions(), set.more.len()), (2000, 20, 1600));
        for n in 0..20 {
            for filter in Filter::EACH {
                let mut rows: Vec<usize> = (0..2000).filter(|row| filter.passes(n, *row)).collect();
                rows.sort_by(|a, b| set.apart(n, *a).total_cmp(&set.apart(n, *b)));
                let ids: Vec<i64> = rows.iter().map(|row| *row as i64).collect();
                assert_eq!(set.right(filter, n, &ids), NEAREST);
                assert!(set.right(filter, n, &ids[NEAREST..]) < NEAREST);
                let wrong: Vec<i64> = ids.iter().rev().take(NEAREST).copied().collect();
                assert_eq!(set.right(filter, n, &wrong), 0);
            }
        }
        assert_eq!(set.right(Filter::Hundredth, 1, &[0, 100, 200, -1, 1 << 40]), 0);
    }
}
