//! The words of a question, and how frequent they are in a collection.
//!
//! Both are kept: the lexemes of a text never change, the statistics of a column change with ANALYZE. So the decision
//! which words choose and what they weigh is taken here, and the statement gets it as values.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use howdah_plan::problem::Problem;
use howdah_plan::search::ask::Ask;
use howdah_plan::search::question::Question;
use howdah_plan::search::request::{Mode, Part, Words as Matched};
use howdah_plan::search::statement;
use howdah_plan::search::words::{Frequencies, Lexeme};
use howdah_plan::spec::resolve::Resolved;

use crate::collections::cache::Cache;
use crate::collections::facts;
use howdah_postgres::problem::from_pg;
use howdah_postgres::{Lease, Pools, param};

/// How long the lexemes of a text are kept.
const LEXEMES_FRESH: Duration = Duration::from_secs(600);
/// How long statistics are kept.
const FREQUENCIES_FRESH: Duration = Duration::from_secs(60);
/// Longest text whose lexemes are kept, in bytes.
const LONGEST: usize = 1000;

/// What is remembered of words.
#[derive(Default)]
struct Words {
    lexemes: Cache<Arc<Asked>>,
    frequencies: Cache<Arc<Frequencies>>,
}

/// Statistics of the `tsvector` column: the last entries of the frequencies are their bounds, not a lexeme's.
const STATISTICS: &str = "
SELECT most_common_elems::text::text[], most_common_elem_freqs FROM pg_stats
WHERE schemaname = $1 AND tablename = $2 AND attname = $3";

/// The words of a question.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// Its words and the beginnings of words.
    pub(crate) words: Vec<Lexeme>,
    /// Its compounds as they are, which rank besides their parts.
    pub(crate) compounds: Vec<Lexeme>,
}

/// What is known of a question's words before it is searched.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    pub(crate) asked: Arc<Asked>,
    pub(crate) frequencies: Arc<Frequencies>,
}

/// The words of a request and their frequencies; nothing where none are searched for.
pub(crate) async fn of(pools: &Pools, resolved: &Resolved, ask: &Ask) -> Result<Known, Problem> {
    let Some(text) = &ask.text else { return Ok(Known::default()) };
    let marked = ask.words == Matched::Web && ask.select.contains(&Part::Snippet);
    if ask.mode == Mode::Vector || (ask.words == Matched::Web && !marked) {
        return Ok(Known::default());
    }
    let question = Question::read(text, ask.words);
    let table = facts::key(resolved);
    let words = pools.remembered::<Words>();
    let name = format!("{table}\0{}\0{}\0{}", resolved.language, question.wanted, question.prefixes);
    let (lexemes, frequencies) =
        (words.lexemes.get(&name, LEXEMES_FRESH), words.frequencies.get(&table, FREQUENCIES_FRESH));
    if let (Some(lexemes), Some(frequencies)) = (&lexemes, &frequencies) {
        return Ok(Known { asked: Arc::clone(lexemes), frequencies: Arc::clone(frequencies) });
    }
    let client = pools.get(&resolved.database).await?;
    let lexemes = match lexemes {
        Some(lexemes) => lexemes,
        None => {
            let ask = statement::lexemes(&question, resolved);
            let rows = client.query_typed(&ask.sql, &param::typed(&ask.params)).await.map_err(failed)?;
            let lexemes = Arc::new(rows.first().map(read_lexemes).unwrap_or_default());
            if text.len() <= LONGEST {
                words.lexemes.put(name, Arc::clone(&lexemes), LEXEMES_FRESH);
            }
            lexemes
        }
    };
    let frequencies = match frequencies {
        Some(frequencies) => frequencies,
        None => {
            let frequencies = Arc::new(read(&client, resolved).await?);
            words.frequencies.put(table, Arc::clone(&frequencies), FREQUENCIES_FRESH);
            frequencies
        }
    };
    Ok(Known { asked: lexemes, frequencies })
}

fn read_lexemes(row: &tokio_postgres::Row) -> Asked {
    let part = |at: usize, lexeme: fn(String) -> Lexeme| {
        row.get::<_, Vec<String>>(at).into_iter().map(lexeme).collect::<Vec<_>>()
    };
    let mut words = part(0, Lexeme::whole);
    words.extend(part(2, Lexeme::beginning));
    Asked { words, compounds: part(1, Lexeme::whole) }
}

async fn read(client: &Lease, resolved: &Resolved) -> Result<Frequencies, Problem> {
    // An adopted table has no such column, and every word weighs the same.
    let Some(tsv) = &resolved.columns.tsv else { return Ok(Frequencies::default()) };
    let row =
        client.query_opt(STATISTICS, &[&resolved.schema, &resolved.table, tsv]).await.map_err(failed)?;
    let Some(row) = row else { return Ok(Frequencies::default()) };
    let lexemes: Vec<String> = row.get::<_, Option<_>>(0).unwrap_or_default();
    let frequencies: Vec<f32> = row.get::<_, Option<_>>(1).unwrap_or_default();
    Ok(Frequencies { known: lexemes.into_iter().zip(frequencies).collect::<HashMap<_, _>>() })
}

fn failed(error: tokio_postgres::Error) -> Problem {
    from_pg(&error, "read the words of a text")
}
