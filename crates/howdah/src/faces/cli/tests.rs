//! The command line is a reader of the table: nothing of a skill is typed a second time.

use clap::ArgMatches;
use howdah_plan::problem::{Kind as ProblemKind, Problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::common::Format;
use super::fields::{Field, Kind, fields};
use super::present::plain;
use super::{args, manual, words};
use crate::access::scope::Scope;
use crate::skills::{Command, Effect, Example, Lasts, Route, SKILLS, Skill, fits, schema_of};

/// What JSON and what text a field wants is for its type to say: candidates.
struct Texts {
    json: &'static str,
    text: &'static str,
}

const CANDIDATES: &[Texts] = &[
    Texts { json: "{}", text: "it's text" },
    Texts { json: "[]", text: "it's text" },
    Texts { json: "{}", text: "0197b3c5-6f0e-7d2a-9a51-3a3f1a2b4c5d" },
];

/// A value of a field, as words and as JSON.
fn sample(kind: &Kind, texts: &Texts) -> Vec<(String, Value)> {
    match kind {
        Kind::Switch { stands } => vec![((!stands).to_string(), (!stands).into())],
        Kind::Integer { least, .. } => {
            let number = i64::try_from(least.unwrap_or(0).max(1)).unwrap();
            vec![(number.to_string(), number.into())]
        }
        Kind::Number { least, .. } => {
            let number = least.unwrap_or(-0.5).max(-0.5);
            vec![(number.to_string(), json!(number))]
        }
        Kind::Choice(words) => {
            words.last().map(|(word, _)| (word.clone(), json!(word))).into_iter().collect()
        }
        Kind::Id => vec![("-7".into(), json!(-7))],
        Kind::Text => vec![(texts.text.into(), json!(texts.text))],
        Kind::Several(one) => {
            let one = sample(one, texts);
            [one.clone(), one].concat()
        }
        Kind::Json => vec![(texts.json.into(), serde_json::from_str(texts.json).unwrap())],
    }
}

/// The words of a command line that gives these fields, and the input they mean.
fn said<C>(skill: &Skill<C>, fields: &[&Field], texts: &Texts) -> (Vec<String>, Map<String, Value>) {
    let mut line: Vec<String> =
        ["howdah"].into_iter().chain(skill.command.words.split(' ')).map(Into::into).collect();
    let mut input = Map::new();
    let (mut flags, mut places) = (Vec::new(), Vec::new());
    for field in fields {
        let values = sample(&field.kind, texts);
        let flag = format!("--{}", field.name.replace('_', "-"));
        match skill.command.positional.iter().position(|name| *name == field.name) {
            Some(place) => {
                places.push((place, values.iter().map(|(word, _)| word.clone()).collect::<Vec<_>>()))
            }
            None if field.kind == Kind::Switch { stands: false } => flags.push(flag),
            None if matches!(field.kind, Kind::Switch { .. }) => {
                flags.push(format!("{flag}={}", values[0].0))
            }
            None => flags.extend(values.iter().flat_map(|(word, _)| [flag.clone(), word.clone()])),
        }
        let mut all: Vec<Value> = values.into_iter().map(|(_, value)| value).collect();
        let several = matches!(field.kind, Kind::Several(_));
        input.insert(field.name.clone(), if several { all.into() } else { all.remove(0) });
    }
    places.sort();
    line.extend(places.into_iter().flat_map(|(_, words)| words));
    line.extend(flags);
    (line, input)
}

fn heard<C>(skills: &'static [Skill<C>], line: &[String]) -> Result<Map<String, Value>, String> {
    let matches = args::with(skills).try_get_matches_from(line).map_err(|error| error.to_string())?;
    let (skill, matches): (_, &ArgMatches) = words::chosen(skills, &matches).ok_or("no skill")?;
    words::input(skill, matches).map_err(|problem| format!("{problem:?}"))
}

#[test]
fn every_field_of_every_skill_can_be_said_and_arrives_as_it_is() {
    let mut checked = 0;
    for skill in SKILLS {
        let all = fields(skill);
        for field in &all {
            let given: Vec<&Field> = all
                .iter()
                .filter(|one| one.required || one.name == "collection" || one.name == field.name)
                .collect();
            let (line, input) = CANDIDATES
                .iter()
                .map(|texts| said(skill, &given, texts))
                .find(|(_, input)| (skill.check)(&input.clone().into()).is_ok())
                .unwrap_or_else(|| panic!("{}: no value for `{}`", skill.name, field.name));
            assert_eq!(
                heard(SKILLS, &line).unwrap_or_else(|why| panic!("{line:?}: {why}")),
                input,
                "{line:?}"
            );
            checked += 1;
        }
    }
    assert!(checked > 35, "{checked}");
}

/// A memory to keep.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Remember {
    /// What to remember. It is kept as it is.
    text: String,
    /// How it is kept.
    #[serde(default)]
    how: Option<How>,
    /// Its weight, 0 to 1.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    importance: Option<f64>,
    /// Days until it is forgotten.
    #[serde(default = "thirty")]
    #[schemars(range(min = 1, max = 365))]
    for_days: u16,
    /// Words to find it by.
    #[serde(default)]
    tags: Vec<String>,
    /// Whether it stands on its own.
    #[serde(default)]
    alone: bool,
    /// Whether it may change.
    #[serde(default = "yes")]
    mutable: bool,
    /// What else is known.
    #[serde(default)]
    facts: Option<Map<String, Value>>,
    /// Who it belongs to.
    key: String,
}

