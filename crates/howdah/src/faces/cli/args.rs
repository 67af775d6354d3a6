//! The words of the command line.

use clap::Parser;

/// PostgreSQL as a production vector database.
#[derive(Debug, Parser)]
#[command(name = "howdah", version)]
pub struct Arguments {}
