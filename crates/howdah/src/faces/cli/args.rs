//! The words of the command line.
//!
//! What a command means comes from the table of skills where it is a skill ([`command`] copies summary, description and
//! examples); only flags and the commands that run the program itself are told here.

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::access::scope::Scope;
use crate::daemon::standalone::Started;
use crate::skills::SKILLS;

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
#[command(arg_required_else_help = true, propagate_version = false, max_term_width = 110)]
pub struct Arguments {
    /// What every command understands.
    #[command(flatten)]
    pub common: Common,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command understands.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// The declaration; the nearest `howdah.toml` when absent
    #[arg(
        long,
        short = 'f',
        global = true,
        env = "HOWDAH_FILE",
        value_name = "PATH",
        help_heading = "Everywhere"
    )]
    pub file: Option<PathBuf>,
    /// Form of the answer
    #[arg(long, short, global = true, value_enum, default_value = "table", help_heading = "Everywhere")]
    pub output: Format,
    /// No progress and no remarks
    #[arg(long, short, global = true, help_heading = "Everywhere")]
    pub quiet: bool,
    /// Ask this Howdah instead of the one of the declaration
    #[arg(
        long,
        global = true,
        env = "HOWDAH_URL",
        value_name = "http://HOST:PORT",
        help_heading = "Everywhere"
    )]
    pub url: Option<String>,
    /// The key to show; on the instance's own machine its owner needs none
    #[arg(long, global = true, env = "HOWDAH_API_KEY", hide_env_values = true, value_name = "KEY")]
    #[arg(help_heading = "Everywhere")]
    pub key: Option<String>,
    /// What the command started for itself, to be stopped at its end.
    #[arg(skip)]
    pub started: Started,
}

/// Form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// One JSON document
    Json,
    /// One JSON object a line
    Jsonl,
    /// Comma-separated values
    Csv,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run what the declaration says: PostgreSQL, its collections, REST
    #[command(
        before_help = "Examples:\n  howdah up\n  howdah up --foreground     for containers and systemd\n\n"
    )]
    Up(Up),
    /// Stop what `howdah up` started
    #[command(before_help = "Examples:\n  howdah down\n\n")]
    Down,
    /// (from the table)
    Status,
    /// Show the log of the server in the background
    #[command(
        before_help = "Examples:\n  howdah logs\n  howdah logs --lines 500\n  howdah logs --follow --postgres\n\n"
    )]
    Logs(Logs),
    /// Write a declaration
    #[command(before_help = "Examples:\n  howdah init\n  howdah init --preset edge-ai\n\n")]
    Init(Init),
    /// (from the table)
    Plan(Plan),
    /// (from the table)
    Apply(Apply),
    /// (from the table)
    Ingest(Ingest),
    /// (from the table)
    Search(Box<Search>),
    /// Look at collections
    Collections(Collections),
    /// (from the table)
    Get(Get),
    /// (from the table)
    Delete(Delete),
    /// (from the table)
    Doctor(Doctor),
    /// Make, list and revoke API keys
    Keys(Keys),
    /// Show the declaration with every default said
    Config(Config),
    /// Print what programs need to connect, as shell variables
    #[command(before_help = "Examples:\n  eval \"$(howdah env)\"\n  psql \"$DATABASE_URL\"\n\n")]
    Env,
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

/// Flags of `plan`.
#[derive(Debug, Args)]
pub struct Plan {
    /// Exit with 7 when declared and live differ
    #[arg(long)]
    pub check: bool,
}

/// Flags of `apply`.
#[derive(Debug, Args)]
pub struct Apply {
    /// Also carry out steps that destroy data
    #[arg(long)]
    pub allow_destroy: bool,
    /// Set the passwords of roles that exist again
    #[arg(long)]
    pub set_passwords: bool,
}

/// Flags of `ingest`.
#[derive(Debug, Args)]
pub struct Ingest {
    /// The collection
    pub collection: String,
    /// Files and directories; `-` for standard input
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Leave out records that cannot be used, and count them
    #[arg(long)]
    pub skip_bad: bool,
    /// Remove documents of these directories that are gone from there
    #[arg(long)]
    pub prune: bool,
    /// Format of what is read: markdown, text, html, jsonl, csv, tsv, npy, parquet; told from the name when absent
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}

/// Flags of `search`.
#[derive(Debug, Args)]
pub struct Search {
    /// What to look for
    pub text: Option<String>,
    /// The collection; the only one when absent
    #[arg(long, short)]
    pub collection: Option<String>,
    /// How to search
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,
    /// Most rows
    #[arg(long, short = 'n')]
    pub limit: Option<i64>,
    /// Rows to pass over first
    #[arg(long)]
    pub offset: Option<i64>,
    /// Only rows that fit: `{"year": {"gte": 2019}}`
    #[arg(long, value_name = "JSON")]
    pub filter: Option<String>,
    /// Only rows whose field has the value; may be given several times
    #[arg(long = "where", value_name = "KEY=VALUE")]
    pub equals: Vec<String>,
    /// Neighbours of the row with this id
    #[arg(long, value_name = "ID", conflicts_with_all = ["text", "vector"])]
    pub like: Option<String>,
    /// A query vector: `[0.1, 0.2, …]`
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    pub vector: Option<String>,
    /// Leave out rows farther away
    #[arg(long, allow_hyphen_values = true, value_name = "DISTANCE")]
    pub max_distance: Option<f64>,
    /// Leave out rows less similar
    #[arg(long, allow_hyphen_values = true, value_name = "SIMILARITY")]
    pub min_similarity: Option<f64>,
    /// Compare every row instead of asking the index
    #[arg(long)]
    pub exact: bool,
    /// Candidates the index keeps while it searches
    #[arg(long, value_name = "N")]
    pub ef_search: Option<i64>,
    /// Also show which index, how many rows, each leg, and PostgreSQL's plan
    #[arg(long)]
    pub explain: bool,
    /// Also show the statement
    #[arg(long)]
    pub sql: bool,
    /// Show the same as a call of curl, without running it
    #[arg(long)]
    pub curl: bool,
}

