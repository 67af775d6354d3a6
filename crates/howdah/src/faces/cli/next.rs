//! What does one type after `howdah up`?
//!
//! For a collection with declared documents a question that they answer: a heading of theirs, a question where there is one.

use std::path::Path;

use crate::daemon::declaration::Declaration;

/// Most files that are looked at.
const FILES: usize = 500;
/// Bytes of a file that are looked at.
const BYTES: usize = 64 << 10;
/// Longest heading that is a question to type.
const LONGEST: usize = 80;

/// The command to try next.
pub fn command(declaration: &Declaration) -> String {
    let collections = &declaration.spec.collections;
    let which =
        |name: &str| if collections.len() > 1 { format!(" --collection {name}") } else { String::new() };
    let asked = collections.iter().find_map(|(name, collection)| {
        let question = question(declaration.directory(), &collection.documents)?;
        Some(format!("howdah search \"{question}\"{}", which(name)))
    });
    asked.unwrap_or_else(|| match collections.first() {
        Some((name, collection)) if !collection.documents.is_empty() => {
            format!("howdah search WORDS{}", which(name))
        }
        Some((name, _)) => format!("howdah ingest {name} PATH"),
        None => "howdah init".to_owned(),
    })
}

/// A heading of Markdown files below the declared paths: the first that is a question, else the first.
fn question(directory: &Path, documents: &[String]) -> Option<String> {
    let mut left = FILES;
    let mut headings = Vec::new();
    for path in documents {
        look(&directory.join(path), &mut left, &mut headings);
        if let Some(question) = headings.iter().find(|heading| heading.ends_with('?')) {
            return Some(question.trim_end_matches('?').to_owned());
        }
    }
    headings.into_iter().next()
}

/// Collects headings in the order of names; stops at the first question.
fn look(path: &Path, left: &mut usize, headings: &mut Vec<String>) {
    if *left == 0 || headings.last().is_some_and(|last| last.ends_with('?')) {
        return;
    }
    *left -= 1;
    if path.is_dir() {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        let mut inside: Vec<_> = entries.map(|entry| entry.path()).collect();
        inside.sort();
        inside.iter().for_each(|path| look(path, left, headings));
    } else if path.extension().is_some_and(|extension| extension == "md") {
        let Ok(bytes) = std::fs::read(path) else { return };
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(BYTES)]).into_owned();
        let mut found = text.lines().filter_map(heading);
        let first = found.next();
        let question = first.iter().cloned().chain(found).find(|heading| heading.ends_with('?'));
        headings.extend(question.or(first));
    }
}

/// The words of a heading that a shell takes between double quotes as they are.
fn heading(line: &str) -> Option<String> {
    let words = line.strip_prefix('#')?.trim_start_matches('#').strip_prefix(' ')?.trim();
    let plain = words.chars().all(|c| c.is_alphanumeric() || " ?,.:;-()/%'".contains(c));
    (plain && !words.is_empty() && words.chars().count() <= LONGEST).then(|| words.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_one_that_the_documents_answer() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let documents = vec!["docs".to_owned()];
        assert_eq!(question(dir.path(), &documents), None);
        write("docs/a.md", "# Notes on `$HOME`\n\n## Things \"quoted\"\n\n# Elephants\n");
        write("docs/b.txt", "# Not read?\n");
        assert_eq!(question(dir.path(), &documents).as_deref(), Some("Elephants"));
        write("docs/sub/c.md", "# Welcome\n\n## How do I stop it?\n\n## And then?\n");
        assert_eq!(question(dir.path(), &documents).as_deref(), Some("How do I stop it"));
    }
}
