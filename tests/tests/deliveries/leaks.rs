//! What is delivered, and what proves it, stands in no log: neither of what is taken in, nor of what is refused, nor of what fails later.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use millrace_harness::{Client, PostgresOptions, random_hex};
use millrace_tests::Line;
use reqwest::Method;
use serde_json::{Value, json};

use super::sender::{CALM, builder, hex_mac, source};

/// Words that stand nowhere else, with what they are.
#[derive(Default)]
struct Planted(Vec<(String, String)>);

impl Planted {
    fn note(&mut self, what: &str, text: impl Into<String>) -> String {
        let text = text.into();
        self.0.push((what.to_owned(), text.clone()));
        text
    }

    fn word(&mut self, what: &str) -> Result<String> {
        let word = format!("planted{}", random_hex(8)?);
        Ok(self.note(what, word))
    }

    fn email(&mut self) -> Result<String> {
        let address = format!("anna.{}@example.org", random_hex(6)?);
        Ok(self.note("an e-mail address", address))
    }

    fn phone(&mut self) -> Result<String> {
        let digits: String = random_hex(6)?.bytes().map(|byte| char::from(b'0' + byte % 10)).collect();
        Ok(self.note("a phone number", format!("+49{digits}")))
    }
}

/// A delivery, as it goes out.
#[derive(Clone)]
struct Request {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Request {
    async fn send(&self, line: &Line) -> Result<u16> {
        let client = Client::anonymous(line.client().base())?;
        let mut request = client.request(self.method.clone(), &self.path).body(self.body.clone());
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        Ok(client.send(request).await?.status)
    }
}

/// Sources of the schemes that differ in where their proof stands.
struct Sources {
    github: (String, String),
    hmac: (String, String),
    basic: (String, String),
    secret_url: (String, String),
    kommo: (String, String),
}

impl Sources {
    async fn make(line: &Line, planted: &mut Planted) -> Result<Self> {
        let custom = json!({ "type": "hmac", "header": "x-weir", "encoding": "hex", "algorithm": "hmac_sha256",
                             "timestamp": { "header": "x-weir-time", "unit": "seconds", "separator": "." } });
        let mut make = async |scheme: Value, secret: String| -> Result<(String, String)> {
            planted.note("a secret", &secret);
            let (_, path, secret) = source(line.client(), &scheme, Some(&secret)).await?;
            Ok((path, secret))
        };
        let secret = || random_hex(16);
        Ok(Self {
            github: make(json!({ "type": "github" }), secret()?).await?,
            hmac: make(custom, secret()?).await?,
            basic: make(json!({ "type": "basic" }), format!("{}:{}", random_hex(8)?, secret()?)).await?,
            secret_url: make(json!({ "type": "secret_url" }), secret()?).await?,
            kommo: make(json!({ "type": "kommo_disabled" }), secret()?).await?,
        })
    }

    /// A good delivery to each of them.
    fn deliveries(&self, body: &str, planted: &mut Planted) -> Result<Vec<Request>> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs().to_string();
        let (client, account) = (random_hex(12)?, "320320320320320");
        let mut mac = |secret: &str, message: &str| planted.note("a signature", hex_mac(secret, message));
        let by_github = mac(&self.github.1, body);
        let by_hmac = mac(&self.hmac.1, &format!("{now}.{body}"));
        let by_kommo = mac(&self.kommo.1, &format!("{client}|{account}"));
        let basic = planted.note("credentials", STANDARD.encode(&self.basic.1));
        planted.note("a part of a query", &client);
        let post = |path: String, headers: Vec<(&'static str, String)>| Request {
            method: Method::POST,
            path,
            headers,
            body: body.to_owned(),
        };
        let query = format!("client_uuid={client}&account_id={account}&signature={by_kommo}");
        let get = post(format!("{}?{query}", self.kommo.0), Vec::new());
        Ok(vec![
            post(self.github.0.clone(), vec![("x-hub-signature-256", format!("sha256={by_github}"))]),
            post(self.hmac.0.clone(), vec![("x-weir", by_hmac), ("x-weir-time", now)]),
            post(self.basic.0.clone(), vec![("authorization", format!("Basic {basic}"))]),
            post(format!("{}/{}", self.secret_url.0, self.secret_url.1), Vec::new()),
            Request { method: Method::GET, body: String::new(), ..get },
        ])
    }
}

