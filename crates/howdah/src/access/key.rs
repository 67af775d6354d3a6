//! What a key looks like: `hdk_` and 256 random bits in base64url.
//!
//! So much randomness needs no slow hash: SHA-256 is what is kept, and guessing is hopeless.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::Rng;
use sha2::{Digest, Sha256};

/// What every key begins with.
pub const MARK: &str = "hdk_";
/// Characters of a key after the mark: 32 bytes in base64url without padding.
const BODY: usize = 43;
/// Characters that are shown to tell keys apart, mark included.
const SHOWN: usize = 12;

/// A key in the clear: exists only between its making and its printing, or while a request is looked at.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}…)", self.prefix())
    }
}

impl Key {
    /// A new key from the operating system's randomness.
    pub fn random() -> Self {
        let mut bytes = [0_u8; 32];
        rand::rng().fill_bytes(&mut bytes);
        Key(format!("{MARK}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// What a caller presented, if it has the shape of a key.
    pub fn parse(text: &str) -> Option<Self> {
        let body = text.strip_prefix(MARK)?;
        let well_formed =
            body.len() == BODY && body.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        well_formed.then(|| Key(text.to_owned()))
    }

    /// The whole key. For the one time it is shown, and for the file that only its owner reads.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is stored and compared.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// The first characters, to tell keys apart in a list.
    pub fn prefix(&self) -> &str {
        &self.0[..SHOWN]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_key_is_recognised_and_never_shown_by_debug() {
        let key = Key::random();
        assert_eq!(Key::parse(key.reveal()), Some(key.clone()));
        assert_ne!(key, Key::random());
        assert!(!format!("{key:?}").contains(key.reveal()));
    }

    #[test]
    fn what_is_not_a_key_is_refused_before_any_query() {
        for text in ["", "hdk_", "hdk_short", "sk-abc", &format!("hdk_{}", "é".repeat(43)), &"a".repeat(47)]
        {
            assert_eq!(Key::parse(text), None, "{text}");
        }
    }
}
