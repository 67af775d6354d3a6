//! A sentence transformer in this process: BERT family, CPU, from a directory.
//!
//! The directory is the one sentence-transformers writes: `model.safetensors`, `config.json`, `tokenizer.json`, and, where
//! present, `modules.json` (is there a normalising layer), `1_Pooling/config.json` (mean or first token),
//! `sentence_bert_config.json` (how many tokens the model was trained on) and `config_sentence_transformers.json`
//! (prompts). Truncation and padding come from those, never from `tokenizer.json`, which may bake in another length.
//!
//! Texts are tokenised in parallel, sorted by length and cut into groups of about [`GROUP_TOKENS`] tokens, so that padding
//! is next to nothing. One group is computed after another: candle shares each operation out to the cores. Everything
//! here blocks: callers put it on a blocking thread.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use howdah_plan::problem::{Kind, Problem};
use serde::Deserialize;
use tokenizers::{Tokenizer, TruncationParams};

use super::prompts::Prompts;

/// Padded tokens in one forward pass: enough for full matrix kernels, small enough for the cache.
const GROUP_TOKENS: usize = 1024;

/// How the token vectors of a text become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean, padding left out.
    Mean,
    /// The first token's.
    Cls,
}

/// A loaded model.
pub struct Model {
    bert: BertModel,
    tokenizer: Tokenizer,
    counter: Tokenizer,
    pooling: Pooling,
    /// Whether the vectors have length one.
    pub normalised: bool,
    /// Most tokens of a text that the model reads, the special ones included.
    pub max_tokens: usize,
    /// Dimensions of the vectors.
    pub dimensions: usize,
    /// What the model wants in front of a query or a document.
    pub prompts: Prompts,
    pad: u32,
    /// Id of the token that stands for what the vocabulary does not have.
    unknown: Option<u32>,
}

#[derive(Deserialize)]
struct PoolingConfig {
    #[serde(default)]
    pooling_mode_cls_token: bool,
    #[serde(default)]
    pooling_mode_mean_tokens: bool,
}

#[derive(Deserialize)]
struct Module {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: String,
}

#[derive(Deserialize)]
struct SentenceConfig {
    max_seq_length: Option<usize>,
}

impl Model {
    /// Loads the model in `directory`. Blocks for about a tenth of a second for a small model.
    ///
    /// # Errors
    /// `machine` when a file is missing or damaged, `usage` when the model is none that can be run here.
    pub fn load(directory: &Path) -> Result<Self, Problem> {
        let config: Config = required_json(directory, "config.json")?;
        let modules: Vec<Module> = optional_json(directory, "modules.json")?.unwrap_or_default();
        let pooling = pooling(directory, &modules)?;
        let sentence: Option<SentenceConfig> = optional_json(directory, "sentence_bert_config.json")?;
        let max_tokens = sentence
            .and_then(|sentence| sentence.max_seq_length)
            .unwrap_or(config.max_position_embeddings)
            .clamp(8, config.max_position_embeddings.max(8));
        let (tokenizer, counter) = tokenizers(directory, max_tokens)?;
        let bert = weights(directory, &config)?;
        let unknown = ["[UNK]", "<unk>"].iter().find_map(|token| counter.token_to_id(token));
        Ok(Model {
            bert,
            tokenizer,
            counter,
            pooling,
            // A directory without `modules.json` is a bare model: its users normalise, so do we.
            normalised: modules.is_empty()
                || modules.iter().any(|module| module.kind.ends_with(".Normalize")),
            max_tokens,
            dimensions: config.hidden_size,
            prompts: Prompts::of_directory(directory),
            pad: u32::try_from(config.pad_token_id).unwrap_or(0),
            unknown,
        })
    }

    /// Tokens of `text`, the special ones left out.
    pub fn count_tokens(&self, text: &str) -> usize {
        self.counter.encode_fast(text, false).map_or(0, |encoding| encoding.len())
    }

