//! `millrace-api health` and `millrace-worker health`: a program asks the one that runs beside it whether it is well.
//!
//! For the health check of a container, whose image holds no HTTP client and needs none. It runs every few seconds, so it is
//! one connection on the calling thread: no runtime, no client.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use crate::config::ConfigError;

/// Above what the programs give their own checks, so that their answer says which one failed.
const PATIENCE: Duration = Duration::from_secs(4);
/// More than any of the answers, which are a few lines.
const MOST_BYTES: u64 = 16 * 1024;

/// Runs the command with its `arguments`: `live` or `ready`, where nothing says `live`. `bind` is where the program listens.
///
/// Exit codes: 0 it is well, 1 it is not, 2 the arguments or the configuration are wrong.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command's answer")]
pub fn command(arguments: &[OsString], bind: impl FnOnce() -> Result<SocketAddr, ConfigError>) -> ExitCode {
    let path = match arguments {
        [] => "/health/live",
        [what] if what == "live" => "/health/live",
        [what] if what == "ready" => "/health/ready",
        _ => {
            eprintln!("usage: health [live|ready]");
            return ExitCode::from(2);
        }
    };
    let address = match bind() {
        Ok(bind) => reachable(bind),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    match ask(address, path) {
        Ok(Answer { well: true, body }) => {
            println!("{body}");
            ExitCode::SUCCESS
        }
        Ok(Answer { body, .. }) => {
            println!("{body}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("http://{address}{path}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Who listens on every address is reached on the loopback one.
fn reachable(bind: SocketAddr) -> SocketAddr {
    let ip = match bind.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bind.port())
}

struct Answer {
    well: bool,
    body: String,
}

fn ask(address: SocketAddr, path: &str) -> io::Result<Answer> {
    let mut connection = TcpStream::connect_timeout(&address, PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    write!(connection, "GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    connection.take(MOST_BYTES).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let not_http = || io::Error::new(io::ErrorKind::InvalidData, "this is no HTTP answer");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(not_http)?;
    let mut status = head.split(' ');
    if !status.next().is_some_and(|version| version.starts_with("HTTP/1.")) {
        return Err(not_http());
    }
    Ok(Answer { well: status.next() == Some("200"), body: body.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn asked(answer: &'static str) -> (io::Result<Answer>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let server = thread::spawn(move || {
            let (mut connection, _) = listener.accept().expect("a connection");
            // To its end: closing a connection with something unread in it resets it, and the answer with it.
            let mut request = String::new();
            for line in BufReader::new(&connection).lines() {
                let line = line.expect("a request");
                if line.is_empty() {
                    break;
                }
                request.push_str(&line);
                request.push_str("\r\n");
            }
            connection.write_all(answer.as_bytes()).expect("answered");
            request
        });
        (ask(address, "/health/ready"), server.join().expect("served"))
    }

    #[test]
    fn only_200_is_well() {
        let (answer, request) = asked("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok");
        let answer = answer.expect("an answer");
        assert!(answer.well);
        assert_eq!(answer.body, "ok");
        assert!(request.starts_with("GET /health/ready HTTP/1.0\r\n"), "{request}");

        let (answer, _) = asked("HTTP/1.1 503 Service Unavailable\r\n\r\n{\"status\":\"draining\"}");
        let answer = answer.expect("an answer");
        assert!(!answer.well);
        assert!(answer.body.contains("draining"));
    }

    #[test]
    fn another_program_on_the_port_is_not_well() {
        for answer in ["", "220 mail.example ESMTP 200\r\n\r\n", "HTTP/1.1 200 OK"] {
            assert!(asked(answer).0.is_err(), "{answer:?}");
        }
    }

    #[test]
    fn nobody_on_the_port_is_not_well() {
        let address = TcpListener::bind("127.0.0.1:0").and_then(|gone| gone.local_addr()).expect("a free port");
        assert!(ask(address, "/health/live").is_err());
    }

    #[test]
    fn who_listens_everywhere_is_asked_on_loopback() {
        for (bind, asked) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("192.0.2.7:80", "192.0.2.7:80"),
        ] {
            assert_eq!(reachable(bind.parse().expect("an address")), asked.parse().expect("an address"));
        }
    }
}
