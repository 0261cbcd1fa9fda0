//! What no log may hold: secrets, and what stands for people.
//!
//! Each is known by its form, so that no test has to remember what it has planted: whatever a [`Service`](crate::Service) of a test has
//! written is looked through when that ends. What is found fails the test, and is told by its line and its sort, never by itself. It is also
//! told to the file that [`TEST_FINDINGS`] names, for the run to look into at its end: a test that fails already cannot tell it.
//! Names of people have no form. Tests that plant one look for it themselves.

use std::{
    env,
    fs::{self, File},
    io::Write as _,
    path::Path,
    thread,
};

use url::Url;

use crate::servers::set;

/// The variable that names the file into which tests write what they have found in logs.
pub const TEST_FINDINGS: &str = "MILLRACE_TEST_FINDINGS";

/// Secrets of a service's own that are shorter could be any word.
const SHORTEST_SECRET: usize = 8;
/// Of a log that is full of them, a few findings will do.
const MOST_TOLD: usize = 20;

/// What secrets of tests are called, what the simulator of CRMs calls its own, and how it marks the tokens that it gives; and keys as PEM.
const PLANTED: [&str; 4] = ["planted-", "simulated-secret", "-simulated-", "PRIVATE KEY-----"];

type Sort = (&'static str, fn(&str) -> bool);

const SORTS: [Sort; 6] = [
    ("an e-mail address", has_address),
    ("a telephone number", has_number),
    ("an API key", |line| has_word(line, "mr_", 43)),
    ("a secret of webhooks", |line| has_word(line, "whsec_", 24)),
    ("a JSON web token", has_token),
    ("a planted secret", |line| PLANTED.iter().any(|mark| line.contains(mark))),
];

/// What a line of a log holds that it must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Finding {
    /// From 1.
    line: usize,
    sort: &'static str,
}

/// Looks through the log of a service that has ended.
///
/// # Panics
/// When something is found, or the log cannot be read, unless the test fails already.
pub(crate) fn look_through(service: &str, log: &Path, environment: &[(String, String)]) {
    let told = match fs::read(log) {
        Ok(text) => findings(&String::from_utf8_lossy(&text), environment)
            .into_iter()
            .take(MOST_TOLD)
            .map(|Finding { line, sort }| format!("{}: the log of {service}, line {line}: {sort}\n", this_test()))
            .collect(),
        Err(error) => format!("{}: the log of {service} cannot be read: {error}\n", this_test()),
    };
    if told.is_empty() {
        return;
    }
    if let Some(path) = set(TEST_FINDINGS) {
        let file = File::options().create(true).append(true).open(&path);
        // In one write, because tests are many processes.
        if let Err(error) = file.and_then(|mut file| file.write_all(told.as_bytes())) {
            eprintln!("cannot write to {path}: {error}");
        }
    }
    assert!(thread::panicking(), "what no log may hold:\n{told}");
    eprint!("what no log may hold:\n{told}");
}

/// The program of the running test, and what it was asked to run: under nextest, this test alone.
fn this_test() -> String {
    let mut words: Vec<String> = env::args().collect();
    if let Some(program) = words.first_mut() {
        *program = Path::new(&*program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    }
    words.join(" ")
}

fn findings(log: &str, environment: &[(String, String)]) -> Vec<Finding> {
    let secrets = secrets(environment);
    let mut found = Vec::new();
    for (line, text) in (1..).zip(log.lines()) {
        found.extend(SORTS.iter().filter(|(_, is_in)| is_in(text)).map(|&(sort, _)| Finding { line, sort }));
        if secrets.iter().any(|secret| text.contains(secret.as_str())) {
            found.push(Finding { line, sort: "a secret of the service's own" });
        }
    }
    found
}

/// What a service is entrusted with by its environment.
fn secrets(environment: &[(String, String)]) -> Vec<String> {
    let of = |(name, value): &(String, String)| -> Vec<String> {
        match name.as_str() {
            "MILLRACE_JWT_SECRET" => vec![value.clone()],
            "MILLRACE_ENCRYPTION_KEYS" => {
                value.split(',').filter_map(|key| Some(key.split_once(':')?.1.to_owned())).collect()
            }
            "DATABASE_URL" | "REDIS_URL" => {
                Url::parse(value).ok().and_then(|url| url.password().map(str::to_owned)).into_iter().collect()
            }
            _ => Vec::new(),
        }
    };
    environment.iter().flat_map(of).filter(|secret| secret.len() >= SHORTEST_SECRET).collect()
}

/// A name, `@` or what stands for it in URLs, and a domain that ends in letters. A database's `user@127.0.0.1` is none.
fn has_address(line: &str) -> bool {
    let is_address = |(place, at): (usize, &str)| {
        let domain = &line[place + at.len()..];
        let end = domain.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.' && letter != '-');
        let domain = domain[..end.unwrap_or(domain.len())].trim_end_matches('.');
        let ending = domain.rsplit_once('.').map_or("", |(_, ending)| ending);
        line[..place].ends_with(|letter: char| letter.is_alphanumeric() || "._+-".contains(letter))
            && ending.len() >= 2
            && ending.bytes().all(|byte| byte.is_ascii_alphabetic())
    };
    line.match_indices('@').chain(line.match_indices("%40")).any(is_address)
}

/// Numbers with their country, and those that the simulator of CRMs writes as people do at home: `8 800 …` and `0555…`.
fn has_number(line: &str) -> bool {
    let is_number = |(place, _): (usize, &str)| {
        let between = |letter: &char| letter.is_ascii_digit() || " ()-".contains(*letter);
        let digits = line[place..].trim_start_matches('+').chars().take_while(between).filter(char::is_ascii_digit);
        (10..=15).contains(&digits.count())
    };
    // Not in the middle of something longer: fractions of seconds and hexadecimal ids.
    let is_alone =
        |(place, _): &(usize, &str)| !line[..*place].ends_with(|c: char| c.is_alphanumeric() || "._-".contains(c));
    line.match_indices('+').any(is_number)
        || line.match_indices("8 800 ").any(is_number)
        || line.match_indices("0555").filter(is_alone).any(is_number)
}

/// `prefix`, and at least so many letters of base64, in either alphabet.
fn has_word(line: &str, prefix: &str, least: usize) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte);
    line.match_indices(prefix).any(|(place, _)| {
        line.as_bytes()[place + prefix.len()..].iter().take_while(|byte| is_base64(byte)).count() >= least
    })
}

