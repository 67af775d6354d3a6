//! Vectors from a provider over HTTP.
//!
//! Texts go out in requests of bounded count and size, a few at a time; an answer is believed only after its count, its
//! dimensions and every number in it were checked. Passing failures are tried again as `retry` decides. The API key comes
//! from the environment, travels in one header marked as sensitive, and is cut out of whatever a provider says.

use std::sync::Once;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use howdah_plan::problem::{DoNow, Kind, Problem};
use howdah_plan::spec;
use howdah_plan::spec::resolve::known_dimensions;
use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};

use super::provider::Provider;
use super::retry::{self, Next, Policy};

/// Bytes of text in one request at the most.
const REQUEST_BYTES: usize = 512 << 10;
/// Largest answer read, in bytes.
const ANSWER_BYTES: usize = 256 << 20;
/// How the refusal of what was sent is called, whoever sends it.
const REFUSED: &str = "refused the texts";
/// Longest time for one request unless declared otherwise.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A provider and how to talk to it.
pub struct Remote {
    provider: Provider,
    model: String,
    endpoint: String,
    shown: String,
    key: Key,
    batch: usize,
    timeout: Duration,
    dimensions: Option<u32>,
    shorten: Option<u32>,
    client: reqwest::Client,
    policy: Policy,
}

enum Key {
    None,
    Missing(String),
    Given(String),
}

impl Remote {
    /// A client for a declared embedder; nothing is sent yet. None for a local one.
    ///
    /// # Errors
    /// `usage` when the address is missing or none.
    pub fn new(name: &str, embedder: &spec::Embedder) -> Result<Option<Self>, Problem> {
        let Some(provider) = Provider::of(embedder.kind) else { return Ok(None) };
        let base = address(name, provider, embedder.url.as_deref())?;
        let known = known_dimensions(&embedder.model);
        let shorten = embedder.dimensions.filter(|wanted| {
            embedder.model.contains("text-embedding-3") && known.is_some_and(|full| *wanted < full)
        });
        Ok(Some(Remote {
            provider,
            model: embedder.model.clone(),
            endpoint: provider.endpoint(base.as_str()),
            shown: redacted(&base),
            key: key(provider, embedder),
            batch: embedder.batch.map_or(provider.default_batch(), |batch| (batch as usize).max(1)),
            timeout: embedder.timeout_seconds.map_or(TIMEOUT, Duration::from_secs),
            dimensions: embedder.dimensions.or(known),
            shorten,
            client: client()?,
            policy: Policy::default(),
        }))
    }

    /// The same with other pauses.
    #[cfg(test)]
    pub fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Texts in one request at the most.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// One vector a text, in the order of the texts.
    ///
    /// # Errors
    /// `unauthenticated`, `not_found`, `rate_limited`, `timeout`, `unreachable` or `failed`, in the provider's words.
    pub async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, Problem> {
        // Futures first: a closure over borrowed texts inside the stream keeps the whole from being `Send`.
        let requests: Vec<_> =
            batches(texts, self.batch).into_iter().map(|batch| self.request(batch)).collect();
        let parts: Vec<Vec<Vec<f32>>> =
            stream::iter(requests).buffered(self.provider.parallel()).try_collect().await?;
        Ok(parts.into_iter().flatten().collect())
    }

    async fn request(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, Problem> {
        let headers = self.headers()?;
        let body = self.provider.request(&self.model, texts, self.shorten);
        let mut attempt = 1;
        loop {
            let failure = match self.attempt(&headers, &body).await {
                Ok(answer) => return self.check(&answer, texts.len()),
                Err(failure) if !failure.transient => return Err(failure.problem),
                Err(failure) => failure,
            };
            match self.policy.next(attempt, failure.asked, rand::random()) {
                Next::After(pause) => {
                    tracing::debug!(embedder = %self.shown, attempt, ?pause, "{}; trying again", failure.problem);
                    tokio::time::sleep(pause).await;
                }
                Next::GiveUp => {
                    let detail = failure.problem.detail.clone().unwrap_or_default();
                    return Err(failure.problem.detail(join(&detail, &format!("tried {attempt} times"))));
                }
                Next::AskedTooLong(asked) => {
                    let asked = format!("the provider asks for a pause of {} s", asked.as_secs());
                    let detail = failure.problem.detail.clone().unwrap_or_default();
                    return Err(failure.problem.detail(join(&detail, &asked)));
                }
            }
            attempt += 1;
        }
    }

    fn headers(&self) -> Result<HeaderMap, Problem> {
        let mut headers = HeaderMap::new();
        match &self.key {
            Key::None => {}
            Key::Missing(variable) => {
                return Err(Problem::new(
                    Kind::Unauthenticated,
                    format!("the variable `{variable}` is not set"),
                )
                .detail(format!("it should hold the key for the embedder at {}", self.shown))
                .hint(format!("Set it: export {variable}=…")));
            }
            Key::Given(key) => {
                let mut value = HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| {
                    Problem::new(
                        Kind::Unauthenticated,
                        "the embedder's key has characters no header can carry",
                    )
                })?;
                value.set_sensitive(true);
                headers.insert(AUTHORIZATION, value);
            }
        }
        Ok(headers)
    }

