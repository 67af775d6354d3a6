//! The metrics of this crate, each name said once.

/// Seconds one call of an embedder took, by `embedder` and `purpose`.
pub const EMBED_SECONDS: &str = "howdah_embed_seconds";
/// Texts embedded, by `embedder` and `purpose`.
pub const EMBEDDED_TEXTS: &str = "howdah_embedded_texts_total";
