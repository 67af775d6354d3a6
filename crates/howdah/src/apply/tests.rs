//! Stories of applying, on real servers.