    /// Part of the characters of `text` that stand in tokens the model does not know, 0 to 1.
    pub fn unknown(&self, text: &str) -> f64 {
        let Some(unknown) = self.unknown else { return 0.0 };
        let Ok(encoding) = self.counter.encode_char_offsets(text, false) else { return 0.0 };
        let (mut all, mut unread) = (0usize, 0usize);
        for (id, (start, end)) in encoding.get_ids().iter().zip(encoding.get_offsets()) {
            let length = end.saturating_sub(*start);
            all += length;
            unread += if *id == unknown { length } else { 0 };
        }
        unread as f64 / all.max(1) as f64
    }

    /// One vector a text, in the order of the texts. Longer texts are cut at [`Model::max_tokens`].
    ///
    /// # Errors
    /// `internal` when the tokenizer or the model fails.
    pub fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, Problem> {
        let inputs: Vec<&str> = texts.iter().map(String::as_str).collect();
        let encodings = self
            .tokenizer
            .encode_batch_fast(inputs, true)
            .map_err(|e| failed("the tokenizer failed", &e.to_string()))?;
        let ids: Vec<&[u32]> = encodings.iter().map(tokenizers::Encoding::get_ids).collect();
        let mut vectors = vec![Vec::new(); texts.len()];
        for group in grouped(&ids) {
            let group_vectors =
                self.forward(&group, &ids).map_err(|e| failed("the model failed", &e.to_string()))?;
            for (text, vector) in group.into_iter().zip(group_vectors) {
                vectors[text] = vector;
            }
        }
        Ok(vectors)
    }

    fn forward(&self, group: &[usize], ids: &[&[u32]]) -> candle_core::Result<Vec<Vec<f32>>> {
        let longest = group.iter().map(|&text| ids[text].len()).max().unwrap_or(0);
        let mut tokens = Vec::with_capacity(group.len() * longest);
        let mut mask = Vec::with_capacity(group.len() * longest);
        for &text in group {
            let length = ids[text].len();
            tokens.extend_from_slice(ids[text]);
            tokens.resize(tokens.len() + longest - length, self.pad);
            mask.resize(mask.len() + length, 1f32);
            mask.resize(mask.len() + longest - length, 0f32);
        }
        let shape = (group.len(), longest);
        let tokens = Tensor::from_vec(tokens, shape, &Device::Cpu)?;
        let mask = Tensor::from_vec(mask, shape, &Device::Cpu)?;
        let states = self.bert.forward(&tokens, &tokens.zeros_like()?, Some(&mask))?;
        let pooled = match self.pooling {
            Pooling::Cls => states.narrow(1, 0, 1)?.squeeze(1)?,
            Pooling::Mean => {
                let counts = mask.sum_keepdim(1)?;
                let summed = mask.unsqueeze(1)?.matmul(&states)?.squeeze(1)?;
                summed.broadcast_div(&counts)?
            }
        };
        let mut vectors = pooled.to_vec2::<f32>()?;
        if self.normalised {
            vectors.iter_mut().for_each(|vector| super::normalise(vector));
        }
        Ok(vectors)
    }
}

/// Texts sorted by length and cut into groups of at most [`GROUP_TOKENS`] padded tokens (at least one text each).
fn grouped(ids: &[&[u32]]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..ids.len()).collect();
    order.sort_by_key(|&text| std::cmp::Reverse(ids[text].len()));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for text in order {
        match groups.last_mut() {
            Some(group) if (group.len() + 1) * ids[group[0]].len().max(1) <= GROUP_TOKENS => group.push(text),
            _ => groups.push(vec![text]),
        }
    }
    groups
}

