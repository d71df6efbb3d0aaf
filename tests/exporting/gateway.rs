//! A real Pushgateway receives what was recorded.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{add, engine, export};

struct Gateway {
    child: Child,
    port: u16,
}

impl Gateway {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let child = Command::new("prometheus-pushgateway")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus-pushgateway, which `xtask/setup.sh test` installs");
        let server = Self { child, port };
        let start = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(60), "the gateway does not listen");
            thread::yield_now();
        }
        server
    }

    fn metrics(&self) -> String {
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        socket.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_real_pushgateway_has_what_was_recorded() {
    let gateway = Gateway::start();
    let toml = format!(
        "[targets.gateway]\nexporter = 'prometheus'\ndestination = 'http'\n\
         [targets.gateway.http]\nurl = 'http://127.0.0.1:{}/metrics/job/shop'\nmethod = 'put'\n\
         gzip = true\n",
        gateway.port
    );
    let one = engine(&toml, Path::new(""));
    add(&one, 41);
    let sizes = one.metrics().histogram("sizes", &[1.0, 5.0], &[("kind", "a\"b")]).unwrap();
    [0.5, 3.0, 9.0].into_iter().for_each(|size| sizes.observe(size));
    let run = export(&one, "gateway");
    assert!(run.is_success(), "{run:?}");
    let text = gateway.metrics();
    for line in [
        "requests_total{instance=\"\",job=\"shop\"} 41",
        "sizes_bucket{instance=\"\",job=\"shop\",kind=\"a\\\"b\",le=\"5\"} 2",
        "sizes_count{instance=\"\",job=\"shop\",kind=\"a\\\"b\"} 3",
        "sizes_sum{instance=\"\",job=\"shop\",kind=\"a\\\"b\"} 12.5",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    add(&one, 1);
    assert!(export(&one, "gateway").is_success());
    assert!(gateway.metrics().contains("requests_total{instance=\"\",job=\"shop\"} 42\n"));
}
