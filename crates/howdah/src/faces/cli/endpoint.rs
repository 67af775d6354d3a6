//! Whom does a command ask?
//!
//! The Howdah named by `--url`; else the running server of this declaration, over loopback with the token that only the
//! owner of its files can read; else nobody, and the command does the work itself with a context of its own, and with
//! PostgreSQL started for it where the instance is stopped. Either way a skill takes the same JSON and gives the same JSON.

use std::sync::Arc;
use std::time::Duration;

use howdah_plan::problem::{Kind, Problem};
use hyper::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::common::Common;
use super::origin;
use super::print;
use super::refusal::Refusal;
use super::steps::Shown;
use crate::access::caller::Caller;
use crate::daemon::client::{self, Client};
use crate::daemon::declaration::Declaration;
use crate::daemon::directory::{InstanceDirectory, ServerRecord};
use crate::daemon::instance_lock::Holder;
use crate::daemon::local;
use crate::daemon::standalone::Told;
use crate::jobs::store::{Job, Progress, State};
use crate::observe::progress::{Event, Progress as _};
use crate::runtime::Context;
use crate::skills::{Call, Effect, SKILLS, Skill};

/// Longest time a command waits for the server.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often a job is looked at.
const GLANCE: Duration = Duration::from_millis(500);

/// What stands encoded in a segment of a path: everything but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Whom a command asks.
pub struct Endpoint {
    common: Common,
    whom: Whom,
}

enum Whom {
    /// A server.
    There(Client),
    /// Nobody: the work is done here.
    Here(Arc<Context>),
}

impl Endpoint {
    /// Whom this command line means. An instance that is stopped is started for the length of the command.
    ///
    /// # Errors
    /// Mistakes in the declaration; `unreachable` when the instance was never made.
    pub async fn open(common: &Common) -> Result<Endpoint, Refusal> {
        Endpoint::meant(common, true).await
    }

    /// The same, of what runs already.
    ///
    /// # Errors
    /// Mistakes in the declaration; `unreachable` when nothing runs.
    pub async fn there(common: &Common) -> Result<Endpoint, Refusal> {
        Endpoint::meant(common, false).await
    }

    /// This process, with the declaration as it is now; the Howdah of `--url` where one is named.
    ///
    /// # Errors
    /// As [`Endpoint::open`].
    pub async fn here(common: &Common) -> Result<Endpoint, Refusal> {
        if common.url.is_some() {
            return Endpoint::open(common).await;
        }
        let (_, context) = Endpoint::own(common).await?;
        Ok(Endpoint { common: common.clone(), whom: Whom::Here(context) })
    }

    async fn meant(common: &Common, start: bool) -> Result<Endpoint, Refusal> {
        let whom = match &common.url {
            Some(base) => Whom::There(named(base, common)?),
            None => found(common, start).await?,
        };
        Ok(Endpoint { common: common.clone(), whom })
    }

    /// A context of its own, for work that is not asked of a server.
    ///
    /// # Errors
    /// Mistakes in the declaration; `unreachable` when the instance was never made.
    pub async fn own(common: &Common) -> Result<(Declaration, Arc<Context>), Refusal> {
        let declaration = Declaration::find(common.file.as_deref())?;
        origin::remark(common, &declaration);
        ensure(common, &declaration).await?;
        let context = local::context(&declaration).await?;
        Ok((declaration, context))
    }

    /// Runs a skill.
    ///
    /// # Errors
    /// The skill's own, and those of getting there.
    pub async fn call(&self, name: &str, input: Value) -> Result<Value, Problem> {
        let skill = skill(name)?;
        match &self.whom {
            Whom::Here(context) => {
                let stop = &self.common.stop;
                let call = Call {
                    progress: Arc::new(Shown::new(self.common.quiet)),
                    cancel: stop.token(),
                    ..Call::new(Caller::owner(), input)
                };
                let _held = (skill.effect != Effect::Reads).then(|| stop.hold());
                context.run(skill, call).await
            }
            Whom::There(client) => {
                let call = HttpCall::new(skill, input);
                let (status, value) = client.ask(skill.route.method, &call.path, call.body.as_ref()).await?;
                match status {
                    StatusCode::ACCEPTED => self.end_of(client, read_job(&value)?).await,
                    status if status.is_success() => Ok(value),
                    status => Err(client::problem(status, &value)),
                }
            }
        }
    }

