//! `tallyport serve` as a process of its own, and a client that sends exactly what it is told.

use std::{
    ffi::OsStr,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::built;

/// Longer than anything takes that goes on.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server; killed when it is dropped.
#[derive(Debug)]
pub struct Served {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    stderr: Receiver<String>,
    said: Vec<String>,
}

/// How a server ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; minus the signal that ended it.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it said from its start on.
    pub stderr: Vec<String>,
}

/// The command, without our environment's configuration.
#[must_use]
pub fn tallyport() -> Command {
    let mut command = Command::new(built("tallyport"));
    command.env_remove("TALLYPORT_CONFIG").env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
    command
}

/// Starts a command and says by line what it says on stderr.
fn listened(command: &mut Command) -> (Child, Receiver<String>) {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let stderr = child.stderr.take().map(BufReader::new);
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in stderr.into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
            // Nobody may listen any more.
            let _ = sender.send(line);
        }
    });
    (child, receiver)
}

impl Served {
    /// Runs `tallyport serve` with these arguments on a port that is free, until it serves.
    pub fn start(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let mut command = tallyport();
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(args);
        Self::run(&mut command)
    }

    /// Runs a command that becomes a server.
    pub fn run(command: &mut Command) -> Self {
        let (child, stderr) = listened(command);
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut served = Self { child, address: unknown, stderr, said: Vec::new() };
        let line = served.says("on http://");
        served.address = address_in(&line);
        served
    }

    /// Waits until it says a line with `text`, and returns the line.
    pub fn says(&mut self, text: &str) -> String {
        loop {
            match self.stderr.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("it does not say {text:?} ({error}): {:#?}", self.said),
            }
        }
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap_or_else(|e| panic!("kill: {e}"));
    }

    /// A line of its `/proc/PID/status`, in kB.
    #[must_use]
    pub fn status_kb(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.unwrap_or_else(|| panic!("no {field} in {text}"))
    }

    /// Descriptors that it has.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        let path = format!("/proc/{}/fd", self.child.id());
        std::fs::read_dir(&path).unwrap_or_else(|e| panic!("{path}: {e}")).count()
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal and waits for the end.
    #[must_use]
    pub fn end(mut self, signal: Signal) -> Ended {
        self.signal(signal);
        self.ended()
    }

    /// Waits for the end.
    fn ended(&mut self) -> Ended {
        let mut stdout = String::new();
        let read = self.child.stdout.take().map(|mut out| out.read_to_string(&mut stdout));
        read.transpose().unwrap_or_else(|e| panic!("stdout: {e}"));
        let status = self.child.wait().unwrap_or_else(|e| panic!("wait: {e}"));
        self.said.extend(self.stderr.iter());
        Ended { code: code(status), stdout, stderr: std::mem::take(&mut self.said) }
    }

    /// Asks for a path; `fields` are lines of the head.
    #[must_use]
    pub fn get(&self, path: &str, fields: &[&str]) -> Reply {
        get(self.address, path, fields)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| -status.signal().unwrap_or(0))
}

/// The address in `… on http://ADDRESS/path`.
#[must_use]
pub fn address_in(line: &str) -> SocketAddr {
    let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next());
    let address = address.and_then(|text| text.parse().ok());
    address.unwrap_or_else(|| panic!("no address in {line}"))
}

/// An answer, as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub code: u16,
    /// The head's lines, after the first.
    pub fields: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The value of a field; "" where there is none. One that stands there twice fails the test.
    #[must_use]
    pub fn field(&self, name: &str) -> &str {
        let mut values = self.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        let value = values.next().map_or("", |(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} stands twice in {:?}", self.fields);
        value
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap_or_else(|e| panic!("the body is no text: {e}"))
    }

    /// Takes one answer off the front of what was sent, strictly: CRLF, no folding, a length that is
    /// the body's. `None`: it has not come whole.
    pub fn take(bytes: &mut Vec<u8>, head_only: bool) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = String::from_utf8(bytes.get(..end - 4)?.to_vec());
        let head = head.unwrap_or_else(|e| panic!("the head is no text: {e}"));
        let mut lines = head.split("\r\n");
        let first = lines.next()?;
        let code = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let code = code.unwrap_or_else(|| panic!("no status line: {first:?}"));
        let mut fields = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?}"));
            let token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            assert!(!name.is_empty() && name.bytes().all(token), "{line:?}");
            assert!(!value.contains(char::is_control), "{line:?}");
            fields.push((name.to_owned(), value.to_owned()));
        }
        let mut reply = Self { code, fields, body: Vec::new() };
        let length = reply.field("Content-Length").parse();
        let length: usize = length.unwrap_or_else(|e| panic!("Content-Length: {e}: {head}"));
        let length = if head_only { 0 } else { length };
        reply.body = bytes.get(end..end + length)?.to_vec();
        bytes.drain(..end + length);
        Some(reply)
    }
}

/// A connection that gives up after a while.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends bytes on a connection of their own, and returns every answer until the server closes it.
#[must_use]
pub fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<Reply> {
    let mut stream = connect(address).unwrap_or_else(|e| panic!("connect: {e}"));
    // The server may have answered and closed before it read all.
    let _ = stream.write_all(bytes);
    let mut got = Vec::new();
    if let Err(error) = stream.read_to_end(&mut got) {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
    }
    let head_only = bytes.starts_with(b"HEAD ");
    let mut replies = Vec::new();
    while let Some(reply) = Reply::take(&mut got, head_only) {
        replies.push(reply);
    }
    assert!(got.is_empty(), "after the answers: {:?}", String::from_utf8_lossy(&got));
    replies
}

/// One request with `Connection: close`, and its answer.
#[must_use]
pub fn get(address: SocketAddr, path: &str, fields: &[&str]) -> Reply {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let head = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{fields}\r\n");
    let mut replies = exchange(address, head.as_bytes());
    assert_eq!(replies.len(), 1, "{replies:?}");
    replies.remove(0)
}
