//! How is a text turned into words, when it is indexed and when it is asked for?
//!
//! PostgreSQL's parser takes `client/server`, `main.conf` and `covid-19` for one word each, leaves out `<String>` as if it
//! were a tag, sees two words in a decomposed `München` compared with the composed one, and one in a whole Chinese
//! sentence. So a text is prepared by the expressions below, all of them immutable and of PostgreSQL itself (no extension,
//! no function of ours that a dump would lack), before the parser sees it:
//!
//! - it is brought to normal form NFKC, and characters that nobody sees are dropped;
//! - compounds are split, and kept whole besides;
//! - runs of the scripts without spaces become overlapping pairs of characters, which makes every part of two characters
//!   or more a word that can be found. A run's last character stands alone as well, so that every single one begins a word.
//!
//! A text of ASCII alone needs the second only, and is not normalised: it has as many bytes as characters.

use crate::spec::resolve::quote_literal;

/// Characters that are not seen: soft hyphen, joiners, zero-width spaces, direction marks, the byte order mark.
const INVISIBLE: &str = r"[\u00AD\u034F\u061C\u180E\u200B-\u200F\u202A-\u202E\u2060-\u2064\uFEFF]";

/// Punctuation beyond ASCII. In a database whose locale is C the parser takes it for letters.
const PUNCTUATION: &str = r"[\u00A1-\u00A9\u00AB\u00AC\u00AE-\u00B4\u00B6-\u00B9\u00BB-\u00BF\u00D7\u00F7\u0589\u05BE\u05C0\u05C3\u05F3\u05F4\u060C\u061B\u061F\u066A-\u066D\u06D4\u0964\u0965\u0F0B-\u0F14\u104A-\u104F\u17D4-\u17DA\u2011-\u2027\u2030-\u205E\u2190-\u2BFF\u3001-\u3004\u3008-\u3020\u3030\u303D\u30FB]";

/// Letters that are written without spaces: Thai, Lao, Burmese, Khmer, kana, ideographs; and Hangul, whose words carry
/// their particles. In the order of their code points.
pub const UNSPACED: [(char, char); 13] = [
    ('\u{0e01}', '\u{0e4e}'),
    ('\u{0e80}', '\u{0ece}'),
    ('\u{1000}', '\u{1049}'),
    ('\u{1780}', '\u{17d3}'),
    ('\u{3005}', '\u{3007}'),
    ('\u{3041}', '\u{30fa}'),
    ('\u{30fc}', '\u{30ff}'),
    ('\u{31f0}', '\u{31ff}'),
    ('\u{3400}', '\u{4dbf}'),
    ('\u{4e00}', '\u{9fff}'),
    ('\u{ac00}', '\u{d7a3}'),
    ('\u{20000}', '\u{2ffff}'),
    ('\u{30000}', '\u{3ffff}'),
];

/// Whether a character is indexed in pairs.
pub fn is_unspaced(character: char) -> bool {
    UNSPACED.iter().any(|(first, last)| (*first..=*last).contains(&character))
}

/// Whether a character is dropped before a text is read.
pub fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

/// The inside of a bracket expression for [`UNSPACED`].
fn unspaced() -> String {
    let escaped = |c: char| match u32::from(c) {
        code @ ..=0xffff => format!("\\u{code:04X}"),
        code => format!("\\U{code:08X}"),
    };
    UNSPACED.iter().map(|(first, last)| format!("{}-{}", escaped(*first), escaped(*last))).collect()
}

fn replaced(text: &str, pattern: &str, by: &str) -> String {
    format!("regexp_replace({text}, '{pattern}', '{by}', 'g')")
}

/// The text with what is not ASCII brought to one form. A question's runs end in a pair, an indexed text's in one more.
fn folded(text: &str, asked: bool) -> String {
    let (set, end) = (unspaced(), if asked { format!("(?=[{}])", unspaced()) } else { String::new() });
    let visible = replaced(&format!("normalize({text}, NFKC)"), INVISIBLE, "");
    let spaced = replaced(&replaced(&visible, PUNCTUATION, " "), &format!("([{set}]+)"), " \\1 ");
    let paired = replaced(&spaced, &format!("(?<=[{set}])([{set}]){end}"), "\\1 \\1");
    format!("CASE WHEN octet_length({text}) = char_length({text}) THEN {text} ELSE {paired} END")
}

/// The text with its compounds split.
fn split(text: &str, asked: bool) -> String {
    replaced(&folded(text, asked), r"[/<>@:~+]|\.(?=[^\s0-9])|-(?=[0-9])", " ")
}

/// The compounds of a text as they are, and a word or two besides.
fn compounds(text: &str, asked: bool) -> String {
    let only = replaced(&folded(text, asked), r"(?:\s+[^\s/@:.]+[:.]*)+(?=\s)", "");
    format!("CASE WHEN {text} ~ '\\S[/@:.]\\S' THEN {only} ELSE '' END")
}

/// `tsvector` of a column, as an own table stores it.
fn document(language: &str, column: &str) -> String {
    format!(
        "to_tsvector({language}, {}) || to_tsvector({language}, {})",
        split(column, false),
        compounds(column, false)
    )
}

/// The text search configuration as SQL.
pub fn language(name: &str) -> String {
    format!("{}::regconfig", quote_literal(name))
}

/// What the column `tsv` of an own table is generated from: the title weighs more than the content.
pub fn own_document(configuration: &str) -> String {
    let language = language(configuration);
    format!(
        "setweight({}, 'A') || setweight({}, 'B')",
        document(&language, "coalesce(title, '')"),
        document(&language, "content")
    )
}

/// What the words of an adopted table are searched by, and an index of them is on. `column` is quoted.
pub fn plain_document(configuration: &str, column: &str) -> String {
    format!("to_tsvector({}, {column})", language(configuration))
}

/// How the words of a table are indexed, and therefore asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prepared {
    /// By [`own_document`].
    Own,
    /// By PostgreSQL's parser alone, as adopted tables are.
    Plain,
}

impl Prepared {
    /// A question's text as the parser gets it.
    pub fn asked(self, text: &str) -> String {
        match self {
            Prepared::Own => split(text, true),
            Prepared::Plain => text.to_owned(),
        }
    }

    /// The compounds of a question.
    pub fn asked_compounds(self, text: &str) -> String {
        match self {
            Prepared::Own => compounds(text, true),
            Prepared::Plain => "''".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expression_has_no_quotes_that_would_end_it() {
        let sql = own_document("it's");
        assert!(sql.contains("'it''s'::regconfig"));
        assert_eq!(sql.matches('\'').count() % 2, 0);
        assert!(UNSPACED.is_sorted());
    }

    #[test]
    fn what_is_dropped_and_what_is_paired_is_the_same_here_and_there() {
        for (first, last) in UNSPACED {
            assert!(is_unspaced(first) && is_unspaced(last));
        }
        assert!(
            is_unspaced('库')
                && is_unspaced('ก')
                && is_unspaced('한')
                && !is_unspaced('。')
                && !is_unspaced('a')
        );
        let listed = INVISIBLE.trim_matches(['[', ']']);
        for part in listed.split("\\u").filter(|part| !part.is_empty()) {
            let code = u32::from_str_radix(part.trim_end_matches('-'), 16).unwrap();
            assert!(is_invisible(char::from_u32(code).unwrap()), "{part}");
        }
    }
}
