//! Which words of a question count, and how much?
//!
//! A question is rarely contained in one text, so a text with *any* of its words is a candidate, and what ranks it is how
//! rare the words are that it holds. PostgreSQL's own ranks know nothing of rarity: on 63,000 package descriptions and
//! twelve questions, `ts_rank_cd` put the right package among the first ten for two of them, `ts_rank` for five, the
//! weights below for nine. How rare a word is stands in the statistics that ANALYZE keeps of the text column, so it costs
//! no extension and no table of its own.
//!
//! Words that are in many texts add candidates by the ten thousand and hardly any rank. [`plan`] lets the rarest words
//! choose the candidates, as many as are needed to fill the list several times over, and all words rank them.

use std::collections::HashMap;

/// Candidates wanted for each row of the list, before a common word is left out of the choice.
const PLENTY: f64 = 20.0;
/// Candidates that are ranked without a second thought.
const CHEAP: f64 = 2_000.0;
/// Most words of a question that count; the rarest do.
const MOST: usize = 64;

/// How frequent the words of a collection are.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Frequencies {
    /// Part of the rows that hold a lexeme, 0 to 1, for the frequent ones.
    pub known: HashMap<String, f32>,
}

impl Frequencies {
    /// Part of the rows that hold a lexeme. One that is not among the frequent is taken for half as frequent as the least
    /// of them.
    pub fn of(&self, lexeme: &str) -> f64 {
        match self.known.get(lexeme) {
            Some(frequency) => f64::from(*frequency).clamp(1e-6, 1.0),
            None => self.least() / 2.0,
        }
    }

    fn least(&self) -> f64 {
        self.known.values().copied().fold(0.01, f32::min).into()
    }
}

/// The words of a question, decided on.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WordPlan {
    /// The words that rank, each as a `tsquery`.
    pub queries: Vec<String>,
    /// What each weighs.
    pub weights: Vec<f64>,
    /// A `tsquery` of the words that choose the candidates; empty when the question has none.
    pub candidates: String,
    /// Whether words were left out of the choice: then a list that is not full has to be asked for again with all.
    pub pruned: bool,
}

/// Decides which words choose and what each weighs. `rows` is the table's estimate, `wanted` the rows of the list; `all`
/// lets every word choose.
pub fn plan(lexemes: &[String], frequencies: &Frequencies, rows: f64, wanted: u32, all: bool) -> WordPlan {
    let mut words: Vec<(f64, &str)> =
        lexemes.iter().map(|lexeme| (frequencies.of(lexeme), lexeme.as_str())).collect();
    words.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(b.1)));
    words.truncate(MOST);
    let enough = (f64::from(wanted) * PLENTY).max(CHEAP);
    // Without statistics (a table never analysed, an adopted one) no word is known to be common.
    let all = all || frequencies.known.is_empty();
    let mut sum = 0.0;
    let mut choosing = Vec::new();
    for (frequency, lexeme) in &words {
        let more = frequency * rows;
        // The rarest always chooses; the next ones while they are cheap or the list is not surely full.
        if all || choosing.is_empty() || sum < f64::from(wanted) * 4.0 || sum + more <= enough {
            sum += more;
            choosing.push(quote(lexeme));
        }
    }
    WordPlan {
        pruned: choosing.len() < words.len(),
        candidates: choosing.join(" | "),
        weights: words.iter().map(|(frequency, _)| (1.0 + 1.0 / frequency).ln()).collect(),
        queries: words.iter().map(|(_, lexeme)| quote(lexeme)).collect(),
    }
}

/// A lexeme as a `tsquery` of itself.
fn quote(lexeme: &str) -> String {
    format!("'{}'", lexeme.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frequencies() -> Frequencies {
        let known = [("common", 0.4), ("usual", 0.1), ("rare", 0.001)];
        Frequencies { known: known.map(|(lexeme, part)| (lexeme.to_owned(), part)).into() }
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn rare_words_weigh_more_and_choose() {
        let plan = plan(&words(&["common", "rare", "unheard"]), &frequencies(), 1_000_000.0, 10, false);
        assert_eq!(plan.queries, ["'unheard'", "'rare'", "'common'"]);
        assert!(plan.weights.is_sorted_by(|a, b| a > b));
        assert_eq!(plan.candidates, "'unheard' | 'rare'");
        assert!(plan.pruned);
    }

    #[test]
    fn common_words_choose_where_nothing_else_fills_the_list() {
        let plan = plan(&words(&["common", "usual"]), &frequencies(), 1_000_000.0, 10, false);
        assert_eq!((plan.candidates.as_str(), plan.pruned), ("'usual'", true));
        let all = super::plan(&words(&["common", "usual"]), &frequencies(), 1_000_000.0, 10, true);
        assert_eq!((all.candidates.as_str(), all.pruned), ("'usual' | 'common'", false));
        let small = super::plan(&words(&["common", "usual"]), &frequencies(), 1000.0, 10, false);
        assert!(!small.pruned);
    }

    #[test]
    fn without_statistics_every_word_chooses_and_all_weigh_the_same() {
        let plan = plan(&words(&["a", "b"]), &Frequencies::default(), 1_000_000.0, 10, false);
        assert_eq!((plan.candidates.as_str(), plan.pruned), ("'a' | 'b'", false));
        assert!((plan.weights[0] - plan.weights[1]).abs() < 1e-12);
    }

    #[test]
    fn no_words_choose_nothing_and_quotes_are_doubled() {
        assert_eq!(plan(&[], &frequencies(), 10.0, 10, false), WordPlan::default());
        assert_eq!(quote("it's \\ a"), "'it''s \\\\ a'");
    }
}
