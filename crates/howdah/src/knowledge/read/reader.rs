//! One document after another, whatever the inputs are.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use encoding_rs::Encoding;
use howdah_plan::problem::{Kind, Problem};
use serde_json::Value;

use super::decode::{self, Packing};
use super::format::{Context, Documents, Limits};
use super::walk::{FoundFile, Walk};
use super::{BadRecord, Document, Format, Refusal, Shape, prose, tables, vectors};

/// Where documents come from.
#[derive(Debug, Clone)]
pub enum Input {
    /// A file, or a directory with everything in it whose suffix says what it is; `-` is standard input.
    Path(String),
    /// Records that are in memory already, each like a line of JSON Lines. The text names them in messages.
    Records(String, Vec<Value>),
}

/// How much there is to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Files.
    pub files: u64,
    /// Bytes; unknown when standard input is among the inputs.
    pub bytes: Option<u64>,
}

/// Reads documents. Blocks; callers put it on a thread of its own.
pub struct Reader {
    context: Context,
    base: Option<PathBuf>,
    format: Option<Format>,
    inputs: std::vec::IntoIter<Input>,
    walk: Option<Walk>,
    current: Option<Documents>,
    files: u64,
    ignored: u64,
}

impl Reader {
    /// A reader of `inputs`; `format` goes before what suffixes say.
    pub fn new(inputs: Vec<Input>, format: Option<Format>, limits: Limits, shape: Arc<Shape>) -> Self {
        Reader {
            context: Context { shape, limits, encoding: None },
            base: None,
            format,
            inputs: inputs.into_iter(),
            walk: None,
            current: None,
            files: 0,
            ignored: 0,
        }
    }

    /// Names files below `base` from there, wherever they were given from.
    #[must_use]
    pub fn named_from(mut self, base: Option<PathBuf>) -> Self {
        self.base = base;
        self
    }

    /// Reads texts without a byte order mark in this encoding.
    #[must_use]
    pub fn encoded_in(mut self, encoding: Option<&'static Encoding>) -> Self {
        self.context.encoding = encoding;
        self
    }

    /// Files opened so far, and files left out because their suffix says nothing.
    pub fn files(&self) -> (u64, u64) {
        (self.files, self.ignored)
    }

    fn advance(&mut self) -> Option<Result<(), Refusal>> {
        if let Some(walk) = &mut self.walk {
            match walk.next() {
                Some(Ok(found)) => return Some(self.found(&found)),
                Some(Err((path, e))) => {
                    let bad =
                        BadRecord::new(&path.display().to_string(), None, format!("cannot be read: {e}"));
                    return Some(Err(bad.into()));
                }
                None => self.walk = None,
            }
        }
        let input = self.inputs.next()?;
        Some(self.open(input))
    }

    fn found(&mut self, found: &FoundFile) -> Result<(), Refusal> {
        match self.format.or(found.format) {
            Some(format) => self.open_file(&found.path, format),
            None => {
                self.ignored += 1;
                Ok(())
            }
        }
    }

    fn open(&mut self, input: Input) -> Result<(), Refusal> {
        match input {
            Input::Records(name, records) => {
                self.current = Some(tables::records(self.context.clone(), name, records));
                Ok(())
            }
            Input::Path(path) if path == "-" => {
                let format = self.format.unwrap_or(Format::Jsonl);
                self.files += 1;
                let input = Box::new(BufReader::new(io::stdin()));
                self.current = Some(self.documents(input, None, "stdin", format)?);
                Ok(())
            }
            Input::Path(path) => {
                let path = Path::new(&path);
                let facts = std::fs::metadata(path).map_err(|e| Refusal::Fatal(missing(path, &e)))?;
                if facts.is_dir() {
                    self.walk = Some(Walk::new(path).map_err(|e| Refusal::Fatal(missing(path, &e)))?);
                    return Ok(());
                }
                let format = self.format.or(Format::of(path)).ok_or_else(|| Refusal::Fatal(unknown(path)))?;
                self.open_file(path, format)
            }
        }
    }

    fn open_file(&mut self, path: &Path, format: Format) -> Result<(), Refusal> {
        self.files += 1;
        let unnamed = || {
            let shown = path.display().to_string();
            Refusal::Bad(BadRecord::new(&shown, None, "its name is not valid UTF-8"))
        };
        let name = source_name(path, self.base.as_deref()).ok_or_else(unnamed)?;
        let bad = |reason: String| Refusal::Bad(BadRecord::new(&name, None, reason));
        let file = File::open(path).map_err(|e| bad(format!("cannot be read: {e}")))?;
        let facts = file.metadata().map_err(|e| bad(format!("cannot be read: {e}")))?;
        if facts.is_file() && facts.len() == 0 {
            return Err(Refusal::Empty(BadRecord::new(&name, None, "the file is empty")));
        }
        let packing = Packing::of(path);
        if packing.is_some() && matches!(format, Format::Npy | Format::Parquet) {
            return Err(bad(format!("{} is not read from a packed file; unpack it first", format.name())));
        }
        self.current = Some(match format {
            Format::Npy => vectors::documents(self.context.clone(), path, &name, file)?,
            #[cfg(feature = "parquet")]
            Format::Parquet => super::parquet::documents(self.context.clone(), &name, file)?,
            _ => {
                self.documents(Box::new(BufReader::with_capacity(256 << 10, file)), packing, &name, format)?
            }
        });
        Ok(())
    }