/// Two JSON objects in base64, with a dot between them.
fn has_token(line: &str) -> bool {
    line.split(|letter: char| !letter.is_ascii_alphanumeric() && !"._-".contains(letter))
        .flat_map(|word| word.match_indices(".eyJ").map(|(place, _)| &word[..place]))
        .any(|header| header.contains("eyJ"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorts(line: &str) -> Vec<&'static str> {
        let environment = [
            ("MILLRACE_JWT_SECRET", "qk3Zr8Vw1Lx5Tn7Yb2Hc9Jd4Mf6Ps0Ga"),
            ("MILLRACE_ENCRYPTION_KEYS", "new:bmV3LWtleQ==,old:b2xkLWtleQ=="),
            ("REDIS_URL", "redis://:of-redis-itself@127.0.0.1:6379"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        findings(line, &environment).into_iter().map(|finding| finding.sort).collect()
    }

    #[test]
    fn what_no_log_may_hold_is_known_by_its_form() {
        let key = format!("key=mr_{}", "aB3-_".repeat(9));
        for (line, sort) in [
            ("name=person.17@example.com", "an e-mail address"),
            (r#"{"q":"planted.person%40weir.example"}"#, "an e-mail address"),
            ("<office4@example.com>.", "an e-mail address"),
            ("tel:+49301234567", "a telephone number"),
            ("+1 (555) 123-4567", "a telephone number"),
            ("+49 30 5550 4711", "a telephone number"),
            ("called 8 800 0001234 доб. 12", "a telephone number"),
            ("phone=05550012345", "a telephone number"),
            (&key, "an API key"),
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "a secret of webhooks"),
            ("Bearer eyJ0eXAiOiJKV1QifQ.eyJhdWQiOiJ4In0.c2ln", "a JSON web token"),
            ("refresh-simulated-4-0123456789abcdef", "a planted secret"),
            ("planted-token-of-the-account", "a planted secret"),
            ("-----BEGIN RSA PRIVATE KEY-----", "a planted secret"),
            ("secret=qk3Zr8Vw1Lx5Tn7Yb2Hc9Jd4Mf6Ps0Ga", "a secret of the service's own"),
            ("b2xkLWtleQ==", "a secret of the service's own"),
            ("redis://:of-redis-itself@127.0.0.1:6379", "a secret of the service's own"),
        ] {
            assert_eq!(sorts(line), [sort], "{line}");
        }
    }

    #[test]
    fn what_logs_are_made_of_is_nothing_of_that() {
        for line in [
            "2026-11-22T03:38:50.055512345+00:00  INFO millrace_api: listening address=127.0.0.1:45889",
            "postgres://millrace@127.0.0.1:5432/millrace and postgres://millrace@localhost/millrace",
            "https://millrace.example.org/v1/webhooks/0193e4a8-6f4e-7c3a-9d55-055512345678",
            "traceparent=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "mr:{crm}:ready:2 mr_workers whsec_ a+1 eyJ.x -5550",
            "job.id=0193e4a8-6f4e-7c3a-9d55-0f6a3c1b2d7e job.attempt=10 duration_ms=1234567890",
        ] {
            assert!(sorts(line).is_empty(), "{line}: {:?}", sorts(line));
        }
    }

    #[test]
    fn a_finding_names_its_line() {
        let log = "clean\nann@example.org\nclean\n+49301234567 ann@example.org\n";
        let found: Vec<(usize, &str)> = findings(log, &[]).iter().map(|finding| (finding.line, finding.sort)).collect();
        assert_eq!(found, [(2, "an e-mail address"), (4, "an e-mail address"), (4, "a telephone number")]);
    }
}
