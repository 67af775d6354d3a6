//! Files that are one document each: Markdown, text, HTML.

use std::io::{BufRead, Read};
use std::path::Path;

use htmd::HtmlToMarkdown;

use super::format::{Context, Documents};
use super::{BadRecord, Body, Document, Format, Markup, Refusal};

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
    let hash = context.shape.hash(&[format.name().as_bytes(), &bytes]);
    let size = bytes.len() as u64;
    let text = utf8(bytes).map_err(|(line, reason)| bad(Some(line), reason))?;
    if let Some(at) = text.find('\0') {
        let line = 1 + text[..at].matches('\n').count() as u64;
        return Err(bad(Some(line), "a NUL character, which PostgreSQL does not store".to_owned()));
    }
    let (markup, title, text) = match format {
        Format::Html => (Markup::Markdown, html_title(&text), html(&text).map_err(|e| bad(None, e))?),
        Format::Text => {
            (Markup::Plain, Path::new(name).file_stem().map(|s| s.to_string_lossy().into_owned()), text)
        }
        _ => (Markup::Markdown, None, text),
    };
    if text.trim().is_empty() {
        return Err(bad(None, "there is no text in it".to_owned()));
    }
    let body = Body::Text { markup, title, text };
    Ok(Document { source: name.to_owned(), hash, body, file: name.to_owned(), line: None, bytes: size })
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

fn html(text: &str) -> Result<String, String> {
    HtmlToMarkdown::builder()
        .skip_tags(vec!["head", "script", "style", "noscript", "template", "svg", "iframe"])
        .build()
        .convert(text)
        .map_err(|e| format!("the HTML cannot be read: {e}"))
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
    fn invalid_utf8_is_placed() {
        assert_eq!(utf8(b"a\nb\xff".to_vec()), Err((2, "invalid UTF-8 at byte 4".to_owned())));
        assert_eq!(utf8(b"\xef\xbb\xbfx".to_vec()), Ok("x".to_owned()));
    }
}
