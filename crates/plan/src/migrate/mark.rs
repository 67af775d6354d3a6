//! The comment by which a role or a database of Howdah's making is recognised.
//!
//! Roles and databases belong to the whole server, where Howdah has no table of its own: their comments say whose they are.

/// What such a comment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    /// Name of the deployment.
    pub(super) name: String,
    /// Its identity; empty where the mark is older than identities.
    pub(super) deployment: String,
    /// Whether a role still waits for its password.
    pub(super) pending: bool,
}

const BEFORE: &str = "made by howdah for ";
const DEPLOYMENT: &str = "deployment ";
const PENDING: &str = "password pending";

impl Mark {
    /// What a comment says, where it is such a mark.
    pub(super) fn read(comment: Option<&str>) -> Option<Mark> {
        let mut parts = comment?.strip_prefix(BEFORE)?.split(", ");
        let name = parts.next()?.to_owned();
        let mut mark = Mark { name, deployment: String::new(), pending: false };
        for part in parts {
            match part.strip_prefix(DEPLOYMENT) {
                Some(id) => id.clone_into(&mut mark.deployment),
                None => mark.pending |= part == PENDING,
            }
        }
        Some(mark)
    }

    /// The comment that says it.
    pub(super) fn text(&self) -> String {
        let mut text = mark(&self.name);
        if !self.deployment.is_empty() {
            text += &format!(", {DEPLOYMENT}{}", self.deployment);
        }
        if self.pending {
            text += &format!(", {PENDING}");
        }
        text
    }

    /// The deployment, for people.
    pub(super) fn whose(&self) -> String {
        whose(&self.name, &self.deployment)
    }
}

/// A deployment, for people.
pub(super) fn whose(name: &str, id: &str) -> String {
    match id {
        "" => format!("deployment `{name}`"),
        id => format!("deployment `{name}` ({id})"),
    }
}

/// Whether a comment says that Howdah made what it is on.
pub fn is_mark(comment: Option<&str>) -> bool {
    Mark::read(comment).is_some()
}

/// Comment of a role or database that Howdah made for the deployment `name`, without its identity.
pub fn mark(name: &str) -> String {
    format!("{BEFORE}{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_as_it_was_written_and_older_ones_do_too() {
        let old = Mark { name: "shop".into(), deployment: String::new(), pending: false };
        assert_eq!(Mark::read(Some("made by howdah for shop")), Some(old.clone()));
        assert_eq!(
            Mark::read(Some("made by howdah for shop, password pending")),
            Some(Mark { pending: true, ..old.clone() })
        );
        let new = Mark { deployment: "7b0c".into(), pending: true, ..old };
        assert_eq!(Mark::read(Some(&new.text())), Some(new));
        assert_eq!(Mark::read(Some("made by hand")), None);
        assert_eq!(Mark::read(None), None);
    }
}
