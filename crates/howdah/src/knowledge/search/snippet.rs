//! Which part of a text shows that it answers the question?
//!
//! A snippet is plain text: it begins at a sentence, or at a word where the sentence is long, `…` says that text is left
//! out, and the words of the question are marked by their places, so that every face can show them its own way and none
//! has to trust what a document holds. Which words of the text are meant is not guessed: PostgreSQL is asked once for the
//! lexemes of all of them ([`words`], [`Marker`]).

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use howdah_plan::search::text::{is_invisible, is_unspaced};
use howdah_plan::search::words::Lexeme;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use unicode_segmentation::UnicodeSegmentation;

/// Characters of a snippet.
const LENGTH: usize = 300;
/// Of which before the first marked word, where its sentence begins further ahead.
const LEAD: usize = 80;
/// Marks that a window is looked at for.
const MOST_WINDOWS: usize = 200;
/// Words of an answer that PostgreSQL is asked for; the texts of more are marked as far as these go.
pub(super) const MOST_WORDS: usize = 20_000;

/// A snippet and where the words are in it, in characters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Snippet {
    pub text: String,
    pub marks: Vec<[u32; 2]>,
}

/// A word of a text: where it stands and what it is looked up as; a run of a script without spaces has no form.
struct Token {
    range: Range<usize>,
    form: Option<String>,
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut open: Option<(usize, bool)> = None;
    let mut close = |open: &mut Option<(usize, bool)>, end: usize| {
        if let Some((begin, unspaced)) = open.take() {
            let range = begin..end;
            let form = (!unspaced).then(|| form(&text[range.clone()]));
            if form.as_ref().is_none_or(|form| !form.is_empty()) {
                tokens.push(Token { range, form });
            }
        }
    };
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let next = characters.peek().map(|(_, next)| *next);
        let kind = if is_unspaced(character) {
            Some(true)
        } else if character.is_alphanumeric() {
            Some(false)
        } else if is_combining_mark(character) || is_invisible(character) {
            open.map(|(_, unspaced)| unspaced)
        } else if character == '.' && next.is_some_and(|next| next.is_ascii_digit()) {
            // A version, a number.
            open.filter(|(begin, _)| text[*begin..at].ends_with(|c: char| c.is_ascii_digit())).map(|_| false)
        } else {
            None
        };
        match (kind, open) {
            (Some(kind), Some((_, unspaced))) if kind == unspaced => {}
            (kind, _) => {
                close(&mut open, at);
                open = kind.map(|kind| (at, kind));
            }
        }
    }
    close(&mut open, text.len());
    tokens
}

/// A word as the index has it, before it is stemmed.
fn form(word: &str) -> String {
    word.nfkc().filter(|character| !is_invisible(*character)).collect::<String>().to_lowercase()
}

/// The different words of texts, for PostgreSQL to say the lexemes of.
pub(super) fn words<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut words = Vec::new();
    for form in texts.flat_map(tokens).filter_map(|token| token.form) {
        if words.len() == MOST_WORDS {
            break;
        }
        if seen.insert(form.clone()) {
            words.push(form);
        }
    }
    words
}

/// Finds a question's words in texts.
pub(super) struct Marker {
    /// Forms of words that are among the question's.
    meant: HashSet<String>,
    /// Pairs of characters, and single ones that begin any pair.
    pairs: HashSet<String>,
    singles: HashSet<char>,
}

impl Marker {
    /// From the question's lexemes and the lexemes of the texts' words.
    pub fn new(question: &[Lexeme], words: HashMap<String, Vec<String>>) -> Marker {
        let exact: HashSet<&str> =
            question.iter().filter(|lexeme| !lexeme.prefix).map(|lexeme| lexeme.text.as_str()).collect();
        let beginnings: Vec<&str> =
            question.iter().filter(|lexeme| lexeme.prefix).map(|lexeme| lexeme.text.as_str()).collect();
        let fits = |lexeme: &String| {
            exact.contains(lexeme.as_str())
                || beginnings.iter().any(|beginning| lexeme.starts_with(beginning))
        };
        let meant =
            words.into_iter().filter(|(_, lexemes)| lexemes.iter().any(fits)).map(|(word, _)| word).collect();
        let unspaced = |lexeme: &&Lexeme| lexeme.text.chars().all(|c| is_unspaced(c) || is_combining_mark(c));
        let mut marker = Marker { meant, pairs: HashSet::new(), singles: HashSet::new() };
        for lexeme in question.iter().filter(unspaced) {
            let mut characters = lexeme.text.chars();
            match (characters.next(), characters.next()) {
                (Some(one), None) => drop(marker.singles.insert(one)),
                _ => drop(marker.pairs.insert(lexeme.text.clone())),
            }
        }
        marker
    }

    /// Where the question's words stand in a text, in bytes, with what each is.
    fn marks(&self, text: &str) -> Vec<(Range<usize>, String)> {
        let mut marks = Vec::new();
        for token in tokens(text) {
            match token.form {
                Some(form) if self.meant.contains(&form) => marks.push((token.range, form)),
                Some(_) => {}
                None => self.pairs_in(text, token.range, &mut marks),
            }
        }
        marks
    }

