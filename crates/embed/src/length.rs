//! How long is a text, where there is no tokenizer, and in which script is it?
//!
//! A word is what stands between white space. Chinese and Japanese, Thai, Lao, Khmer and Burmese write without: there
//! characters are counted instead, and so are the runs that no language has (encoded data, addresses of many lines).

use icu_properties::props::{NamedEnumeratedProperty, Script};
use icu_properties::{CodePointMapData, CodePointMapDataBorrowed};

/// Longest run between white space that counts as one word, in characters.
const LONG: usize = 100;
/// Characters of a longer run that count as one word.
const LONG_WORD: usize = 4;

/// Words of a text: a measure of length that needs no tokenizer. Of the scripts without spaces an ideograph and a kana
/// count one each, two letters of the others count one; of a run of more than 100 characters every four count one.
pub fn count_words(text: &str) -> usize {
    text.split_whitespace().map(count_run).sum()
}

fn count_run(run: &str) -> usize {
    if run.is_ascii() {
        return other_words(run.len());
    }
    let (mut one_each, mut two_each, mut others) = (0usize, 0usize, 0usize);
    for character in run.chars() {
        match character {
            // Marks and joiners belong to the character before, however many there are.
            '\u{300}'..='\u{36f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{20d0}'..='\u{20ff}'
            | '\u{fe00}'..='\u{fe0f}' => {}
            '\u{0e00}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' => two_each += 1,
            // Punctuation and symbols of the ideographs and everything from kana to the last of them.
            '\u{3000}'..='\u{30ff}' | '\u{31f0}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' => one_each += 1,
            '\u{f900}'..='\u{faff}' | '\u{ff00}'..='\u{ffef}' | '\u{20000}'..='\u{3ffff}' => one_each += 1,
            _ => others += 1,
        }
    }
    (one_each + two_each.div_ceil(2) + other_words(others)).max(1)
}

fn other_words(characters: usize) -> usize {
    match characters {
        0 => 0,
        1..=LONG => 1,
        more => more.div_ceil(LONG_WORD),
    }
}

/// Name of the script that most letters of a text are in (`Thai`, `Cyrillic`); none for a text without letters.
pub fn script_of(text: &str) -> Option<&'static str> {
    const SCRIPTS: CodePointMapDataBorrowed<'static, Script> = CodePointMapData::<Script>::new();
    let mut counts: Vec<(Script, usize)> = Vec::new();
    for script in text.chars().map(|character| SCRIPTS.get(character)) {
        if matches!(script, Script::Common | Script::Inherited | Script::Unknown) {
            continue;
        }
        match counts.iter_mut().find(|(known, _)| *known == script) {
            Some((_, count)) => *count += 1,
            None => counts.push((script, 1)),
        }
    }
    let (script, _) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    Some(script.long_name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_what_stands_between_white_space() {
        assert_eq!(count_words("one two  three\n"), 3);
        assert_eq!(count_words("резервное копирование"), 2);
        assert_eq!(count_words("데이터베이스를 백업합니다"), 2);
        assert_eq!(count_words("— … ,"), 3);
        assert_eq!(count_words(""), 0);
    }

    #[test]
    fn scripts_without_spaces_and_endless_runs_are_counted_by_characters() {
        assert_eq!(count_words("资料库每天晚上备份一次，"), 12);
        assert_eq!(count_words("バックアップ"), 6);
        assert_eq!(count_words("ฐานข้อมูล"), 5);
        assert_eq!(count_words("PostgreSQL数据库"), 4);
        assert_eq!(count_words(&"x".repeat(100)), 1);
        assert_eq!(count_words(&"x".repeat(1000)), 250);
        // One character with a thousand marks is one character.
        assert_eq!(count_words(&format!("a{}", "\u{301}".repeat(1000))), 1);
    }

    #[test]
    fn a_text_is_in_the_script_of_most_of_its_letters() {
        assert_eq!(script_of("ฐานข้อมูล PG 16"), Some("Thai"));
        assert_eq!(script_of("a database"), Some("Latin"));
        assert_eq!(script_of("ひらがなとABC"), Some("Hiragana"));
        assert_eq!(script_of("123 …"), None);
    }
}
