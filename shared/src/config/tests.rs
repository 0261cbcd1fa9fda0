use std::time::Duration;

use super::settings::{Absent, Program, SETTINGS, markdown};
use super::*;

const GOOD_SECRET: &str = "qk3Zr8Vw1Lx5Tn7Yb2Hc9Jd4Mf6Ps0Ga";

/// The least that every program needs, then `more`.
fn source(more: &[(&str, &str)]) -> Source {
    [("DATABASE_URL", "postgres://m@localhost/m"), ("REDIS_URL", "redis://localhost")]
        .into_iter()
        .chain(more.iter().copied())
        .collect()
}

fn production(more: &[(&str, &str)]) -> Source {
    [
        ("DATABASE_URL", "postgres://m:Vw1Lx5Tn7Yb2Hc9Jd4@localhost/m"),
        ("REDIS_URL", "redis://:Zr8Vw1Lx5Tn7Yb2Hc@localhost"),
        ("MILLRACE_ENV", "production"),
        ("MILLRACE_STORAGE_URL", "file:///var/lib/millrace"),
    ]
    .into_iter()
    .chain(more.iter().copied())
    .collect()
}

fn api_problem(source: &Source) -> String {
    ApiConfig::load(source).expect_err("the configuration should be refused").to_string()
}

fn worker_problem(source: &Source) -> String {
    WorkerConfig::load(source).expect_err("the configuration should be refused").to_string()
}

#[test]
fn the_two_urls_are_enough_for_every_program() {
    let api = ApiConfig::load(&source(&[])).expect("the API starts");
    assert_eq!(api.bind.to_string(), "127.0.0.1:8080");
    assert_eq!(api.max_body_bytes, 2 << 20);
    assert!(api.jwt.is_none());
    assert!(api.common.probe, "the probe is on in development");

    let worker = WorkerConfig::load(&source(&[])).expect("the worker starts");
    assert_eq!(worker.lease, Duration::from_secs(30));
    assert_eq!(worker.retention.jobs, Some(Duration::from_secs(30 * 86_400)));
    assert_eq!(worker.retention.dead_letters, None);
    let short = WorkerConfig::load(&source(&[("MILLRACE_RETENTION", "36h")])).expect("hours");
    assert_eq!(short.retention.jobs, Some(Duration::from_secs(36 * 3_600)));
    let off = WorkerConfig::load(&source(&[("MILLRACE_RETENTION", "off")])).expect("for ever");
    assert_eq!(off.retention.jobs, None);
    assert_eq!(worker.queues.len(), 3);

    AdminConfig::load(&source(&[])).expect("the command line starts");
}

#[test]
fn all_problems_are_told_at_once_with_name_and_example() {
    let text = worker_problem(
        &[("MILLRACE_LEASE", "soon"), ("MILLRACE_QUEUES", "mail=3"), ("REDIS_URL", "http://x")].into_iter().collect(),
    );
    for part in [
        "DATABASE_URL is not set; example: DATABASE_URL=postgres://",
        "REDIS_URL has the scheme `http:`",
        "MILLRACE_LEASE is not a duration: `soon`",
        "MILLRACE_QUEUES names an unknown queue `mail`; known are asset, crm, graph and probe",
    ] {
        assert!(text.contains(part), "`{part}` is missing from:\n{text}");
    }
}

#[test]
fn an_unknown_name_is_refused_with_the_nearest_known_one() {
    assert!(
        api_problem(&source(&[("MILLRACE_BINDD", "x")]))
            .contains("MILLRACE_BINDD is not a setting (did you mean MILLRACE_BIND?)")
    );
    let far = api_problem(&source(&[("MILLRACE_WHATEVER_THIS_IS", "x")]));
    assert!(far.contains("MILLRACE_WHATEVER_THIS_IS is not a setting\n"), "{far}");
}

#[test]
fn names_of_the_test_harness_and_of_other_programs_are_ignored() {
    let mixed = source(&[
        ("MILLRACE_TEST_SLOW", "x"),
        ("MILLRACE_QUEUES", "nonsense"),
        ("MILLRACE_URL", "http://x"),
        ("PATH", "x"),
    ]);
    ApiConfig::load(&mixed).expect("the API does not read them");
    assert!(worker_problem(&mixed).contains("MILLRACE_QUEUES"), "the worker does");
}

#[test]
fn an_empty_value_counts_as_absent() {
    ApiConfig::load(&source(&[("MILLRACE_JWT_SECRET", ""), ("MILLRACE_BIND", " ")])).expect("as if they were not set");
}

