//! The words of the command line.
//!
//! Skills have their commands from the table ([`words`]); the commands that run the program itself are told here.

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use super::common::Common;
use super::{present, words};
use crate::skills::{SKILLS, Skill};

/// Examples stand before flags: most people read no further.
const TEMPLATE: &str = "{about-with-newline}\n{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}";

const EXAMPLES: &str = "Examples:
  howdah init --preset knowledge-agent     write howdah.toml
  howdah up                                run what it declares
  howdah ingest notes docs/                load files into the collection `notes`
  howdah search \"how do backups work\"      ask

";

const AFTER: &str = "
Exit codes: 0 ok, 1 failed, 2 usage, 3 unreachable, 4 authentication, 5 timeout, 6 conflict or locked, 7 degraded.
Data goes to standard output, everything else to standard error. `NO_COLOR` is honoured.";

/// PostgreSQL as a production vector database.
#[derive(Debug, Parser)]
#[command(name = "howdah", version, help_template = TEMPLATE, before_help = EXAMPLES, after_help = AFTER)]
#[command(arg_required_else_help = true, subcommand_required = true, propagate_version = false)]
#[command(max_term_width = 110)]
pub struct Arguments {
    /// What every command understands.
    #[command(flatten)]
    pub common: Common,
}

/// The commands that run the program itself.
#[derive(Debug, Subcommand)]
pub enum Program {
    /// Run what the declaration says: PostgreSQL, its collections, REST
    #[command(
        before_help = "Examples:\n  howdah up\n  howdah up --foreground     for containers and systemd\n\n"
    )]
    Up(Up),
    /// Stop what `howdah up` started
    #[command(before_help = "Examples:\n  howdah down\n\n")]
    Down,
    /// Show the log of the server in the background
    #[command(
        before_help = "Examples:\n  howdah logs\n  howdah logs --lines 500\n  howdah logs --follow --postgres\n  howdah logs --follow --all\n\n"
    )]
    Logs(Logs),
    /// Write a declaration
    #[command(before_help = "Examples:\n  howdah init\n  howdah init --preset edge-ai\n\n")]
    Init(Init),
    /// Show the declaration with every default said
    Config(Config),
    /// Print what programs need to connect, as shell variables
    #[command(
        before_help = "Examples:\n  eval \"$(howdah env)\"\n  psql \"$DATABASE_URL\"\n  howdah env --role read\n\n"
    )]
    Env(Env),
    /// Open psql on the database
    #[command(
        before_help = "Examples:\n  howdah psql\n  howdah psql --role read -- -c \"TABLE notes LIMIT 3\"\n\n"
    )]
    Psql(Psql),
    /// Print the OpenAPI document
    Openapi,
    /// Print completions for a shell
    #[command(before_help = "Examples:\n  howdah completions bash > /etc/bash_completion.d/howdah\n\n")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Measure ingest, search and recall
    Bench(Bench),
    /// Print the version
    Version,
}

/// Flags of `up`.
#[derive(Debug, Args)]
pub struct Up {
    /// Stay, and log to standard error
    #[arg(long)]
    pub foreground: bool,
    /// Begun in the background by `howdah up`, which follows the steps in this file
    #[arg(long, hide = true, requires = "foreground", value_name = "STEPS")]
    pub detached: Option<PathBuf>,
}

/// Flags of `logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// How many of the last lines
    #[arg(long, short = 'n', default_value_t = 100)]
    pub lines: usize,
    /// Go on with what comes next, also in a new file, until Ctrl-C
    #[arg(long, short = 'F')]
    pub follow: bool,
    /// The log of the instance's PostgreSQL
    #[arg(long)]
    pub postgres: bool,
    /// Both, line by line in the order of their times, each with its source
    #[arg(long, conflicts_with = "postgres")]
    pub all: bool,
}

/// Flags of `env`.
#[derive(Debug, Args)]
pub struct Env {
    /// Whom to connect as: a declared role, `read`, `write` or `control` (howdah's own), or `superuser`; a role with as few
    /// rights as there is when absent
    #[arg(long, value_name = "ROLE")]
    pub role: Option<String>,
}

/// Flags of `psql`.
#[derive(Debug, Args)]
pub struct Psql {
    /// Whom to connect as, as in `howdah env`
    #[command(flatten)]
    pub env: Env,
    /// What psql itself is told
    #[arg(last = true, value_name = "PSQL ARGUMENTS")]
    pub arguments: Vec<std::ffi::OsString>,
}

/// Flags of `init`.
#[derive(Debug, Args)]
pub struct Init {
    /// What to start from
    #[arg(long, value_name = "NAME", default_value = "starter")]
    pub preset: String,
    /// Name of the deployment
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Print it instead of writing it
    #[arg(long)]
    pub print: bool,
    /// List the presets
    #[arg(long)]
    pub list: bool,
}

