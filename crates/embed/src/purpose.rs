//! What are vectors for?

/// What the vectors are for. Some models want to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To search with.
    Query,
    /// To be found.
    Document,
}

impl Purpose {
    /// As metrics name it.
    pub const fn name(self) -> &'static str {
        match self {
            Purpose::Query => "query",
            Purpose::Document => "document",
        }
    }
}