#[test]
fn malformed_values_are_refused() {
    for (name, value) in [
        ("MILLRACE_BIND", "localhost"),
        ("MILLRACE_ENV", "prod"),
        ("MILLRACE_MAX_BODY_BYTES", "0"),
        ("MILLRACE_MAX_BODY_BYTES", "2MB"),
        ("MILLRACE_MAX_UPLOAD_BYTES", "99999999999GiB"),
        ("MILLRACE_DRAIN_TIMEOUT", "0s"),
        ("MILLRACE_DRAIN_TIMEOUT", "25"),
        ("MILLRACE_DRAIN_TIMEOUT", "25h"),
        ("MILLRACE_PROBE", "yes"),
        ("MILLRACE_LOG", "info,=,=x"),
        ("MILLRACE_LOG_FORMAT", "xml"),
        ("MILLRACE_STORAGE_URL", "ftp://x"),
        ("MILLRACE_STORAGE_URL", "file://"),
        ("MILLRACE_STORAGE_URL", "s3://"),
        ("MILLRACE_DATABASE_CONNECTIONS", "0"),
        ("MILLRACE_SCHEDULE_MIN_INTERVAL", "soon"),
        ("MILLRACE_SCHEDULES_MAX", "-1"),
        ("MILLRACE_JWT_SECRET", "short"),
        ("MILLRACE_JWT_PUBLIC_KEY", "-----BEGIN NONSENSE-----"),
    ] {
        let text = api_problem(&source(&[(name, value)]));
        assert!(text.contains(&format!("{name} ")), "{name}={value} gave:\n{text}");
    }
    for retention in ["0d", "-1d", "30", "30m", "d", "3651d", "99999999999d", "never"] {
        for name in ["MILLRACE_RETENTION", "MILLRACE_DEAD_LETTER_RETENTION"] {
            let text = worker_problem(&source(&[(name, retention)]));
            assert!(text.contains(&format!("{name} is not a retention")), "{retention} gave:\n{text}");
        }
    }
    for (name, value) in [
        ("MILLRACE_FETCH_PORTS", "0"),
        ("MILLRACE_FETCH_PORTS", "all"),
        ("MILLRACE_FETCH_PORTS", "80,65536"),
        ("MILLRACE_FETCH_PORTS", ","),
        ("MILLRACE_FETCH_ALLOW_ADDRESSES", "10.0.0.1/8"),
        ("MILLRACE_FETCH_ALLOW_ADDRESSES", "intranet"),
        ("MILLRACE_FETCH_MAX_REDIRECTS", "21"),
        ("MILLRACE_OCR_LANGUAGES", "eng+"),
        ("MILLRACE_OCR_LANGUAGES", "eng,deu"),
        ("MILLRACE_OCR_LANGUAGES", "eng+eng"),
        ("MILLRACE_OCR_LANGUAGES", "../eng"),
        ("MILLRACE_OCR_LANGUAGES", "-c"),
        ("MILLRACE_OCR_MAX_PAGES", "0"),
        ("MILLRACE_OCR_DPI", "10"),
        ("MILLRACE_OCR_MEMORY_BYTES", "64MiB"),
    ] {
        let text = worker_problem(&source(&[(name, value)]));
        assert!(text.contains(&format!("{name} ")), "{name}={value} gave:\n{text}");
    }
    for queues in ["asset", "asset=0", "asset=x", "asset=2,asset=3", ",", "asset=99999"] {
        let text = worker_problem(&source(&[("MILLRACE_QUEUES", queues)]));
        assert!(text.contains("MILLRACE_QUEUES "), "{queues} gave:\n{text}");
    }
}

#[test]
fn the_overlap_of_chunks_is_half_of_one_at_most() {
    let half = [("MILLRACE_CHUNK_CHARS", "400"), ("MILLRACE_CHUNK_OVERLAP_CHARS", "200")];
    let extract = WorkerConfig::load(&source(&half)).expect("half is fine").extract;
    assert_eq!((extract.chunk_chars, extract.chunk_overlap_chars), (400, 200));
    let more = worker_problem(&source(&[("MILLRACE_CHUNK_OVERLAP_CHARS", "501")]));
    let told = "MILLRACE_CHUNK_OVERLAP_CHARS is more than half of MILLRACE_CHUNK_CHARS, which allows 500 at most";
    assert!(more.contains(told), "{more}");
}

