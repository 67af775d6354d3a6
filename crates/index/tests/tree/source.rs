//! What a source file defines, imports and names, read without a compiler.
//!
//! Comments, strings and everything under `#[cfg(test)]` are left out. Macros are read as they are written, not as they
//! expand.

use std::collections::BTreeSet;

/// What one file says.
#[derive(Debug, Default)]
pub struct Source {
    /// The file's own module first, then those that it contains between braces.
    pub modules: Vec<Module>,
    /// Modules in files of their own that only tests have, and files named by `#[path]` for such modules.
    pub tests: BTreeSet<String>,
}

/// A module as far as it stands in one file.
#[derive(Debug, Default)]
pub struct Module {
    /// Its names below the file's own module.
    pub path: Vec<String>,
    /// What it defines.
    pub items: BTreeSet<String>,
    /// What its `use` declarations bring in.
    pub imports: Vec<Import>,
    /// Paths of two names and more outside of `use`.
    pub paths: BTreeSet<Vec<String>>,
    /// Every name outside of `use`.
    pub names: BTreeSet<String>,
}

/// One name of a `use` declaration.
#[derive(Debug, PartialEq, Eq)]
pub struct Import {
    pub path: Vec<String>,
    /// The name that it gets; `*` for all that a module has.
    pub name: String,
    /// Whether others may take it from here.
    pub exported: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Name(String),
    Text(String),
    Colons,
    Sign(char),
}

impl Token {
    fn is(&self, name: &str) -> bool {
        matches!(self, Self::Name(n) if n == name)
    }
}

/// Reads a file.
pub fn read(text: &str) -> Source {
    Reader {
        tokens: tokens(text),
        at: 0,
        out: Source { modules: vec![Module::default()], ..Source::default() },
    }
    .read()
}

fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let (mut out, mut at) = (Vec::new(), 0);
    let get = |at: usize| chars.get(at).copied().unwrap_or('\0');
    while at < chars.len() {
        match (chars[at], get(at + 1)) {
            ('/', '/') => at = end_of_line(&chars, at),
            ('/', '*') => at = end_of_comment(&chars, at),
            ('"', _) => {
                let end = end_of_string(&chars, at);
                out.push(Token::Text(chars[at + 1..end.saturating_sub(1).max(at + 1)].iter().collect()));
                at = end;
            }
            ('\'', '\\') => {
                at += 3;
                while at < chars.len() && chars[at] != '\'' {
                    at += 1;
                }
                at += 1;
            }
            ('\'', _) => at += if get(at + 2) == '\'' { 3 } else { 1 },
            (':', ':') => {
                out.push(Token::Colons);
                at += 2;
            }
            (c, _) if c.is_alphanumeric() || c == '_' => {
                let begin = at;
                while get(at).is_alphanumeric() || get(at) == '_' {
                    at += 1;
                }
                let word: String = chars[begin..at].iter().collect();
                let raw = matches!(word.as_str(), "r" | "br" | "cr").then(|| end_of_raw_string(&chars, at));
                match raw.flatten() {
                    Some(end) => at = end,
                    // A lifetime has lost its quotation mark, a number is no name.
                    None if c.is_numeric() || begin > 0 && chars[begin - 1] == '\'' => {}
                    None => out.push(Token::Name(word)),
                }
            }
            (c, _) => {
                if !c.is_whitespace() {
                    out.push(Token::Sign(c));
                }
                at += 1;
            }
        }
    }
    out
}

fn end_of_line(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |n| at + n)
}

fn end_of_comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match chars[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] if depth == 1 => return at + 2,
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    at
}

