//! Howdah's vector index, without a server.
