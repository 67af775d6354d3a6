//! Jobs on a real server, with a skill that takes its time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use howdah_plan::problem::{Kind, Problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::store::{Job, State};
use super::{Asked, Jobs};
use crate::access::caller::Caller;
use crate::access::scope::Scope;
use crate::observe::progress::Event;
use crate::runtime::Context;
use crate::skills::{Call, Command, Deadline, Effect, Lasts, Route, Skill, fits, schema_of, typed};
use crate::testing;
use howdah_postgres::Purpose;
use howdah_postgres::testing::{TestDatabase, database};

/// Work that leaves a trace for each time it was begun and for each time it was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Work {
    name: String,
    millis: u64,
    #[serde(default)]
    fails: bool,
    #[serde(default)]
    panics: bool,
    /// Does not look whether it is to end.
    #[serde(default)]
    deaf: bool,
}

async fn work(context: Arc<Context>, call: Call, input: Work) -> Result<Work, Problem> {
    let client = context.pools(&call, Purpose::Operate).get_default().await?;
    let trace = async |what: &str| {
        client.execute("INSERT INTO traces VALUES ($1, $2)", &[&input.name, &what]).await.unwrap();
    };
    trace("begun").await;
    call.progress.tell(Event::Begin { step: "working".into() });
    let until = Instant::now() + Duration::from_millis(input.millis);
    let (mut done, unit) = (0, "turns".to_owned());
    while Instant::now() < until {
        if call.cancel.is_cancelled() && !input.deaf {
            return Err(Problem::new(Kind::Failed, "told to end"));
        }
        done += 1;
        call.progress.tell(Event::Advanced { done, total: 0, unit: unit.clone(), note: String::new() });
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!input.panics, "asked to panic");
    if input.fails {
        return Err(Problem::new(Kind::Machine, "no more room"));
    }
    trace("done").await;
    Ok(input)
}

const fn skill(name: &'static str, lasts: Lasts) -> Skill<Context> {
    Skill {
        name,
        summary: "Works.",
        description: "Works.",
        effect: Effect::Operates,
        lasts,
        scope: Scope::Admin,
        command: Command { words: "work", positional: &[] },
        route: Route { method: "POST", path: "/v1/work", success: 200 },
        input: schema_of::<Work>,
        output: schema_of::<Work>,
        examples: &[],
        check: fits::<Work>,
        run: |context, call| Box::pin(typed(context, call, work)),
    }
}

static SKILLS: [Skill<Context>; 2] = [skill("work", Lasts::OnDemand), skill("work_alone", Lasts::JobAlone)];

struct World {
    database: TestDatabase,
    context: Arc<Context>,
}

impl World {
    async fn new() -> World {
        let database = database().await;
        testing::internal_schema(&database).await;
        let client = database.client().await;
        client.batch_execute("CREATE TABLE traces (name text, what text)").await.unwrap();
        let spec = testing::declaration(&database, "");
        let context = testing::context(&database, spec);
        World { database, context }
    }

    /// The same deployment as another server process sees it.
    fn other_server(&self) -> Arc<Context> {
        testing::context(&self.database, (*self.context.declared.spec).clone())
    }

    async fn ask(&self, skill: usize, input: Value, wait: u64, key: Option<&str>) -> Result<Asked, Problem> {
        let call = Call {
            deadline: Deadline::after(Duration::from_millis(wait)),
            idempotency_key: key.map(str::to_owned),
            ..Call::new(Caller::owner(), input)
        };
        self.context.runtime.jobs.ask(&self.context, &SKILLS[skill], call).await
    }

    async fn under_way(&self, skill: usize, input: Value) -> Job {
        match self.ask(skill, input, 600, None).await.unwrap() {
            Asked::UnderWay(job) => *job,
            Asked::Ended(value) => panic!("ended: {value}"),
        }
    }

    async fn get(&self, id: Uuid) -> Job {
        self.context.jobs_store(Deadline::NEVER).unwrap().get(id).await.unwrap()
    }

