//! What becomes of an export that is pushed, by what the receiver answers.

use std::{
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, SystemTime},
};

use flate2::read::GzDecoder;
use tallyport_core::{
    engine::RunOptions,
    export::{Again, Ending, Fencing},
    model::ErrorKind,
};

use crate::{
    add, engine, export,
    server::{Answer, Server},
};

const OK: Answer = Answer::Text("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");

fn target(port: u16, more: &str) -> String {
    format!(
        "[targets.push]\nexporter = 'prometheus'\ndestination = 'http'\nretry_ms = 1000\n\
         [targets.push.http]\nurl = 'http://127.0.0.1:{port}/metrics/job/shop?x=1'\n{more}\n"
    )
}

#[test]
fn an_export_is_pushed_with_its_headers_and_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let secret = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    secret("token", "geheim123\n");
    secret("scope", "shop-7\n");
    secret("password", "open sesame\n");
    let server = Server::start(vec![OK, OK, OK]);
    let more = "method = 'put'\ngzip = true\nheaders = { X-Plain = 'yes' }\n\
                headers_file = { X-Scope = 'scope' }\nbearer_token_file = 'token'";
    let one = engine(&target(server.port, more), folder.path());
    add(&one, 5);
    let run = export(&one, "push");
    assert!(matches!(run.ending, Ending::Delivered), "{run:?}");
    assert_eq!((run.fencing, run.attempt, run.destination), (Fencing::Absent, 1, "http"));
    let asked = server.asked();
    assert_eq!(asked.line, "PUT /metrics/job/shop?x=1 HTTP/1.1");
    for (name, value) in [
        ("content-type", "text/plain; version=0.0.4; charset=utf-8"),
        ("content-encoding", "gzip"),
        ("authorization", "Bearer geheim123"),
        ("x-scope", "shop-7"),
        ("x-plain", "yes"),
        ("idempotency-key", run.export_id.as_str()),
    ] {
        assert_eq!(asked.header(name), Some(value), "{name}");
    }
    let mut text = String::new();
    GzDecoder::new(asked.body.as_slice()).read_to_string(&mut text).unwrap();
    assert!(text.contains("requests_total 5\n"), "{text}");
    assert_eq!(run.bytes, text.len() as u64);

    // A secret that was renewed is used at the next attempt.
    secret("token", "geheim456\n");
    assert!(export(&one, "push").is_success());
    assert_eq!(server.asked().header("authorization"), Some("Bearer geheim456"));
    let more = "username = 'ali'\npassword_file = 'password'";
    let two = engine(&target(server.port, more), folder.path());
    assert!(export(&two, "push").is_success());
    let asked = server.asked();
    assert_eq!(asked.header("authorization"), Some("Basic YWxpOm9wZW4gc2VzYW1l"));
    assert!(asked.line.starts_with("POST ") && asked.header("content-encoding").is_none());
    server.join();
}

/// An answer, what it is taken for, its words, and the bounds of the delay in milliseconds.
type Case = (Answer, ErrorKind, Again, &'static str, (u64, u64));

#[test]
fn only_what_may_be_over_later_is_tried_again() {
    let answer = |text: &'static str| Answer::Text(text);
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(30));
    let dated: &'static str = Box::leak(
        format!("HTTP/1.1 503 Busy\r\nRetry-After: {date}\r\nContent-Length: 0\r\n\r\n")
            .into_boxed_str(),
    );
    let cases: [Case; 9] = [
        (
            answer("HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy"),
            ErrorKind::Unavailable,
            Again::Later,
            "answered 429: busy",
            (7_000, 7_000),
        ),
        (answer(dated), ErrorKind::Unavailable, Again::Later, "answered 503", (25_000, 30_000)),
        (
            answer("HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n"),
            ErrorKind::Unavailable,
            Again::Later,
            "answered 502",
            (500, 1_500),
        ),
        (
            answer("HTTP/1.1 504 Late\r\nContent-Length: 0\r\n\r\n"),
            ErrorKind::Unavailable,
            Again::Later,
            "answered 504",
            (500, 1_500),
        ),
        (
            answer("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"),
            ErrorKind::PluginFailed,
            Again::Never,
            "answered 500",
            (0, 0),
        ),
        (
            answer("HTTP/1.1 400 No\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"),
            ErrorKind::PluginFailed,
            Again::Never,
            "answered 400",
            (0, 0),
        ),
        (
            answer(
                "HTTP/1.1 302 Away\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
            ),
            ErrorKind::PluginFailed,
            Again::Never,
            "answered 302",
            (0, 0),
        ),
        (Answer::Silence, ErrorKind::Timeout, Again::Later, "deadline passed", (500, 1_500)),
        (Answer::Reset, ErrorKind::Io, Again::Later, "POST http://127.0.0.1", (500, 1_500)),
    ];
    let server = Server::start(cases.iter().map(|case| case.0).collect());
    for (answer, kind, again, text, (least, most)) in cases {
        // Anew, so that attempts are counted from 1.
        let timeout = if matches!(answer, Answer::Silence) { 200 } else { 20_000 };
        let toml = target(server.port, &format!("timeout_ms = {timeout}"));
        let one = engine(&toml, Path::new(""));
        let run = export(&one, "push");
        let Ending::Failed { error, again: may, retry } = &run.ending else {
            panic!("{answer:?}: {run:?}");
        };
        assert_eq!((error.kind(), *may), (kind, again), "{answer:?}: {error}");
        assert!(error.to_string().contains(text), "{error}");
        assert!(!error.to_string().contains("x=1"), "a query may be a secret: {error}");
        let retry = retry.map(|retry| retry.as_millis() as u64);
        match again {
            Again::Never => assert_eq!(retry, None),
            Again::Later => {
                let retry = retry.unwrap();
                assert!((least..=most).contains(&retry), "{answer:?}: {retry} ms");
            }
        }
    }
    server.join();
}

