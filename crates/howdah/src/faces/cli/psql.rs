//! `howdah psql`: psql on the declaration's database, as a role with few rights.
//!
//! The password goes by the environment: the arguments of a program are everybody's to read.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use howdah_plan::problem::{Kind, Problem};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::args::Psql;
use super::common::Common;
use super::refusal::{Outcome, Refusal};
use super::{endpoint, origin, print};
use crate::daemon::declaration::Declaration;
use crate::daemon::{as_role, local};
use howdah_postgres::find::{self, FoundServer};
use howdah_postgres::{Home, Secret};

/// Runs psql and ends as it ends.
pub async fn open(common: &Common, flags: &Psql) -> Outcome {
    let declaration = Declaration::find(common.file.as_deref())?;
    origin::remark(common, &declaration);
    endpoint::ensure(common, &declaration).await?;
    let home = local::home()?;
    let (target, whose) = as_role::target(&declaration, &home, flags.env.role.as_deref()).await?;
    let program = program(&declaration, &home).await?;
    if !common.quiet {
        print::err(&format!("{} as role {}: {whose}\n", target.database, target.user));
    }
    // psql decides itself what Ctrl-C means. A handler, other than a signal that is ignored, is not handed on to it.
    let unheard = |_| Problem::new(Kind::Machine, "signals cannot be listened to");
    let mut interrupts = signal(SignalKind::interrupt()).map_err(unheard)?;
    let mut command = Command::new(&program);
    command.arg(target.url()).args(&flags.arguments).env_remove(find::URL_VARIABLE);
    match &target.password {
        Some(password) => command.env("PGPASSWORD", Secret::expose(password)),
        None => command.env_remove("PGPASSWORD"),
    };
    let mut child = command.spawn().map_err(|error| {
        Problem::new(Kind::Machine, format!("`{}` cannot be run", program.display()))
            .detail(error.to_string())
    })?;
    let ended = loop {
        tokio::select! {
            ended = child.wait() => break ended,
            _ = interrupts.recv() => {}
        }
    };
    let status = ended
        .map_err(|error| Problem::new(Kind::Internal, "psql cannot be waited for").detail(error.to_string()))
        .map_err(Refusal::from)?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

/// The psql of the server's own programs, else one of this machine.
async fn program(declaration: &Declaration, home: &Home) -> Result<PathBuf, Problem> {
    let own = match find::locate(&declaration.spec.server, home, None).await.map(|search| search.found) {
        Ok(FoundServer::Local(programs)) => Some(programs.program("psql")),
        _ => None,
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|directory| directory.join("psql"));
    let installed =
        (14..=18).rev().map(|major| PathBuf::from(format!("/usr/lib/postgresql/{major}/bin/psql")));
    let there = |path: &PathBuf| Path::is_file(path);
    own.into_iter().chain(on_path).chain(installed).find(there).ok_or_else(|| {
        Problem::new(Kind::Machine, "there is no psql on this machine")
            .detail("looked beside the server's programs, on PATH and below /usr/lib/postgresql")
            .hint("Install one (`apt-get install postgresql-client`), or connect with `eval \"$(howdah env)\"`.")
    })
}
