//! Exports over HTTPS to a real TLS server, with authorities that the test makes.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use serde_json::Value;
use tallyport_core::{
    export::{Again, Ending},
    model::ErrorKind,
};
use tallyport_tests::{repo_root, run};
use tempfile::TempDir;

use crate::{add, engine, export, server::Server as Plain};

/// A folder with two authorities, and a certificate of the first one for some names.
struct Authorities(TempDir);

impl Authorities {
    fn new() -> Self {
        let made = Self(tempfile::tempdir().unwrap());
        for name in ["ours", "another"] {
            made.openssl(&format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
                 -keyout {name}.key -out {name}.pem -subj /CN=authority-{name}"
            ));
        }
        made
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        command.current_dir(self.path()).args(arguments.split_whitespace());
        let _ = run(&mut command).success();
    }

    /// A certificate for these names.
    fn certify(&self, name: &str, names: &str) {
        fs::write(self.path().join("names"), format!("subjectAltName={names}\n")).unwrap();
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {name}.key \
             -out {name}.csr -subj /CN={name}"
        ));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ours.pem -CAkey ours.key -CAcreateserial -days 2 \
             -extfile names -out {name}.pem"
        ));
    }
}

/// The server of `tls_server.py`; killed when it is dropped.
struct Server {
    child: Child,
    lines: BufReader<ChildStdout>,
    port: u16,
}

impl Server {
    fn start(folder: &Path, name: &str) -> Self {
        let mut child = Command::new("python3")
            .arg(repo_root().join("tests/exporting/tls_server.py"))
            .arg(folder.join(format!("{name}.pem")))
            .arg(folder.join(format!("{name}.key")))
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3, which `xtask/setup.sh test` installs");
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut port = String::new();
        lines.read_line(&mut port).unwrap();
        let port = port.trim().parse().unwrap_or_else(|e| panic!("{port:?}: {e}"));
        Self { child, lines, port }
    }

    /// What was asked next.
    fn asked(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn target(host: &str, port: u16, more: &str) -> String {
    format!(
        "[targets.push]\nexporter = 'prometheus'\ndestination = 'http'\n\
         [targets.push.http]\nurl = 'https://{host}:{port}/metrics?token=geheim'\n{more}\n"
    )
}

/// Why a push is not tried again.
fn refused(toml: &str, folder: &Path) -> (ErrorKind, String) {
    let run = export(&engine(toml, folder), "push");
    let Ending::Failed { error, again, retry } = &run.ending else { panic!("{run:?}") };
    assert_eq!((*again, *retry), (Again::Never, None), "{error}");
    assert!(!error.to_string().contains("geheim"), "{error}");
    (error.kind(), error.to_string())
}

#[test]
fn a_push_over_tls_reaches_who_has_a_certificate_of_a_named_authority() {
    let authorities = Authorities::new();
    authorities.certify("server", "IP:127.0.0.1,DNS:localhost");
    let folder = authorities.path();
    let mut server = Server::start(folder, "server");
    for host in ["localhost", "127.0.0.1"] {
        // Both authorities lie in one file, as they do while one is replaced.
        let both = ["another.pem", "ours.pem"].map(|name| fs::read(folder.join(name)).unwrap());
        fs::write(folder.join("both.pem"), both.concat()).unwrap();
        let one = engine(&target(host, server.port, "ca_file = 'both.pem'"), folder);
        add(&one, 5);
        let run = export(&one, "push");
        assert!(matches!(run.ending, Ending::Delivered), "{host}: {run:?}");
        let asked = server.asked();
        assert_eq!(asked["path"], "/metrics?token=geheim");
        assert_eq!(asked["headers"]["idempotency-key"], run.export_id.as_str());
        assert!(asked["body"].as_str().unwrap().contains("\nrequests_total 5\n"), "{asked}");
    }
}

#[test]
fn a_certificate_that_is_not_trusted_is_an_error_that_names_the_host() {
    let authorities = Authorities::new();
    authorities.certify("server", "DNS:elsewhere.example");
    let folder = authorities.path();
    let server = Server::start(folder, "server");
    let host = format!("`localhost:{}`", server.port);
    let of = |more: &str| refused(&target("localhost", server.port, more), folder);
    for (more, says) in [
        ("", "`http.ca_file` names authorities"),
        ("ca_file = 'another.pem'", "`http.ca_file` does not have its authority"),
        ("ca_file = 'ours.pem'", "not valid for name"),
    ] {
        let (kind, text) = of(more);
        assert_eq!(kind, ErrorKind::Io, "{text}");
        assert!(text.contains(&host) && text.contains(says), "{more}: {text}");
    }
    // Whoever talks no TLS is not taken for somebody who is busy.
    let plain = Plain::start(vec![crate::server::Answer::Garbage]);
    let (_, text) = refused(&target("localhost", plain.port, ""), folder);
    assert!(text.contains(&format!("no TLS connection to `localhost:{}`", plain.port)), "{text}");
    plain.join();
}

#[test]
fn a_ca_file_that_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("empty.pem"), "nothing here\n").unwrap();
    fs::write(
        folder.path().join("bad.pem"),
        "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    for (file, says) in
        [("absent.pem", "No such file"), ("empty.pem", "no certificate"), ("bad.pem", "bad.pem")]
    {
        let toml = target("localhost", 1, &format!("ca_file = '{file}'"));
        let (kind, text) = refused(&toml, folder.path());
        assert_eq!(kind, ErrorKind::Config, "{text}");
        assert!(text.contains("`http.ca_file`") && text.contains(says), "{text}");
    }
}
