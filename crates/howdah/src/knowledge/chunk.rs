//! How is a document cut?
//!
//! Along its structure: Markdown at its headings, each chunk with the headings above it as its title; within a section
//! at paragraphs, list items and code fences, then sentences, then words, whatever is the largest that fits. Nothing is
//! lost: every word of the document is in some chunk, and the last words of a chunk may be repeated in the next one
//! (`overlap`). Sentences, words and graphemes are Unicode's, so a text without spaces is cut as well. Besides the tokens
//! there is a limit in characters, which holds for every text, whatever the tokens of it are.

use std::ops::Range;

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use text_splitter::{ChunkConfig, ChunkSizer, MarkdownSplitter, TextSplitter};

use super::read::Markup;
use howdah_embed::count_words;

/// Between the headings of a title.
const CRUMB: &str = " > ";
/// Longest title, in bytes; a heading may be a whole paragraph.
const TITLE_BYTES: usize = 300;
/// Fewest tokens of a chunk, however long its title is.
const FEWEST: usize = 16;

/// A part of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The headings it stands under.
    pub title: Option<String>,
    /// Its text.
    pub content: String,
}

/// How large a chunk may be.
#[derive(Clone, Copy)]
pub struct Cut<'a> {
    /// Tokens of a chunk at the most.
    pub max_tokens: usize,
    /// Tokens repeated from the chunk before.
    pub overlap: usize,
    /// Tokens that the model reads at the most, the title's included; unknown for a provider.
    pub reads: Option<usize>,
    /// Characters of what is embedded at the most, the title's included.
    pub max_characters: usize,
    /// Counts the tokens of a text.
    pub count: &'a dyn Fn(&str) -> usize,
}

impl Cut<'_> {
    /// Tokens allowed for the text under `title`: what is embedded is title and text together.
    pub fn capacity(&self, title: Option<&str>) -> usize {
        let room =
            self.reads.map(|reads| reads.saturating_sub(title.map_or(0, |title| (self.count)(title) + 1)));
        self.max_tokens.min(room.unwrap_or(usize::MAX)).max(FEWEST)
    }

    /// Cuts `text`. `title` is what something outside the text calls it; it goes before the text's own headings.
    pub fn pieces(&self, markup: Markup, title: Option<&str>, text: &str) -> Vec<Piece> {
        let sections = match markup {
            Markup::Plain => vec![Section { title: title.map(shortened), range: 0..text.len() }],
            Markup::Markdown => sections(text, title),
        };
        let mut pieces = Vec::new();
        for Section { title, range } in sections {
            for content in self.split(markup, title.as_deref(), text[range].trim()) {
                pieces.push(Piece { title: title.clone(), content });
            }
        }
        pieces
    }

    fn split(&self, markup: Markup, title: Option<&str>, text: &str) -> Vec<String> {
        if text.is_empty() {
            return Vec::new();
        }
        let capacity = self.capacity(title);
        let room = self.max_characters.saturating_sub(title.map_or(0, |title| title.chars().count() + 1));
        let counter = Counter { count: self.count, capacity, characters: room.max(capacity) };
        // A token is a byte at least, so short texts need no counting.
        if text.len() <= capacity || counter.size(text) <= capacity {
            return vec![text.to_owned()];
        }
        let config = ChunkConfig::new(capacity).with_sizer(counter);
        let config = match config.with_overlap(self.overlap.min(capacity / 2)) {
            Ok(config) => config,
            // Half the capacity is always less than the capacity; without overlap nothing is lost either.
            Err(_) => ChunkConfig::new(capacity).with_sizer(counter),
        };
        match markup {
            Markup::Markdown => MarkdownSplitter::new(config).chunks(text).map(str::to_owned).collect(),
            Markup::Plain => TextSplitter::new(config).chunks(text).map(str::to_owned).collect(),
        }
    }
}

/// Whether a text is measured otherwise than by its words between spaces: what was cut by those alone is cut again.
pub fn needs_characters(text: &str) -> bool {
    text.split_whitespace().count() != count_words(text)
}

/// Tokens, or the part of the characters that may be used up, in tokens, whichever is more.
#[derive(Clone, Copy)]
struct Counter<'a> {
    count: &'a dyn Fn(&str) -> usize,
    capacity: usize,
    characters: usize,
}