    fn documents(
        &self,
        input: Box<dyn BufRead + Send>,
        packing: Option<Packing>,
        name: &str,
        format: Format,
    ) -> Result<Documents, Refusal> {
        let context = self.context.clone();
        let input = decode::open(input, packing, context.encoding)
            .map_err(|e| BadRecord::new(name, None, format!("cannot be read: {e}")))?;
        match format {
            Format::Markdown | Format::Text | Format::Html => {
                Ok(prose::documents(context, input, name, format))
            }
            Format::Jsonl => Ok(tables::jsonl(context, input, name)),
            Format::Csv => tables::csv(context, input, name, b','),
            Format::Tsv => tables::csv(context, input, name, b'\t'),
            Format::Npy | Format::Parquet => Err(Refusal::Fatal(not_streamed(name, format))),
        }
    }
}

impl Iterator for Reader {
    type Item = Result<Document, Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(document) = self.current.as_mut().and_then(Iterator::next) {
                return Some(document);
            }
            self.current = None;
            if let Err(refusal) = self.advance()? {
                return Some(Err(refusal));
            }
        }
    }
}

/// A path as a name: from `base` where it is below it, `/` between its parts, without `.`; none when it is not valid UTF-8.
pub fn source_name(path: &Path, base: Option<&Path>) -> Option<String> {
    let path = base.and_then(|base| path.strip_prefix(base).ok()).unwrap_or(path);
    let mut name = String::new();
    for part in path.components() {
        match part {
            Component::CurDir => continue,
            Component::RootDir => {
                name.push('/');
                continue;
            }
            other => {
                if !name.is_empty() && !name.ends_with('/') {
                    name.push('/');
                }
                name.push_str(other.as_os_str().to_str()?);
            }
        }
    }
    Some(name)
}

/// How much there is to read.
///
/// # Errors
/// `not_found` when an input does not exist, `usage` when a file's format is unknown.
pub fn totals(inputs: &[Input], format: Option<Format>) -> Result<Totals, Problem> {
    let mut totals = Totals { files: 0, bytes: Some(0) };
    let mut add = |bytes: u64| {
        totals.files += 1;
        totals.bytes = totals.bytes.map(|sum| sum + bytes);
    };
    let mut streamed = false;
    for input in inputs {
        match input {
            Input::Records(..) => streamed = true,
            Input::Path(path) if path == "-" => streamed = true,
            Input::Path(path) => {
                let path = Path::new(path);
                let facts = std::fs::metadata(path).map_err(|e| missing(path, &e))?;
                if facts.is_dir() {
                    let walk = Walk::new(path).map_err(|e| missing(path, &e))?;
                    for found in walk.flatten().filter(|found| format.or(found.format).is_some()) {
                        streamed |= Packing::of(&found.path).is_some();
                        add(found.bytes);
                    }
                } else if format.or(Format::of(path)).is_none() {
                    return Err(unknown(path));
                } else {
                    // How much is in a packed file is known when it has been read.
                    streamed |= Packing::of(path).is_some();
                    add(facts.len());
                }
            }
        }
    }
    if streamed {
        totals.bytes = None;
    }
    Ok(totals)
}

fn missing(path: &Path, error: &io::Error) -> Problem {
    let kind = if error.kind() == io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Machine };
    Problem::new(kind, format!("cannot read `{}`", path.display()))
        .detail(error.to_string())
        .hint("Check the path; `-` reads standard input.")
}

fn unknown(path: &Path) -> Problem {
    Problem::new(Kind::Usage, format!("the format of `{}` is unknown", path.display()))
        .hint("Say it: `--format markdown|text|html|jsonl|csv|tsv|npy|parquet`.")
}

fn not_streamed(name: &str, format: Format) -> Problem {
    if format == Format::Parquet && !cfg!(feature = "parquet") {
        return Problem::new(Kind::Usage, format!("cannot read Parquet: `{name}`"))
            .detail("this build of howdah has no Parquet reader")
            .hint("Build it in: `cargo build --release --features parquet`; or write JSON Lines.");
    }
    Problem::new(Kind::Usage, format!("cannot read {} from standard input", format.name()))
        .hint("Give the file's path instead.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_paths_as_given_without_dots() {
        let name = |path: &str| source_name(Path::new(path), Some(Path::new("/home/me/work"))).unwrap();
        assert_eq!(name("./docs//a.md"), "docs/a.md");
        assert_eq!(name("docs/"), "docs");
        assert_eq!(name("/srv/x.md"), "/srv/x.md");
        assert_eq!(name("../x.md"), "../x.md");
        assert_eq!(name("/home/me/work/docs/a.md"), "docs/a.md");
    }
}
