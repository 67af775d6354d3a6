//! Who is asking, and may they?
//!
//! A caller shows a key. [`caller`] is who asks, [`scope`] what he may do. [`key`] makes and recognises keys, [`store`] keeps their hashes in `howdah.api_keys`, [`gate`]
//! decides: it remembers a verdict for two seconds, so that a busy key costs one query in that time and a revoked one
//! stops working within it, and counts what each key asks for. A key itself is never stored, logged or shown twice.

pub mod caller;
pub mod gate;
pub mod key;
pub mod scope;
pub mod store;
