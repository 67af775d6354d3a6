//! Which file of a crate uses which, and which of them use each other in a circle.
//!
//! A path leads to the file that defines what it names, through re-exports: a parent that only declares and exports its
//! children is used by nobody.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{self, Module, Source};

/// The files of one crate.
pub struct Graph {
    files: Vec<String>,
    sources: Vec<Source>,
    /// Modules by their names from the root: file, and module of that file.
    modules: BTreeMap<Vec<String>, (usize, usize)>,
}

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Module(Vec<String>),
    /// Something that this file defines.
    Item(usize),
}

/// Files that use each other, in order of their names, and who uses whom by which path.
#[derive(Debug, PartialEq, Eq)]
pub struct Circle {
    pub files: Vec<String>,
    pub uses: Vec<String>,
}

impl Graph {
    /// Reads files by their paths below `src`.
    pub fn new<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let read: Vec<(String, Source)> =
            files.into_iter().map(|(name, text)| (name.to_owned(), source::read(text))).collect();
        let tests: BTreeSet<Vec<String>> = read
            .iter()
            .flat_map(|(name, source)| {
                let (own, folder) = (module_of(name), folder_of(name));
                // By `mod name;`, or by a `#[path]` beside the file.
                source.tests.iter().flat_map(move |test| {
                    [&own, &folder].map(|from| from.iter().cloned().chain([test.clone()]).collect())
                })
            })
            .collect();
        let is_test = |name: &str| {
            let module = module_of(name);
            (1..=module.len()).any(|n| tests.contains(&module[..n]))
        };
        let library = read.iter().any(|(name, _)| name == "lib.rs");
        // The files of programs use the library, which cannot use them.
        let is_program = |name: &str| library && name == "main.rs" || name.starts_with("bin/");
        let (files, sources): (Vec<_>, Vec<_>) =
            read.into_iter().filter(|(name, _)| !is_test(name) && !is_program(name)).unzip();
        let mut modules = BTreeMap::new();
        for (file, (name, source)) in files.iter().zip(&sources).enumerate() {
            for (at, module) in source.modules.iter().enumerate() {
                let path = module_of(name).into_iter().chain(module.path.iter().cloned()).collect();
                modules.entry(path).or_insert((file, at));
            }
        }
        Self { files, sources, modules }
    }

    /// The circles of files, larger ones first.
    pub fn circles(&self) -> Vec<Circle> {
        let edges = self.edges();
        let reach: Vec<BTreeSet<usize>> = (0..self.files.len()).map(|from| reachable(&edges, from)).collect();
        let mut done = BTreeSet::new();
        let mut circles = Vec::new();
        for from in 0..self.files.len() {
            if !reach[from].contains(&from) || !done.insert(from) {
                continue;
            }
            let members: BTreeSet<usize> =
                reach[from].iter().copied().filter(|to| reach[*to].contains(&from)).collect();
            done.extend(&members);
            let inside = edges.iter().filter(|((a, b), _)| members.contains(a) && members.contains(b));
            circles.push(Circle {
                files: members
                    .iter()
                    .map(|file| self.files[*file].clone())
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect(),
                uses: inside
                    .map(|((a, b), path)| format!("{} uses {} ({path})", self.files[*a], self.files[*b]))
                    .collect(),
            });
        }
        circles.sort_by_key(|circle| (usize::MAX - circle.files.len(), circle.files.clone()));
        circles
    }

    /// Who uses whom, each with one path that does.
    fn edges(&self) -> BTreeMap<(usize, usize), String> {
        let mut edges = BTreeMap::new();
        for (path, (file, at)) in &self.modules {
            let module = &self.sources[*file].modules[*at];
            let mut note = |place: Option<Place>, words: &[String]| {
                if let Some(Place::Item(to)) = place
                    && to != *file
                {
                    edges.entry((*file, to)).or_insert_with(|| words.join("::"));
                }
            };
            for import in &module.imports {
                if import.name == "*" {
                    match self.find(path, &import.path, &mut Vec::new()) {
                        Some(Place::Module(from)) => {
                            for name in &module.names {
                                let words: Vec<String> = import.path.iter().chain([name]).cloned().collect();
                                note(self.member(&from, name, true, &mut Vec::new()), &words);
                            }
                        }
                        item => note(item, &import.path),
                    }
                } else if !import.exported || module.names.contains(&import.name) {
                    note(self.find(path, &import.path, &mut Vec::new()), &import.path);
                }
            }
            for words in &module.paths {
                note(self.find(path, words, &mut Vec::new()), words);
            }
        }
        edges
    }

    fn module(&self, path: &[String]) -> Option<(usize, &Module)> {
        self.modules.get(path).map(|(file, at)| (*file, &self.sources[*file].modules[*at]))
    }

    /// What a path names in module `from`; `None` for what is not of this crate. `asked` ends imports that lead in a ring.
    fn find(
        &self,
        from: &[String],
        path: &[String],
        asked: &mut Vec<(Vec<String>, String)>,
    ) -> Option<Place> {
        let (first, mut rest) = path.split_first()?;
        let mut place = match first.as_str() {
            "crate" => Place::Module(Vec::new()),
            "self" => Place::Module(from.to_vec()),
            "super" => Place::Module(from.split_last()?.1.to_vec()),
            _ => self.member(from, first, rest.is_empty(), asked)?,
        };
        while let Place::Module(module) = &place {
            let Some((name, further)) = rest.split_first() else { break };
            rest = further;
            place = match name.as_str() {
                "super" => Place::Module(module.split_last()?.1.to_vec()),
                // What a macro defines is seen nowhere else: it belongs to the file.
                _ => match self.member(module, name, rest.is_empty(), asked) {
                    Some(place) => place,
                    None => Place::Item(self.module(module)?.0),
                },
            };
        }
        Some(place)
    }

    /// What `name` is in a module. At the end of a path an item goes before a module of the same name.
    fn member(
        &self,
        module: &[String],
        name: &str,
        last: bool,
        asked: &mut Vec<(Vec<String>, String)>,
    ) -> Option<Place> {
        let (file, content) = self.module(module)?;
        let below: Vec<String> = module.iter().cloned().chain([name.to_owned()]).collect();
        let child = self.modules.contains_key(&below).then_some(Place::Module(below));
        if child.is_some() && !last {
            return child;
        }
        if content.items.contains(name) {
            return Some(Place::Item(file));
        }
        let question = (module.to_vec(), name.to_owned());
        if asked.contains(&question) {
            return child;
        }
        asked.push(question);
        let named = content.imports.iter().filter(|import| import.name == name);
        let found = named.filter_map(|import| self.find(module, &import.path, asked)).next().or(child);
        // What comes in by `*` counts only where it is seen to be there.
        let found = found.or_else(|| {
            content.imports.iter().filter(|import| import.name == "*").find_map(|import| {
                match self.find(module, &import.path, asked) {
                    Some(Place::Module(from)) => self.member(&from, name, last, asked),
                    _ => None,
                }
            })
        });
        asked.pop();
        found
    }
}

/// All that can be reached from a file by at least one step.
fn reachable(edges: &BTreeMap<(usize, usize), String>, from: usize) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(at) = open.pop() {
        for ((_, to), _) in edges.range((at, 0)..=(at, usize::MAX)) {
            if reached.insert(*to) {
                open.push(*to);
            }
        }
    }
    reached
}

/// The module that a file is, by its path below `src`.
fn module_of(file: &str) -> Vec<String> {
    let mut names: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    let last = names.last().map(String::as_str);
    if last == Some("mod") || names.len() == 1 && matches!(last, Some("lib" | "main")) {
        names.pop();
    }
    names
}

/// The module whose files lie in the same folder.
fn folder_of(file: &str) -> Vec<String> {
    let mut names: Vec<String> = file.split('/').map(str::to_owned).collect();
    names.pop();
    names
}
