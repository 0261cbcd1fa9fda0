use super::*;

fn rules() -> FetchRules {
    FetchRules { ports: Ports::Only(vec![80, 443]), allowed: Vec::new() }
}

fn refusal(text: &str) -> UrlRefusal {
    SourceUrl::parse(text, &rules()).err().unwrap_or_else(|| panic!("{text} is taken"))
}

#[test]
fn no_spelling_of_an_address_that_is_not_public_is_taken() {
    for text in [
        "http://127.0.0.1/",
        "http://127.0.0.1./",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://017700000001/",
        "http://%31%32%37.0.0.1/",
        "http://１２７.０.０.１/",
        "http://①②⑦.⓪.⓪.①/",
        "http://127。0。0。1/",
        "http:127.0.0.1",
        "http:\\\\127.0.0.1\\",
        "ht\ntp://127.0.\t0.1/",
        "http:///127.0.0.1/",
        "http://0/",
        "http://0.0.0.0/",
        "http://10.0.0.1/",
        "http://100.100.100.200/latest/meta-data/",
        "http://169.254.169.254/latest/meta-data/",
        "http://0xa9fea9fe/",
        "http://2852039166/",
        "http://172.31.255.255/",
        "http://192.168.1.1/",
        "http://255.255.255.255/",
        "http://[::]/",
        "http://[::1]/",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[::127.0.0.1]/",
        "http://[64:ff9b::169.254.169.254]/",
        "http://[2002:7f00:1::]/",
        "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
        "http://[fe80::1]/",
        "http://[fd00:ec2::254]/",
        "http://[ff02::1]/",
        "http://localhost/",
        "http://LOCALHOST/",
        "http://localhost./",
        "http://ｌｏｃａｌｈｏｓｔ/",
        "http://printer.localhost/",
    ] {
        assert_eq!(refusal(text), UrlRefusal::Address, "{text}");
    }
}

#[test]
fn only_the_web_is_fetched_from_without_credentials_and_at_allowed_ports() {
    for text in
        ["file:///etc/passwd", "ftp://example.org/a", "gopher://example.org/", "data:text/plain,x", "javascript:x"]
    {
        assert_eq!(refusal(text), UrlRefusal::Scheme, "{text}");
    }
    for text in [
        "",
        "example.org",
        "/a",
        "//example.org",
        "http://",
        "http://[::1",
        "http://a b/",
        "http://1.2.3.4.5/",
        "http://[fe80::1%25eth0]/",
    ] {
        assert_eq!(refusal(text), UrlRefusal::Malformed, "{text}");
    }
    for text in ["http://user@example.org/", "http://:secret@example.org/", "http://example.org@127.0.0.1/"] {
        assert_eq!(refusal(text), UrlRefusal::Credentials, "{text}");
    }
    for text in ["http://example.org:22/", "https://example.org:6379/", "http://example.org:0/"] {
        assert!(matches!(refusal(text), UrlRefusal::Port { .. }), "{text}");
    }
    // The other scheme's port is allowed too.
    assert!(SourceUrl::parse("http://example.org:443/", &rules()).is_ok());
    let long = format!("https://example.org/{}", "a".repeat(MAX_URL_BYTES - 20));
    assert!(SourceUrl::parse(&long, &rules()).is_ok());
    assert_eq!(refusal(&format!("{long}a")), UrlRefusal::TooLong);
    // Each of these letters becomes nine.
    assert_eq!(refusal(&format!("https://example.org/{}", "水".repeat(300))), UrlRefusal::TooLong);
}

#[test]
fn what_is_allowed_besides_is_taken_in_every_spelling_and_nothing_else_is() {
    let network = |text: &str| text.parse().expect("a network");
    let rules = FetchRules { ports: Ports::Any, allowed: vec![network("127.0.0.1"), network("fd00::/8")] };
    for taken in [
        "http://127.0.0.1:8080/",
        "http://0x7f.1/",
        "http://[::ffff:127.0.0.1]/",
        "http://localhost/",
        "http://[fd00::1]/",
    ] {
        assert!(SourceUrl::parse(taken, &rules).is_ok(), "{taken}");
    }
    for refused in ["http://127.0.0.2/", "http://[::1]/", "http://10.0.0.1/", "http://[64:ff9b::7f00:1]/"] {
        assert_eq!(SourceUrl::parse(refused, &rules), Err(UrlRefusal::Address), "{refused}");
    }
}

#[test]
fn spellings_of_one_address_are_one() {
    let parse = |text: &str| SourceUrl::parse(text, &rules()).expect("taken");
    let one = parse("https://example.org/A?b=1");
    for same in ["HTTPS://EXAMPLE.org:443/A?b=1#page=2", " https://example.org/x/../A?b=1"] {
        assert_eq!(parse(same), one, "{same}");
    }
    for other in ["https://example.org/a?b=1", "http://example.org/A?b=1", "https://example.org/A?b=2"] {
        assert_ne!(parse(other), one, "{other}");
    }
    assert_eq!(format!("{one:?}"), "SourceUrl(example.org)");
    assert_eq!(parse("https://bücher.example/").reveal(), "https://xn--bcher-kva.example/");
}

#[test]
fn a_document_is_called_as_its_address_ends() {
    for (url, label) in [
        ("https://example.org/a/report.pdf?sig=x", "report.pdf"),
        ("https://example.org/%C3%84rger%20%26%20S%C3%B6hne.txt", "Ärger & Söhne.txt"),
        ("https://example.org/a%2Fb%5C..%2Fc.txt", "c.txt"),
        ("https://example.org/a%00%0Ab", "ab"),
        ("https://example.org/%ff", "\u{fffd}"),
        ("https://example.org/docs/", "example.org"),
        ("https://example.org", "example.org"),
    ] {
        assert_eq!(SourceUrl::parse(url, &rules()).expect("taken").label(), label, "{url}");
    }
}
