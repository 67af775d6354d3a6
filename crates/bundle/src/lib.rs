//! The portable PostgreSQL with pgvector: what exactly is fetched, how it is checked, and how it gets onto the disk.
//!
//! Two programs need this: `howdah`, which fetches the bundle or carries it embedded, and `howdah-bundle`, which packs
//! the archives that a build with the feature `bundled` embeds. Everything is blocking; callers with an event loop run it
//! on a blocking thread.

pub mod archive;
pub mod extension;
pub mod fetch;
pub mod pins;
pub mod unpack;

pub use pins::WheelPin;
