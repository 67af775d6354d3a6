//! Which roles does the service itself work as?
//!
//! While it serves, Howdah needs little: to read collections, to fill them, to look keys up and to keep jobs. Where the
//! declared connection is a superuser, each of these gets a login role of its own, and nothing that a request could talk
//! Howdah into goes beyond that role's rights. `migrate::service` makes the roles and their rights; whoever serves takes
//! their names, and the variables of their passwords, from here.

use sha2::{Digest, Sha256};

use crate::hex;
use crate::migrate::live::Live;
use crate::spec::{ServiceRoles, Spec};

/// What the service logs in for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Searching collections and looking at what is in them.
    Read,
    /// Filling collections.
    Write,
    /// Keys and jobs.
    Control,
    /// Comparing the server with the declaration, and checking its health.
    Inspect,
}

impl Purpose {
    /// All purposes.
    pub const ALL: [Purpose; 4] = [Purpose::Read, Purpose::Write, Purpose::Control, Purpose::Inspect];

    /// Its name, as the role's name ends.
    pub const fn name(self) -> &'static str {
        match self {
            Purpose::Read => "read",
            Purpose::Write => "write",
            Purpose::Control => "control",
            Purpose::Inspect => "inspect",
        }
    }

    /// The variable that a plan names where the role's password is to be. Whoever applies gives its value; the password
    /// itself never stands in a plan.
    pub const fn password_variable(self) -> &'static str {
        match self {
            Purpose::Read => "HOWDAH_SERVICE_PASSWORD_READ",
            Purpose::Write => "HOWDAH_SERVICE_PASSWORD_WRITE",
            Purpose::Control => "HOWDAH_SERVICE_PASSWORD_CONTROL",
            Purpose::Inspect => "HOWDAH_SERVICE_PASSWORD_INSPECT",
        }
    }

    /// The purpose whose password a variable holds.
    pub fn of_variable(variable: &str) -> Option<Purpose> {
        Purpose::ALL.into_iter().find(|purpose| purpose.password_variable() == variable)
    }
}

/// Longest name that PostgreSQL keeps, in bytes.
const LONGEST: usize = 63;

/// Hexadecimal digits of the hash that keeps names apart.
const HASH: usize = 8;

/// Name of the role for a purpose: `howdah_<deployment>_<purpose>`.
///
/// A deployment's name in which something had to be replaced or cut is followed by a hash of itself, so that no two
/// deployments share a role.
pub fn role_name(spec: &Spec, purpose: Purpose) -> String {
    let slug: String = spec
        .name
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '_' })
        .collect();
    let (before, after) = ("howdah_", format!("_{}", purpose.name()));
    let room = LONGEST - before.len() - "_control".len();
    // A name that ends like one with a hash gets a hash too: else it could be another one's.
    let hashed = slug
        .rsplit_once('_')
        .is_some_and(|(_, end)| end.len() == HASH && end.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if slug == spec.name && slug.len() <= room && !hashed {
        return format!("{before}{slug}{after}");
    }
    let hash = &hex::encode(&Sha256::digest(spec.name.as_bytes()))[..HASH];
    let kept = &slug[..slug.len().min(room - HASH - 1)];
    format!("{before}{kept}_{hash}{after}")
}

/// Names of all of them.
pub fn role_names(spec: &Spec) -> [(Purpose, String); 4] {
    Purpose::ALL.map(|purpose| (purpose, role_name(spec, purpose)))
}

/// Whether the service works as roles of its own on this server: only a superuser has more rights than it should serve
/// with, and only a superuser can be sure to make others.
pub fn wanted(spec: &Spec, live: &Live) -> bool {
    spec.api.roles == ServiceRoles::Auto && live.server.superuser
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn named(name: &str) -> Spec {
        serde_json::from_value(serde_json::json!({ "name": name })).unwrap()
    }

    #[test]
    fn a_role_is_named_after_its_deployment() {
        assert_eq!(role_name(&named("shop"), Purpose::Read), "howdah_shop_read");
        assert_eq!(role_name(&named("shop_2"), Purpose::Control), "howdah_shop_2_control");
        assert_eq!(role_name(&named("edge-ai"), Purpose::Write), "howdah_edge_ai_d95d9d95_write");
    }

    #[test]
    fn no_two_deployments_share_a_role() {
        let long = "x".repeat(63);
        let cut = "x".repeat(62);
        let hashed = role_name(&named("edge-ai"), Purpose::Read);
        let hashed = hashed.strip_prefix("howdah_").and_then(|name| name.strip_suffix("_read")).unwrap();
        let names = [
            "shop",
            "Shop",
            "SHOP",
            "s-hop",
            "s_hop",
            "edge-ai",
            hashed,
            &long,
            &cut,
            "größe",
            "gr__e",
            "shop_read",
            "-",
        ];
        let mut roles = BTreeSet::new();
        for name in names {
            for (_, role) in role_names(&named(name)) {
                assert!(role.len() <= 63, "{role}");
                assert!(
                    role.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_'),
                    "{role}"
                );
                roles.insert(role);
            }
        }
        assert_eq!(roles.len(), names.len() * Purpose::ALL.len());
    }
}