impl ChunkSizer for Counter<'_> {
    fn size(&self, chunk: &str) -> usize {
        let used = if chunk.len() <= self.characters { 0 } else { chunk.chars().count() };
        let over = if used > self.characters { (used * self.capacity).div_ceil(self.characters) } else { 0 };
        (self.count)(chunk).max(over)
    }
}

/// What is embedded for a chunk: its title, then its text, the heading that both begin with only once.
pub fn embedded_text(title: Option<&str>, content: &str) -> String {
    let Some(title) = title else { return content.to_owned() };
    let (first, rest) = content.split_once('\n').unwrap_or((content, ""));
    let heading = first.trim_matches(|c: char| c == '#' || c.is_whitespace());
    let repeated =
        first.starts_with('#') && title.rsplit(CRUMB).next() == Some(heading) && !rest.trim().is_empty();
    format!("{title}\n{}", if repeated { rest.trim_start() } else { content })
}

struct Section {
    title: Option<String>,
    range: Range<usize>,
}

struct Heading {
    level: HeadingLevel,
    text: String,
    range: Range<usize>,
}

/// The text from heading to heading. A heading with nothing of its own under it goes with the section that follows.
fn sections(text: &str, outer: Option<&str>) -> Vec<Section> {
    let headings = headings(text);
    let mut sections = Vec::new();
    let first = headings.first().map_or(text.len(), |heading| heading.range.start);
    sections.push(Section { title: outer.map(shortened), range: 0..first });
    let mut above: Vec<(HeadingLevel, &str)> = Vec::new();
    let mut begin = None;
    for (position, heading) in headings.iter().enumerate() {
        let next = headings.get(position + 1);
        above.retain(|(level, _)| *level < heading.level);
        above.push((heading.level, &heading.text));
        let begins = *begin.get_or_insert(heading.range.start);
        let end = next.map_or(text.len(), |next| next.range.start);
        let empty = text[heading.range.end..end].trim().is_empty();
        if empty && next.is_some_and(|next| next.level > heading.level) {
            continue;
        }
        sections.push(Section { title: crumbs(outer, &above), range: begins..end });
        begin = None;
    }
    sections
}

fn crumbs(outer: Option<&str>, above: &[(HeadingLevel, &str)]) -> Option<String> {
    let mut parts: Vec<&str> = above.iter().map(|(_, text)| *text).filter(|text| !text.is_empty()).collect();
    // A page's title and its first heading are mostly the same.
    if let Some(outer) = outer.filter(|outer| parts.first() != Some(outer)) {
        parts.insert(0, outer);
    }
    (!parts.is_empty()).then(|| shortened(&parts.join(CRUMB)))
}

fn shortened(title: &str) -> String {
    title[..title.floor_char_boundary(TITLE_BYTES)].to_owned()
}

