//! `howdah up` and `down`.

use std::process::ExitCode;
use std::time::Duration;

use howdah_plan::problem::Kind;
use serde_json::json;

use super::args::Up;
use super::chart;
use super::common::{Common, Format};
use super::endpoint::Endpoint;
use super::next;
use super::print::{self, field};
use super::refusal::{Outcome, Refusal};
use super::steps::Shown;
use crate::daemon::background::{self, Reached};
use crate::daemon::declaration::Declaration;
use crate::daemon::directory::{InstanceDirectory, ServerRecord};
use crate::daemon::{converge, local, run};
use crate::observe::progress::{Event, Progress};
use howdah_postgres::instance::Layout;

/// How long a command waits for others that look at the same running server.
const TURN: Duration = Duration::from_secs(600);
/// How often a running server is looked at anew that was stopped meanwhile.
const LOOKS: u32 = 3;

/// Brings up what is declared.
pub async fn up(common: &Common, flags: &Up) -> Outcome {
    if flags.detached.is_some() {
        // A session of its own: the terminal's end and its Ctrl-C are not for this process.
        let _ = nix::unistd::setsid();
    }
    let declaration = Declaration::find(common.file.as_deref())?;
    if flags.foreground {
        run::run(declaration, flags.detached.clone(), crate::faces::http::face::open).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let home = local::home()?;
    let directory = InstanceDirectory::of(&declaration, &home.instances())?;
    let layout = Layout::new(&home, &directory.id, &declaration.spec.server);
    let report = Shown::new(common.quiet);
    let mut looks = 0;
    loop {
        looks += 1;
        let reached = background::reach(&declaration, &directory, &layout, &report).await?;
        // Commands look one after the other, so that none is in another's way and the first key is made once.
        let waiting = || report.tell(Event::Note { text: "waiting for another `howdah up`".into() });
        let _turn = directory.turn("up", TURN, waiting).await?;
        let done = finish(common, &declaration, &directory, &reached, &report).await;
        let still = |now: &ServerRecord| now.process == reached.record.process && !now.stopping;
        let Err(refusal) = done else { return done };
        match directory.record() {
            Some(now) if still(&now) => return Err(refusal),
            // It was stopped before this command was done with it.
            _ if reached.started => return Err(background::stopped_at_once().into()),
            _ if looks == LOOKS => return Err(refusal),
            _ => {}
        }
    }
}

/// What is left to do when the server is ready: look after one that ran already, and show the box.
async fn finish(
    common: &Common,
    declaration: &Declaration,
    directory: &InstanceDirectory,
    reached: &Reached,
    report: &Shown,
) -> Outcome {
    let left_out = if reached.started { reached.record.left_out } else { again(declaration, report).await? };
    welcome(common, declaration, directory, &reached.record, left_out).await?;
    Ok(if left_out > 0 { ExitCode::from(Kind::Degraded.row().exit) } else { ExitCode::SUCCESS })
}

/// A second `up`: looks whether structure and documents are still as declared, without disturbing the server. Says how many
/// documents could not be read.
async fn again(declaration: &Declaration, report: &Shown) -> Result<u64, Refusal> {
    let context = local::context(declaration).await?;
    converge::structure(&context, false, report).await?;
    Ok(converge::documents(&context, declaration, report).await?)
}

/// The box: where everything is, the first key once, what could not be read, what to type next.
async fn welcome(
    common: &Common,
    declaration: &Declaration,
    directory: &InstanceDirectory,
    running: &ServerRecord,
    left_out: u64,
) -> Result<(), Refusal> {
    let endpoint = Endpoint::there(common).await?;
    let keys = endpoint.call("list_keys", json!({})).await?;
    let key = if field(&keys, "keys").as_array().is_some_and(Vec::is_empty) {
        let made = endpoint.call("create_key", json!({"name": "admin", "scope": "admin"})).await?;
        Some(print::cell(field(&made, "key")))
    } else {
        None
    };
    if matches!(common.output, Format::Json | Format::Jsonl) {
        let whole = json!({
            "name": declaration.spec.name,
            "instance": directory.id,
            "database_url": running.database,
            "rest": running.rest,
            "openapi": format!("{}/openapi.json", running.rest),
            "health": format!("{}/health", running.rest),
            "admin_key": key,
            "left_out": left_out,
        });
        print::out(&format!("{whole}\n"));
        return Ok(());
    }
    let mut lines = vec![
        ("Database".to_owned(), running.database.clone()),
        (String::new(), "for programs: howdah env · by hand: howdah psql".to_owned()),
        ("REST".to_owned(), running.rest.clone()),
        ("OpenAPI".to_owned(), format!("{}/openapi.json", running.rest)),
        ("Health".to_owned(), format!("{}/health", running.rest)),
    ];
    if let Some(key) = key {
        lines.push(("Admin key".to_owned(), key));
        lines.push((String::new(), "shown this once; make others with howdah keys create".to_owned()));
    }
    if left_out > 0 {
        let what = if left_out == 1 {
            "1 file, record or folder"
        } else {
            &format!("{left_out} files, records or folders")
        };
        lines.push(("Left out".to_owned(), format!("{what}, named above")));
        lines.push((String::new(), "correct and load them with howdah up".to_owned()));
    }
    lines.push(("Next".to_owned(), next::command(declaration)));
    print::out(&chart::boxed(&format!("{} is up", declaration.spec.name), &lines));
    Ok(())
}

/// Stops what `up` started.
pub async fn down(common: &Common) -> Outcome {
    let declaration = Declaration::find(common.file.as_deref())?;
    let name = &declaration.spec.name;
    let home = local::home()?;
    let stopped = match InstanceDirectory::existing(&declaration, &home.instances()) {
        Some(directory) => {
            let layout = Layout::new(&home, &directory.id, &declaration.spec.server);
            let tell = |text: String| {
                if !common.quiet {
                    print::err(&format!("{text}\n"));
                }
            };
            match directory.record() {
                Some(record) => background::stop(&layout, &record.process, tell).await.map(|()| true)?,
                None => local::stop_rest(&directory, &layout, tell).await?,
            }
        }
        None => false,
    };
    if !common.quiet {
        let how = if stopped { "stopped" } else { "was not running" };
        print::err(&format!("{name} {how}\n"));
    }
    Ok(ExitCode::SUCCESS)
}
