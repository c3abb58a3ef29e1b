//! Secrets: how they are made, and what is kept of them.
//!
//! A secret has 256 random bits, so its SHA-256 is all that has to be kept, without salt and without slowness: those
//! protect words that people choose and that can be guessed, and no one guesses 256 bits. The hash is also what a secret is
//! looked up by: how long that takes can only tell about the hash, from which nothing leads back.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::error::{LedgerError, Result};

/// What every secret begins with, so that scanners of leaked secrets can know it.
const MARK: &str = "argand-";
/// Letters that are not mistaken for others.
const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Letters of a secret that are kept to be shown; the others keep more than 200 bits.
const SHOWN: usize = 5;

/// A secret, as it is given to whoever will use it. It is shown once, and nobody can look it up again.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A new one.
    pub(crate) fn random() -> Result<Self> {
        Ok(Self(format!("{MARK}{}", letters(52)?)))
    }

    /// The whole of it.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Its beginning, by which people tell secrets apart.
    pub(crate) fn prefix(&self) -> &str {
        &self.0[..MARK.len() + SHOWN]
    }

    /// What is kept of it.
    pub(crate) fn hash(&self) -> String {
        hash(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({}...)", self.prefix())
    }
}

/// What is kept of a secret.
pub(crate) fn hash(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// So many random letters of five bits each.
pub(crate) fn letters(count: usize) -> Result<String> {
    let mut bytes = vec![0; count];
    getrandom::fill(&mut bytes)
        .map_err(|error| LedgerError::Database { doing: "asking for random numbers", reason: error.to_string() })?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_and_not_printed() {
        let (one, other) = (Secret::random().unwrap(), Secret::random().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.text().len(), 59);
        assert!(one.text().starts_with("argand-"));
        assert!(!format!("{one:?}").contains(one.text()));
        assert_eq!(one.hash().len(), 64);
        assert_eq!(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
