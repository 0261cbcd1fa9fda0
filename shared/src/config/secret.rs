//! Telling a real secret from a placeholder.
//!
//! Entropy cannot be measured from one value; what can be told is what a person leaves behind by accident: short values, few
//! different characters, and the words that templates and tutorials use.

use std::collections::BTreeSet;

/// Shortest password that production accepts, in bytes.
pub(super) const PASSWORD_BYTES: usize = 16;
/// Shortest HS256 secret, in bytes: RFC 7518, section 3.2, asks for at least the hash's output.
pub(super) const JWT_SECRET_BYTES: usize = 32;

const DIFFERENT_CHARACTERS: usize = 8;

/// Lower-case words without separators; long enough that a random base64 secret practically never holds one.
const PLACEHOLDER_WORDS: &[&str] = &[
    "changeme",
    "changethis",
    "replaceme",
    "replacethis",
    "yoursecret",
    "yourpassword",
    "yourkey",
    "example",
    "placeholder",
    "password",
    "secret",
    "default",
    "insecure",
    "millrace",
    "development",
    "minioadmin",
    "postgres",
    "qwerty",
    "letmein",
    "12345678",
    "abcdefgh",
];

/// Says why `secret` is not fit for production, or nothing.
pub(super) fn weakness(secret: &str, least_bytes: usize) -> Option<String> {
    if secret.len() < least_bytes {
        return Some(format!("is shorter than {least_bytes} bytes"));
    }
    let different = secret.chars().collect::<BTreeSet<_>>().len();
    if different < DIFFERENT_CHARACTERS {
        return Some(format!("has only {different} different characters"));
    }
    let letters: String =
        secret.chars().filter(|letter| !matches!(letter, '-' | '_' | ' ' | '.')).flat_map(char::to_lowercase).collect();
    PLACEHOLDER_WORDS
        .iter()
        .find(|word| letters.contains(**word))
        .map(|word| format!("looks like a placeholder (it holds `{word}`)"))
}