/// How a memory is kept.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum How {
    /// For this session. Then it is gone.
    Working,
    /// For good.
    LongTerm,
}

fn thirty() -> u16 {
    30
}

fn yes() -> bool {
    true
}

static MADE_UP: &[Skill<()>] = &[Skill {
    name: "remember",
    summary: "Keep a memory.",
    description: "Keeps a memory for later.",
    effect: Effect::Writes,
    lasts: Lasts::Request,
    scope: Scope::Write,
    command: Command { words: "memory remember", positional: &["text"] },
    route: Route { method: "POST", path: "/v1/memory", success: 200 },
    input: schema_of::<Remember>,
    output: schema_of::<Remember>,
    examples: &[Example { title: "One", input: "{}", command: "howdah memory remember tea --input-key me" }],
    check: fits::<Remember>,
    run: |_, call| Box::pin(async move { Ok(call.input) }),
}];

fn line(words: &str) -> Vec<String> {
    words.split(' ').map(str::to_owned).collect()
}

#[test]
fn a_new_skill_has_flags_help_and_a_readable_answer_without_a_line_here() {
    let all = "howdah memory remember tea --how long_term --importance 0.5 --for-days 365 --tags a --tags b --alone \
               --mutable=false --facts {\"a\":[1]} --input-key me";
    let input = json!({
        "text": "tea", "how": "long_term", "importance": 0.5, "for_days": 365, "tags": ["a", "b"], "alone": true,
        "mutable": false, "facts": {"a": [1]}, "key": "me",
    });
    assert_eq!(Value::Object(heard(MADE_UP, &line(all)).unwrap()), input);
    assert_eq!(
        Value::Object(heard(MADE_UP, &line("howdah memory remember tea --input-key me")).unwrap()),
        json!({"text": "tea", "key": "me"})
    );
    let mut command = args::with(MADE_UP);
    command.build();
    let remember = command.find_subcommand_mut("memory").unwrap().find_subcommand_mut("remember").unwrap();
    insta::assert_snapshot!("help_of_a_new_skill", remember.render_long_help());
    let table = plain::text(Format::Table, &input);
    assert!(table.contains("For days") && table.contains("long_term"), "{table}");
    let mut text = Vec::new();
    clap_complete::generate(clap_complete::Shell::Bash, &mut args::with(MADE_UP), "howdah", &mut text);
    let text = String::from_utf8(text).unwrap();
    for words in ["--importance", "--input-key", "working long_term", "remember"] {
        assert!(text.contains(words), "{words}");
    }
}

