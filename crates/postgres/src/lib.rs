//! Is there a server, and can I talk to it?
//!
//! The only crate that touches PostgreSQL's programs and connections. [`find`] decides where the server comes from (a
//! declared address, the machine's own, the portable bundle), [`instance`] initialises, starts and stops one,
//! [`connect`] talks to any, [`pool`] shares connections among callers, [`preflight`] refuses at once what cannot work, with
//! the steps that end it. Nothing here knows of skills, collections or models.

mod address;
pub mod bundle;
pub mod connect;
pub mod extension;
pub mod fetch;
pub mod find;
pub mod home;
pub mod instance;
pub mod machine;
pub mod param;
mod passfile;
pub mod pool;
pub mod preflight;
pub mod problem;
pub mod secret;
pub mod target;
#[doc(hidden)]
pub mod testing;
#[cfg(test)]
mod tests;
mod tls;
pub mod user;

pub use home::Home;
pub use instance::{Instance, Layout};
pub use pool::{Lease, Own, Pools, Purpose};
pub use preflight::{Preflight, preflight};
pub use secret::Secret;
pub use target::{Host, SessionAttrs, SslMode, Target};
