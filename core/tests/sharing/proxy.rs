//! A TCP proxy that cuts connections after so many bytes, or goes on with garbage.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use proptest::{
    prelude::Rng,
    test_runner::{RngAlgorithm, TestRng},
};

/// What a server is made to answer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Garbage {
    /// Random bytes.
    Noise,
    /// A reply of the protocol that nobody asked for, again and again.
    Reply(&'static [u8]),
}

impl Garbage {
    /// More than any reply that is awaited: who takes it in is not left waiting.
    const BYTES: usize = 70_000;

    fn bytes(self, seed: u64) -> Vec<u8> {
        match self {
            Self::Noise => {
                let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed as u8; 32]);
                let mut bytes = vec![0; Self::BYTES];
                random.fill_bytes(&mut bytes);
                bytes
            }
            Self::Reply(reply) => reply.repeat(Self::BYTES / reply.len()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AfterGarbage {
    TheEnd,
    GoesOn,
}

#[derive(Default)]
struct Way {
    /// Bytes that may still pass.
    room: AtomicU64,
    passed: AtomicU64,
    delay_ms: AtomicU64,
    /// At the end of its room only this way ends; the other one stays.
    half: AtomicBool,
    /// The end of its room ends one connection; the next ones have all the room.
    once: AtomicBool,
    /// What comes when its room is used up.
    garbage: Mutex<Option<(Garbage, AfterGarbage)>>,
}

/// Passes bytes on until a way's room is used up, and then closes both sides.
pub(crate) struct Proxy {
    port: u16,
    target: Arc<AtomicU16>,
    up: Arc<Way>,
    down: Arc<Way>,
}

impl Proxy {
    pub(crate) fn start(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (up, down) = (Arc::new(Way::default()), Arc::new(Way::default()));
        let target = Arc::new(AtomicU16::new(target));
        let aim = Arc::clone(&target);
        let proxy = Self { port, target, up: Arc::clone(&up), down: Arc::clone(&down) };
        proxy.allow(u64::MAX, u64::MAX);
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let target = aim.load(SeqCst);
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)) else {
                    continue;
                };
                // What comes is passed on at once, as without a proxy.
                for socket in [&client, &server] {
                    socket.set_nodelay(true).unwrap();
                }
                for (from, to, way) in [(&client, &server, &up), (&server, &client, &down)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let way = Arc::clone(way);
                    thread::spawn(move || pass(from, to, &way));
                }
            }
        });
        proxy
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}/", self.address())
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where connections lead that are made from now on: those that are there stay.
    pub(crate) fn aim(&self, target: u16) {
        self.target.store(target, SeqCst);
    }

    /// Holds what passes up for so long, each piece.
    pub(crate) fn delay(&self, delay: Duration) {
        for way in [&self.up, &self.down] {
            way.delay_ms.store(delay.as_millis() as u64, SeqCst);
        }
    }

    /// Whether a way that ends leaves the other one open.
    pub(crate) fn half_close(&self, half: bool) {
        for way in [&self.up, &self.down] {
            way.half.store(half, SeqCst);
        }
    }

    /// Lets so many bytes pass from now on, to the server and from it.
    pub(crate) fn allow(&self, up: u64, down: u64) {
        *self.down.garbage.lock().unwrap() = None;
        self.up.room.store(up, SeqCst);
        self.down.room.store(down, SeqCst);
    }

    /// Lets so many bytes of answers pass from now on, and garbage instead of more: once, where the
    /// connection then goes on.
    pub(crate) fn garble(&self, after: u64, garbage: Garbage, then: AfterGarbage) {
        *self.down.garbage.lock().unwrap() = Some((garbage, then));
        self.down.room.store(after, SeqCst);
    }

    /// Cuts the connection that is there when its next bytes come, before they pass. Others are let alone.
    pub(crate) fn cut_once(&self, to_server: bool) {
        let way = if to_server { &self.up } else { &self.down };
        way.once.store(true, SeqCst);
        way.room.store(0, SeqCst);
    }

    pub(crate) fn passed(&self, to_server: bool) -> u64 {
        if to_server { self.up.passed.load(SeqCst) } else { self.down.passed.load(SeqCst) }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, way: &Way) {
    let mut buffer = [0; 4096];
    loop {
        let read = from.read(&mut buffer).unwrap_or(0);
        let take = |room: u64| Some(room.saturating_sub(read as u64)).filter(|_| room != u64::MAX);
        let before = way.room.fetch_update(SeqCst, SeqCst, take).unwrap_or(u64::MAX);
        let passing = read.min(usize::try_from(before).unwrap_or(usize::MAX));
        way.passed.fetch_add(passing as u64, SeqCst);
        let delay_ms = way.delay_ms.load(SeqCst);
        if delay_ms > 0 {
            // The pause is what is tested.
            thread::sleep(Duration::from_millis(delay_ms));
        }
        if passing < read && way.once.swap(false, SeqCst) {
            way.room.store(u64::MAX, SeqCst);
        }
        let mut written = to.write_all(&buffer[..passing]);
        let garbage = *way.garbage.lock().unwrap();
        if let Some((garbage, then)) = garbage.filter(|_| passing < read) {
            written = written.and_then(|()| to.write_all(&garbage.bytes(passing as u64)));
            if then == AfterGarbage::GoesOn && written.is_ok() {
                way.room.store(u64::MAX, SeqCst);
                continue;
            }
        }
        if read == 0 || passing < read || written.is_err() {
            break;
        }
    }
    if way.half.load(SeqCst) {
        let _ = to.shutdown(Shutdown::Write);
        return;
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