/// The end of the string that begins at `at`, behind its quotation mark.
fn end_of_string(chars: &[char], at: usize) -> usize {
    let mut at = at + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// The end of a raw string whose prefix ends at `at`; `None` when none begins there.
fn end_of_raw_string(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
    if chars.get(at + hashes) != Some(&'"') {
        return None;
    }
    let closes = |end: &usize| {
        chars[*end] == '"' && chars[end + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    Some((at + hashes + 1..chars.len()).find(closes).map_or(chars.len(), |end| end + 1 + hashes))
}

struct Reader {
    tokens: Vec<Token>,
    at: usize,
    out: Source,
}

impl Reader {
    fn token(&self, ahead: usize) -> &Token {
        self.tokens.get(self.at + ahead).unwrap_or(&Token::Sign('\0'))
    }

    fn name(&self, ahead: usize) -> Option<&String> {
        match self.token(ahead) {
            Token::Name(name) => Some(name),
            _ => None,
        }
    }

    fn sign(&self, ahead: usize, sign: char) -> bool {
        *self.token(ahead) == Token::Sign(sign)
    }

    fn read(mut self) -> Source {
        // Modules that are open: where in `out`, and how deep their content lies in braces.
        let (mut open, mut depth) = (vec![(0, 0usize)], 0usize);
        while self.at < self.tokens.len() {
            let (now, level) = open[open.len() - 1];
            if self.sign(0, '#') {
                if self.attributes(now) && self.is_inner() {
                    return Source::default();
                }
                continue;
            }
            if self.token(0).is("mod") && self.name(1).is_some() && self.sign(2, '{') {
                let mut path = self.out.modules[now].path.clone();
                path.extend(self.name(1).cloned());
                self.out.modules.push(Module { path, ..Module::default() });
                depth += 1;
                open.push((self.out.modules.len() - 1, depth));
                self.at += 3;
                continue;
            }
            if let Some(ahead) = self.use_declaration() {
                let exported = ahead > 0;
                self.at += ahead + 1;
                let mut imports = Vec::new();
                self.use_tree(Vec::new(), exported, &mut imports);
                self.out.modules[now].imports.extend(imports);
                continue;
            }
            match self.token(0) {
                Token::Sign('{') => depth += 1,
                Token::Sign('}') => {
                    if depth == level && open.len() > 1 {
                        open.pop();
                    }
                    depth = depth.saturating_sub(1);
                }
                Token::Name(_) => {
                    if depth == level {
                        self.item(now);
                    }
                    self.path(now);
                    continue;
                }
                // A path that begins with colons names another crate.
                Token::Colons if self.name(1).is_some() => {
                    self.at += 1;
                    self.chain();
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
        self.out
    }

    /// Passes attributes; where one of them is for tests, also what it stands before. Returns whether one was.
    fn attributes(&mut self, module: usize) -> bool {
        let (begin, mut test, mut file) = (self.at, false, None);
        while self.sign(0, '#') && (self.sign(1, '[') || self.sign(1, '!') && self.sign(2, '[')) {
            let inner = self.sign(1, '!');
            let from = self.at;
            self.at += if inner { 2 } else { 1 };
            self.skip_group();
            let attribute = &self.tokens[from..self.at];
            let has = |name| attribute.iter().any(|t| t.is(name));
            let this = has("cfg") && has("test") && !has("not");
            if inner && this {
                self.at = from;
                return true;
            }
            test |= this;
            if has("path")
                && let Some(Token::Text(text)) = attribute.iter().find(|t| matches!(t, Token::Text(_)))
            {
                file = Some(text.trim_end_matches(".rs").to_owned());
            }
        }
        if !test {
            // What an attribute names is used by the file.
            let end = self.at;
            self.at = begin + 1;
            if self.at < end {
                self.names_until(end, module)
            }
            self.at = end.max(begin + 1);
            return false;
        }
        let from = self.at;
        self.skip_item();
        let item = &self.tokens[from..self.at];
        if let [.., mark, Token::Name(name), Token::Sign(';')] = item
            && mark.is("mod")
        {
            self.out.tests.insert(file.unwrap_or_else(|| name.clone()));
        }
        true
    }

    fn is_inner(&self) -> bool {
        self.sign(0, '#') && self.sign(1, '!')
    }

    fn names_until(&mut self, end: usize, module: usize) {
        while self.at < end {
            if self.name(0).is_some() {
                self.path(module);
            } else {
                self.at += 1;
            }
        }
    }

    /// Passes a group in brackets, which begins here.
    fn skip_group(&mut self) {
        let mut depth = 0;
        while self.at < self.tokens.len() {
            match self.token(0) {
                Token::Sign('(' | '[' | '{') => depth += 1,
                Token::Sign(')' | ']' | '}') => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }

    /// Passes an item, a field, an arm or a statement.
    fn skip_item(&mut self) {
        const ITEMS: [&str; 13] = [
            "pub",
            "mod",
            "fn",
            "struct",
            "enum",
            "union",
            "impl",
            "trait",
            "macro_rules",
            "async",
            "unsafe",
            "extern",
            "use",
        ];
        const WITH_STOP: [&str; 5] = ["use", "const", "static", "type", "let"];
        let item = ITEMS.iter().chain(&WITH_STOP).any(|name| self.token(0).is(name));
        let stop = (0..6).map_while(|n| self.name(n)).any(|n| WITH_STOP.contains(&n.as_str()))
            && !(0..6).any(|n| self.token(n).is("fn"));
        while self.at < self.tokens.len() {
            match self.token(0) {
                Token::Sign('{') => {
                    self.skip_group();
                    if !stop {
                        return;
                    }
                    continue;
                }
                Token::Sign('(' | '[') => {
                    self.skip_group();
                    continue;
                }
                Token::Sign('}' | ')' | ']') => return,
                Token::Sign(';') => {
                    self.at += 1;
                    return;
                }
                Token::Sign(',') if !item => return,
                _ => self.at += 1,
            }
        }
    }

    /// Where the `use` of a declaration stands, counted from here: `use`, `pub use`, `pub(…) use`.
    fn use_declaration(&self) -> Option<usize> {
        let at = if !self.token(0).is("pub") {
            0
        } else if self.sign(1, '(') {
            (2..12).find(|n| self.sign(*n, ')'))? + 1
        } else {
            1
        };
        (self.token(at).is("use") && !self.sign(at + 1, '<')).then_some(at)
    }

    fn use_tree(&mut self, mut path: Vec<String>, exported: bool, out: &mut Vec<Import>) {
        let foreign = path.is_empty() && *self.token(0) == Token::Colons;
        self.at += usize::from(foreign);
        loop {
            match self.token(0).clone() {
                Token::Name(name) => {
                    path.push(name);
                    self.at += 1;
                    if *self.token(0) == Token::Colons {
                        self.at += 1;
                        continue;
                    }
                    let mut name = path.last().cloned().unwrap_or_default();
                    if name == "self" && path.len() > 1 {
                        path.pop();
                        name = path.last().cloned().unwrap_or_default();
                    }
                    if self.token(0).is("as") {
                        name = self.name(1).cloned().unwrap_or_default();
                        self.at += 2;
                    }
                    if !foreign {
                        out.push(Import { path, name, exported });
                    }
                    return;
                }
                Token::Sign('*') => {
                    self.at += 1;
                    if !foreign {
                        out.push(Import { path, name: "*".into(), exported });
                    }
                    return;
                }
                Token::Sign('{') => {
                    self.at += 1;
                    let mut inside = Vec::new();
                    while self.at < self.tokens.len() && !self.sign(0, '}') {
                        let before = self.at;
                        self.use_tree(path.clone(), exported, &mut inside);
                        self.at += usize::from(self.sign(0, ',') || self.at == before);
                    }
                    self.at += 1;
                    if !foreign {
                        out.append(&mut inside);
                    }
                    return;
                }
                _ => return,
            }
        }
    }

    /// Notes what an item that begins here is called.
    fn item(&mut self, module: usize) {
        const KINDS: [&str; 8] = ["fn", "struct", "enum", "union", "trait", "type", "const", "static"];
        let ahead = if self.token(0).is("macro_rules") && self.sign(1, '!') {
            2
        } else if !KINDS.iter().any(|kind| self.token(0).is(kind)) {
            return;
        } else if self.token(1).is("mut") {
            2
        } else {
            1
        };
        if let Some(name) =
            self.name(ahead).filter(|name| !["fn", "unsafe", "extern", "async"].contains(&name.as_str()))
        {
            let name = name.clone();
            self.out.modules[module].items.insert(name);
        }
    }

    /// Notes the path or the name that begins here.
    fn path(&mut self, module: usize) {
        let chain = self.chain();
        let module = &mut self.out.modules[module];
        module.names.extend(chain.iter().cloned());
        if chain.len() > 1 {
            module.paths.insert(chain);
        }
    }

    /// Passes names with colons between them.
    fn chain(&mut self) -> Vec<String> {
        let mut chain: Vec<String> = self.name(0).cloned().into_iter().collect();
        self.at += 1;
        while *self.token(0) == Token::Colons && self.name(1).is_some() {
            chain.extend(self.name(1).cloned());
            self.at += 2;
        }
        chain
    }
}