fn pooling(directory: &Path, modules: &[Module]) -> Result<Pooling, Problem> {
    let path = modules
        .iter()
        .find(|module| module.kind.ends_with(".Pooling"))
        .map_or("1_Pooling", |module| module.path.as_str());
    let Some(config) = optional_json::<PoolingConfig>(directory, &format!("{path}/config.json"))? else {
        return Ok(Pooling::Mean);
    };
    match (config.pooling_mode_mean_tokens, config.pooling_mode_cls_token) {
        (true, _) => Ok(Pooling::Mean),
        (false, true) => Ok(Pooling::Cls),
        (false, false) => Err(Problem::new(
            Kind::Usage,
            format!("the model in `{}` pools in an unknown way", directory.display()),
        )
        .detail("Howdah runs models that take the mean of the tokens, or the first token")
        .hint(
            "Serve this model with Text Embeddings Inference and declare the embedder with kind = \"tei\".",
        )),
    }
}

/// Two tokenizers: one that cuts at the model's limit, one that counts the whole text. Neither pads.
fn tokenizers(directory: &Path, max_tokens: usize) -> Result<(Tokenizer, Tokenizer), Problem> {
    let path = directory.join("tokenizer.json");
    let mut counter = Tokenizer::from_file(&path).map_err(|e| damaged(&path, &e.to_string()))?;
    counter.with_padding(None);
    counter.with_truncation(None).map_err(|e| damaged(&path, &e.to_string()))?;
    let mut tokenizer = counter.clone();
    tokenizer
        .with_truncation(Some(TruncationParams { max_length: max_tokens, ..TruncationParams::default() }))
        .map_err(|e| damaged(&path, &e.to_string()))?;
    Ok((tokenizer, counter))
}

fn weights(directory: &Path, config: &Config) -> Result<BertModel, Problem> {
    let path = directory.join("model.safetensors");
    // Read, not mapped: a file that changes under a map is undefined behaviour.
    let bytes = std::fs::read(&path).map_err(|e| unreadable(&path, &e))?;
    let builder = VarBuilder::from_buffered_safetensors(bytes, DType::F32, &Device::Cpu)
        .map_err(|e| damaged(&path, &e.to_string()))?;
    BertModel::load(builder, config).map_err(|e| damaged(&path, &e.to_string()))
}

fn required_json<T: for<'de> Deserialize<'de>>(directory: &Path, name: &str) -> Result<T, Problem> {
    let path = directory.join(name);
    let text = std::fs::read(&path).map_err(|e| unreadable(&path, &e))?;
    serde_json::from_slice(&text).map_err(|e| damaged(&path, &e.to_string()))
}

fn optional_json<T: for<'de> Deserialize<'de>>(directory: &Path, name: &str) -> Result<Option<T>, Problem> {
    if directory.join(name).exists() { required_json(directory, name).map(Some) } else { Ok(None) }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(Kind::Machine, format!("cannot read the model file `{}`", path.display()))
        .detail(error.to_string())
        .hint(
            "Set the embedder's `path` to a directory with `model.safetensors`, `config.json` and \
             `tokenizer.json`, or leave it out and use `model = \"all-MiniLM-L6-v2\"`, which is fetched.",
        )
}

fn damaged(path: &Path, error: &str) -> Problem {
    Problem::new(Kind::Machine, format!("the model file `{}` is damaged or of another kind", path.display()))
        .detail(error.to_owned())
        .hint("Remove the model's directory and run the command again to fetch it anew.")
}

fn failed(message: &str, error: &str) -> Problem {
    Problem::new(Kind::Internal, message).detail(error.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_hold_every_text_once_and_stay_below_the_limit() {
        let long = vec![0u32; 256];
        let texts: Vec<&[u32]> = (0..300).map(|i| &long[..(i * 7) % 257]).collect();
        let groups = grouped(&texts);
        let mut seen: Vec<usize> = groups.iter().flatten().copied().collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..300).collect::<Vec<_>>());
        for group in groups {
            let longest = group.iter().map(|&text| texts[text].len()).max().unwrap();
            assert!(group.len() == 1 || group.len() * longest.max(1) <= GROUP_TOKENS);
        }
    }
}