    /// What comes of work that the server does as a job. Whoever stops waiting leaves it running.
    async fn end_of(&self, client: &Client, mut job: Job) -> Result<Value, Problem> {
        let shown = Shown::new(self.common.quiet);
        let place = HttpCall::new(skill("get_job")?, json!({"id": job.id})).path;
        shown.tell(Event::Note {
            text: format!(
                "this goes on as a job: `howdah jobs show {id}`, `howdah jobs cancel {id}`",
                id = job.id
            ),
        });
        loop {
            match job.state {
                State::Succeeded => return Ok(job.result.unwrap_or_default()),
                State::Failed | State::Cancelled => {
                    let ended = || Problem::new(Kind::Failed, format!("the job ended {}", job.state.name()));
                    return Err(job.problem.clone().unwrap_or_else(ended));
                }
                State::Queued | State::Running => {}
            }
            if let Some(Progress { step, done, total, unit, note }) = job.progress.take() {
                shown.tell(Event::Begin { step });
                shown.tell(Event::Advanced { done, total, unit, note });
            }
            tokio::time::sleep(GLANCE).await;
            job = read_job(&client.call("GET", &place, None).await?)?;
        }
    }
}

fn read_job(value: &Value) -> Result<Job, Problem> {
    Job::deserialize(value).map_err(|error| {
        Problem::new(Kind::Internal, "the server answered with a job that cannot be read")
            .detail(error.to_string())
    })
}

/// The Howdah at an address.
fn named(base: &str, common: &Common) -> Result<Client, Problem> {
    let base = base.trim_end_matches('/').to_owned();
    if !base.starts_with("http://") {
        return Err(Problem::new(Kind::Usage, format!("`{base}` is not an `http://` address"))
            .hint("The command line speaks plain HTTP; put it beside the server, or use curl."));
    }
    Ok(Client { base, key: common.key.clone(), patience: PATIENCE })
}

/// The running server of the declaration; this process where none runs.
async fn found(common: &Common, start: bool) -> Result<Whom, Refusal> {
    let declaration = Declaration::find(common.file.as_deref())?;
    origin::remark(common, &declaration);
    if start {
        ensure(common, &declaration).await?;
    }
    match running(&declaration)? {
        Some((place, running)) if running.ready => {
            remark(common, &declaration, &running);
            let key = common.key.clone().or_else(|| place.token().map(|key| key.reveal().to_owned()));
            Ok(Whom::There(Client { base: running.rest, key, patience: PATIENCE }))
        }
        _ => Ok(Whom::Here(local::context(&declaration).await?)),
    }
}

/// Sees to it that PostgreSQL runs for this command, and says so where it is started for it.
///
/// # Errors
/// As [`crate::daemon::standalone::Started::ensure`].
pub async fn ensure(common: &Common, declaration: &Declaration) -> Result<(), Problem> {
    let tell = |told: Told| match told {
        Told::Waiting(holder) => waiting(common, &holder),
        Told::Starting if !common.quiet => {
            let name = &declaration.spec.name;
            print::err(&format!("`{name}` does not run; PostgreSQL is started for this command\n"));
        }
        Told::Starting => {}
    };
    common.started.ensure(declaration, tell).await
}

/// Says that another command is waited for.
pub fn waiting(common: &Common, holder: &Holder) {
    if !common.quiet {
        let command = holder.command.as_deref().unwrap_or_default();
        print::err(&format!("waiting for `howdah {command}` (process {})\n", holder.process.pid));
    }
}

/// The running server of a declaration.
///
/// # Errors
/// `usage` when there is no place for Howdah's data.
pub fn running(declaration: &Declaration) -> Result<Option<(InstanceDirectory, ServerRecord)>, Problem> {
    let home = local::home()?;
    let Some(directory) = InstanceDirectory::existing(declaration, &home.instances()) else {
        return Ok(None);
    };
    Ok(directory.record().map(|running| (directory, running)))
}

fn remark(common: &Common, declaration: &Declaration, running: &ServerRecord) {
    if !common.quiet && running.declaration != declaration.hash {
        print::err(&format!(
            "{} the server runs an older `{}`; `howdah up` brings it up to date\n",
            print::paint("note:", print::YELLOW),
            declaration.path.file_name().unwrap_or_default().to_string_lossy(),
        ));
    }
}

/// Makes the running server read its declaration again.
///
/// # Errors
/// As [`running`].
pub fn tell_to_reload(declaration: &Declaration) -> Result<(), Problem> {
    if let Some((_, running)) = running(declaration)? {
        running.process.signal(nix::sys::signal::Signal::SIGHUP);
    }
    Ok(())
}