/// How to search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// By nearness of embeddings
    Vector,
    /// By words
    Text,
    /// Both, fused by rank
    Hybrid,
}

/// Commands of `collections`.
#[derive(Debug, Args)]
pub struct Collections {
    /// What to do; `list` when absent
    #[command(subcommand)]
    pub command: Option<CollectionsCommand>,
}

/// Commands of `collections`.
#[derive(Debug, Subcommand)]
pub enum CollectionsCommand {
    /// (from the table)
    List,
    /// (from the table)
    Show {
        /// The collection
        collection: String,
        /// Count the rows, however many there are
        #[arg(long)]
        exact: bool,
    },
}

/// Flags of `get`.
#[derive(Debug, Args)]
pub struct Get {
    /// The collection
    pub collection: String,
    /// Id of the row
    pub id: String,
    /// With its embedding
    #[arg(long)]
    pub embedding: bool,
}

/// Flags of `delete`.
#[derive(Debug, Args)]
pub struct Delete {
    /// The collection
    pub collection: String,
    /// Ids of rows
    pub ids: Vec<String>,
    /// All rows of this document
    #[arg(long, value_name = "SOURCE")]
    pub source: Option<String>,
    /// All rows that fit: `{"year": {"lt": 2019}}`
    #[arg(long, value_name = "JSON")]
    pub filter: Option<String>,
    /// Only count what would go
    #[arg(long)]
    pub dry_run: bool,
}

/// Flags of `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Only these checks, by name or its beginning (`pgv.`); may be given several times
    #[arg(long, value_name = "NAME")]
    pub check: Vec<String>,
    /// Only these databases; may be given several times
    #[arg(long, value_name = "NAME")]
    pub database: Vec<String>,
    /// Medium findings fail too
    #[arg(long)]
    pub strict: bool,
    /// Compare the vector indexes with exact search
    #[arg(long)]
    pub recall: bool,
    /// Print the safe fixes as one SQL script for psql; nothing is run
    #[arg(long)]
    pub fix: bool,
    /// Say why each finding matters
    #[arg(long, short)]
    pub verbose: bool,
}

/// Commands of `keys`.
#[derive(Debug, Args)]
pub struct Keys {
    /// What to do
    #[command(subcommand)]
    pub command: KeysCommand,
}

/// Commands of `keys`.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// (from the table)
    Create {
        /// What the key is for
        name: String,
        /// What it allows
        #[arg(long, value_enum, default_value = "read")]
        scope: ScopeName,
        /// Days until it expires; never when absent
        #[arg(long, value_name = "DAYS")]
        expires_in_days: Option<i64>,
    },
    /// (from the table)
    List,
    /// (from the table)
    Revoke {
        /// Its id, or the beginning of the key as the list shows it
        id: String,
    },
}

/// What a key allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ScopeName {
    /// Search and look
    Read,
    /// Ingest and delete rows too
    Write,
    /// Everything
    Admin,
}

impl From<ScopeName> for Scope {
    fn from(name: ScopeName) -> Self {
        match name {
            ScopeName::Read => Scope::Read,
            ScopeName::Write => Scope::Write,
            ScopeName::Admin => Scope::Admin,
        }
    }
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

/// The command line with the words of the table.
pub fn command() -> clap::Command {
    let mut command = template(Arguments::command());
    for skill in SKILLS {
        let words: Vec<&str> = skill.command.words.split(' ').collect();
        command = at(command, &words, |found| {
            found
                .about(skill.summary.trim_end_matches('.'))
                .long_about(skill.description)
                .before_help(examples(skill.examples))
        });
    }
    command
}

fn template(command: clap::Command) -> clap::Command {
    let names: Vec<String> = command.get_subcommands().map(|one| one.get_name().to_owned()).collect();
    names
        .into_iter()
        .fold(command.help_template(TEMPLATE), |command, name| command.mut_subcommand(name, template))
}

fn at(
    command: clap::Command,
    words: &[&str],
    change: impl FnOnce(clap::Command) -> clap::Command,
) -> clap::Command {
    match words.split_first() {
        None => change(command),
        // A skill need not have a command.
        Some((first, _)) if command.find_subcommand(first).is_none() => command,
        Some((first, rest)) => command.mut_subcommand(*first, |found| at(found, rest, change)),
    }
}

fn examples(examples: &[crate::skills::Example]) -> String {
    if examples.is_empty() {
        return String::new();
    }
    let mut text = String::from("Examples:\n");
    for example in examples {
        text.push_str(&format!("  {}\n", example.command));
    }
    text.push('\n');
    text
}