/// The headings of the document itself, not those in quotes and lists.
fn headings(text: &str) -> Vec<Heading> {
    let mut headings: Vec<Heading> = Vec::new();
    let mut depth = 0usize;
    let mut open = false;
    for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
        match event {
            Event::Start(Tag::BlockQuote(_) | Tag::List(_)) => depth += 1,
            Event::End(TagEnd::BlockQuote(_) | TagEnd::List(_)) => depth = depth.saturating_sub(1),
            Event::Start(Tag::Heading { level, .. }) if depth == 0 => {
                open = true;
                headings.push(Heading { level, text: String::new(), range });
            }
            Event::End(TagEnd::Heading(_)) => open = false,
            Event::Text(part) | Event::Code(part) if open => {
                if let Some(heading) = headings.last_mut() {
                    heading.text.push_str(&part);
                }
            }
            _ => {}
        }
    }
    headings
        .iter_mut()
        .for_each(|heading| heading.text = heading.text.split_whitespace().collect::<Vec<_>>().join(" "));
    headings
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use howdah_embed::default_characters;

    fn cut(max_tokens: usize, overlap: usize) -> Cut<'static> {
        Cut { max_tokens, overlap, reads: None, max_characters: 8_000, count: &count_words }
    }

    /// A paragraph in a script without spaces.
    const UNSPACED: [(&str, &str); 4] = [
        ("Chinese", "资料库每天晚上备份一次，并且每个月测试一次还原。"),
        ("Japanese", "データベースは毎晩バックアップされ、毎月一度は復元を試します。"),
        ("Thai", "ฐานข้อมูลสำรองทุกคืนและทดสอบการกู้คืนเดือนละครั้ง"),
        ("Khmer", "មូលដ្ឋានទិន្នន័យត្រូវបានបម្រុងទុករៀងរាល់យប់។"),
    ];

    #[test]
    fn text_without_spaces_is_cut_at_sentences_and_graphemes() {
        use unicode_segmentation::UnicodeSegmentation;
        for (language, sentence) in UNSPACED {
            let text = format!("# 备份\n\n{}", sentence.repeat(500));
            let pieces = cut(220, 30).pieces(Markup::Markdown, None, &text);
            assert!(pieces.len() > 20, "{language}: {} chunks", pieces.len());
            let graphemes: std::collections::HashSet<&str> = text.graphemes(true).collect();
            for piece in &pieces {
                assert!(count_words(&piece.content) <= 220, "{language}: {}", piece.content);
                assert!(
                    piece.content.graphemes(true).all(|one| graphemes.contains(one)),
                    "{language}: {piece:?}"
                );
            }
        }
        let (_, chinese) = UNSPACED[0];
        for piece in cut(220, 0).pieces(Markup::Plain, None, &chinese.repeat(500)) {
            assert!(piece.content.ends_with('。'), "cut within a sentence: {}", piece.content);
        }
    }

    #[test]
    fn nothing_is_longer_than_the_embedder_takes() {
        let run = "x".repeat(100_000);
        let family = "👨‍👩‍👧‍👦".repeat(4_000);
        let marks = format!("a{}", "\u{301}".repeat(50)).repeat(2_000);
        let long_words = format!("{} ", "y".repeat(99)).repeat(5_000);
        for text in [run, family, marks, long_words] {
            for markup in [Markup::Plain, Markup::Markdown] {
                let narrow = Cut { max_characters: 2_000, ..cut(220, 30) };
                let title = "A title of some length";
                let pieces = narrow.pieces(markup, Some(title), &text);
                let longest = pieces.iter().map(|piece| piece.content.chars().count()).max().unwrap();
                assert!(longest + title.len() < 2_000, "{longest} characters: {:.40}", text);
                let whole: usize = pieces.iter().map(|piece| piece.content.len()).sum();
                assert!(whole + 5_100 >= text.len(), "{:.40} lost text", text);
            }
        }
        let family = cut(220, 0).pieces(Markup::Plain, None, &"👨‍👩‍👧‍👦".repeat(4_000));
        assert!(family.len() > 1);
        assert!(family.iter().all(|piece| piece.content.starts_with('👨') && piece.content.ends_with('👦')));
    }

    /// What was cut right stays: the same pieces as with the count of words between spaces, which it was before.
    #[test]
    fn texts_with_spaces_are_cut_as_before() {
        let spaced = |text: &str| text.split_whitespace().count();
        let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs");
        let mut texts: Vec<String> = ["concepts", "operating", "reference"]
            .iter()
            .flat_map(|room| std::fs::read_dir(format!("{manual}/{room}")).unwrap())
            .map(|page| std::fs::read_to_string(page.unwrap().path()).unwrap())
            .filter(|page| !needs_characters(page))
            .collect();
        assert!(texts.len() > 20, "{} pages", texts.len());
        for sentence in [
            "Die Datenbank wird jede Nacht gesichert, und einmal im Monat wird die Wiederherstellung geprüft. ",
            "База данных сохраняется каждую ночь, а раз в месяц проверяется восстановление. ",
            "데이터베이스는 매일 밤 백업되고 한 달에 한 번 복원을 시험합니다. ",
            "تُنسخ قاعدة البيانات احتياطيًا كل ليلة، ويُختبر الاسترجاع مرة في الشهر. ",
            "डेटाबेस का हर रात बैकअप लिया जाता है और महीने में एक बार पुनर्स्थापना जाँची जाती है। ",
        ] {
            texts.push(sentence.repeat(200));
            texts.push(format!(
                "# One\n\n{}\n\n## Two\n\n- {}\n- {sentence}",
                sentence.repeat(30),
                sentence.repeat(90)
            ));
        }
        for text in texts {
            for (max_tokens, overlap) in [(220, 30), (40, 0), (1_000, 100)] {
                let most = default_characters(max_tokens);
                let now = Cut { max_characters: most, ..cut(max_tokens, overlap) };
                let before = Cut { max_characters: usize::MAX, count: &spaced, ..now };
                for markup in [Markup::Markdown, Markup::Plain] {
                    let (now, before) = (now.pieces(markup, None, &text), before.pieces(markup, None, &text));
                    assert_eq!(now, before, "{:.60}", text);
                }
            }
        }
    }

    fn titles(pieces: &[Piece]) -> Vec<Option<&str>> {
        pieces.iter().map(|piece| piece.title.as_deref()).collect()
    }

    #[test]
    fn markdown_is_cut_at_headings_with_the_way_to_them_as_title() {
        let text = "intro\n\n# Guide\n\nhello\n\n## Install\n\n```sh\n# no heading\n```\n\n## Use\n\nbye\n\n# Other\n\nend";
        let pieces = cut(100, 0).pieces(Markup::Markdown, None, text);
        let expected = [None, Some("Guide"), Some("Guide > Install"), Some("Guide > Use"), Some("Other")];
        assert_eq!(titles(&pieces), expected);
        assert!(pieces[2].content.contains("# no heading"));
    }

    #[test]
    fn a_heading_alone_goes_with_what_follows() {
        let pieces = cut(100, 0).pieces(Markup::Markdown, Some("Page"), "# A\n\n## B\n\ntext");
        assert_eq!(
            pieces,
            [Piece { title: Some("Page > A > B".into()), content: "# A\n\n## B\n\ntext".into() }]
        );
        let last = cut(100, 0).pieces(Markup::Markdown, None, "# A\n\ntext\n\n# B\n");
        assert_eq!(titles(&last), [Some("A"), Some("B")]);
    }

    #[test]
    fn a_code_block_that_fits_is_not_torn() {
        let words = "word ".repeat(30);
        let code = "```sql\nSELECT 1;\n\nSELECT 2;\n```";
        let pieces = cut(40, 0).pieces(Markup::Markdown, None, &format!("{words}\n\n{code}\n\n{words}"));
        assert!(pieces.iter().any(|piece| piece.content.contains(code)), "{pieces:?}");
    }

    #[test]
    fn the_title_takes_its_share_of_what_the_model_reads() {
        let narrow = Cut { reads: Some(60), ..cut(100, 0) };
        assert_eq!(narrow.capacity(Some("one two three")), 56);
        assert_eq!(narrow.capacity(None), 60);
        assert_eq!(narrow.capacity(Some(&"w ".repeat(200))), FEWEST);
    }

    #[test]
    fn a_heading_is_embedded_once() {
        assert_eq!(embedded_text(Some("A > B"), "## B\n\ntext"), "A > B\ntext");
        assert_eq!(embedded_text(Some("A > B"), "## C\n\ntext"), "A > B\n## C\n\ntext");
        assert_eq!(embedded_text(Some("B"), "# B"), "B\n# B");
        assert_eq!(embedded_text(None, "x"), "x");
    }

    /// Documents made of blocks that Markdown cares about.
    fn documents() -> impl Strategy<Value = String> {
        let block = prop_oneof![
            "[a-zé ]{0,300}",
            "#{1,6} [a-z]{1,9}",
            "- [a-z]{1,20}\n- [a-z]{1,20}",
            "```\n[a-z \n]{0,200}\n```",
            "> # [a-z]{1,9}",
            "\\|[a-z]\\|[a-z]\\|\n\\|-\\|-\\|\n\\|[a-z]\\|[a-z]\\|",
            "\\PC{0,120}",
        ];
        prop::collection::vec(block, 0..12).prop_map(|blocks| blocks.join("\n\n"))
    }

    proptest! {
        #[test]
        fn no_word_is_lost_and_no_chunk_is_too_large(
            text in documents(), max in 16usize..60, overlap in 0usize..40, plain: bool,
        ) {
            let markup = if plain { Markup::Plain } else { Markup::Markdown };
            let cut = cut(max, overlap);
            let pieces = cut.pieces(markup, None, &text);
            let mut rest = pieces.iter().map(|piece| piece.content.as_str()).collect::<Vec<_>>().join("\n");
            for piece in &pieces {
                prop_assert!(count_words(&piece.content) <= cut.capacity(piece.title.as_deref()), "{piece:?}");
                prop_assert!(!piece.content.trim().is_empty());
            }
            if overlap == 0 {
                rest.retain(|c| !c.is_whitespace());
                let whole: String = text.chars().filter(|c| !c.is_whitespace()).collect();
                prop_assert_eq!(rest, whole);
            } else {
                for word in text.split_whitespace() {
                    // A word without spaces in it may be cut, if it is longer than a word.
                    let whole = word.is_ascii() && word.len() < 100;
                    prop_assert!(!whole || rest.contains(word), "{word:?} is lost");
                }
            }
        }
    }
}