/// The same delivery, in ways that are refused.
fn refused(good: &Request, planted: &mut Planted) -> Result<Vec<Request>> {
    let word = planted.word("a wrong proof")?;
    let other = good.path.replace("signature=", &format!("signature={word}"));
    let source: Vec<&str> = good.path.split(['/', '?']).take(4).collect();
    let source = source.join("/");
    let wrong = good.headers.iter().map(|(name, value)| (*name, format!("{value}{word}"))).collect();
    let twice = [good.headers.clone(), good.headers.clone()].concat();
    Ok(vec![
        Request { headers: wrong, path: format!("{other}{word}"), ..good.clone() },
        Request { headers: Vec::new(), path: format!("{source}/{word}"), ..good.clone() },
        Request { headers: twice, path: format!("{source}?{word}={word}"), ..good.clone() },
        Request { path: format!("/v1/webhooks/{word}?{word}"), ..good.clone() },
        Request { path: format!("/v1/webhooks/{}?{word}", uuid::Uuid::now_v7()), ..good.clone() },
        Request { path: format!("/v1/webhooks/%ff/{word}"), ..good.clone() },
    ])
}

#[tokio::test]
async fn nothing_that_is_delivered_and_nothing_that_proves_it_is_in_a_log() -> Result<()> {
    let mut planted = Planted::default();
    let builder = builder().env("MILLRACE_LOG", "debug").own_postgres(PostgresOptions::default());
    let mut line = Line::start(builder).await?;
    let sources = Sources::make(&line, &mut planted).await?;
    let (word, email, phone) = (planted.word("a part of a body")?, planted.email()?, planted.phone()?);
    let (header, media_type) = (planted.word("a header's value")?, planted.word("a content type")?);
    let bodies = [
        json!({ "effect": true, "echo": format!("{word} {email} {phone}") }).to_string(),
        json!({ (email.as_str()): phone, (word.as_str()): email }).to_string(),
        json!({ "outcome": word, "sleep_ms": phone, "echo": [email] }).to_string(),
        json!({ "limit": { "key": word, "count": email, "period_ms": 1, (phone.as_str()): 1 } }).to_string(),
        json!({ "echo": format!("{word}\0{email}") }).to_string(),
        json!([email, phone, word]).to_string(),
        format!("{{\"{word}\": {email} {phone}"),
        format!("{email},{phone},{word}"),
    ];
    for body in &bodies {
        for mut good in sources.deliveries(body, &mut planted)? {
            good.headers.push(("x-customer", header.clone()));
            good.headers.push(("user-agent", header.clone()));
            good.headers.push(("content-type", format!("application/{media_type}")));
            for bad in refused(&good, &mut planted)? {
                let status = bad.send(&line).await?;
                // There is no GET with a secret in its path.
                assert!(status == 401 || (status == 405 && bad.method == Method::GET), "{status}: {}", bad.path);
            }
            assert_eq!(good.send(&line).await?, 200, "{} {}", good.method, good.path);
            assert_eq!(good.send(&line).await?, 200, "and again");
        }
    }
    line.ledger.wait_all_ended(CALM).await?;
    ensure!(line.ledger.count("dead").await? > 20, "some of them fit no probe");
    for state in ["dead", "succeeded"] {
        ensure!(line.ledger.count(state).await? > 0, "none is {state}");
    }
    // And once more while everything complains.
    line.client().post("/v1/dead-letters/replay", &json!({ "filter": {} })).await?.expect(200)?;
    let more = format!("{{\"echo\": \"{word} {email}\", \"effect\": true}}");
    line.stack.redis.stop().await?;
    let at_work = sources.deliveries(&more, &mut planted)?;
    assert_eq!(at_work[0].send(&line).await?, 200);
    line.stack.redis.start_again().await?;
    line.ledger.wait_all_ended(CALM).await?;
    line.stack.postgres.stop().await?;
    for delivery in at_work {
        assert_eq!(delivery.send(&line).await?, 503);
    }
    line.stack.postgres.start_again().await?;
    line.stack.api.wait_ready(CALM).await?;
    line.stack.workers[0].wait_ready(CALM).await?;
    line.stack.drain().await?;
    search_logs(&line, &planted)
}

fn search_logs(line: &Line, planted: &Planted) -> Result<()> {
    for service in std::iter::once(&line.stack.api).chain(&line.stack.workers) {
        let path = service.process().log();
        let log = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(log.lines().count() > 50, "the log of {} holds next to nothing", service.process().name());
        for (number, logged) in log.lines().enumerate() {
            for (what, text) in &planted.0 {
                ensure!(!logged.contains(text), "{what} is in line {number} of {}: {logged}", path.display());
            }
        }
    }
    Ok(())
}
