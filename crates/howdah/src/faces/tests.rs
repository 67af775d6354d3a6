//! The table has readers: every face serves every skill.

use std::collections::HashSet;

use serde_json::Value;

use super::cli::args;
use super::rest::openapi;
use crate::access::scope::Scope;
use crate::skills::{Effect, SKILLS};

#[test]
fn every_skill_is_a_command_a_route_and_in_the_description() {
    let document = openapi::document(SKILLS, &[], true);
    let command = args::command();
    for skill in SKILLS {
        let found =
            skill.command.words.split(' ').try_fold(&command, |found, word| found.find_subcommand(word));
        let found = found.unwrap_or_else(|| panic!("no command `{}`", skill.command.words));
        assert_eq!(
            found.get_about().map(ToString::to_string).as_deref(),
            Some(skill.summary.trim_end_matches('.'))
        );
        let method = skill.route.method.to_ascii_lowercase();
        let operation = &document["paths"][skill.route.path][&method];
        assert_eq!(operation["operationId"], skill.name);
        let described = operation["responses"].as_object().unwrap();
        assert!(described.contains_key(&skill.route.success.to_string()), "{}", skill.name);
    }
}

/// Whatever REST takes for a skill its command takes, and nothing more: parameters and body on the one side, arguments on the
/// other. Searches in a batch are read as the type of one search is.
#[test]
fn the_command_line_and_rest_offer_the_same_fields() {
    let document = openapi::document(SKILLS, &[], true);
    let command = args::command();
    for skill in SKILLS {
        let operation = &document["paths"][skill.route.path][skill.route.method.to_ascii_lowercase()];
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let mut rest: HashSet<String> = parameters
            .filter(|parameter| parameter["in"] != "header")
            .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
            .collect();
        let body = &operation["requestBody"]["content"]["application/json"]["schema"];
        let body = body["$ref"]
            .as_str()
            .and_then(|reference| document.pointer(reference.trim_start_matches('#')))
            .unwrap_or(body);
        rest.extend(body["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone()));
        let found = skill
            .command
            .words
            .split(' ')
            .try_fold(&command, |found, word| found.find_subcommand(word))
            .unwrap();
        let arguments =
            found.get_arguments().filter_map(|argument| argument.get_id().as_str().strip_prefix("input."));
        let cli: HashSet<String> = arguments.map(str::to_owned).collect();
        assert_eq!(cli, rest, "{}", skill.name);
    }
    let items =
        &openapi::properties(SKILLS.iter().find(|skill| skill.name == "search_batch").unwrap())["searches"];
    assert!(items["items"]["$ref"].as_str().unwrap().ends_with("/SearchRequest"), "{items}");
}

#[test]
fn names_and_routes_are_used_once() {
    let names: HashSet<_> = SKILLS.iter().map(|skill| skill.name).collect();
    let routes: HashSet<_> = SKILLS.iter().map(|skill| (skill.route.method, skill.route.path)).collect();
    let commands: HashSet<_> = SKILLS.iter().map(|skill| skill.command.words).collect();
    assert_eq!((names.len(), routes.len(), commands.len()), (SKILLS.len(), SKILLS.len(), SKILLS.len()));
}

#[test]
fn what_writes_needs_more_than_a_reader_and_what_operates_needs_an_admin() {
    for skill in SKILLS {
        match skill.effect {
            Effect::Reads => {}
            Effect::Writes => assert!(skill.scope >= Scope::Write, "{}", skill.name),
            Effect::Operates => assert_eq!(skill.scope, Scope::Admin, "{}", skill.name),
        }
    }
}

#[test]
fn examples_fit_the_schemas_and_the_command_line() {
    for skill in SKILLS {
        let properties = openapi::properties(skill);
        for example in skill.examples {
            let input: Value = serde_json::from_str(example.input).unwrap();
            (skill.check)(&input).unwrap_or_else(|problem| panic!("{}: {problem:?}", skill.name));
            for name in input.as_object().unwrap().keys() {
                assert!(properties.contains_key(name), "{}: `{name}`", skill.name);
            }
            let words = example.command.rsplit("| ").next().unwrap();
            let words = split(words);
            assert_eq!(words[0], "howdah", "{}", example.command);
            if let Err(error) = args::command().try_get_matches_from(&words) {
                panic!("{}: {error}", example.command);
            }
        }
    }
}

/// Words as a shell splits them.
fn split(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in line.chars() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, ' ') => words.push(std::mem::take(&mut word)),
            (_, c) => word.push(c),
        }
    }
    words.push(word);
    words
}

#[test]
fn fields_of_a_query_string_are_plain() {
    for skill in SKILLS.iter().filter(|skill| matches!(skill.route.method, "GET" | "DELETE")) {
        for (name, schema) in openapi::properties(skill) {
            let kind = schema["type"].to_string();
            assert!(
                !kind.contains("object") && !kind.contains("array"),
                "{}: `{name}` is {kind}",
                skill.name
            );
        }
    }
}

#[test]
fn every_reference_in_the_description_leads_somewhere() {
    let document = openapi::document(SKILLS, &["manual".into()], true);
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 50);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("`{reference}`"));
        assert!(document.pointer(pointer).is_some(), "`{reference}` leads nowhere");
    }
}

fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                found.push(reference.clone());
            }
            fields.values().for_each(|value| collect(value, found));
        }
        Value::Array(all) => all.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}

#[test]
fn the_words_of_the_command_line_are_consistent() {
    args::command().debug_assert();
}
