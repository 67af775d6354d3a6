//! What does a text mean, as numbers?
//!
//! [`Embedders`] are the declared ones by name. An [`Embedder`] is either a sentence transformer in this process
//! (`local`) or a provider over HTTP (`remote`); callers cannot tell which. Building them does no I/O: a
//! model is fetched and loaded, a provider asked, at the first use. All of it is shared behind `Arc`; work on the CPU runs
//! on blocking threads.

mod fetch;
#[cfg(test)]
mod golden;
mod length;
mod local;
pub mod measure;
mod prompts;
mod provider;
mod purpose;
mod remote;
#[cfg(test)]
mod remote_tests;
mod retry;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use howdah_plan::problem::{Kind, Problem};
use howdah_plan::spec::resolve::{Resolved, known_dimensions, nearest};
use howdah_plan::spec::{self, EmbedderKind, Spec};
use indexmap::IndexMap;
use tokio::sync::{OnceCell, Semaphore};

use howdah_postgres::Home;
use prompts::Prompts;

pub use fetch::DEFAULT_MODEL;
pub use length::{count_words, script_of};
pub use purpose::Purpose;
pub use retry::Policy;

/// Texts that a search embeds at once at the most; below it a request does not queue behind an ingest.
const SMALL: usize = 4;
/// Longest text for an embedder that does not declare one, in characters: below the 8,192 tokens that large providers read
/// as long as a token is a character at least.
const MAX_CHARACTERS: usize = 8_000;
/// The same for each token of a chunk, where chunks are declared to be large.
const CHARACTERS_A_TOKEN: usize = 8;
/// Part of a text's characters that are unknown to the model, from which on its vector says next to nothing.
const UNKNOWN: f64 = 0.3;

/// What a collection has to remember about the embedder that filled it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFacts {
    /// The model's name.
    pub model: String,
    /// Dimensions of its vectors.
    pub dimensions: u32,
    /// Whether its vectors have length one.
    pub normalised: bool,
    /// Most tokens it reads of a text, the special ones left out; unknown for a provider.
    pub max_tokens: Option<usize>,
}

/// The declared embedders by name.
#[derive(Clone, Default)]
pub struct Embedders {
    by_name: IndexMap<String, Arc<Embedder>>,
}

impl Embedders {
    /// The embedders of a declaration. Nothing is fetched, loaded or asked yet.
    ///
    /// # Errors
    /// `usage` when one is declared in a way that cannot work (a provider without an address, an unknown local model).
    pub fn from_spec(spec: &Spec, home: &Home) -> Result<Self, Problem> {
        let mut by_name = IndexMap::new();
        for (name, declared) in &spec.embedders {
            by_name.insert(name.clone(), Arc::new(Embedder::new(name, declared, home)?));
        }
        Ok(Embedders { by_name })
    }

    /// The embedder of this name.
    ///
    /// # Errors
    /// `not_found`, with the nearest name.
    pub fn get(&self, name: &str) -> Result<Arc<Embedder>, Problem> {
        self.by_name.get(name).cloned().ok_or_else(|| {
            let problem = Problem::new(Kind::NotFound, format!("embedder `{name}` is not declared"));
            match nearest(name, self.by_name.keys().map(String::as_str)) {
                Some(near) => problem.hint(format!("Did you mean `{near}`?")),
                None => problem.hint(format!("Add `[embedders.{name}]` to howdah.toml.")),
            }
        })
    }

    /// The embedder of a collection; none when its caller brings the vectors.
    ///
    /// # Errors
    /// `not_found`, when the collection names one that is not declared.
    pub fn of_collection(&self, collection: &Resolved) -> Result<Option<Arc<Embedder>>, Problem> {
        collection.embedder.as_deref().map(|name| self.get(name)).transpose()
    }

    /// All of them, in the order of the declaration.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<Embedder>)> {
        self.by_name.iter().map(|(name, embedder)| (name.as_str(), embedder))
    }
}

/// A text that every provider takes.
const ORDINARY: &str = "elephant";

/// The vector of one text, or why the provider does not take it.
pub type Embedded = Result<Vec<f32>, Problem>;

/// Something that turns text into vectors.
pub struct Embedder {
    name: String,
    model: String,
    declared: Option<u32>,
    max_characters: Option<usize>,
    prompts: Prompts,
    backend: Backend,
    facts: OnceCell<ModelFacts>,
}

enum Backend {
    Local(Local),
    Remote(remote::Remote),
}

struct Local {
    source: Source,
    loaded: OnceCell<Arc<local::Model>>,
    /// One large batch at a time: it uses every core by itself.
    large: Semaphore,
}

enum Source {
    Directory(PathBuf),
    Fetched(Home),
}