#[test]
fn recognition_is_off_until_languages_are_named() {
    let load = |pairs: &[(&str, &str)]| WorkerConfig::load(&source(pairs)).expect("valid").ocr;
    assert_eq!(load(&[("MILLRACE_OCR_MAX_PAGES", "7")]), None);
    let named = [("MILLRACE_OCR_LANGUAGES", "eng+script/Latin"), ("TESSDATA_PREFIX", "/opt/tessdata")];
    let ocr = load(&named).expect("it is on");
    assert_eq!(ocr.languages, ["eng", "script/Latin"]);
    assert_eq!(ocr.tessdata.as_deref(), Some(std::path::Path::new("/opt/tessdata")));
    assert_eq!((ocr.max_pages, ocr.dpi, ocr.page_timeout.as_secs()), (100, 300, 60));
}

#[test]
fn queues_are_read_with_their_slots() {
    let worker = WorkerConfig::load(&source(&[("MILLRACE_QUEUES", "asset=4, probe = 64")])).expect("valid");
    let slots: Vec<_> = worker.queues.iter().map(|queue| (queue.queue.as_str(), queue.slots.get())).collect();
    assert_eq!(slots, [("asset", 4), ("probe", 64)]);
}

#[test]
fn storage_is_a_directory_or_a_bucket() {
    let api = ApiConfig::load(&source(&[])).expect("valid");
    assert!(matches!(api.common.storage, StorageConfig::Directory(path) if path.ends_with("data/storage")));

    let api = ApiConfig::load(&source(&[("MILLRACE_STORAGE_URL", "s3://files/a/b/"), ("AWS_REGION", "eu-central-1")]))
        .expect("valid");
    let StorageConfig::S3 { bucket, prefix, options } = api.common.storage else { panic!("not S3") };
    assert_eq!((bucket.as_str(), prefix.as_str()), ("files", "a/b"));
    assert!(options.contains_key("AWS_REGION"));
}

#[test]
fn production_starts_with_good_secrets_and_has_no_probe() {
    let api = ApiConfig::load(&production(&[("MILLRACE_JWT_SECRET", GOOD_SECRET)])).expect("all is well");
    assert_eq!(api.common.environment, Environment::Production);
    assert!(!api.common.probe);
    ApiConfig::load(&production(&[])).expect("API keys alone are enough");
}

#[test]
fn production_refuses_weak_secrets() {
    let repeated = "a".repeat(64);
    let two_letters = "ab".repeat(32);
    for (name, value) in [
        ("MILLRACE_JWT_SECRET", "change-me-change-me-change-me-change-me"),
        ("MILLRACE_JWT_SECRET", "this_is_an_Example_secret_of_40_letters!"),
        ("MILLRACE_JWT_SECRET", repeated.as_str()),
        ("MILLRACE_JWT_SECRET", two_letters.as_str()),
        ("REDIS_URL", "redis://localhost"),
        ("REDIS_URL", "redis://:@localhost"),
        ("REDIS_URL", "redis://:kq83js@localhost"),
        ("REDIS_URL", "redis://:a-long-password@localhost"),
        ("REDIS_URL", "redis://:a-long-p%61ssword@localhost"),
        ("DATABASE_URL", "postgres://m:postgres@localhost/m"),
        ("MILLRACE_STORAGE_URL", ""),
    ] {
        let mut pairs = vec![
            ("DATABASE_URL", "postgres://m@localhost/m"),
            ("REDIS_URL", "redis://:Zr8Vw1Lx5Tn7Yb2Hc@localhost"),
            ("MILLRACE_ENV", "production"),
            ("MILLRACE_STORAGE_URL", "file:///var/lib/millrace"),
        ];
        pairs.retain(|(kept, _)| *kept != name);
        pairs.push((name, value));
        let text = api_problem(&pairs.into_iter().collect());
        assert!(text.contains(&format!("\n  {name} ")), "{name}={value} gave:\n{text}");
        assert_eq!(text.matches("\n  ").count(), 1, "only {name} is wrong:\n{text}");
    }
}

#[test]
fn production_refuses_every_secret_that_is_printed_as_an_example() {
    for setting in SETTINGS.iter().filter(|setting| ["REDIS_URL", "MILLRACE_JWT_SECRET"].contains(&setting.name)) {
        let text = api_problem(&production(&[(setting.name, setting.example)]));
        assert!(text.contains(setting.name), "{text}");
    }
}