    async fn attempt(&self, headers: &HeaderMap, body: &serde_json::Value) -> Result<Vec<u8>, Failure> {
        let request =
            self.client.post(&self.endpoint).headers(headers.clone()).timeout(self.timeout).json(body);
        let mut response = request.send().await.map_err(|e| self.no_answer(&e))?;
        let status = response.status().as_u16();
        let asked = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry::retry_after(value, Timestamp::now()));
        let mut answer = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|e| self.no_answer(&e))? {
            if answer.len() + part.len() > ANSWER_BYTES {
                return Err(Failure::last(
                    self.bad_answer(&format!("the answer is larger than {ANSWER_BYTES} bytes")),
                ));
            }
            answer.extend_from_slice(&part);
        }
        if response.status().is_success() {
            return Ok(answer);
        }
        Err(Failure { problem: self.refused(status, &answer), transient: retry::is_transient(status), asked })
    }

    fn no_answer(&self, error: &reqwest::Error) -> Failure {
        let problem = if error.is_timeout() {
            Problem::new(Kind::Timeout, format!("the embedder at `{}` did not answer in time", self.shown))
                .detail(format!("allowed are {} s a request", self.timeout.as_secs_f64()))
                .hint("Raise the embedder's `timeout_seconds`, or lower its `batch`, in howdah.toml.")
        } else {
            Problem::new(Kind::Unreachable, format!("the embedder at `{}` does not answer", self.shown))
                .detail(self.clean(&causes(error)))
                .hint(match self.provider {
                    Provider::Ollama => {
                        "Start it: `ollama serve`, and check the embedder's `url` in howdah.toml."
                    }
                    _ => "Check that the service runs and that the embedder's `url` in howdah.toml is right.",
                })
        };
        Failure { problem, transient: true, asked: None }
    }

    fn refused(&self, status: u16, answer: &[u8]) -> Problem {
        let (kind, message) = match status {
            401 => (Kind::Unauthenticated, format!("the embedder at `{}` refuses the key", self.shown)),
            403 => (Kind::Forbidden, format!("the embedder at `{}` forbids this", self.shown)),
            404 => (
                Kind::NotFound,
                format!("the embedder at `{}` does not know model `{}`", self.shown, self.model),
            ),
            429 => (Kind::RateLimited, format!("the embedder at `{}` wants fewer requests", self.shown)),
            500.. => {
                (Kind::Unreachable, format!("the embedder at `{}` failed with status {status}", self.shown))
            }
            _ => (Kind::Failed, format!("the embedder at `{}` {REFUSED}", self.shown)),
        };
        let said = String::from_utf8_lossy(&answer[..answer.len().min(600)]);
        let problem =
            Problem::new(kind, message).detail(self.clean(&format!("status {status}: {}", said.trim())));
        match (status, self.provider) {
            (401 | 403, _) => {
                problem.hint("Check the key in the variable that the embedder's `api_key_env` names.")
            }
            (404, Provider::Ollama) => {
                problem.hint(format!("Fetch the model: `ollama pull {}`.", self.model))
            }
            (404, _) => problem.hint("Check the embedder's `model` and `url` in howdah.toml."),
            (413 | 422, _) => problem.hint("Lower the embedder's `batch` in howdah.toml."),
            _ => problem,
        }
    }

    fn check(&self, answer: &[u8], expected: usize) -> Result<Vec<Vec<f32>>, Problem> {
        let vectors = self.provider.answer(answer).map_err(|e| self.bad_answer(&self.clean(&e)))?;
        if vectors.len() != expected {
            return Err(self.bad_answer(&format!("{} vectors for {expected} texts", vectors.len())));
        }
        let dimensions = self.dimensions.map_or_else(|| vectors.first().map_or(0, Vec::len), |d| d as usize);
        for vector in &vectors {
            if vector.len() != dimensions || dimensions == 0 {
                return Err(self.wrong_dimensions(vector.len(), dimensions));
            }
            if !vector.iter().all(|x| x.is_finite()) {
                return Err(self.bad_answer("a vector holds a number that is not finite"));
            }
        }
        Ok(vectors)
    }

    fn wrong_dimensions(&self, got: usize, expected: usize) -> Problem {
        Problem::new(
            Kind::Conflict,
            format!("model `{}` gives vectors of `{got}` dimensions, not `{expected}`", self.model),
        )
        .detail(format!("answered by the embedder at {}", self.shown))
        .hint(format!("Set the embedder's `dimensions = {got}` in howdah.toml, or name another model."))
        .do_now(DoNow::FixInput)
    }

    fn bad_answer(&self, why: &str) -> Problem {
        Problem::new(
            Kind::Failed,
            format!("the embedder at `{}` gave an answer that makes no sense", self.shown),
        )
        .detail(why.to_owned())
        .hint("Check that the embedder's `kind` fits what listens at its `url`.")
        .do_now(DoNow::FixMachine)
    }

    /// The text without the key, whoever put it there.
    fn clean(&self, text: &str) -> String {
        match &self.key {
            Key::Given(key) if !key.is_empty() => text.replace(key.as_str(), "[key]"),
            _ => text.to_owned(),
        }
    }
}

