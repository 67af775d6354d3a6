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

use super::text::is_unspaced;

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

/// A word of a question, as the index has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lexeme {
    /// Its text.
    pub text: String,
    /// Whether every word that begins so is meant.
    pub prefix: bool,
}

impl Lexeme {
    /// A word; a single character of a script without spaces is the beginning of a pair.
    pub fn whole(text: String) -> Lexeme {
        let mut characters = text.chars();
        let single = matches!((characters.next(), characters.next()), (Some(one), None) if is_unspaced(one));
        Lexeme { text, prefix: single }
    }

    /// The beginning of a word.
    pub fn beginning(text: String) -> Lexeme {
        Lexeme { text, prefix: true }
    }

    /// As a `tsquery` of itself.
    fn query(&self) -> String {
        let quoted = self.text.replace('\\', "\\\\").replace('\'', "''");
        format!("'{quoted}'{}", if self.prefix { ":*" } else { "" })
    }
}

impl Frequencies {
    /// Part of the rows that hold a lexeme. One that is not among the frequent is taken for half as frequent as the least
    /// of them.
    pub fn of(&self, lexeme: &Lexeme) -> f64 {
        let known = if lexeme.prefix {
            let begins = |(known, _): &(&String, &f32)| known.starts_with(&lexeme.text);
            let all: f32 = self.known.iter().filter(begins).map(|(_, frequency)| frequency).sum();
            (all > 0.0).then_some(all)
        } else {
            self.known.get(&lexeme.text).copied()
        };
        match known {
            Some(frequency) => f64::from(frequency).clamp(1e-6, 1.0),
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
    /// The place of each among the question's words in the order of their letters.
    pub places: Vec<u16>,
    /// A `tsquery` of the words that choose the candidates; empty when the question has none.
    pub candidates: String,
    /// Whether words were left out of the choice: then a list that is not full has to be asked for again with all.
    pub pruned: bool,
}

/// What the words of a question are for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// Rows of the table, as estimated.
    pub rows: f64,
    /// Rows of the list.
    pub list: u32,
    /// Whether every word chooses, however common.
    pub all: bool,
    /// What each word weighed on the page before, by its place: weights stay what they were.
    pub weighed: &'a [(u16, f64)],
}

/// Decides which words choose and what each weighs.
pub fn plan(lexemes: &[Lexeme], frequencies: &Frequencies, wanted: Wanted) -> WordPlan {
    let mut words: Vec<(f64, u16, &Lexeme)> = sorted(lexemes)
        .into_iter()
        .zip(0u16..)
        .map(|(lexeme, place)| (frequencies.of(lexeme), place, lexeme))
        .collect();
    words.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let before =
        |place: u16| wanted.weighed.iter().find(|(known, _)| *known == place).map(|(_, weight)| *weight);
    if wanted.weighed.is_empty() {
        words.truncate(MOST);
    } else {
        words.retain(|(_, place, _)| before(*place).is_some());
    }
    let list = f64::from(wanted.list);
    let enough = (list * PLENTY).max(CHEAP);
    // Without statistics (a table never analysed, an adopted one) no word is known to be common.
    let all = wanted.all || frequencies.known.is_empty();
    let mut sum = 0.0;
    let mut choosing = Vec::new();
    for (frequency, _, lexeme) in &words {
        let more = frequency * wanted.rows;
        // The rarest always chooses; the next ones while they are cheap or the list is not surely full.
        if all || choosing.is_empty() || sum < list * 4.0 || sum + more <= enough {
            sum += more;
            choosing.push(lexeme.query());
        }
    }
    let weight = |(frequency, place, _): &(f64, u16, &Lexeme)| {
        before(*place).unwrap_or_else(|| (1.0 + 1.0 / frequency).ln())
    };
    WordPlan {
        pruned: choosing.len() < words.len(),
        candidates: choosing.join(" | "),
        weights: words.iter().map(weight).collect(),
        queries: words.iter().map(|(_, _, lexeme)| lexeme.query()).collect(),
        places: words.iter().map(|(_, place, _)| *place).collect(),
    }
}

/// The `tsquery` that wants every word.
pub fn every(lexemes: &[Lexeme]) -> String {
    sorted(lexemes).into_iter().map(Lexeme::query).collect::<Vec<_>>().join(" & ")
}

fn sorted(lexemes: &[Lexeme]) -> Vec<&Lexeme> {
    let mut sorted: Vec<&Lexeme> = lexemes.iter().collect();
    sorted.sort();
    sorted.dedup();
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frequencies() -> Frequencies {
        let known = [("common", 0.4), ("usual", 0.1), ("rare", 0.001)];
        Frequencies { known: known.map(|(lexeme, part)| (lexeme.to_owned(), part)).into() }
    }

    fn words(words: &[&str]) -> Vec<Lexeme> {
        words.iter().map(|word| Lexeme::whole((*word).to_owned())).collect()
    }

    fn decided(lexemes: &[&str], frequencies: &Frequencies, rows: f64, all: bool) -> WordPlan {
        plan(&words(lexemes), frequencies, Wanted { rows, list: 10, all, weighed: &[] })
    }

    #[test]
    fn rare_words_weigh_more_and_choose() {
        let plan = decided(&["common", "rare", "unheard"], &frequencies(), 1_000_000.0, false);
        assert_eq!(plan.queries, ["'unheard'", "'rare'", "'common'"]);
        assert!(plan.weights.is_sorted_by(|a, b| a > b));
        assert_eq!(plan.candidates, "'unheard' | 'rare'");
        assert!(plan.pruned);
    }

    #[test]
    fn common_words_choose_where_nothing_else_fills_the_list() {
        let plan = decided(&["common", "usual"], &frequencies(), 1_000_000.0, false);
        assert_eq!((plan.candidates.as_str(), plan.pruned), ("'usual'", true));
        let all = decided(&["common", "usual"], &frequencies(), 1_000_000.0, true);
        assert_eq!((all.candidates.as_str(), all.pruned), ("'usual' | 'common'", false));
        let small = decided(&["common", "usual"], &frequencies(), 1000.0, false);
        assert!(!small.pruned);
    }

    #[test]
    fn without_statistics_every_word_chooses_and_all_weigh_the_same() {
        let plan = decided(&["a", "b"], &Frequencies::default(), 1_000_000.0, false);
        assert_eq!((plan.candidates.as_str(), plan.pruned), ("'a' | 'b'", false));
        assert!((plan.weights[0] - plan.weights[1]).abs() < 1e-12);
    }

    #[test]
    fn no_words_choose_nothing_and_quotes_are_doubled() {
        assert_eq!(decided(&[], &frequencies(), 10.0, false), WordPlan::default());
        assert_eq!(Lexeme::beginning("it's \\ a".into()).query(), "'it''s \\\\ a':*");
    }

    #[test]
    fn a_page_further_on_weighs_words_as_the_page_before() {
        let first = decided(&["common", "rare"], &frequencies(), 1000.0, false);
        let weighed: Vec<(u16, f64)> =
            first.places.iter().copied().zip(first.weights.iter().copied()).collect();
        let later = Frequencies { known: [("rare".to_owned(), 0.9)].into() };
        let wanted = Wanted { rows: 1000.0, list: 10, all: true, weighed: &weighed };
        let second = plan(&words(&["rare", "common"]), &later, wanted);
        let weight = |plan: &WordPlan, query: &str| {
            plan.weights[plan.queries.iter().position(|known| known == query).unwrap()]
        };
        for query in ["'rare'", "'common'"] {
            assert_eq!(weight(&first, query).to_bits(), weight(&second, query).to_bits());
        }
    }

    #[test]
    fn beginnings_and_single_characters_are_prefixes() {
        assert_eq!(
            every(&[Lexeme::whole("库".into()), Lexeme::beginning("back".into())]),
            "'back':* & '库':*"
        );
        assert_eq!(every(&words(&["资料", "料库", "资料"])), "'料库' & '资料'");
        let common = frequencies().of(&Lexeme::beginning("com".into()));
        assert!((common - 0.4).abs() < 1e-6);
    }
}
