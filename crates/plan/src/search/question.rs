//! What does a person mean by the text of a question: words, beginnings of words, words that must not be there?
//!
//! The words themselves are PostgreSQL's to find. What it knows no notation for, or would lose on the way through
//! [`super::text`], is taken out here: `word:*` for a beginning, and for web search the minus sign and the quotes.

use super::request::Words;
use super::text::is_unspaced;

/// A question's text, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Question {
    /// What is left for the parser. For web search in its notation, every compound in quotes.
    pub text: String,
    /// The words that must not be missing or may be there, for marking them; without the minus ones.
    pub wanted: String,
    /// Beginnings of words.
    pub prefixes: String,
}

impl Question {
    /// Takes a text apart.
    pub fn read(text: &str, words: Words) -> Question {
        if words == Words::Web {
            return web(text);
        }
        let (mut rest, mut prefixes) = (Vec::new(), Vec::new());
        for word in text.split_whitespace() {
            match word.strip_suffix(":*").filter(|beginning| !beginning.is_empty()) {
                Some(beginning) => prefixes.push(beginning),
                None => rest.push(word),
            }
        }
        if prefixes.is_empty() {
            return Question { text: text.to_owned(), wanted: text.to_owned(), prefixes: String::new() };
        }
        let text = rest.join(" ");
        Question { wanted: text.clone(), text, prefixes: prefixes.join(" ") }
    }
}

fn web(text: &str) -> Question {
    let (mut out, mut wanted) = (String::new(), String::new());
    for (at, part) in text.split('"').enumerate() {
        if at % 2 == 1 {
            // Within quotes, behind a minus or not.
            let refused = out.trim_end_matches('"').ends_with('-');
            out.push_str(&format!("\"{part}\""));
            if !refused {
                wanted.push_str(&format!(" {part} "));
            }
            continue;
        }
        for word in part.split_inclusive(char::is_whitespace) {
            let bare = word.trim_end();
            let space = &word[bare.len()..];
            let (minus, name) = match bare.strip_prefix('-') {
                Some(name) => ("-", name),
                None => ("", bare),
            };
            let plain = name.chars().all(|c| c.is_alphanumeric() && !is_unspaced(c));
            let plain = plain && !name.starts_with(|c: char| c.is_ascii_digit());
            if plain || name.is_empty() {
                out.push_str(bare);
            } else {
                out.push_str(&format!("{minus}\"{name}\""));
            }
            out.push_str(space);
            if minus.is_empty() && !name.eq_ignore_ascii_case("or") {
                wanted.push_str(&format!(" {name} "));
            }
        }
    }
    Question { text: out, wanted, prefixes: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_are_taken_out() {
        let question = Question::read("postgres back:* res:* :*", Words::Any);
        assert_eq!((question.text.as_str(), question.prefixes.as_str()), ("postgres :*", "back res"));
        assert_eq!(Question::read("a  b", Words::All).text, "a  b");
    }

    #[test]
    fn web_search_keeps_its_notation_around_compounds() {
        let text = |text| Question::read(text, Words::Web).text;
        assert_eq!(text("client -server or \"two words\""), "client -server or \"two words\"");
        assert_eq!(text("-client/server -2019 x"), "-\"client/server\" -\"2019\" x");
        assert_eq!(text("备份 -资料库"), "\"备份\" -\"资料库\"");
        assert_eq!(text("a \"open quote"), "a \"open quote\"");
        let wanted = Question::read("alpha -beta -\"gamma delta\" or epsilon", Words::Web).wanted;
        assert_eq!(wanted.split_whitespace().collect::<Vec<_>>(), ["alpha", "epsilon"]);
    }
}
