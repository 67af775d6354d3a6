//! One document after another, whatever the inputs are.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use encoding_rs::Encoding;
use howdah_plan::problem::{Kind, Problem};
use serde_json::Value;

use super::decode::{self, Packing};
use super::format::{Context, Documents, Limits};
use super::name::Naming;
use super::walk::{Found, FoundFile, Passed, Selection, Walk};
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
    naming: Naming,
    selection: Selection,
    format: Option<Format>,
    inputs: std::vec::IntoIter<Input>,
    walk: Option<Walk>,
    current: Option<Documents>,
    origin: Option<Arc<str>>,
    files: u64,
    opened: Vec<Arc<str>>,
    passed: Vec<PassedOver>,
}

/// Something that was found and not read.
#[derive(Debug, Clone)]
pub struct PassedOver {
    /// Where it is.
    pub path: PathBuf,
    /// Its name, as a document's.
    pub name: Option<String>,
    /// Why.
    pub why: Passed,
}

impl Reader {
    /// A reader of `inputs`; `format` goes before what suffixes say.
    pub fn new(inputs: Vec<Input>, format: Option<Format>, limits: Limits, shape: Arc<Shape>) -> Self {
        Reader {
            context: Context { shape, limits, encoding: None },
            naming: Naming::new(Path::new("."), &[]),
            selection: Selection::default(),
            format,
            inputs: inputs.into_iter(),
            walk: None,
            current: None,
            origin: None,
            files: 0,
            opened: Vec::new(),
            passed: Vec::new(),
        }
    }

    /// Names files by `naming`; from the working directory unless set.
    #[must_use]
    pub fn named(mut self, naming: Naming) -> Self {
        self.naming = naming;
        self
    }

    /// Reads texts without a byte order mark in this encoding.
    #[must_use]
    pub fn encoded_in(mut self, encoding: Option<&'static Encoding>) -> Self {
        self.context.encoding = encoding;
        self
    }

    /// Reads of directories what `selection` takes.
    #[must_use]
    pub fn selecting(mut self, selection: Selection) -> Self {
        self.selection = selection;
        self
    }

    /// Files opened so far.
    pub fn files(&self) -> u64 {
        self.files
    }

    /// The name of the file, or of the place, that the last item came from; none where that was no file.
    pub fn origin(&self) -> Option<&Arc<str>> {
        self.origin.as_ref()
    }

    /// Names of the files that were opened since this was last asked.
    pub fn opened(&mut self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.opened)
    }

    /// What was passed over since this was last asked.
    pub fn passed_over(&mut self) -> Vec<PassedOver> {
        std::mem::take(&mut self.passed)
    }

    fn advance(&mut self) -> Option<Result<(), Refusal>> {
        if let Some(walk) = &mut self.walk {
            match walk.next() {
                Some(Ok(Found::File(found))) => return Some(self.found(&found)),
                Some(Ok(Found::Passed(path, why))) => {
                    self.pass_over(path, why);
                    return Some(Ok(()));
                }
                Some(Err((path, e))) => {
                    self.origin = self.naming.file(&path).map(Into::into);
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
            Some(format) => {
                let name = self.naming.file(&found.path);
                self.open_file(&found.path, name, format)
            }
            None => {
                self.pass_over(found.path.clone(), Passed::NoFormat);
                Ok(())
            }
        }
    }

    fn pass_over(&mut self, path: PathBuf, why: Passed) {
        let name = self.naming.file(&path);
        self.passed.push(PassedOver { path, name, why });
    }

    fn open(&mut self, input: Input) -> Result<(), Refusal> {
        self.origin = None;
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
                    self.walk = Some(
                        Walk::new(path, self.selection.clone())
                            .map_err(|e| Refusal::Fatal(missing(path, &e)))?,
                    );
                    return Ok(());
                }
                let format = self.format.or(Format::of(path)).ok_or_else(|| Refusal::Fatal(unknown(path)))?;
                let name = self.naming.typed(path);
                self.open_file(path, name, format)
            }
        }
    }

    fn open_file(&mut self, path: &Path, name: Option<String>, format: Format) -> Result<(), Refusal> {
        self.files += 1;
        self.origin = None;
        let unnamed = || {
            let shown = path.display().to_string();
            Refusal::Bad(BadRecord::new(&shown, None, "its name is not valid UTF-8"))
        };
        let name = name.ok_or_else(unnamed)?;
        let bad = |reason: String| Refusal::Bad(BadRecord::new(&name, None, reason));
        let origin: Arc<str> = name.as_str().into();
        self.opened.push(Arc::clone(&origin));
        self.origin = Some(origin);
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

/// How much there is to read.
///
/// # Errors
/// `not_found` when an input does not exist, `usage` when a file's format is unknown.
pub fn totals(inputs: &[Input], format: Option<Format>, selection: &Selection) -> Result<Totals, Problem> {
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
                    let walk = Walk::new(path, selection.clone()).map_err(|e| missing(path, &e))?;
                    for found in walk.flatten() {
                        match found {
                            Found::File(found) if format.or(found.format).is_some() => {
                                streamed |= Packing::of(&found.path).is_some();
                                add(found.bytes);
                            }
                            Found::File(_) | Found::Passed(..) => {}
                        }
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