/// The row of a skill.
///
/// # Errors
/// `internal`: commands name skills that exist, a test sees to it.
pub fn skill(name: &str) -> Result<&'static Skill<Context>, Problem> {
    SKILLS
        .iter()
        .find(|skill| skill.name == name)
        .ok_or_else(|| Problem::new(Kind::Internal, format!("there is no skill `{name}`")))
}

/// An input as the type that a skill reads.
///
/// # Errors
/// `usage` when it does not fit.
pub fn typed<T: DeserializeOwned>(skill: &Skill<Context>, input: &Value) -> Result<T, Problem> {
    (skill.check)(input)?;
    T::deserialize(input).map_err(|error| {
        Problem::new(Kind::Internal, format!("the input of `{}` is of another type", skill.name))
            .detail(error.to_string())
    })
}

/// A skill's input as an HTTP request.
#[derive(Debug, PartialEq)]
pub struct HttpCall {
    /// Path with its query string.
    pub path: String,
    /// Body, where the method has one.
    pub body: Option<Value>,
}

impl HttpCall {
    /// Puts each field of `input` where the route has it.
    pub fn new(skill: &Skill<Context>, input: Value) -> Self {
        let mut fields = match input {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        let mut path = String::new();
        for part in skill.route.path.split('/').skip(1) {
            path.push('/');
            match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                Some(name) => path.push_str(&encode(&text(&fields.shift_remove(name).unwrap_or_default()))),
                None => path.push_str(part),
            }
        }
        if !matches!(skill.route.method, "GET" | "DELETE") {
            return HttpCall { path, body: Some(Value::Object(fields)) };
        }
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            query.append_pair(name, &text(value));
        }
        let query = query.finish();
        if !query.is_empty() {
            path.push('?');
            path.push_str(&query);
        }
        HttpCall { path, body: None }
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Percent-encodes one segment of a path.
fn encode(segment: &str) -> String {
    utf8_percent_encode(segment, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;

    #[test]
    fn the_fields_of_an_input_go_where_the_route_has_them() {
        let revoke = HttpCall::new(skill("revoke_key").unwrap(), json!({"id": "a/b ü"}));
        assert_eq!(revoke, HttpCall { path: "/v1/keys/a%2Fb%20%C3%BC".into(), body: None });
        let create = HttpCall::new(skill("create_key").unwrap(), json!({"name": "x"}));
        assert_eq!(create, HttpCall { path: "/v1/keys".into(), body: Some(json!({"name": "x"})) });
    }

    fn job(state: &str) -> Value {
        json!({
            "id": "0197b3c5-6f0e-7d2a-9a51-3a3f1a2b4c5d", "skill": "apply", "state": state, "caller": "owner",
            "attempt": 1, "created_at": "2026-01-01T00:00:00Z", "started_at": null, "finished_at": null,
        })
    }

    /// What a command says to a server that answers with a job, which ends like this.
    async fn asked(ended: Value) -> Result<Value, Problem> {
        use wiremock::matchers::{method, path};
        use wiremock::{Mock, MockServer, ResponseTemplate};
        let server = MockServer::start().await;
        let answers = [("POST", "/v1/apply", 202, job("queued")), ("GET", "/v1/jobs/", 200, ended)];
        for (verb, place, status, body) in answers {
            let id = if verb == "GET" { body["id"].as_str().unwrap().to_owned() } else { String::new() };
            let answer = ResponseTemplate::new(status).set_body_json(&body);
            Mock::given(method(verb))
                .and(path(format!("{place}{id}")))
                .respond_with(answer)
                .mount(&server)
                .await;
        }
        let url = server.uri();
        let matches =
            Common::augment_args(clap::Command::new("x")).get_matches_from(["x", "-q", "--url", &url]);
        let endpoint = Endpoint::open(&Common::from_arg_matches(&matches).unwrap()).await;
        endpoint.map_err(|mut refusal| refusal.0.remove(0))?.call("apply", json!({})).await
    }

    #[tokio::test]
    async fn what_a_server_does_as_a_job_is_waited_for() {
        let mut ended = job("succeeded");
        ended["result"] = json!({"done": ["one"]});
        assert_eq!(asked(ended).await.unwrap(), json!({"done": ["one"]}));
        let mut ended = job("failed");
        ended["problem"] = json!(Problem::new(Kind::Conflict, "somebody else applies"));
        assert_eq!(asked(ended).await.unwrap_err().kind, Kind::Conflict);
        assert_eq!(asked(job("cancelled")).await.unwrap_err().message, "the job ended cancelled");
    }
}