#[test]
fn what_does_not_fit_a_schema_is_refused_before_anything_is_asked() {
    for (wrong, why) in [
        ("--for-days 0", "for_days `0` is out of range"),
        ("--for-days 366", "for_days is 1 to 365"),
        ("--for-days x", "for_days `x` is not a whole number"),
        ("--importance -1", "importance `-1` is out of range"),
        ("--how nowhere", "[possible values: working, long_term]"),
        ("--facts {a}", "`--facts` is not JSON"),
        ("--mutable=perhaps", "[possible values: true, false]"),
    ] {
        let said = line(&format!("howdah memory remember tea --input-key me {wrong}"));
        let told = heard(MADE_UP, &said).unwrap_err();
        assert!(told.contains(why), "{wrong}: {told}");
    }
    for (missing, why) in [
        ("howdah memory remember --input-key me", "<TEXT>"),
        ("howdah memory remember tea", "--input-key <KEY>"),
        ("howdah memory", "remember"),
    ] {
        let error = args::with(MADE_UP).try_get_matches_from(line(missing)).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{missing}");
        assert!(error.to_string().contains(why), "{missing}: {error}");
    }
}

#[test]
fn problems_of_the_command_line_end_in_exit_code_2() {
    let problem: Problem = heard_problem("howdah search x --limit 0");
    assert_eq!((problem.kind, problem.kind.row().exit), (ProblemKind::Usage, 2));
    assert_eq!(problem.hint.as_deref(), Some("Give a value from 1 to 10000."));
    let many: Problem = heard_problem("howdah search x --limit 10001");
    assert_eq!(
        many.hint.as_deref(),
        Some("One to 10000 rows can be asked for; go on with the answer's `next` as `--cursor`.")
    );
    assert_eq!(heard_problem("howdah search x --where y").message, "`--where y` has no `=`");
    assert_eq!(heard_problem("howdah delete x --filter {y}").message, "`--filter` is not JSON");
}

fn heard_problem(words: &str) -> Problem {
    let matches = args::command().try_get_matches_from(line(words)).unwrap();
    let (skill, matches) = words::chosen(SKILLS, &matches).unwrap();
    words::input(skill, matches).unwrap_err()
}

#[test]
fn what_people_type_means_what_it_did() {
    for (words, input) in [
        (
            "howdah search a -n 3 -c notes --exact",
            json!({"text": "a", "limit": 3, "collection": "notes", "exact": true}),
        ),
        ("howdah search --like 7", json!({"id": 7})),
        ("howdah search --id a7", json!({"id": "a7"})),
        ("howdah search a --select content,fields", json!({"text": "a", "select": ["content", "fields"]})),
        (
            "howdah search a --where year=2020 --filter {\"b\":1}",
            json!({"text": "a", "filter": {"and": [{"b": 1}, {"year": 2020}]}}),
        ),
        ("howdah search --vector [-0.1,2]", json!({"vector": [-0.1, 2]})),
        ("howdah search a --max-distance -1", json!({"text": "a", "max_distance": -1})),
        ("howdah collections", json!({})),
        ("howdah delete notes 1 -2 x", json!({"collection": "notes", "ids": [1, -2, "x"]})),
        (
            "howdah doctor --check a. --check b --database c",
            json!({"checks": ["a.", "b"], "databases": ["c"]}),
        ),
        ("howdah ingest notes docs/ - --skip-bad --prune", json!({"collection": "notes", "skip_bad": true})),
    ] {
        assert_eq!(Value::Object(heard(SKILLS, &line(words)).unwrap()), input, "{words}");
    }
    for words in ["howdah search a --like 7", "howdah ingest notes", "howdah keys create", "howdah get notes"]
    {
        let error = args::command().try_get_matches_from(line(words)).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{words}");
    }
}

#[test]
fn the_page_on_commands_has_every_command_with_every_flag() {
    const UNTIL: &str = "\n## Which flags does each command have?\n";
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/commands.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (written, _) = page.split_once(UNTIL).unwrap_or((&page, ""));
    let whole = format!("{}\n{UNTIL}\n{}", written.trim_end(), manual::page(&args::command()));
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &whole).unwrap();
        return;
    }
    assert!(
        page == whole,
        "docs/reference/commands.md is old: UPDATE_SCHEMA=1 cargo test -p howdah --lib faces::cli::tests"
    );
}