/// Whether a provider has taken offence at what it was given: another text may be fine.
pub fn is_refused_text(problem: &Problem) -> bool {
    problem.kind == Kind::Failed && problem.message.ends_with(REFUSED)
}

struct Failure {
    problem: Problem,
    transient: bool,
    asked: Option<Duration>,
}

impl Failure {
    fn last(problem: Problem) -> Self {
        Failure { problem, transient: false, asked: None }
    }
}

fn client() -> Result<reqwest::Client, Problem> {
    static PROVIDER: Once = Once::new();
    // Other code of the process may have installed one already; either is fine.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .user_agent(concat!("howdah/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|e| Problem::new(Kind::Machine, "cannot set up HTTPS").detail(causes(&e)))
}

fn address(name: &str, provider: Provider, declared: Option<&str>) -> Result<url::Url, Problem> {
    let text = declared.or(provider.default_url()).ok_or_else(|| {
        Problem::new(Kind::Usage, format!("embedder `{name}` has no `url`"))
            .hint(format!("Add `url = \"http://host:port\"` below `[embedders.{name}]`."))
    })?;
    url::Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https")).ok_or_else(|| {
        Problem::new(Kind::Usage, format!("embedder `{name}` has no valid `url`"))
            .hint("Write it as `http://host:port` or `https://host`.")
    })
}

fn redacted(url: &url::Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.as_str().trim_end_matches('/').to_owned()
}

fn key(provider: Provider, embedder: &spec::Embedder) -> Key {
    let variable = match (&embedder.api_key_env, provider, &embedder.url) {
        (Some(variable), ..) => variable.clone(),
        (None, Provider::OpenAi, None) => "OPENAI_API_KEY".to_owned(),
        _ => return Key::None,
    };
    match std::env::var(&variable) {
        Ok(value) if !value.trim().is_empty() => Key::Given(value.trim().to_owned()),
        _ => Key::Missing(variable),
    }
}

/// Cuts `texts` into requests of at most `count` texts and about [`REQUEST_BYTES`] bytes.
fn batches(texts: &[String], count: usize) -> Vec<&[String]> {
    let mut batches = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (position, text) in texts.iter().enumerate() {
        if position > start && (position - start == count || bytes + text.len() > REQUEST_BYTES) {
            batches.push(&texts[start..position]);
            (start, bytes) = (position, 0);
        }
        bytes += text.len();
    }
    if start < texts.len() {
        batches.push(&texts[start..]);
    }
    batches
}

fn causes(error: &dyn std::error::Error) -> String {
    // reqwest's own text repeats the address, which may hold a password: its causes are enough.
    let mut texts = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    texts.join(": ")
}

fn join(detail: &str, more: &str) -> String {
    if detail.is_empty() { more.to_owned() } else { format!("{detail}; {more}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_bounded_in_count_and_size() {
        let texts: Vec<String> = (0..10).map(|_| "x".repeat(200 << 10)).collect();
        assert_eq!(batches(&texts, 128).iter().map(|b| b.len()).collect::<Vec<_>>(), [2, 2, 2, 2, 2]);
        let short: Vec<String> = (0..10).map(|i| i.to_string()).collect();
        assert_eq!(batches(&short, 4).iter().map(|b| b.len()).collect::<Vec<_>>(), [4, 4, 2]);
        assert!(batches(&[], 4).is_empty());
        let huge = vec!["x".repeat(REQUEST_BYTES * 2)];
        assert_eq!(batches(&huge, 4).len(), 1);
    }
}
