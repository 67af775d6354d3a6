//! A server that is not there yet, as `howdah up` makes one.
//!
//! What only a server says is assumed to be as declared: an extension that is asked for is available in that version, a
//! setting exists. So the plan for it is all that the declaration asks for.

use super::live::{Live, Role, Server, Setting};
use super::possible::PGVECTOR;
use super::vector::EXTENSION;
use crate::settings::{self, Context};
use crate::spec::{IndexKind, Spec};

/// The facts of such a server. `carried` says whether Howdah brings its own extension into it.
pub fn imagined(spec: &Spec, carried: bool) -> Live {
    let server = Server {
        maintenance: "postgres".into(),
        user: "postgres".into(),
        superuser: true,
        alter_system: true,
        template_encoding: "UTF8".into(),
        ..Server::default()
    };
    let mut live = Live { server, ..Live::default() };
    live.roles.insert("postgres".into(), Role { login: true, connection_limit: -1, ..Role::default() });
    let declared = spec.databases.values().flat_map(|database| &database.extensions);
    let implied = carried || spec.collections.values().any(|one| one.index.kind == IndexKind::Howdah);
    let all = declared
        .map(|(name, version)| (name.as_str(), version.as_str()))
        .chain([(PGVECTOR, "*")])
        .chain(implied.then_some((EXTENSION, "*")));
    for (name, version) in all {
        let there = live.available.entry(name.to_owned()).or_default();
        there.versions.insert(version.to_owned());
        version.clone_into(&mut there.default_version);
    }
    for name in spec.settings.keys() {
        live.settings.insert(name.clone(), setting(name));
    }
    let scoped = spec.databases.values().map(|database| &database.settings);
    for name in scoped.chain(spec.roles.values().map(|role| &role.settings)).flat_map(|all| all.keys()) {
        live.settings.entry(name.clone()).or_insert_with(|| setting(name));
    }
    live
}

fn setting(name: &str) -> Setting {
    let known = settings::find(name);
    Setting {
        value: known.map_or("the default", |known| known.default).to_owned(),
        context: if known.is_some_and(|known| known.context == Context::Restart) {
            "postmaster"
        } else {
            "user"
        }
        .into(),
        source: "default".into(),
        ..Setting::default()
    }
}
