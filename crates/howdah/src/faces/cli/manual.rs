//! What does the page on commands say? Read from the command line itself, so that it says no less.

use clap::{Arg, Command};

/// Every command with its arguments, as Markdown. What every command understands is said once, elsewhere.
pub fn page(command: &Command) -> String {
    let mut text = String::new();
    section(command, "howdah", &mut text);
    text.trim_start().to_owned()
}

fn section(command: &Command, words: &str, text: &mut String) {
    let inner: Vec<&Command> = command.get_subcommands().filter(|one| one.get_name() != "help").collect();
    let args: Vec<&Arg> = command.get_arguments().filter(|arg| is_told(arg)).collect();
    if !args.is_empty() {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        text.push_str(&format!("\n### `{words}`\n\n{about}.\n\n| argument | what it means |\n|---|---|\n"));
        for arg in args {
            text.push_str(&format!("| `{}` | {} |\n", said(arg), meaning(arg)));
        }
    }
    for one in in_order(inner) {
        section(one, &format!("{words} {}", one.get_name()), text);
    }
}

fn in_order(mut commands: Vec<&Command>) -> Vec<&Command> {
    commands.sort_by_key(|one| one.get_display_order());
    commands
}

fn is_told(arg: &Arg) -> bool {
    !arg.is_hide_set()
        && arg.get_help_heading().is_none()
        && !matches!(arg.get_id().as_str(), "help" | "version")
}

fn said(arg: &Arg) -> String {
    let values: Vec<&str> = arg.get_value_names().into_iter().flatten().map(|name| name.as_str()).collect();
    let value = values.join(" ");
    let takes = arg.get_action().takes_values();
    let optional = arg.get_num_args().is_some_and(|range| range.min_values() == 0);
    let long = match arg.get_long() {
        None => return value,
        Some(long) => arg.get_short().map_or(format!("--{long}"), |short| format!("-{short}, --{long}")),
    };
    match (takes, optional) {
        (false, _) => long,
        (true, true) => format!("{long}[={value}]"),
        (true, false) => format!("{long} {value}"),
    }
}

fn meaning(arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut text = help.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches('.').to_owned();
    let choices: Vec<String> = arg
        .get_possible_values()
        .iter()
        .filter(|_| arg.get_action().takes_values())
        .map(|one| match one.get_help() {
            Some(help) => format!("`{}` ({})", one.get_name(), lower(&help.to_string())),
            None => format!("`{}`", one.get_name()),
        })
        .collect();
    if !choices.is_empty() {
        text.push_str(&format!(". One of {}", choices.join(", ")));
    }
    if let [default] = arg.get_default_values() {
        text.push_str(&format!(". Without it `{}`", default.to_string_lossy()));
    }
    // A bar would end the cell.
    text.replace('|', "\\|")
}

fn lower(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}