#[test]
fn nobody_who_listens_is_tried_again_three_times() {
    let port = Server::start(Vec::new());
    let toml = target(port.port, "");
    port.join();
    let one = engine(&toml, Path::new(""));
    let mut delays = Vec::new();
    for attempt in 1..=4 {
        let run = export(&one, "push");
        assert_eq!(run.attempt, attempt);
        let Ending::Failed { retry, again, .. } = run.ending else { panic!() };
        assert_eq!(again, Again::Later);
        delays.push(retry.map(|retry| retry.as_secs_f64()));
    }
    for (delay, usual) in delays.iter().zip([1.0, 2.0, 4.0]) {
        let delay = delay.unwrap();
        assert!((usual * 0.5..=usual * 1.5).contains(&delay), "{delay} of {usual}");
    }
    assert_eq!(delays[3], None);
    // The next series begins anew.
    assert_eq!(export(&one, "push").attempt, 1);
    let history = one.export_history();
    assert_eq!(history.len(), 5);
    assert_eq!(history[3].to_json()["retry_after_ms"], serde_json::Value::Null);
    assert_eq!(history[3].to_json()["retryable"], true);
}

#[test]
fn the_attempts_of_one_push_have_one_idempotency_key() {
    let busy = Answer::Text("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    let never = Answer::Text("HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n");
    for store in ["", "[store]\nkind = 'sqlite'\npath = 'store.db'\n"] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(vec![busy, busy, OK, OK, busy, never, OK]);
        let one = engine(&format!("{store}{}", target(server.port, "")), folder.path());
        let (mut keys, mut tokens) = (Vec::new(), Vec::new());
        for _ in 0..7 {
            tokens.push(export(&one, "push").token);
            keys.push(server.asked().header("idempotency-key").unwrap().to_owned());
        }
        // Tried again twice, and delivered; the next one; tried again, and given up; the next one.
        let same = |a: usize, b: usize| keys[a] == keys[b];
        assert!(same(0, 1) && same(1, 2), "{keys:?}");
        assert!(!same(2, 3) && !same(3, 4) && same(4, 5) && !same(5, 6), "{keys:?}");
        if let Some(token) = tokens[0] {
            assert_eq!(keys[0], format!("export:push-{token}"), "the first one's token");
            assert!(tokens.windows(2).all(|pair| pair[0] < pair[1]), "{tokens:?}");
        }
        server.join();
    }
}

#[test]
fn attempts_that_the_caller_counts_have_one_key_too() {
    let busy = Answer::Text("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    let server = Server::start(vec![busy, busy, busy]);
    let one = engine(&target(server.port, ""), Path::new(""));
    let key = |attempt| {
        let options = RunOptions { attempt: Some(attempt), ..RunOptions::default() };
        one.export_target("push", &options).unwrap();
        server.asked().header("idempotency-key").unwrap().to_owned()
    };
    let (first, second, anew) = (key(1), key(2), key(1));
    assert!(first == second && second != anew, "{first} {second} {anew}");
    server.join();
}

#[test]
fn a_secret_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let one = engine(&target(1, "bearer_token_file = 'absent'"), folder.path());
    let run = export(&one, "push");
    let Ending::Failed { error, again, retry } = run.ending else { panic!() };
    assert_eq!((error.kind(), again, retry), (ErrorKind::Config, Again::Never, None));
    assert!(error.to_string().contains("`http.bearer_token_file`"), "{error}");
}
