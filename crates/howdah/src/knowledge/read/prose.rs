//! Files that are one document each: Markdown, text, HTML.

use std::io::{BufRead, Read};
use std::path::Path;

use htmd::element_handler::{HandlerResult, Handlers};
use htmd::{Element, HtmlToMarkdown};

use super::decode;
use super::format::{Context, Documents};
use super::front::{self, Front};
use super::{BadRecord, Body, Document, Format, Markup, Refusal};

/// Deepest nesting of HTML that is read; of more the converter would run out of stack.
const HTML_DEPTH: usize = 256;

/// The one document of a file.
pub(super) fn documents(
    context: Context,
    input: Box<dyn BufRead + Send>,
    name: &str,
    format: Format,
) -> Documents {
    let name = name.to_owned();
    Box::new(std::iter::once_with(move || document(&context, input, &name, format)))
}

fn document(context: &Context, input: impl Read, name: &str, format: Format) -> Result<Document, Refusal> {
    let limit = context.limits.file_bytes;
    let bad = |line: Option<u64>, reason: String| Refusal::Bad(BadRecord::new(name, line, reason));
    let mut bytes = Vec::new();
    input.take(limit + 1).read_to_end(&mut bytes).map_err(|e| bad(None, format!("cannot be read: {e}")))?;
    if bytes.len() as u64 > limit {
        return Err(bad(None, format!("the file is larger than {limit} bytes")));
    }
    let mut hash = context.shape.hash(&[format.name().as_bytes(), &bytes]);
    let size = bytes.len() as u64;
    let text = utf8(bytes).map_err(|(line, reason)| bad(Some(line), reason))?;
    if let Some(at) = text.find('\0') {
        let line = 1 + text[..at].matches('\n').count() as u64;
        return Err(bad(Some(line), "a NUL character, which PostgreSQL does not store".to_owned()));
    }
    let mut front = Front::default();
    let (markup, title, text) = match format {
        Format::Html => (Markup::Markdown, html_title(&text), html(&text).map_err(|e| bad(None, e))?),
        Format::Text => (Markup::Plain, stem(name), text),
        _ => match front::split(&text) {
            None => (Markup::Markdown, None, text),
            Some((found, rest)) => {
                // Read in another way than before there was front matter: the same bytes are another document.
                hash = context.shape.hash(&[format.name().as_bytes(), text.as_bytes(), b"front matter"]);
                let rest = rest.to_owned();
                front = found;
                (Markup::Markdown, front.title.take(), rest)
            }
        },
    };
    if text.trim().is_empty() {
        return Err(Refusal::Empty(BadRecord::new(name, None, "there is no text in it")));
    }
    let (metadata, fields) = context
        .shape
        .extras(front.metadata)
        .map_err(|reason| bad(Some(1), format!("its front matter does not fit: {reason}")))?;
    let body = Body::Text { markup, title, text, metadata, fields };
    Ok(Document {
        source: name.to_owned(),
        hash,
        body,
        file: name.to_owned(),
        line: None,
        index: None,
        bytes: size,
    })
}

/// A file's name without its directory and its suffixes.
fn stem(name: &str) -> Option<String> {
    let plain = decode::Packing::of(Path::new(name)).map_or(name, |packing| packing.strip(name));
    Path::new(plain).file_stem().map(|stem| stem.to_string_lossy().into_owned())
}

/// The text of UTF-8 bytes, without a byte order mark; else the line where they stop being UTF-8, and why.
pub(super) fn utf8(bytes: Vec<u8>) -> Result<String, (u64, String)> {
    let mut text = String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let line = 1 + e.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() as u64;
        (line, format!("invalid UTF-8 at byte {}", at + 1))
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}

/// Open elements at which a text is not parsed at all: each new one is looked for among all that are open.
const HTML_OPEN: usize = 5_000;
/// Most tags of a text: an element takes some hundred bytes of memory while it is converted.
const HTML_TAGS: usize = 1_000_000;
/// Elements that are never open for long: they have no content, or end by themselves where the next begins.
const HTML_BRIEF: &[&str] = &[
    "area", "base", "body", "br", "caption", "col", "colgroup", "dd", "dt", "embed", "head", "hr", "html",
    "img", "input", "li", "link", "meta", "optgroup", "option", "p", "param", "rp", "rt", "source", "tbody",
    "td", "tfoot", "th", "thead", "tr", "track", "wbr",
];

/// Most elements of a text that are open at once, roughly: enough to tell a page from a trap.
fn open_elements(text: &str) -> usize {
    let (mut open, mut most) = (0usize, 0usize);
    for part in text.split('<').skip(1) {
        let (closes, rest) = part.strip_prefix('/').map_or((false, part), |rest| (true, rest));
        let name = &rest[..rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len())];
        if !name.starts_with(|c: char| c.is_ascii_alphabetic())
            || HTML_BRIEF.iter().any(|brief| brief.eq_ignore_ascii_case(name))
        {
            continue;
        }
        open = if closes { open.saturating_sub(1) } else { open + 1 };
        most = most.max(open);
    }
    most
}

