//! A proxy that writes down what passes to a server, and counts what passes.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

/// Bytes that passed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Passed {
    pub(super) up: usize,
    pub(super) down: usize,
}

#[derive(Default)]
struct Book {
    sent: Vec<u8>,
    down: usize,
}

/// Between clients and a server on this host, until the program ends.
pub(super) struct Wire {
    port: u16,
    book: Arc<Mutex<Book>>,
}

impl Wire {
    pub(super) fn start(target: u16) -> Result<Self, String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| e.to_string())?;
        let port = listener.local_addr().map_err(|e| e.to_string())?.port();
        let book = Arc::new(Mutex::new(Book::default()));
        let own = Arc::clone(&book);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)) else {
                    continue;
                };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone())
                else {
                    continue;
                };
                let (up, down) = (Arc::clone(&own), Arc::clone(&own));
                thread::spawn(move || {
                    pass(from_client, server, |bytes| note(&up).sent.extend_from_slice(bytes));
                });
                thread::spawn(move || {
                    pass(from_server, client, |bytes| note(&down).down += bytes.len());
                });
            }
        });
        Ok(Self { port, book })
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// What passed so far is forgotten.
    pub(super) fn forget(&self) {
        *note(&self.book) = Book::default();
    }

    /// What was sent to the server.
    pub(super) fn commands(&self) -> Vec<u8> {
        note(&self.book).sent.clone()
    }

    pub(super) fn passed(&self) -> Passed {
        let book = note(&self.book);
        Passed { up: book.sent.len(), down: book.down }
    }
}

fn note(book: &Mutex<Book>) -> std::sync::MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pass(mut from: TcpStream, mut to: TcpStream, seen: impl Fn(&[u8])) {
    let mut buffer = vec![0; 256 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        // Before it is there: whoever was answered finds its question in the book.
        seen(&buffer[..read]);
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