#[test]
fn no_secret_is_ever_repeated() {
    let secret = "Hc9Jd4";
    let source = production(&[
        ("MILLRACE_JWT_SECRET", secret),
        ("MILLRACE_JWT_PUBLIC_KEY", secret),
        ("REDIS_URL", "redis://:Hc9Jd4@localhost"),
        ("DATABASE_URL", "postgres://m:Hc9Jd4@local host/m"),
    ]);
    let text = api_problem(&source);
    assert!(!text.contains(secret), "{text}");
    assert!(!format!("{source:?}").contains(secret));

    let config = ApiConfig::load(&production(&[("MILLRACE_JWT_SECRET", GOOD_SECRET)])).expect("valid");
    let shown = format!("{config:?}");
    assert!(!shown.contains(GOOD_SECRET) && !shown.contains("Zr8Vw1Lx5Tn7Yb2Hc"), "{shown}");
}

#[test]
fn keys_that_seal_are_read_whole_and_no_example_seals_in_production() {
    let good = "b:3q2+7wAZk1vYt0Jx8mPq5sRfUgHhIjKlMnOpQrStUvU=";
    let zeros = "a:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let name = "MILLRACE_ENCRYPTION_KEYS";
    let config = ApiConfig::load(&production(&[(name, good)])).expect("valid");
    assert_eq!(config.common.keyring.as_ref().map(Keyring::current), Some("b"));
    assert!(!format!("{config:?}").contains("3q2"));
    let text = api_problem(&production(&[(name, &format!("{good},{zeros}"))]));
    assert!(text.contains("has a key that has only") && !text.contains("AAAA"), "{text}");
    ApiConfig::load(&source(&[(name, zeros)])).expect("development takes it");
}

#[test]
fn both_ways_to_verify_tokens_exclude_each_other() {
    let text = api_problem(&source(&[("MILLRACE_JWT_SECRET", GOOD_SECRET), ("MILLRACE_JWT_PUBLIC_KEY", "x")]));
    assert!(text.contains("exclude each other"), "{text}");
}

#[test]
fn defaults_and_examples_of_the_table_are_accepted() {
    for setting in SETTINGS {
        let mut values = vec![setting.example];
        if let Absent::Default(value) = setting.absent {
            values.push(value);
        }
        // Keys and secrets are made, not copied: their examples say how.
        if setting.name.starts_with("MILLRACE_JWT_")
            || ["MILLRACE_ENV", "MILLRACE_ENCRYPTION_KEYS"].contains(&setting.name)
        {
            continue;
        }
        for value in values {
            let source = source(&[(setting.name, value)]);
            ApiConfig::load(&source).expect("accepted by the API");
            WorkerConfig::load(&source).expect("accepted by the worker");
            AdminConfig::load(&source).expect("accepted by the command line");
        }
    }
}

#[test]
fn each_program_reads_the_settings_that_the_table_gives_it() {
    // A value that no setting accepts: who reads it refuses it.
    for setting in SETTINGS.iter().filter(|setting| setting.name != "MILLRACE_ADDRESS_FILE") {
        let source = source(&[(setting.name, "\u{1}=:=")]);
        let refused = |program| {
            let error = match program {
                Program::Api => ApiConfig::load(&source).err(),
                Program::Worker => WorkerConfig::load(&source).err(),
                Program::Admin => AdminConfig::load(&source).err(),
            };
            error.is_some_and(|error| error.problems.iter().any(|problem| problem.variable == setting.name))
        };
        for program in [Program::Api, Program::Worker, Program::Admin] {
            assert_eq!(
                refused(program),
                setting.read_by.contains(&program),
                "{} by {}",
                setting.name,
                program.binary()
            );
        }
    }
}

#[test]
fn the_configuration_page_is_generated_from_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, markdown()).expect("the page is writable");
    }
    let page = std::fs::read_to_string(path).expect("the page exists");
    assert_eq!(page, markdown(), "docs/configuration.md is out of date; run this test with UPDATE_DOCS=1");
}

#[test]
fn a_partial_configuration_tells_what_is_there_and_what_every_program_misses() {
    let source: Source = [
        ("DATABASE_URL", "postgres://m:short@localhost/m"),
        ("MILLRACE_JWT_SECRET", "short"),
        ("MILLRACE_QUEUES", "asset"),
    ]
    .into_iter()
    .collect();
    let partial = PartialConfig::load(&source);
    assert!(partial.database.is_some() && partial.redis_url.is_none() && partial.storage.is_some());
    let names = |problems: &[Problem]| problems.iter().map(|problem| problem.variable.clone()).collect::<Vec<_>>();
    assert_eq!(names(&partial.problems), ["REDIS_URL", "MILLRACE_JWT_SECRET", "MILLRACE_QUEUES"]);
    assert_eq!(names(&partial.in_production), ["DATABASE_URL", "MILLRACE_STORAGE_URL"]);
}
