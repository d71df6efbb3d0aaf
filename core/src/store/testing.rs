//! Real servers for tests: on loopback ports that are free, ended by their own ids.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
// Two crates of tests use it, each another part.
#![allow(dead_code)]

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

/// A server that ends with this.
#[derive(Debug)]
pub(crate) struct RedisServer {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl RedisServer {
    /// Starts one, with more options.
    ///
    /// A test without its server fails: xtask/setup.sh installs it.
    pub(crate) fn start(options: &[&str]) -> Self {
        somewhere(|port| Self::listen(port, options))
    }

    /// Starts one at a port, such as that of one that ended.
    pub(crate) fn start_at(port: u16, options: &[&str]) -> Self {
        at(port, || Self::listen(port, options))
    }

    /// `None` when it ended, as it does where another has the port.
    fn listen(port: u16, options: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(folder.path())
            .args(options)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server, which `xtask/setup.sh test` installs");
        let own = format!("process_id:{}\r\n", child.id());
        let mut server = Self { child, port, _folder: folder };
        serves(&mut server.child, port, "INFO server\r\n", &own).then_some(server)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Sends one command and returns the first 4 KiB of the raw reply.
    pub(crate) fn command(&self, words: &[&str]) -> String {
        let mut bytes = format!("*{}\r\n", words.len());
        for word in words {
            bytes.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        ask(self.port, &bytes, PATIENCE).unwrap()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It keeps nothing that would have to be saved.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A memcached that ends with this.
#[derive(Debug)]
pub(crate) struct MemcachedServer {
    child: Child,
    port: u16,
}

impl MemcachedServer {
    /// Starts one, with more options.
    ///
    /// A test without its server fails: xtask/setup.sh installs it.
    pub(crate) fn start(options: &[&str]) -> Self {
        somewhere(|port| Self::listen(port, options))
    }

    /// Starts one at a port, such as that of one that ended.
    pub(crate) fn start_at(port: u16, options: &[&str]) -> Self {
        at(port, || Self::listen(port, options))
    }

    /// `None` when it ended, as it does where another has the port.
    fn listen(port: u16, options: &[&str]) -> Option<Self> {
        let child = Command::new("memcached")
            .args(["-u", "nobody", "-l", "127.0.0.1", "-p", &port.to_string(), "-U", "0"])
            .args(options)
            .stdout(Stdio::null())
            .spawn()
            .expect("memcached, which `xtask/setup.sh test` installs");
        let own = format!("STAT pid {}\r\n", child.id());
        let mut server = Self { child, port };
        serves(&mut server.child, port, "stats\r\n", &own).then_some(server)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Sends one line and returns the first 4 KiB of the raw reply.
    pub(crate) fn command(&self, line: &str) -> String {
        ask(self.port, &format!("{line}\r\n"), PATIENCE).unwrap()
    }
}

impl Drop for MemcachedServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// A port that is free: none of those that the system gives to connections, of which tests make many
/// at a time, and 10,000 above it is none either (the bus of a cluster).
pub(crate) fn free_port() -> u16 {
    const FIRST: usize = 10_000;
    const PORTS: usize = 12_000;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    // Processes of tests that run at a time begin far from each other.
    let start = std::process::id() as usize % 120 * 100;
    let free = |port: &u16| {
        [*port, *port + 10_000].iter().all(|p| TcpListener::bind((Ipv4Addr::LOCALHOST, *p)).is_ok())
    };
    (0..PORTS)
        .map(|_| (FIRST + (start + NEXT.fetch_add(1, Relaxed)) % PORTS) as u16)
        .find(free)
        .expect("a port that is free")
}

/// Starts at free ports until one is still free when the server takes it.
fn somewhere<T>(mut listen: impl FnMut(u16) -> Option<T>) -> T {
    (0..10).find_map(|_| listen(free_port())).expect("a server that starts: it ends at every port")
}

/// Starts at a port, again while the one that was there is still being ended.
fn at<T>(port: u16, mut listen: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(server) = listen() {
            return server;
        }
        assert!(start.elapsed() < PATIENCE, "no server starts at {port}");
    }
}

/// Waits until the port answers with what only this server says; false when it ended before.
fn serves(server: &mut Child, port: u16, question: &str, own: &str) -> bool {
    let start = Instant::now();
    loop {
        // One that is not asked for long: somebody else may have the port, and say nothing.
        if ask(port, question, Duration::from_secs(1)).is_ok_and(|reply| reply.contains(own)) {
            return true;
        }
        if server.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(start.elapsed() < PATIENCE, "nothing serves at {port}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Sends bytes and returns the first 4 KiB of the answer.
fn ask(port: u16, question: &str, patience: Duration) -> io::Result<String> {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    socket.set_read_timeout(Some(patience))?;
    socket.write_all(question.as_bytes())?;
    let mut reply = [0_u8; 4096];
    let read = socket.read(&mut reply)?;
    Ok(String::from_utf8_lossy(reply.get(..read).unwrap_or_default()).into_owned())
}