    fn pairs_in(&self, text: &str, run: Range<usize>, marks: &mut Vec<(Range<usize>, String)>) {
        let mut characters: Vec<(char, Range<usize>)> = Vec::new();
        for (at, grapheme) in text[run.clone()].grapheme_indices(true) {
            let range = run.start + at..run.start + at + grapheme.len();
            let folded = grapheme.nfkc().filter(|character| !is_invisible(*character));
            characters.extend(folded.map(|character| (character, range.clone())));
        }
        let mut found: Vec<Range<usize>> = Vec::new();
        for (at, (character, range)) in characters.iter().enumerate() {
            let pair = characters.get(at + 1);
            let paired = pair.is_some_and(|(next, _)| self.pairs.contains(&format!("{character}{next}")));
            let end = match pair {
                Some((_, next)) if paired => next.end,
                _ if self.singles.contains(character) => range.end,
                _ => continue,
            };
            match found.last_mut() {
                Some(last) if last.end >= range.start => last.end = last.end.max(end),
                _ => found.push(range.start..end),
            }
        }
        marks.extend(found.into_iter().map(|range| (range.clone(), text[range].to_owned())));
    }

    /// The snippet of a text.
    pub fn snippet(&self, text: &str) -> Snippet {
        let marks = self.marks(text);
        let window = window(text, &marks);
        cut(text, window, &marks)
    }
}

/// The part of the text to show: from a sentence on, where the most different words are.
fn window(text: &str, marks: &[(Range<usize>, String)]) -> Range<usize> {
    let whole = end_of(text, 0) == text.len();
    let Some((first, _)) = marks.first().filter(|_| !whole) else { return 0..end_of(text, 0) };
    let sentences: Vec<usize> = text.split_sentence_bound_indices().map(|(at, _)| at).collect();
    let begin_for = |mark: usize| {
        let sentence = sentences[..sentences.partition_point(|at| *at <= mark)].last().copied().unwrap_or(0);
        if text[sentence..mark].chars().count() <= LENGTH / 2 {
            return sentence;
        }
        let lead = text[..mark].char_indices().rev().nth(LEAD - 1).map_or(0, |(at, _)| at);
        let word = text[lead..mark].split_word_bound_indices().map(|(at, _)| lead + at).find(|at| {
            *at > lead
                && text[*at..].starts_with(|c: char| !c.is_whitespace())
                && text[..*at].ends_with(char::is_whitespace)
        });
        word.unwrap_or(mark)
    };
    let mut best = (0, begin_for(first.start));
    let mut last_begin = None;
    for (mark, _) in marks.iter().take(MOST_WINDOWS) {
        let begin = begin_for(mark.start);
        if last_begin == Some(begin) {
            continue;
        }
        last_begin = Some(begin);
        let end = end_of(text, begin);
        let inside = marks.iter().filter(|(range, _)| range.start >= begin && range.end <= end);
        let different = inside.map(|(_, what)| what).collect::<HashSet<_>>().len();
        if different > best.0 {
            best = (different, begin);
        }
    }
    let end = end_of(text, best.1);
    // The end of a text takes the sentences before it along.
    let fits = |at: &usize| *at <= best.1 && text[*at..end].chars().count() <= LENGTH;
    let begin = if end == text.len() { sentences.iter().copied().find(fits) } else { None };
    begin.unwrap_or(best.1)..end
}

/// Where a part of the text ends that begins at `begin`: after a word.
fn end_of(text: &str, begin: usize) -> usize {
    let Some((most, _)) = text[begin..].char_indices().nth(LENGTH) else { return text.len() };
    let words = text[begin..].split_word_bound_indices().map(|(at, word)| at + word.len());
    words.take_while(|end| *end <= most).last().map_or(begin + most, |end| begin + end)
}

