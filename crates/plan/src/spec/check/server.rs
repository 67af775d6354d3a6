//! The server, the REST face and the settings.

use std::net::SocketAddr;

use super::mistakes::Mistakes;
use super::names;
use crate::problem::{Kind, Problem};
use crate::spec::place::{item, join};
use crate::spec::resolve::nearest;
use crate::spec::{Api, Server, ServerSource, SettingValue, Spec, size};

/// Least memory that it makes sense to tune for.
const LEAST_MEMORY: u64 = 256 << 20;

pub(super) fn check(spec: &Spec, mistakes: &mut Mistakes) {
    names::plain("name", "the deployment", &spec.name, mistakes);
    names::identity("deployment", spec.deployment.as_deref(), mistakes);
    server(&spec.server, mistakes);
    api(spec, mistakes);
    settings("settings", &spec.settings, mistakes);
    if spec.server.max_connections.is_some() && spec.settings.contains_key("max_connections") {
        mistakes.say(
            "settings.max_connections",
            "`settings.max_connections` is also declared as `server.max_connections`",
            "Keep `server.max_connections`: memory is tuned for it.",
        );
    }
}

fn server(server: &Server, mistakes: &mut Mistakes) {
    names::variable("server.password_env", server.password_env.as_deref(), mistakes);
    match &server.url {
        Some(url) => {
            address(url, mistakes);
            only_for_a_server_we_run(server, mistakes);
        }
        None => server_we_run(server, mistakes),
    }
    if let Some(memory) = &server.memory {
        match size::bytes(memory) {
            None => mistakes.say(
                "server.memory",
                format!("`server.memory` is not a size: `{memory}`"),
                "Write a whole number and a unit, for example `memory = \"2GiB\"`.",
            ),
            Some(bytes) if bytes < LEAST_MEMORY => mistakes.say(
                "server.memory",
                format!("`server.memory` is too little: `{memory}`"),
                "PostgreSQL with vectors needs at least 256 MiB.",
            ),
            Some(_) => {}
        }
    }
}

/// Looks at an address without ever repeating it: there may be a password in it.
fn address(url: &str, mistakes: &mut Mistakes) {
    let key = "server.url";
    let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
    let Some(rest) = rest else {
        return mistakes.say(
            key,
            "`server.url` is not a PostgreSQL address",
            "Write `postgres://user@host:5432/database?sslmode=verify-full`.",
        );
    };
    // A password that is not encoded may have a `/` or a `#` in it.
    let user = rest.split('?').next().and_then(|place| place.rsplit_once('@')).map(|(user, _)| user);
    let query = rest.split_once('?').map(|(_, query)| query).unwrap_or_default();
    let parameters: Vec<(&str, &str)> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let secret = |name: &str| matches!(name, "password" | "sslpassword");
    if user.is_some_and(|user| user.contains(':')) || parameters.iter().any(|(name, _)| secret(name)) {
        mistakes.say(
            key,
            "`server.url` holds a password",
            "Take it out, put it into an environment variable and name that: `password_env = \"DATABASE_PASSWORD\"`.",
        );
    }
    const MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
    let mode = parameters.iter().find(|(name, _)| *name == "sslmode").map(|(_, mode)| *mode);
    if let Some(mode) = mode.filter(|mode| !MODES.contains(mode)) {
        let hint = match nearest(mode, MODES) {
            Some(near) => format!("Did you mean `{near}`?"),
            None => format!("Choose one of {}.", MODES.join(", ")),
        };
        mistakes.say(key, format!("`server.url` has an unknown sslmode `{mode}`"), hint);
    }
}

fn only_for_a_server_we_run(server: &Server, mistakes: &mut Mistakes) {
    let declared = [
        ("source", server.source != ServerSource::Auto),
        ("version", server.version.is_some()),
        ("port", server.port.is_some()),
        ("data_directory", server.data_directory.is_some()),
        ("user", server.user.is_some()),
    ];
    for (name, _) in declared.into_iter().filter(|(_, declared)| *declared) {
        mistakes.say(
            &format!("server.{name}"),
            format!(
                "`server.{name}` is for a server that Howdah runs, and `server.url` names one that is there"
            ),
            "Remove one of the two.",
        );
    }
}

fn server_we_run(server: &Server, mistakes: &mut Mistakes) {
    if let (ServerSource::Bundle, Some(version)) = (server.source, server.version)
        && !matches!(version, 16 | 18)
    {
        mistakes.say(
            "server.version",
            format!("the bundle has no PostgreSQL {version}"),
            "Declare `version = 18` or `version = 16`, or `source = \"system\"`.",
        );
    }
    if let Some(port) = server.port.filter(|port| *port < 1024) {
        mistakes.say(
            "server.port",
            format!("`server.port` {port} needs root, and PostgreSQL never runs as root"),
            "Choose a port from 1024 up, or none for a free one.",
        );
    }
    if let Some(directory) = &server.data_directory
        && !directory.starts_with('/')
    {
        mistakes.say(
            "server.data_directory",
            format!("`server.data_directory` is not an absolute path: `{directory}`"),
            "Begin it with `/`, or leave it out: Howdah has a place of its own.",
        );
    }
    if let Some(user) = &server.user {
        names::identifier("server.user", "the user", user, mistakes);
        if user == "root" {
            mistakes.say(
                "server.user",
                "`server.user` is root, and PostgreSQL never runs as root",
                "Name an unprivileged user, for example `postgres`.",
            );
        }
    }
}