fn html(text: &str) -> Result<String, String> {
    let deep = || format!("the HTML is nested deeper than {HTML_DEPTH} levels");
    if open_elements(text) > HTML_OPEN {
        return Err(deep());
    }
    if text.bytes().filter(|byte| *byte == b'<').count() > HTML_TAGS {
        return Err(format!("the HTML has more than {HTML_TAGS} tags"));
    }
    let converter = HtmlToMarkdown::builder()
        .skip_tags(vec!["head", "script", "style", "noscript", "template", "svg", "iframe"])
        .add_handler(vec!["h1", "h2", "h3", "h4", "h5", "h6"], heading)
        .add_handler(vec!["pre"], preformatted)
        .build();
    let tree = converter.html_to_tree(text).map_err(|e| format!("the HTML cannot be read: {e}"))?;
    let mut level = vec![tree.clone()];
    for _ in 0..HTML_DEPTH {
        level = level
            .iter()
            .flat_map(|node| node.children.borrow().iter().cloned().collect::<Vec<_>>())
            .collect();
        if level.is_empty() {
            return Ok(converter.tree_to_markdown(&tree));
        }
    }
    Err(deep())
}

/// A heading on one line, whatever breaks it has: in Markdown a second line would not belong to it.
fn heading(handlers: &dyn Handlers, element: Element) -> Option<HandlerResult> {
    let level = element.tag.as_bytes().get(1).map_or(1, |digit| usize::from(digit - b'0'));
    let content = handlers.walk_children(element.node).content;
    let line = content.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() {
        return None;
    }
    Some(format!("\n\n{} {line}\n\n", "#".repeat(level)).into())
}

/// Preformatted text as a fenced block: outside of one its lines would be read as Markdown, `#` as a heading.
fn preformatted(handlers: &dyn Handlers, element: Element) -> Option<HandlerResult> {
    let content = handlers.walk_children(element.node).content;
    let inner = content.trim_matches('\n');
    if inner.trim().is_empty() {
        return None;
    }
    // `<pre><code>` is fenced already.
    if inner.starts_with("```") || inner.starts_with("~~~") {
        return Some(format!("\n\n{inner}\n\n").into());
    }
    let longest = inner.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(3.max(longest + 1));
    Some(format!("\n\n{fence}\n{inner}\n{fence}\n\n").into())
}

/// What stands in `<title>`.
fn html_title(text: &str) -> Option<String> {
    // ASCII lower case keeps byte positions.
    let lower = text.to_ascii_lowercase();
    let open = lower.find("<title")?;
    let begin = open + lower[open..].find('>')? + 1;
    let end = begin + lower[begin..].find("</title")?;
    let inner = html(&format!("<p>{}</p>", &text[begin..end])).ok()?;
    let title = inner.split_whitespace().collect::<Vec<_>>().join(" ");
    (!title.is_empty()).then_some(title)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_becomes_markdown_without_scripts() {
        let page = "<html><head><title>A &amp; B</title><style>x{}</style></head><body><script>evil()</script>\
                    <h1>Head</h1><p>Text <b>bold</b></p></body></html>";
        assert_eq!(html(page).unwrap().trim(), "# Head\n\nText **bold**");
        assert_eq!(html_title(page).as_deref(), Some("A & B"));
        assert_eq!(html_title("<p>no title</p>"), None);
    }

    #[test]
    fn headings_are_one_line_and_preformatted_text_is_no_markdown() {
        assert_eq!(html("<h1>Line<br>break</h1><p>x</p>").unwrap(), "# Line break\n\nx");
        let pre = html("<p>a</p><pre># no heading\n- no list</pre><p>b</p>").unwrap();
        assert_eq!(pre, "a\n\n```\n# no heading\n- no list\n```\n\nb");
        let code = html("<pre><code># no heading\n</code></pre>").unwrap();
        assert_eq!(code, "```\n# no heading\n```");
        assert!(html("<pre>```\n# no\n```\nmore ````</pre>").unwrap().starts_with("`"));
    }

    #[test]
    fn html_nested_without_end_is_refused() {
        assert!(html(&"<div>".repeat(100_000)).unwrap_err().contains("deeper than"));
        assert!(html(&"<div>".repeat(HTML_DEPTH)).unwrap_err().contains("deeper than"));
        assert_eq!(html(&format!("{}x", "<div>".repeat(200))).unwrap().trim(), "x");
        assert!(html(&"<b>x</b>".repeat(HTML_TAGS)).unwrap_err().contains("tags"));
        assert_eq!(open_elements(&"<ul><li>a<br></ul><b>b</b>".repeat(9_000)), 1);
    }

    #[test]
    fn invalid_utf8_is_placed() {
        assert_eq!(utf8(b"a\nb\xff".to_vec()), Err((2, "invalid UTF-8 at byte 4".to_owned())));
        assert_eq!(utf8(b"\xef\xbb\xbfx".to_vec()), Ok("x".to_owned()));
    }

    #[test]
    fn a_text_is_called_by_its_name_without_suffixes() {
        assert_eq!(stem("docs/note.txt.gz").as_deref(), Some("note"));
        assert_eq!(stem("docs/v1.2.txt").as_deref(), Some("v1.2"));
    }
}
