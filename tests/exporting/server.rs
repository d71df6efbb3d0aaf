//! An HTTP server whose answers a test writes down beforehand.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::mpsc::{Receiver, channel},
    thread::{self, JoinHandle},
};

use rustix::net::sockopt::set_socket_linger;

/// What a request gets.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    /// This text, after the whole request.
    Text(&'static str),
    /// Nothing, until the client goes away.
    Silence,
    /// A reset in the middle of the request.
    Reset,
    /// What is no answer, before the request: to a client that begins with TLS.
    Garbage,
}

/// What was asked.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// Serves one connection for each answer, then ends.
pub(crate) struct Server {
    pub(crate) port: u16,
    asked: Receiver<Asked>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (send, asked) = channel();
        let thread = thread::spawn(move || {
            for answer in answers {
                let (stream, _) = listener.accept().unwrap();
                if let Some(request) = serve(stream, answer) {
                    let _ = send.send(request);
                }
            }
        });
        Self { port, asked, thread: Some(thread) }
    }

    /// The next request that was read to its end.
    pub(crate) fn asked(&self) -> Asked {
        self.asked.recv().unwrap()
    }

    /// Waits until every answer was given.
    pub(crate) fn join(mut self) {
        self.thread.take().unwrap().join().unwrap();
    }
}

fn serve(stream: TcpStream, answer: Answer) -> Option<Asked> {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    if let Answer::Garbage = answer {
        (&stream).write_all(b"220 mail.example ESMTP\r\n").unwrap();
        let _ = reader.read(&mut [0; 1024]);
        return None;
    }
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    if let Answer::Reset = answer {
        // With this, closing sends a reset in the place of an end.
        set_socket_linger(&stream, Some(std::time::Duration::ZERO)).unwrap();
        return None;
    }
    let (mut headers, mut length) = (Vec::new(), 0);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().unwrap();
        }
        headers.push((name.to_owned(), value.to_owned()));
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    match answer {
        Answer::Text(text) => {
            (&stream).write_all(text.as_bytes()).unwrap();
        }
        Answer::Silence | Answer::Reset | Answer::Garbage => {
            // Until it goes away.
            let _ = reader.read(&mut [0; 1]);
        }
    }
    Some(Asked { line: line.trim_end().to_owned(), headers, body })
}
