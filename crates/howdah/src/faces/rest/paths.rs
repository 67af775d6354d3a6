//! What do the description and the page say of paths besides those of skills?

use crate::access::scope::Scope;

/// A document that is open to everybody.
#[derive(Debug, Clone, Copy)]
pub struct Document {
    /// Where.
    pub path: &'static str,
    /// Operation id in the OpenAPI document.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Content type of the answer.
    pub kind: &'static str,
    /// What it is.
    pub what: What,
}

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The OpenAPI document.
    OpenApi,
    /// The page for people.
    Page,
}

/// Content type of the page.
pub const PAGE: &str = "text/html; charset=utf-8";

/// All of them.
pub const DOCUMENTS: [Document; 3] = [
    Document {
        path: "/openapi.json",
        name: "openapi",
        summary: "This document; with a key it names the collections.",
        kind: "application/json",
        what: What::OpenApi,
    },
    Document { path: "/", name: "home", summary: "A page for people.", kind: PAGE, what: What::Page },
    Document { path: "/docs", name: "docs", summary: "The same page.", kind: PAGE, what: What::Page },
];

/// The scope a route needs, in words.
pub fn scope_words(scope: Scope) -> &'static str {
    match scope {
        Scope::Read => "Needs a key with the scope `read`, `write` or `admin`.",
        Scope::Write => "Needs a key with the scope `write` or `admin`.",
        Scope::Admin => "Needs a key with the scope `admin`.",
    }
}
