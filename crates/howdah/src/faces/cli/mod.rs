//! Skills for people and scripts at a terminal.
//!
//! [`args`] are the words, [`session`] decides whom a command asks, [`print`] says the answer. Each command has its file.
//! Nothing expensive happens before the words are read: `--help` and `--version` start no runtime.

use std::process::ExitCode;

use clap::FromArgMatches;
use howdah_plan::problem::{Kind, Problem};
use tokio::signal::unix::{SignalKind, signal};

use self::args::{Arguments, Command, Common, Format};
use self::print::Refusal;
use crate::daemon::local::OWN_REST_VARIABLE;
use crate::daemon::standalone::Started;
use crate::observe::{self, Log};

pub mod args;
pub mod bench;
pub mod chart;
pub mod declare;
pub mod keys;
pub mod load;
pub mod look;
pub mod manage;
pub mod origin;
pub mod print;
pub mod search;
pub mod session;
pub mod steps;

/// Exit code of a command that Ctrl-C ended.
const INTERRUPTED: u8 = 130;
/// Exit code of a command that SIGTERM ended.
const TERMINATED: u8 = 143;

/// What a command ends in.
pub type Outcome = Result<ExitCode, Refusal>;

/// Reads the command line and runs it.
pub fn main() -> ExitCode {
    let matches = args::command().get_matches();
    let arguments = match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let Arguments { mut common, command } = arguments;
    common.started = Started::by(matches.subcommand_name().unwrap_or_default());
    common.url = common.url.filter(|url| std::env::var(OWN_REST_VARIABLE).as_ref() != Ok(url));
    let foreground = matches!(&command, Command::Up(up) if up.foreground);
    observe::start(if foreground { Log::Server } else { Log::Command });
    let outcome = runtime().map_err(Refusal::from).and_then(|runtime| {
        let outcome = runtime.block_on(whole(&common, command));
        // Work on blocking threads (a model being loaded) does not hold up the end.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(_) if print::lost() => ExitCode::FAILURE,
        Ok(code) => code,
        Err(refusal) => {
            refusal.say(common.output);
            ExitCode::from(refusal.exit())
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Problem> {
    // One provider of cryptography, chosen once. A second choice would be the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Problem::new(Kind::Machine, "the threads cannot be started").detail(error.to_string())
    })
}

/// The command, and the end of what it started for itself, however it ends.
async fn whole(common: &Common, command: Command) -> Outcome {
    let outcome = unless_interrupted(common, command).await;
    let ended = common.started.end().await;
    let code = outcome?;
    ended?;
    Ok(code)
}

/// Ctrl-C and SIGTERM end a command at once. `up` and `ingest` obey them in their own way.
async fn unless_interrupted(common: &Common, command: Command) -> Outcome {
    if matches!(command, Command::Up(_) | Command::Ingest(_)) {
        return run(common, command).await;
    }
    let on = |kind| {
        signal(kind)
            .map_err(|e| Problem::new(Kind::Machine, "cannot listen for signals").detail(e.to_string()))
    };
    let (mut interrupt, mut terminate) = (on(SignalKind::interrupt())?, on(SignalKind::terminate())?);
    tokio::select! {
        outcome = run(common, command) => outcome,
        _ = interrupt.recv() => Ok(ExitCode::from(INTERRUPTED)),
        _ = terminate.recv() => Ok(ExitCode::from(TERMINATED)),
    }
}

async fn run(common: &Common, command: Command) -> Outcome {
    match command {
        Command::Up(flags) => manage::up(common, &flags).await,
        Command::Down => manage::down(common).await,
        Command::Status => manage::status(common).await,
        Command::Logs(flags) => manage::logs(common, &flags).await,
        Command::Init(flags) => declare::init(common, &flags),
        Command::Plan(flags) => declare::plan(common, &flags).await,
        Command::Apply(flags) => declare::apply(common, &flags).await,
        Command::Config(flags) => declare::config(common, &flags),
        Command::Env => declare::env(common).await,
        Command::Ingest(flags) => load::ingest(common, &flags).await,
        Command::Collections(flags) => look::collections(common, &flags).await,
        Command::Get(flags) => look::get(common, &flags).await,
        Command::Delete(flags) => look::delete(common, &flags).await,
        Command::Doctor(flags) => look::doctor(common, &flags).await,
        Command::Bench(flags) => bench::run(common, &flags.command).await,
        Command::Search(flags) => search::search(common, &flags).await,
        Command::Keys(flags) => keys::run(common, &flags.command).await,
        Command::Openapi => openapi(common),
        Command::Completions { shell } => completions(shell),
        Command::Version => version(common),
    }
}

fn openapi(common: &Common) -> Outcome {
    let declared = crate::daemon::declaration::Declaration::find(common.file.as_deref()).ok();
    let collections: Vec<String> =
        declared.map(|found| found.spec.collections.keys().cloned().collect()).unwrap_or_default();
    let document = super::rest::openapi::document(crate::skills::SKILLS, &collections, true);
    print::out(&print::pretty(&document));
    Ok(ExitCode::SUCCESS)
}

fn completions(shell: clap_complete::Shell) -> Outcome {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "howdah", &mut text);
    print::out(&String::from_utf8_lossy(&text));
    Ok(ExitCode::SUCCESS)
}

fn version(common: &Common) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    match common.output {
        Format::Json | Format::Jsonl => {
            print::out(&format!("{}\n", serde_json::json!({"name": "howdah", "version": version})));
        }
        Format::Table | Format::Csv => print::out(&format!("howdah {version}\n")),
    }
    Ok(ExitCode::SUCCESS)
}
