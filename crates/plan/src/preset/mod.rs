//! What does one start from?
//!
//! A preset is a whole declaration with a comment on each line, kept where a reader looks for it: `examples/<preset>/`.
//! `howdah init` writes it into a directory, under another name where one is wanted. It never overwrites.

use crate::problem::{Kind, Problem};
use crate::spec::resolve::nearest;
use crate::spec::{read, schema};

/// Name of a declaration's file.
pub const DECLARATION: &str = "howdah.toml";
/// Name of the schema's file beside it, for editors.
pub const SCHEMA: &str = "howdah.schema.json";
/// The preset that is meant when none is named.
pub const DEFAULT: &str = "starter";

/// The line by which editors find the schema, as the examples have it.
const SCHEMA_LINE: &str = "#:schema ../../schema/howdah.schema.json";

/// One preset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// Name.
    pub name: &'static str,
    /// What it is for, in a line.
    pub summary: &'static str,
    /// The declaration of its example.
    declaration: &'static str,
    /// Other files: path from the declaration's directory, and text.
    others: &'static [(&'static str, &'static str)],
}

/// All presets.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "starter",
        summary: "a folder of documents, searched by meaning and by word, with a local model",
        declaration: include_str!("../../../../examples/starter/howdah.toml"),
        others: &[("docs/welcome.md", include_str!("../../../../examples/starter/docs/welcome.md"))],
    },
    Preset {
        name: "knowledge-agent",
        summary: "the memory of an agent: 768 dimensions, cosine, HNSW, least privilege",
        declaration: include_str!("../../../../examples/knowledge-agent/howdah.toml"),
        others: &[],
    },
    Preset {
        name: "edge-ai",
        summary: "a 2 GiB board: 384 dimensions, events, logs and analytics beside them",
        declaration: include_str!("../../../../examples/edge-ai/howdah.toml"),
        others: &[],
    },
];

/// A file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Path from the directory that was asked for, with `/`.
    pub path: String,
    /// What stands in it.
    pub text: String,
}

/// The preset of this name.
///
/// # Errors
/// `not_found`, with the nearest name.
pub fn find(name: &str) -> Result<&'static Preset, Problem> {
    if let Some(preset) = PRESETS.iter().find(|preset| preset.name == name) {
        return Ok(preset);
    }
    let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
    let problem = Problem::new(Kind::NotFound, format!("there is no preset `{name}`"))
        .detail(format!("there are {}", names.join(", ")));
    Err(match nearest(name, names) {
        Some(near) => problem.hint(format!("Did you mean `{near}`?")),
        None => problem.hint("Run `howdah init --list` to see what each is for."),
    })
}

/// The declaration of a preset, as `howdah init` writes it.
///
/// # Errors
/// `not_found`, with the nearest name.
pub fn render(name: &str) -> Result<String, Problem> {
    Ok(declaration(find(name)?, None, SCHEMA))
}

/// The files of a preset, for a deployment of another name where one is given.
///
/// `exists` says whether a path is there already, in the directory to write into: a declaration that is there is never
/// overwritten, and of the other files only those are returned that are not there.
///
/// # Errors
/// `not_found` when there is no such preset, `usage` when the deployment's name is none, `conflict` when there is a
/// declaration already.
pub fn init(
    preset: &str,
    deployment: Option<&str>,
    exists: &dyn Fn(&str) -> bool,
) -> Result<Vec<File>, Problem> {
    let preset = find(preset)?;
    let text = declaration(preset, deployment, SCHEMA);
    // A preset is clean by its tests, so what is wrong here is the name.
    read::from_str(&text, DECLARATION).map_err(|problems| {
        let wrong = problems.into_iter().next();
        let hint = wrong.and_then(|problem| problem.hint).unwrap_or_default();
        Problem::new(
            Kind::Usage,
            format!("a deployment cannot be called `{}`", deployment.unwrap_or_default()),
        )
        .hint(hint)
    })?;
    if exists(DECLARATION) {
        return Err(Problem::new(Kind::Conflict, format!("there is a `{DECLARATION}` already"))
            .hint("Write into another directory, or move it away first: `howdah init` never overwrites."));
    }
    let others = preset.others.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
    let others = others.chain([(SCHEMA.to_owned(), schema::text())]).filter(|(path, _)| !exists(path));
    Ok(std::iter::once((DECLARATION.to_owned(), text))
        .chain(others)
        .map(|(path, text)| File { path, text })
        .collect())
}

/// The declaration with another name and the schema elsewhere.
fn declaration(preset: &Preset, deployment: Option<&str>, schema: &str) -> String {
    let line = |line: &str| match deployment {
        _ if line == SCHEMA_LINE => format!("#:schema {schema}"),
        Some(name) if line.starts_with("name = ") => format!("name = {}", toml::Value::from(name)),
        _ => line.to_owned(),
    };
    preset.declaration.lines().map(|text| line(text) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::check;

    fn nothing_there(_: &str) -> bool {
        false
    }

    #[test]
    fn every_preset_is_clean_and_is_the_example_but_for_the_place_of_the_schema() {
        for preset in PRESETS {
            let text = render(preset.name).unwrap();
            let spec = read::from_str(&text, DECLARATION).unwrap_or_else(|problems| panic!("{problems:#?}"));
            assert!(check::check(&spec).is_empty());
            assert_eq!(text.matches("#:schema ").count(), 1, "{}", preset.name);
            assert_eq!(text.matches("\nname = ").count(), 1, "{}", preset.name);
            let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");
            let example =
                std::fs::read_to_string(format!("{example}/{}/{DECLARATION}", preset.name)).unwrap();
            assert_eq!(text.replace(SCHEMA, "../../schema/howdah.schema.json"), example, "{}", preset.name);
        }
    }

    #[test]
    fn the_declaration_at_the_root_is_the_starter() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../howdah.toml");
        let root = std::fs::read_to_string(root).unwrap();
        assert_eq!(root, declaration(find(DEFAULT).unwrap(), None, schema::PATH));
    }

    #[test]
    fn a_name_goes_into_the_declaration_and_nowhere_else() {
        let files = init("edge-ai", Some("gate-7"), &nothing_there).unwrap();
        let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, [DECLARATION, SCHEMA]);
        let spec = read::from_str(&files[0].text, DECLARATION).unwrap();
        assert_eq!(spec.name, "gate-7");
        assert!(spec.databases.contains_key("ai_platform_db"));
    }

    #[test]
    fn nothing_is_overwritten() {
        let problem = init(DEFAULT, None, &|path| path == DECLARATION).unwrap_err();
        assert_eq!(problem.kind, Kind::Conflict);
        let files = init(DEFAULT, None, &|path| path == SCHEMA).unwrap();
        assert_eq!(
            files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(),
            [DECLARATION, "docs/welcome.md"]
        );
    }

    #[test]
    fn a_wrong_preset_or_name_is_refused_with_a_hint() {
        assert_eq!(find("edge_ai").unwrap_err().hint.unwrap(), "Did you mean `edge-ai`?");
        for name in ["", "two words", "a\"b", "line\nbreak"] {
            let problem = init(DEFAULT, Some(name), &nothing_there).unwrap_err();
            assert_eq!(problem.kind, Kind::Usage, "{name}");
        }
    }

    #[test]
    fn every_preset_says_what_it_is_for_and_what_to_type() {
        for preset in PRESETS {
            let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");
            let readme = std::fs::read_to_string(format!("{readme}/{}/README.md", preset.name)).unwrap();
            assert!(readme.contains(&format!("howdah init --preset {}", preset.name)), "{}", preset.name);
        }
    }
}
