//! What a service of a test logs is looked through when it ends.

use std::{
    env, fs,
    process::{Command, Output},
};

use anyhow::Result;
use millrace_harness::{Inherit, RunDir, Service, ServiceSpec, TEST_FINDINGS, Until};

/// What the service below is to log.
const SAY: &str = "MILLRACE_TEST_SAY";
/// What it does then.
const THEN: &str = "MILLRACE_TEST_THEN";
const LISTEN: &str = "listen";
const END: &str = "end";
const SECRET: &str = "a-secret-of-the-service-alone";

/// Not a test by itself: those below run this program again with the variable set.
#[tokio::test]
async fn speaker() -> Result<()> {
    let Ok(line) = env::var(SAY) else { return Ok(()) };
    let run = RunDir::create()?;
    let script = r#"echo one; echo "$0"; [ "$1" = listen ] || exit 1; echo 127.0.0.1:1 > "$MILLRACE_ADDRESS_FILE.new"
        mv "$MILLRACE_ADDRESS_FILE.new" "$MILLRACE_ADDRESS_FILE"; exec sleep 1000"#;
    let spec = ServiceSpec {
        name: "speaker".into(),
        program: "sh".into(),
        arguments: ["-c", script, &line, &env::var(THEN)?].map(str::to_owned).into(),
        bind_variable: "MILLRACE_BIND",
        bind: "127.0.0.1:0".into(),
        environment: vec![("MILLRACE_JWT_SECRET".into(), SECRET.into())],
        inherit: Inherit::NoSettings,
        dir: run.path().to_owned(),
    };
    drop(Service::start(spec, Until::Listening).await?);
    Ok(())
}

/// Has a service log the line; gives how its test ended, and what the run was told.
fn say(line: &str, then: &str) -> Result<(Output, String)> {
    let dir = tempfile::tempdir()?;
    let findings = dir.path().join("findings");
    let output = Command::new(env::current_exe()?)
        .args(["--exact", "speaker", "--nocapture"])
        .env(SAY, line)
        .env(THEN, then)
        .env(TEST_FINDINGS, &findings)
        .output()?;
    Ok((output, fs::read_to_string(&findings).unwrap_or_default()))
}

#[test]
fn a_service_that_logs_what_no_log_may_hold_fails_its_test_and_the_run() -> Result<()> {
    let program = env::current_exe()?;
    let program = program.file_name().unwrap_or_default().to_string_lossy();
    for (planted, then, sort) in [
        ("person.17@example.com", LISTEN, "an e-mail address"),
        (SECRET, LISTEN, "a secret of the service's own"),
        (SECRET, END, "a secret of the service's own"),
    ] {
        let (output, told) = say(&format!("found: {planted}"), then)?;
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(!output.status.success(), "{said}");
        let place = format!("{program} --exact speaker --nocapture: the log of speaker, line 2: {sort}");
        assert_eq!(told, format!("{place}\n"));
        assert!(said.contains(&place), "{said}");
        assert!(!said.contains(planted), "what was found is not shown: {said}");
    }
    Ok(())
}

#[test]
fn a_service_whose_log_is_clean_fails_nothing() -> Result<()> {
    let (output, told) = say("listening at https://millrace.example.org", LISTEN)?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(told, "");
    Ok(())
}