/// The window with single spaces, and the marks in it counted in characters.
fn cut(text: &str, window: Range<usize>, marks: &[(Range<usize>, String)]) -> Snippet {
    let mut snippet = Snippet::default();
    let mut length = 0u32;
    let before = text[..window.start].trim();
    if !before.is_empty() {
        snippet.text.push_str("… ");
        length = 2;
    }
    let mut marks =
        marks.iter().map(|(range, _)| range).filter(|range| window.contains(&range.start)).peekable();
    let (mut open, mut spaced) = (None, true);
    for (at, character) in
        text[window.clone()].char_indices().map(|(at, character)| (window.start + at, character))
    {
        if open.is_some_and(|(_, end)| at >= end) {
            snippet.marks.extend(open.take().map(|(begin, _)| [begin, length]));
        }
        let white = character.is_whitespace() || character.is_control();
        if white {
            if !spaced {
                snippet.text.push(' ');
                length += 1;
            }
            spaced = true;
            continue;
        }
        if let Some(mark) = marks.next_if(|mark| mark.start <= at) {
            open = Some((length, mark.end));
        }
        spaced = false;
        snippet.text.push(character);
        length += 1;
    }
    snippet.marks.extend(open.map(|(begin, _)| [begin, length]));
    let trimmed = snippet.text.trim_end().len();
    snippet.text.truncate(trimmed);
    if !text[window.end..].trim().is_empty() {
        snippet.text.push_str(" …");
    }
    snippet
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(question: &[&str], text: &str) -> Marker {
        let lexemes: Vec<Lexeme> = question.iter().map(|word| Lexeme::whole((*word).to_owned())).collect();
        let words = words(std::iter::once(text)).into_iter().map(|word| (word.clone(), vec![word])).collect();
        Marker::new(&lexemes, words)
    }

    fn shown(question: &[&str], text: &str) -> (String, Vec<String>) {
        let snippet = marker(question, text).snippet(text);
        let characters: Vec<char> = snippet.text.chars().collect();
        let marked = |[begin, end]: &[u32; 2]| characters[*begin as usize..*end as usize].iter().collect();
        let marks = snippet.marks.iter().map(marked).collect();
        (snippet.text, marks)
    }

    #[test]
    fn a_snippet_is_the_text_as_it_is() {
        let text = "<b>wombat</b> <img src=x onerror=alert(1)>\n\na < b and c > d &amp; more";
        let (snippet, marks) = shown(&["wombat", "c"], text);
        assert_eq!(snippet, "<b>wombat</b> <img src=x onerror=alert(1)> a < b and c > d &amp; more");
        assert_eq!(marks, ["wombat", "c"]);
    }

    #[test]
    fn compounds_normal_forms_and_invisible_characters_are_found() {
        let (_, marks) = shown(&["server", "ip", "conf"], "client/server, TCP/IP: /etc/main.conf");
        assert_eq!(marks, ["server", "IP", "conf"]);
        let (_, marks) = shown(&["münchen", "softhyphen"], "Mu\u{308}nchen ÜBER soft\u{ad}hyphen zero");
        assert_eq!(marks, ["Mu\u{308}nchen", "soft\u{ad}hyphen"]);
        let (_, marks) = shown(&["0.8.5"], "from 0.8.5 on.");
        assert_eq!(marks, ["0.8.5"]);
    }

    #[test]
    fn pairs_are_marked_together() {
        let (_, marks) = shown(&["资料", "料库"], "我们的资料库每天备份。");
        assert_eq!(marks, ["资料库"]);
        let (_, marks) = shown(&["库"], "资料库和图书馆库存");
        assert_eq!(marks, ["库", "库"]);
    }

    #[test]
    fn a_snippet_begins_at_a_sentence_or_a_word_and_says_what_is_left_out() {
        let text = format!(
            "{}The wombat digs. It sleeps. {}",
            "Nothing here at all. ".repeat(40),
            "More text. ".repeat(60)
        );
        let (snippet, marks) = shown(&["wombat"], &text);
        assert!(snippet.starts_with("… The wombat digs. It sleeps."), "{snippet}");
        assert!(snippet.ends_with(" …") && snippet.chars().count() <= LENGTH + 4, "{snippet}");
        assert_eq!(marks, ["wombat"]);
        let endless = format!("{}wombat {}", "word ".repeat(200), "more ".repeat(200));
        let (snippet, marks) = shown(&["wombat"], &endless);
        assert!(snippet.starts_with("… word word"), "{snippet}");
        assert_eq!(marks, ["wombat"]);
        assert_eq!(shown(&["wombat"], "First this. Then a wombat").0, "First this. Then a wombat");
        let last = format!("{}The wombat ends it.", "Nothing here at all. ".repeat(40));
        let (snippet, _) = shown(&["wombat"], &last);
        assert!(
            snippet.starts_with("… Nothing here at all. Nothing") && snippet.ends_with("ends it."),
            "{snippet}"
        );
    }

    #[test]
    fn the_part_with_most_of_the_words_is_shown() {
        let text = format!(
            "Alpha comes first. {}Then alpha and beta and gamma. {}",
            "Filler text. ".repeat(60),
            "End. ".repeat(90)
        );
        let (snippet, marks) = shown(&["alpha", "beta", "gamma"], &text);
        assert!(snippet.starts_with("… Then alpha"), "{snippet}");
        assert_eq!(marks, ["alpha", "beta", "gamma"]);
    }

    #[test]
    fn without_a_word_in_the_text_its_beginning_is_shown() {
        let text = "Some words. ".repeat(100);
        let (snippet, marks) = shown(&["title"], &text);
        assert!(snippet.starts_with("Some words.") && snippet.ends_with('…'));
        assert!(marks.is_empty());
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_it_and_marks_are_inside(text in "\\PC{0,600}", question in "\\PC{0,20}") {
            let lexemes: Vec<&str> = question.split_whitespace().collect();
            let snippet = marker(&lexemes, &text).snippet(&text);
            let length = snippet.text.chars().count() as u32;
            for [begin, end] in snippet.marks {
                proptest::prop_assert!(begin < end && end <= length);
            }
        }
    }
}
