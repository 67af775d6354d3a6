//! Which deployment is a declaration's?
//!
//! What Howdah made in a database belongs to one deployment, by an identity that outlives names and directories. It is the
//! one that the declaration says (`deployment`), else the one in `.howdah/deployment.toml` beside it, made at random when it
//! is first asked for. Where nothing can be written beside the declaration, as where it is mounted read-only, the identity
//! follows from the name and the path, so that every start of the same container is the same deployment.

use howdah_plan::spec::Spec;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::declaration::Declaration;
use super::directory::{Kept, remembered_id};

const IDENTITY: Kept = Kept {
    file: "deployment.toml",
    says: "Which deployment this declaration is of: what it made in a database belongs to it. Where several checkouts are one\n\
           # deployment, write `deployment = \"<id>\"` below `name` in each declaration.",
    new: |_| Uuid::new_v4().hyphenated().to_string(),
};

/// The identity of a declaration's deployment, where the declaration itself does not say it.
pub fn identity(declaration: &Declaration) -> String {
    let Spec { name, deployment, .. } = &declaration.spec;
    match deployment {
        Some(declared) => declared.clone(),
        None => remembered_id(declaration, &IDENTITY).unwrap_or_else(|| derived(name, declaration)),
    }
}

/// An identity that follows from the name and the path.
fn derived(name: &str, declaration: &Declaration) -> String {
    let mut hash = Sha256::new();
    for part in [name.as_bytes(), declaration.path.as_os_str().as_encoded_bytes()] {
        hash.update(part);
        hash.update([0]);
    }
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().hyphenated().to_string()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::daemon::declaration::FILE;

    fn declare(directory: &Path, text: &str) -> Declaration {
        fs::create_dir_all(directory).unwrap();
        let path = directory.join(FILE);
        fs::write(&path, text).unwrap();
        Declaration::read(&path).unwrap()
    }

    const TEXT: &str = "name = \"app\"\n[databases.app]\n";

    #[test]
    fn an_identity_is_kept_and_a_copy_has_its_own() {
        let root = tempfile::tempdir().unwrap();
        let first = declare(&root.path().join("a"), TEXT);
        let id = identity(&first);
        assert!(Uuid::parse_str(&id).is_ok(), "{id}");
        assert_eq!(identity(&first), id);
        let copied = declare(&root.path().join("b"), TEXT);
        fs::create_dir_all(root.path().join("b/.howdah")).unwrap();
        let file = ".howdah/deployment.toml";
        fs::copy(root.path().join("a").join(file), root.path().join("b").join(file)).unwrap();
        assert_ne!(identity(&copied), id, "the original is still there");
        fs::rename(root.path().join("a"), root.path().join("c")).unwrap();
        assert_eq!(identity(&declare(&root.path().join("c"), TEXT)), id, "it was moved");
    }

    #[test]
    fn a_declared_identity_is_taken_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let id = "7b0c9a52-6f0e-4d2a-9a51-3a3f1a2b4c5d";
        let text = format!("name = \"app\"\ndeployment = \"{id}\"\n[databases.app]\n");
        let declared = declare(root.path(), &text);
        assert_eq!(identity(&declared), id);
        assert!(!root.path().join(".howdah").exists());
        let mistake = fs::write(root.path().join(FILE), text.replace("7b0c", "zzzz"))
            .map(|()| Declaration::read(&root.path().join(FILE)).unwrap_err())
            .unwrap();
        assert!(mistake[0].message.contains("`deployment`"), "{mistake:?}");
    }

    #[test]
    fn where_nothing_can_be_kept_it_follows_from_name_and_path() {
        let root = tempfile::tempdir().unwrap();
        let declared = declare(root.path(), TEXT);
        // A file where the directory would be: nobody can write below it, root included.
        fs::write(root.path().join(".howdah"), "").unwrap();
        let id = identity(&declared);
        assert!(Uuid::parse_str(&id).is_ok(), "{id}");
        assert_eq!(identity(&declared), id);
        let other = declare(root.path(), &TEXT.replacen("app", "other", 1));
        assert_ne!(identity(&other), id);
    }
}