/// Commands of `config`.
#[derive(Debug, Args)]
pub struct Config {
    /// What to do
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// Commands of `config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show each value and where it comes from
    Show,
    /// Print the JSON Schema of the declaration, for editors
    Schema,
}

/// Commands of `bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// What to measure
    #[command(subcommand)]
    pub command: BenchCommand,
}

/// Commands of `bench`.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Rate of ingest against raw COPY, and against the embedder alone
    Ingest {
        /// The collection whose database and embedder are used; its rows are left alone
        collection: String,
        /// Rounds; both sides take their turn in each of them
        #[arg(long, default_value_t = 5)]
        rounds: u32,
        /// Ready-made vectors a round
        #[arg(long, default_value_t = 200_000)]
        rows: usize,
        /// Dimensions of the ready-made vectors
        #[arg(long, default_value_t = 384, value_parser = dimensions())]
        dimensions: usize,
        /// Texts a round; 0 leaves the embedder out
        #[arg(long, default_value_t = 256)]
        texts: usize,
        /// File that gets the result as JSON
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
    },
    /// Time of a search over REST and in this process against the same prepared statement
    Search {
        /// The collection
        collection: String,
        /// Rounds; each way is asked in each of them
        #[arg(long, default_value_t = 20)]
        rounds: u32,
        /// Searches of each way in a round
        #[arg(long, default_value_t = 50)]
        per_round: u32,
        /// Rows a search
        #[arg(long, default_value_t = 10)]
        limit: u32,
        /// Words to search for beside the vectors
        #[arg(long)]
        text: Option<String>,
        /// File that gets the result as JSON
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
    },
    /// Indexes side by side, on a server that is started for it: size, build, questions at equal recall, writes
    Index(BenchIndex),
    /// What search returns against exact search
    Recall {
        /// The collection
        collection: String,
        /// Searches
        #[arg(long, default_value_t = 1_000)]
        queries: u32,
        /// Rows a search
        #[arg(long, default_value_t = 10)]
        limit: u32,
        /// Only rows that fit
        #[arg(long, value_name = "JSON")]
        filter: Option<String>,
        /// Candidates the index keeps while it searches
        #[arg(long, value_name = "N")]
        ef_search: Option<u32>,
    },
}

/// Flags of `bench index`.
#[derive(Debug, Args)]
pub struct BenchIndex {
    /// `.npy` file of float32 or float16 with the rows; generated vectors without it
    #[arg(long, value_name = "FILE", requires = "queries")]
    pub vectors: Option<PathBuf>,
    /// `.npy` file with the questions
    #[arg(long, value_name = "FILE", requires = "vectors")]
    pub queries: Option<PathBuf>,
    /// `.npy` file with rows to insert into the built index; the last of the rows without it
    #[arg(long, value_name = "FILE", requires = "vectors")]
    pub inserts: Option<PathBuf>,
    /// Dimensions of generated vectors
    #[arg(long, default_value_t = 768, value_parser = dimensions())]
    pub dimensions: usize,
    /// Number of rows; several are measured one after the other
    #[arg(long, value_delimiter = ',', default_values_t = [30_000, 100_000])]
    pub rows: Vec<usize>,
    /// Recalls at 10 to compare at
    #[arg(long, value_delimiter = ',', default_values_t = [0.95, 0.99])]
    pub recall: Vec<f64>,
    /// Only these indexes
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub only: Vec<String>,
    /// Rounds of timed questions
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Major version of the server
    #[arg(long, default_value_t = 18)]
    pub major: u32,
    /// Directory that gets the result as JSON and as a page
    #[arg(long, value_name = "DIRECTORY")]
    pub report: Option<PathBuf>,
}

/// Dimensions that a column of pgvector may have.
fn dimensions() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=16_000)
}

/// The whole command line.
pub fn command() -> clap::Command {
    with(SKILLS)
}

/// The command line with these skills.
pub fn with<C>(skills: &'static [Skill<C>]) -> clap::Command {
    let whole = Arguments::command();
    let about = whole.get_about().cloned();
    let whole = Program::augment_subcommands(whole).about(about.unwrap_or_default()).long_about(None);
    in_order(template(words::add(whole, skills)))
}

/// Those that people meet first, and behind them the others as they stand in the table.
fn in_order(command: clap::Command) -> clap::Command {
    let names: Vec<String> = command.get_subcommands().map(|one| one.get_name().to_owned()).collect();
    names.into_iter().enumerate().fold(command, |command, (place, name)| {
        let early = present::ORDER.iter().position(|word| *word == name);
        let place = early.unwrap_or(present::ORDER.len() + place);
        command.mut_subcommand(name, |found| found.display_order(place))
    })
}

fn template(command: clap::Command) -> clap::Command {
    let names: Vec<String> = command.get_subcommands().map(|one| one.get_name().to_owned()).collect();
    names
        .into_iter()
        .fold(command.help_template(TEMPLATE), |command, name| command.mut_subcommand(name, template))
}
