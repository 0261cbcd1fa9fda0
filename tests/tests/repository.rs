//! What must never be in the repository.

use std::{fs, path::Path, process::Command};

/// The files that git tracks, with their text; what is no text is left out.
fn tracked() -> Vec<(String, String)> {
    let root = millrace_harness::workspace_root();
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output().expect("git runs");
    assert!(listed.status.success(), "git ls-files failed; this test needs a checkout");
    let names = String::from_utf8(listed.stdout).expect("file names are UTF-8");
    let text = |name: &str| fs::read_to_string(Path::new(root).join(name)).ok();
    names.split('\0').filter(|name| !name.is_empty()).filter_map(|name| Some((name.to_owned(), text(name)?))).collect()
}

/// Whether `text` has `prefix` followed by at least `count` characters of a secret's alphabet that are not all alike.
fn has_secret(text: &str, prefix: &str, count: usize) -> bool {
    text.match_indices(prefix).any(|(at, _)| {
        let rest = &text.as_bytes()[at + prefix.len()..];
        let secret: Vec<u8> =
            rest.iter().copied().take_while(|byte| byte.is_ascii_alphanumeric() || b"-_+/".contains(byte)).collect();
        let mut different = secret.clone();
        different.sort_unstable();
        different.dedup();
        secret.len() >= count && different.len() > 8
    })
}

#[test]
fn a_planted_secret_is_found() {
    let key = format!("{}{}", "mr_", "Zk3vQ9xW7pLm2Rt5Yb8Nc1Df4Gh6Js0AeUiOqXwTz-_a");
    assert!(has_secret(&format!("let key = \"{key}\";"), "mr_", 43));
    assert!(!has_secret(&format!("mr_{}", "a".repeat(43)), "mr_", 43), "a placeholder is none");
}

#[test]
fn no_secret_is_in_the_repository() {
    let files = tracked();
    assert!(files.len() > 100, "only {} files are tracked", files.len());
    for (name, text) in files {
        for begin in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY"] {
            assert!(!text.contains(&format!("-----BEGIN {begin}-----\nM")), "{name} holds a private key");
        }
        assert!(!has_secret(&text, "mr_", 43), "{name} holds an API key");
        assert!(!has_secret(&text, "AKIA", 16), "{name} holds an access key of Amazon's");
        let is_environment = name.starts_with(".env") || name.contains("/.env");
        assert!(!is_environment || name.ends_with(".env.example"), "{name} is an environment file");
    }
}

#[test]
fn what_holds_secrets_is_ignored_by_git() {
    let root = millrace_harness::workspace_root();
    for name in [".env", ".env.production", "server.key", "jwt.pem", "target/dev/env", "data/storage/x"] {
        let status =
            Command::new("git").args(["check-ignore", "-q", name]).current_dir(root).status().expect("git runs");
        assert!(status.success(), "{name} would be committed");
    }
}

#[test]
fn every_guarantee_names_a_test_that_exists() {
    let files = tracked();
    let (_, guarantees) = files.iter().find(|(name, _)| name == "docs/guarantees.md").expect("the page is tracked");
    let rows = guarantees.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what holds"));
    let mut named = 0;
    for row in rows {
        let proofs = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
        let tests: Vec<&str> = proofs.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test proves: {row}");
        for test in tests {
            let defined = format!("fn {test}()");
            let is_test = files.iter().any(|(name, text)| name.ends_with(".rs") && text.contains(&defined));
            assert!(is_test, "there is no test {test}, named by: {row}");
            named += 1;
        }
    }
    assert!(named > 30, "only {named} tests are named");
}