impl Embedder {
    /// A declared embedder. Nothing is fetched, loaded or asked yet.
    ///
    /// # Errors
    /// `usage` when it is declared in a way that cannot work.
    pub fn new(name: &str, declared: &spec::Embedder, home: &Home) -> Result<Self, Problem> {
        let backend = match (declared.kind, remote::Remote::new(name, declared)?) {
            (EmbedderKind::Local, _) | (_, None) => Backend::Local(Local {
                source: source(name, declared, home)?,
                loaded: OnceCell::new(),
                large: Semaphore::new(1),
            }),
            (_, Some(remote)) => Backend::Remote(remote),
        };
        Ok(Embedder {
            name: name.to_owned(),
            model: declared.model.clone(),
            declared: declared.dimensions.or_else(|| known_dimensions(&declared.model)),
            max_characters: declared.max_characters.map(|most| most as usize),
            prompts: Prompts::of_name(&declared.model),
            backend,
            facts: OnceCell::new(),
        })
    }

    /// Name in the declaration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Name of the model.
    pub fn model_id(&self) -> &str {
        &self.model
    }

    /// Dimensions of the vectors, as far as known without asking: measured, declared, or by the model's name.
    pub fn dimensions(&self) -> Option<u32> {
        self.facts.get().map(|facts| facts.dimensions).or(self.declared)
    }

    /// Whether the vectors have length one; known after [`Embedder::facts`].
    pub fn normalised(&self) -> Option<bool> {
        self.facts.get().map(|facts| facts.normalised)
    }

    /// Most tokens read of a text; known after [`Embedder::facts`] for a local model.
    pub fn max_tokens(&self) -> Option<usize> {
        self.facts.get().and_then(|facts| facts.max_tokens)
    }

    /// Whether [`Embedder::count_tokens`] counts the model's own tokens. Loads the model.
    ///
    /// # Errors
    /// As [`Embedder::facts`].
    pub async fn has_tokenizer(&self) -> Result<bool, Problem> {
        match &self.backend {
            Backend::Local(local) => local.model().await.map(|_| true),
            Backend::Remote(_) => Ok(false),
        }
    }

    /// Tokens of `text`, without the special ones: the model's own once a local model is loaded
    /// ([`Embedder::facts`]), words otherwise. Never fewer than words: a model takes a run that it does not know for one
    /// token, however long it is.
    pub fn count_tokens(&self, text: &str) -> usize {
        let words = count_words(text);
        match &self.backend {
            Backend::Local(Local { loaded, .. }) => {
                loaded.get().map_or(words, |model| model.count_tokens(text).max(words))
            }
            Backend::Remote(_) => words,
        }
    }

    /// Longest text that it is given, in characters, where chunks have `max_tokens` tokens.
    pub fn max_characters(&self, max_tokens: usize) -> usize {
        self.max_characters.unwrap_or_else(|| default_characters(max_tokens))
    }

