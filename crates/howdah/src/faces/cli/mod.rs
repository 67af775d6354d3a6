//! Skills for people and scripts at a terminal.
//!
//! [`words`] makes each skill's command from its row in the table, [`ask`] runs it, [`present`] says what the table leaves
//! open. [`args`] has the commands that run the program itself, each with its file. Nothing expensive happens before the
//! words are read: `--help` and `--version` start no runtime.

use std::process::ExitCode;

use clap::{ArgMatches, FromArgMatches};
use howdah_plan::problem::{Kind, Problem};

use self::args::{Arguments, Program};
use self::common::{Common, Format};
use self::refusal::{Outcome, Refusal};
use self::stop::End;
use crate::daemon::local::OWN_REST_VARIABLE;
use crate::daemon::standalone::Started;
use crate::observe::{self, Log};
use crate::runtime::Context;
use crate::skills::{SKILLS, Skill};

pub mod args;
pub mod ask;
pub mod bench;
pub mod chart;
pub mod common;
pub mod declare;
pub mod endpoint;
pub mod fields;
pub mod logs;
pub mod manage;
#[cfg(test)]
mod manual;
pub mod next;
pub mod origin;
pub mod present;
pub mod print;
pub mod psql;
pub mod refusal;
pub mod steps;
pub mod stop;
pub mod words;

#[cfg(test)]
mod tests;

/// What a command line asks for.
enum Asked<'a> {
    Skill(&'static Skill<Context>, &'a ArgMatches),
    Program(Program),
}

/// Reads the command line and runs it.
pub fn main() -> ExitCode {
    let matches = args::command().get_matches();
    let (mut common, asked) = match read(&matches) {
        Ok(read) => read,
        Err(error) => error.exit(),
    };
    common.started = Started::by(matches.subcommand_name().unwrap_or_default());
    common.url = common.url.filter(|url| std::env::var(OWN_REST_VARIABLE).as_ref() != Ok(url));
    let foreground = matches!(&asked, Asked::Program(Program::Up(up)) if up.foreground);
    observe::start(if foreground { Log::Server } else { Log::Command });
    let outcome = runtime().map_err(Refusal::from).and_then(|runtime| {
        let outcome = runtime.block_on(whole(&common, asked));
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

fn read(matches: &ArgMatches) -> Result<(Common, Asked<'_>), clap::Error> {
    let Arguments { common } = Arguments::from_arg_matches(matches)?;
    let asked = match words::chosen(SKILLS, matches) {
        Some((skill, matches)) => Asked::Skill(skill, matches),
        None => Asked::Program(Program::from_arg_matches(matches)?),
    };
    Ok((common, asked))
}

fn runtime() -> Result<tokio::runtime::Runtime, Problem> {
    // One provider of cryptography, chosen once. A second choice would be the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Problem::new(Kind::Machine, "the threads cannot be started").detail(error.to_string())
    })
}

/// The command, and the end of what it started for itself, however it ends.
async fn whole(common: &Common, asked: Asked<'_>) -> Outcome {
    let outcome = obedient(common, asked).await;
    let ended = common.started.end().await;
    let code = outcome?;
    ended?;
    Ok(code)
}

/// Ctrl-C and SIGTERM end a command. `up` obeys them in its own way, and psql, to which a terminal tells Ctrl-C too, in its.
async fn obedient(common: &Common, asked: Asked<'_>) -> Outcome {
    if matches!(asked, Asked::Program(Program::Up(_) | Program::Psql(_))) {
        return run(common, asked).await;
    }
    match common.stop.obeyed(run(common, asked), || print::err("Ctrl-C again ends at once\n")).await? {
        End::Own(outcome) | End::Told(outcome @ Ok(_), _) => outcome,
        End::Told(Err(refusal), code) => {
            refusal.say(common.output);
            Ok(ExitCode::from(code))
        }
        End::Left(code) => Ok(ExitCode::from(code)),
    }
}

async fn run(common: &Common, asked: Asked<'_>) -> Outcome {
    let program = match asked {
        Asked::Skill(skill, matches) => return ask::ask(common, skill, matches).await,
        Asked::Program(program) => program,
    };
    match program {
        Program::Up(flags) => manage::up(common, &flags).await,
        Program::Down => manage::down(common).await,
        Program::Logs(flags) => logs::logs(common, &flags).await,
        Program::Init(flags) => declare::init(common, &flags),
        Program::Config(flags) => declare::config(common, &flags),
        Program::Env(flags) => declare::env(common, &flags).await,
        Program::Psql(flags) => psql::open(common, &flags).await,
        Program::Bench(flags) => bench::run(common, &flags.command).await,
        Program::Openapi => openapi(common),
        Program::Completions { shell } => completions(shell),
        Program::Version => version(common),
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