fn api(spec: &Spec, mistakes: &mut Mistakes) {
    let Api { listen, .. } = &spec.api;
    match listen_port(listen) {
        None => mistakes.say(
            "api.listen",
            format!("`api.listen` is not an address with a port: `{listen}`"),
            "Write `127.0.0.1:7878`, `[::1]:7878` or `0.0.0.0:7878`; port 0 takes a free one.",
        ),
        Some((port, loopback)) => {
            if !loopback && !spec.api.require_key {
                mistakes.say(
                    "api.require_key",
                    format!("`api.require_key` is false while `{listen}` is open to others"),
                    "Without keys, listen on loopback only: `listen = \"127.0.0.1:7878\"`.",
                );
            }
            if port != 0 && spec.server.port == Some(port) {
                mistakes.say(
                    "api.listen",
                    format!("`api.listen` and `server.port` both want port {port}"),
                    "Give PostgreSQL and the REST face a port each.",
                );
            }
        }
    }
    for (at, origin) in spec.api.cors.iter().enumerate().filter(|(_, origin)| !is_origin(origin)) {
        mistakes.say(
            &item("api.cors", at),
            format!("`{origin}` is not an origin as a browser says it"),
            "Write scheme, host and a port that is not the scheme's own, in small letters and without a path: \
             `https://app.example.com`.",
        );
    }
    if let Some(database) = spec.api.database.as_ref().filter(|d| !spec.databases.contains_key(*d)) {
        mistakes.undeclared("api.database", "the database", "databases", database, spec.databases.keys());
    }
    if let Some(allowed) = spec.server.max_connections.filter(|allowed| spec.api.max_pool > *allowed) {
        let problem =
            Problem::new(Kind::Usage, "`api.max_pool` is more than the server's connections").detail(
                format!("`api.max_pool` is {}, `server.max_connections` is {allowed}", spec.api.max_pool),
            );
        mistakes.problem("api.max_pool", problem.hint("Lower the one or raise the other."));
    }
}

/// Port of an address, and whether the address is loopback.
fn listen_port(listen: &str) -> Option<(u16, bool)> {
    if let Ok(address) = listen.parse::<SocketAddr>() {
        return Some((address.port(), address.ip().is_loopback()));
    }
    let port = listen.strip_prefix("localhost:")?;
    Some((port.parse().ok()?, true))
}

/// What Howdah sets itself, and the key that does it.
const OURS: [(&str, &str); 8] = [
    ("port", "`server.port`"),
    ("data_directory", "`server.data_directory`"),
    ("listen_addresses", "nothing: Howdah's servers listen on loopback"),
    ("unix_socket_directories", "nothing: Howdah chooses it"),
    ("config_file", "nothing: Howdah writes it"),
    ("hba_file", "nothing: Howdah writes it"),
    ("ident_file", "nothing: Howdah writes it"),
    ("external_pid_file", "nothing: Howdah watches the server"),
];

/// Names and values of settings, at the server, a database or a role.
pub(super) fn settings<'a>(
    parent: &str,
    settings: impl IntoIterator<Item = (&'a String, &'a SettingValue)>,
    mistakes: &mut Mistakes,
) {
    for (name, value) in settings {
        let key = join(parent, name);
        let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.');
        if name.is_empty() || !name.chars().all(letters) || name.starts_with(|c: char| c.is_ascii_digit()) {
            mistakes.say(
                &key,
                format!("`{key}` is not the name of a setting"),
                "PostgreSQL's settings are lower case letters, digits and `_`, for example `work_mem`.",
            );
        }
        if let Some((_, instead)) = OURS.iter().find(|(ours, _)| ours == name) {
            mistakes.say(
                &key,
                format!("`{key}` is set by Howdah"),
                format!("Remove it; in its place there is {instead}."),
            );
        }
        match value {
            SettingValue::Text(text) if text.chars().any(char::is_control) => mistakes.say(
                &key,
                format!("`{key}` has a line break or a control character in it"),
                "Write the value on one line.",
            ),
            SettingValue::Float(number) if !number.is_finite() => mistakes.say(
                &key,
                format!("`{key}` is not a finite number"),
                "PostgreSQL's settings are finite numbers.",
            ),
            _ => {}
        }
    }
}

/// Whether a browser can name this as the origin of a page.
fn is_origin(origin: &str) -> bool {
    if origin == "*" {
        return true;
    }
    let (host, own_port) = match (origin.strip_prefix("https://"), origin.strip_prefix("http://")) {
        (Some(host), _) => (host, ":443"),
        (_, Some(host)) => (host, ":80"),
        _ => return false,
    };
    let port = host.rsplit_once(':').map(|(_, port)| port).filter(|_| !host.ends_with(']'));
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._:[]".contains(c);
    !host.is_empty()
        && host.chars().all(plain)
        && !host.ends_with(own_port)
        && port.is_none_or(|port| port.parse::<u16>().is_ok())
}
