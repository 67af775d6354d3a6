//! What does a search mean in SQL, and how must the index be scanned so that the answer is whole?
//!
//! [`request`] is what can be asked and [`answer`] what comes back. [`filter`] turns the JSON filter into a condition with
//! bound parameters, [`statement`] the whole question into one SQL statement, and [`scan`] decides from facts about the
//! table how the statement is run so that it never comes back silently short.

pub mod answer;
pub mod ask;
pub mod cursor;
pub mod direction;
pub mod filter;
pub mod param;
pub mod question;
pub mod request;
pub mod scan;
pub mod statement;
pub mod text;
pub mod words;

pub use answer::SearchAnswer;
pub use request::SearchRequest;
