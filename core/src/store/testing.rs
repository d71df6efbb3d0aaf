//! Real servers for tests: on ephemeral loopback ports, ended by their own ids.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
// Two crates of tests use it, each another part.
#![allow(dead_code)]

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
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
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        Self::start_at(port, options)
    }

    /// Starts one at a port, such as that of one that ended.
    pub(crate) fn start_at(port: u16, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(folder.path())
            .args(options)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server, which `xtask/setup.sh test` installs");
        let server = Self { child, port, _folder: folder };
        wait_until_it_listens(port, "redis-server");
        server
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
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        let mut bytes = format!("*{}\r\n", words.len());
        for word in words {
            bytes.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        socket.write_all(bytes.as_bytes()).unwrap();
        let mut reply = [0_u8; 4096];
        let read = socket.read(&mut reply).unwrap();
        String::from_utf8_lossy(&reply[..read]).into_owned()
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
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        Self::start_at(port, options)
    }

    /// Starts one at a port, such as that of one that ended.
    pub(crate) fn start_at(port: u16, options: &[&str]) -> Self {
        let child = Command::new("memcached")
            .args(["-u", "nobody", "-l", "127.0.0.1", "-p", &port.to_string(), "-U", "0"])
            .args(options)
            .stdout(Stdio::null())
            .spawn()
            .expect("memcached, which `xtask/setup.sh test` installs");
        let server = Self { child, port };
        wait_until_it_listens(port, "memcached");
        server
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
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        socket.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        let mut reply = [0_u8; 4096];
        let read = socket.read(&mut reply).unwrap();
        String::from_utf8_lossy(&reply[..read]).into_owned()
    }
}

impl Drop for MemcachedServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_until_it_listens(port: u16, program: &str) {
    let start = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(start.elapsed() < Duration::from_secs(20), "{program} does not listen");
        thread::yield_now();
    }
}