    /// Name of the script of `text`, where the model knows too little of it to tell one text from another; none for a
    /// text it knows, and for a provider, which does not say.
    pub fn unknown_script(&self, text: &str) -> Option<&'static str> {
        let Backend::Local(Local { loaded, .. }) = &self.backend else { return None };
        if text.is_ascii() || loaded.get()?.unknown(text) < UNKNOWN {
            return None;
        }
        script_of(text)
    }

    /// Texts that one call to [`Embedder::embed`] handles best.
    pub fn preferred_batch(&self) -> usize {
        match &self.backend {
            Backend::Local(_) => 64,
            Backend::Remote(remote) => remote.batch() * 4,
        }
    }

    /// What a collection has to remember. Loads a local model; asks a provider to embed one word, once.
    ///
    /// # Errors
    /// Whatever keeps the model from being fetched and loaded, or the provider from answering; `conflict` when it gives
    /// other dimensions than declared.
    pub async fn facts(&self) -> Result<&ModelFacts, Problem> {
        self.facts.get_or_try_init(|| self.measure()).await
    }

    async fn measure(&self) -> Result<ModelFacts, Problem> {
        let (dimensions, normalised, max_tokens) = match &self.backend {
            Backend::Local(local) => {
                let model = local.model().await?;
                // Two special tokens, [CLS] and [SEP], stand around every text.
                (model.dimensions, model.normalised, Some(model.max_tokens.saturating_sub(2)))
            }
            Backend::Remote(remote) => {
                let vectors = remote.embed(&[ORDINARY.to_owned()]).await?;
                let vector = vectors.first().map_or(&[][..], Vec::as_slice);
                (vector.len(), (norm(vector) - 1.0).abs() < 1e-3, None)
            }
        };
        let dimensions = u32::try_from(dimensions).unwrap_or(u32::MAX);
        if let Some(declared) = self.declared.filter(|declared| *declared != dimensions) {
            return Err(Problem::new(
                Kind::Conflict,
                format!(
                    "embedder `{}` gives `{dimensions}` dimensions, declared are `{declared}`",
                    self.name
                ),
            )
            .hint(format!(
                "Set `dimensions = {dimensions}` below `[embedders.{}]` in howdah.toml.",
                self.name
            ))
            .do_now(howdah_plan::problem::DoNow::FixInput));
        }
        Ok(ModelFacts { model: self.model.clone(), dimensions, normalised, max_tokens })
    }

    /// One vector a text, in the order of the texts. A text longer than the model reads is cut at its end.
    ///
    /// # Errors
    /// As [`Embedder::facts`]; the provider's own refusals.
    pub async fn embed(&self, texts: &[String], purpose: Purpose) -> Result<Vec<Vec<f32>>, Problem> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let start = Instant::now();
        let vectors = self.compute(texts, purpose).await?;
        let labels = [("embedder", self.name.clone()), ("purpose", purpose.name().to_owned())];
        metrics::histogram!(measure::EMBED_SECONDS, &labels).record(start.elapsed().as_secs_f64());
        metrics::counter!(measure::EMBEDDED_TEXTS, &labels).increment(texts.len() as u64);
        Ok(vectors)
    }

    /// As [`Embedder::embed`], with an answer for each text: one that the provider refuses takes none of the others with
    /// it. Texts are refused one by one only by a provider that takes an ordinary one.
    ///
    /// # Errors
    /// Whatever is not the fault of one text.
    pub async fn embed_each(&self, texts: &[String], purpose: Purpose) -> Result<Vec<Embedded>, Problem> {
        let Backend::Remote(remote) = &self.backend else {
            return Ok(self.embed(texts, purpose).await?.into_iter().map(Ok).collect());
        };
        match self.embed(texts, purpose).await {
            Ok(vectors) => return Ok(vectors.into_iter().map(Ok).collect()),
            Err(problem) if !remote::is_refused_text(&problem) => return Err(problem),
            Err(_) => {}
        }
        remote.embed(&[ORDINARY.to_owned()]).await?;
        // Halves of what was refused, until each refused text stands alone.
        let mut answers: Vec<Option<Embedded>> = texts.iter().map(|_| None).collect();
        let mut ranges: Vec<std::ops::Range<usize>> = std::iter::once(0..texts.len()).collect();
        while let Some(range) = ranges.pop() {
            match self.embed(&texts[range.clone()], purpose).await {
                Ok(vectors) => {
                    for (answer, vector) in answers[range].iter_mut().zip(vectors) {
                        *answer = Some(Ok(vector));
                    }
                }
                Err(problem) if !remote::is_refused_text(&problem) => return Err(problem),
                Err(problem) if range.len() == 1 => answers[range.start] = Some(Err(problem)),
                Err(_) => {
                    let middle = range.start + range.len() / 2;
                    ranges.extend([middle..range.end, range.start..middle]);
                }
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    async fn compute(&self, texts: &[String], purpose: Purpose) -> Result<Vec<Vec<f32>>, Problem> {
        match &self.backend {
            Backend::Local(local) => local.embed(texts, purpose, &self.prompts).await,
            Backend::Remote(remote) => match self.prompts.of(purpose) {
                "" => remote.embed(texts).await,
                prompt => remote.embed(&prompted(texts, prompt)).await,
            },
        }
    }
}

impl Local {
    async fn model(&self) -> Result<&Arc<local::Model>, Problem> {
        self.loaded
            .get_or_try_init(|| async {
                let directory = match &self.source {
                    Source::Directory(directory) => directory.clone(),
                    Source::Fetched(home) => fetch::default_model(home).await?,
                };
                blocking(move || local::Model::load(&directory)).await.map(Arc::new)
            })
            .await
    }

    async fn embed(
        &self,
        texts: &[String],
        purpose: Purpose,
        named: &Prompts,
    ) -> Result<Vec<Vec<f32>>, Problem> {
        let model = Arc::clone(self.model().await?);
        let _turn = if texts.len() > SMALL { self.large.acquire().await.ok() } else { None };
        let prompts = if model.prompts.is_empty() { named } else { &model.prompts };
        let texts = prompted(texts, prompts.of(purpose));
        blocking(move || model.embed(&texts)).await
    }
}

fn prompted(texts: &[String], prompt: &str) -> Vec<String> {
    texts.iter().map(|text| format!("{prompt}{text}")).collect()
}

fn source(name: &str, declared: &spec::Embedder, home: &Home) -> Result<Source, Problem> {
    if let Some(path) = &declared.path {
        return Ok(Source::Directory(PathBuf::from(path)));
    }
    if declared.model.rsplit('/').next() == Some(DEFAULT_MODEL) {
        return Ok(Source::Fetched(home.clone()));
    }
    Err(Problem::new(Kind::Usage, format!("embedder `{name}` has no `path`"))
        .detail(format!("Howdah fetches `{DEFAULT_MODEL}` only, not `{}`", declared.model))
        .hint(format!(
            "Set `path` below `[embedders.{name}]` to a directory with `model.safetensors`, `config.json` and \
             `tokenizer.json`, or use `model = \"{DEFAULT_MODEL}\"`."
        )))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| {
        Err(Problem::new(Kind::Internal, "the embedder stopped unexpectedly").detail(e.to_string()))
    })
}

/// Longest text in characters where no embedder declares one, with chunks of `max_tokens` tokens.
pub fn default_characters(max_tokens: usize) -> usize {
    MAX_CHARACTERS.max(max_tokens * CHARACTERS_A_TOKEN)
}

/// Length of a vector.
pub fn norm(vector: &[f32]) -> f64 {
    vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt()
}

/// Brings a vector to length one; the zero vector stays.
pub fn normalise(vector: &mut [f32]) {
    let norm = norm(vector);
    if norm > 0.0 {
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
    }
}