    async fn ended(&self, id: Uuid) -> Job {
        let begun = Instant::now();
        loop {
            let job = self.get(id).await;
            if job.state.is_final() {
                return job;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "not ended: {job:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn count(&self, name: &str, what: &str) -> i64 {
        let sql = "SELECT count(*) FROM traces WHERE name = $1 AND what = $2";
        self.database.client().await.query_one(sql, &[&name, &what]).await.unwrap().get(0)
    }

    /// A job as a server leaves it that was killed while it ran.
    async fn left_behind(&self, name: &str, server: &str, attempt: i32) -> Uuid {
        let sql = "INSERT INTO howdah.jobs (skill, input, caller, state, attempt, server, heartbeat_at)
                   VALUES ('work', $1, 'owner', 'running', $2, $3, now()) RETURNING id";
        let input = json!({"name": name, "millis": 50});
        self.database.client().await.query_one(sql, &[&input, &attempt, &server]).await.unwrap().get(0)
    }
}

fn dead_process() -> String {
    format!("{} 1 another-boot:1 x", super::hostname())
}

#[tokio::test]
async fn what_ends_in_time_is_answered_and_what_does_not_goes_on() {
    let world = World::new().await;
    let Asked::Ended(value) = world.ask(1, json!({"name": "a", "millis": 10}), 5000, None).await.unwrap()
    else {
        panic!("in time")
    };
    assert_eq!(value["name"], "a");
    let job = world.under_way(1, json!({"name": "b", "millis": 2500})).await;
    tokio::time::sleep(Duration::from_millis(1300)).await;
    let seen = world.get(job.id).await;
    assert_eq!((seen.state, seen.attempt), (State::Running, 1));
    let progress = seen.progress.unwrap();
    assert!(progress.step == "working" && progress.done > 1 && progress.unit == "turns", "{progress:?}");
    let ended = world.ended(job.id).await;
    assert_eq!((ended.state, ended.result.unwrap()["name"].clone()), (State::Succeeded, json!("b")));
    assert_eq!((world.count("b", "begun").await, world.count("b", "done").await), (1, 1));
}

#[tokio::test]
async fn a_call_that_is_repeated_is_the_first_one() {
    let world = World::new().await;
    let input = json!({"name": "c", "millis": 1500});
    let mut ids = Vec::new();
    for _ in 0..3 {
        match world.ask(0, input.clone(), 550, Some("once")).await.unwrap() {
            Asked::UnderWay(job) => ids.push(job.id),
            Asked::Ended(_) => panic!("too soon"),
        }
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let other = world.ask(0, json!({"name": "other", "millis": 1}), 550, Some("once")).await.unwrap_err();
    assert_eq!(
        (other.kind, other.message.as_str()),
        (Kind::Conflict, "the idempotency key was used for another call")
    );
    let Asked::Ended(value) = world.ask(0, input, 20_000, Some("once")).await.unwrap() else {
        panic!("ended")
    };
    assert_eq!((value["name"].clone(), world.count("c", "begun").await), (json!("c"), 1));
}

#[tokio::test]
async fn of_a_skill_that_runs_alone_a_second_call_joins_the_first_or_is_refused() {
    let world = World::new().await;
    let input = json!({"name": "d", "millis": 1500});
    let first = world.under_way(1, input.clone()).await;
    let joined = world.under_way(1, input).await;
    assert_eq!(first.id, joined.id);
    let refused = world.ask(1, json!({"name": "e", "millis": 1}), 550, None).await.unwrap_err();
    assert_eq!(
        (refused.kind, refused.message.as_str()),
        (Kind::Conflict, "`work_alone` is under way with another input")
    );
    assert_eq!(world.ended(first.id).await.state, State::Succeeded);
}

#[tokio::test]
async fn a_job_ends_badly_with_its_reason_and_a_panic_is_one() {
    let world = World::new().await;
    let failed =
        world.ask(1, json!({"name": "f", "millis": 1, "fails": true}), 5000, None).await.unwrap_err();
    assert_eq!((failed.kind, failed.message.as_str()), (Kind::Machine, "no more room"));
    let panicked =
        world.ask(1, json!({"name": "g", "millis": 1, "panics": true}), 5000, None).await.unwrap_err();
    assert_eq!(panicked.kind, Kind::Internal);
    let unfit = world.ask(1, json!({"nmae": "h"}), 5000, None).await.unwrap_err();
    assert_eq!(unfit.kind, Kind::Usage, "refused before anything is put down");
    let jobs =
        world.context.jobs_store(Deadline::NEVER).unwrap().list(None, Some(State::Failed), 10).await.unwrap();
    let reasons: Vec<String> = jobs.into_iter().map(|job| job.problem.unwrap().message).collect();
    assert_eq!(reasons, ["the job met a fault of howdah", "no more room"]);
}

#[tokio::test]
async fn a_job_is_cancelled() {
    let world = World::new().await;
    let job = world.under_way(0, json!({"name": "i", "millis": 60_000})).await;
    world.context.jobs_store(Deadline::NEVER).unwrap().cancel(job.id).await.unwrap();
    let ended = world.ended(job.id).await;
    assert_eq!((ended.state, world.count("i", "done").await), (State::Cancelled, 0));
}

#[tokio::test]
async fn work_that_does_not_listen_is_ended_and_work_that_is_done_is_done() {
    let world = World::new().await;
    let deaf = world.under_way(0, json!({"name": "o", "millis": 60_000, "deaf": true})).await;
    let nearly = world.under_way(0, json!({"name": "p", "millis": 2_500, "deaf": true})).await;
    let store = world.context.jobs_store(Deadline::NEVER).unwrap();
    store.cancel(deaf.id).await.unwrap();
    store.cancel(nearly.id).await.unwrap();
    let ended = world.ended(nearly.id).await;
    assert_eq!(
        (ended.state, ended.result.is_some()),
        (State::Succeeded, true),
        "it was done before it was ended"
    );
    assert_eq!(world.ended(deaf.id).await.state, State::Cancelled);
    assert_eq!(world.count("o", "done").await, 0);
}

#[tokio::test]
async fn more_jobs_than_places_wait_and_none_is_lost() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for number in 0..12 {
        let call = Call {
            detached: true,
            ..Call::new(Caller::owner(), json!({"name": format!("many-{number}"), "millis": 150}))
        };
        match world.context.runtime.jobs.ask(&world.context, &SKILLS[0], call).await.unwrap() {
            Asked::UnderWay(job) => ids.push(job.id),
            Asked::Ended(value) => panic!("ended: {value}"),
        }
    }
    // A look meanwhile takes none of them for abandoned.
    world.context.runtime.jobs.round(&SKILLS, &world.context).await.unwrap();
    for id in ids {
        let ended = world.ended(id).await;
        assert_eq!((ended.state, ended.attempt), (State::Succeeded, 1));
    }
    let sql = "SELECT count(*) FROM howdah.jobs WHERE input <> 'null'";
    let left: i64 = world.database.client().await.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(left, 0, "inputs are not kept longer than the work");
}

#[tokio::test]
async fn a_job_that_another_server_has_taken_ends_here_without_a_word() {
    let world = World::new().await;
    let job = world.under_way(0, json!({"name": "q", "millis": 4_000})).await;
    let taken = "UPDATE howdah.jobs SET server = 'elsewhere 7 boot:1 x'";
    world.database.client().await.batch_execute(taken).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let seen = world.get(job.id).await;
    assert_eq!((seen.state, world.count("q", "done").await), (State::Running, 0), "{seen:?}");
}

#[tokio::test]
async fn a_job_of_another_deployment_is_neither_run_nor_shown() {
    let world = World::new().await;
    let theirs = "INSERT INTO howdah.jobs (skill, input, caller, deployment)
                  VALUES ('work', '{\"name\": \"theirs\", \"millis\": 1}', 'owner', 'another')";
    world.database.client().await.batch_execute(theirs).await.unwrap();
    world.context.runtime.jobs.round(&SKILLS, &world.context).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let state = "SELECT string_agg(state, ' ') FROM howdah.jobs";
    let state: String = world.database.client().await.query_one(state, &[]).await.unwrap().get(0);
    assert_eq!((state.as_str(), world.count("theirs", "begun").await), ("queued", 0));
    let store = world.context.jobs_store(Deadline::NEVER).unwrap();
    assert!(store.list(None, None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn of_twenty_at_once_one_begins_and_the_others_join_it() {
    let world = World::new().await;
    let one = || world.ask(1, json!({"name": "r", "millis": 300}), 10_000, None);
    let all = futures_util::future::try_join_all((0..20).map(|_| one())).await.unwrap();
    assert!(all.iter().all(|asked| matches!(asked, Asked::Ended(_))));
    assert_eq!(world.count("r", "begun").await, 1);
    let turned = world.ask(1, json!({"millis": 1, "name": "s\u{0}"}), 1000, None).await.unwrap_err();
    assert_eq!(turned.message, "the input holds a NUL character");
    let hash = super::store::hash;
    assert_eq!(hash(&json!({"a": 1, "b": {"c": 2, "d": 3}})), hash(&json!({"b": {"d": 3, "c": 2}, "a": 1})));
}

#[tokio::test]
async fn a_job_whose_server_was_killed_is_done_once_by_the_next() {
    let world = World::new().await;
    let id = world.left_behind("j", &dead_process(), 1).await;
    let other = world.other_server();
    for context in [&world.context, &other, &world.context] {
        // All of them look at once, as servers that start together do.
        let looks = (0..4).map(|_| context.runtime.jobs.round(&SKILLS, context));
        futures_util::future::try_join_all(looks).await.unwrap();
    }
    let ended = world.ended(id).await;
    assert_eq!((ended.state, ended.attempt), (State::Succeeded, 2));
    assert_eq!((world.count("j", "begun").await, world.count("j", "done").await), (1, 1));
}

#[tokio::test]
async fn a_job_that_its_server_still_runs_is_left_alone() {
    let world = World::new().await;
    let elsewhere = world.left_behind("k", "elsewhere 7 boot:1", 1).await;
    world.context.runtime.jobs.round(&SKILLS, &world.context).await.unwrap();
    assert_eq!(world.get(elsewhere).await.state, State::Running, "it was heard of just now");
    let silent = "UPDATE howdah.jobs SET heartbeat_at = now() - interval '2 minutes'";
    world.database.client().await.batch_execute(silent).await.unwrap();
    world.context.runtime.jobs.round(&SKILLS, &world.context).await.unwrap();
    assert_eq!(world.ended(elsewhere).await.state, State::Succeeded);
}

#[tokio::test]
async fn a_job_that_ends_its_server_each_time_is_given_up_with_its_reason() {
    let world = World::new().await;
    let id = world.left_behind("l", &dead_process(), super::ATTEMPTS).await;
    world.context.runtime.jobs.round(&SKILLS, &world.context).await.unwrap();
    let ended = world.ended(id).await;
    assert_eq!((ended.state, world.count("l", "begun").await), (State::Failed, 0));
    assert_eq!(ended.problem.unwrap().message, "the server ended 3 times while it ran");
}

#[tokio::test]
async fn a_server_that_stops_gives_its_jobs_back_and_the_next_goes_on() {
    let world = World::new().await;
    let job = world.under_way(0, json!({"name": "m", "millis": 1500})).await;
    world.context.runtime.jobs.stop().await;
    let given_back = world.get(job.id).await;
    assert_eq!(given_back.state, State::Queued, "{given_back:?}");
    let next = world.other_server();
    next.runtime.jobs.round(&SKILLS, &next).await.unwrap();
    let ended = world.ended(job.id).await;
    assert_eq!(
        (ended.state, ended.attempt),
        (State::Succeeded, 1),
        "being told to stop is no failed attempt"
    );
    assert_eq!(world.count("m", "done").await, 1);
}

#[tokio::test]
async fn a_key_sees_its_own_jobs_and_an_admin_all() {
    let world = World::new().await;
    let job = world.under_way(0, json!({"name": "n", "millis": 900})).await;
    let key = Caller { key: Some(Uuid::from_u128(7)), name: "app".into(), tenant: None, scope: Scope::Write };
    assert!(super::may_see(&Caller::owner(), &job) && !super::may_see(&key, &job));
    let show = async |caller: &Caller| {
        let call = Call::new(caller.clone(), json!({"id": job.id}));
        (crate::skills::jobs::SHOW.run)(Arc::clone(&world.context), call).await
    };
    assert_eq!(show(&Caller::owner()).await.unwrap()["skill"], "work");
    assert_eq!(show(&key).await.unwrap_err().kind, Kind::NotFound, "as if it were not there");
    let _ = Jobs::default();
}
