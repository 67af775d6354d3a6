//! How is Howdah asked over HTTP?
//!
//! [`server`] accepts connections and [`connection`] keeps each within its time. [`router`] puts the mounts together: one
//! line in its list for each part that speaks HTTP. [`auth`] checks the key of those that want one, [`layers`] is what happens
//! to every request, [`answer`] how it ends. [`probes`] says how the server is, [`face`] is all of it as the daemon opens it.
//! What a part answers is decided in a module of its own, as in [`super::rest`].

pub mod answer;
pub mod auth;
pub mod body;
pub mod connection;
pub mod cors;
pub mod face;
pub mod layers;
pub mod places;
pub mod probes;
pub mod router;
pub mod server;
pub mod service;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
