//! A small HTTP/1.1 server: one thread a connection, an answer for each request.
//!
//! It can be stopped, so that its port refuses connections, and started again on the same port.
//! TLS, if any, lies between the accepted socket and [`Wire`], which takes any stream.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::answer::{Answer, Fault};
use crate::header_lines::HeaderLines;
use crate::http1::{Framing, Wire};
use crate::tls::Identity;

/// A running server. Dropping it closes its port and its connections.
pub struct Server {
    address: SocketAddr,
    tls: Option<Identity>,
    handler: Arc<dyn Handler>,
    running: Option<Running>,
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct ReceivedRequest {
    /// When all of it had come.
    pub received_at: Instant,
    /// The protocol on the wire.
    pub protocol: Protocol,
    /// The method.
    pub method: String,
    /// The request target: path and query.
    pub path: String,
    /// HTTP/1.1: the request line and the header block, byte for byte. Empty for HTTP/2.
    pub raw_head: Vec<u8>,
    /// The header lines in order. HTTP/2 also lists `:method`, `:path`, `:scheme` and
    /// `:authority` first.
    pub headers: HeaderLines,
    /// The body without transfer coding.
    pub body: Vec<u8>,
    /// HTTP/2 trailers, or the trailer section of a chunked body.
    pub trailers: HeaderLines,
}

/// The protocol of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS, with prior knowledge.
    Http2,
}

/// Decides the answer to each request. Called on the connection's thread.
pub trait Handler: Send + Sync + 'static {
    /// The answer; delays and faults are carried out by the server.
    fn answer(&self, request: ReceivedRequest) -> Answer;

    /// True once an answer that hangs may be given up, because a newer one replaced it.
    fn gave_up(&self) -> bool {
        false
    }
}

impl<F: Fn(ReceivedRequest) -> Answer + Send + Sync + 'static> Handler for F {
    fn answer(&self, request: ReceivedRequest) -> Answer {
        self(request)
    }
}

impl Server {
    /// Listens on `address` (port 0: a free one).
    ///
    /// # Errors
    ///
    /// The port is in use or not ours to take.
    pub fn bind(address: SocketAddr, handler: impl Handler) -> io::Result<Self> {
        Self::bind_any(address, None, handler)
    }

    /// Listens on `address` and speaks TLS (1.2 and 1.3) there.
    ///
    /// # Errors
    ///
    /// The port is in use or not ours to take.
    pub fn bind_tls(
        address: SocketAddr,
        identity: Identity,
        handler: impl Handler,
    ) -> io::Result<Self> {
        Self::bind_any(address, Some(identity), handler)
    }

    fn bind_any(
        address: SocketAddr,
        tls: Option<Identity>,
        handler: impl Handler,
    ) -> io::Result<Self> {
        let handler: Arc<dyn Handler> = Arc::new(handler);
        let running = Running::start(address, tls.clone(), Arc::clone(&handler))?;
        Ok(Self { address: running.address, tls, handler, running: Some(running) })
    }

    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Panics
    ///
    /// When no port is free.
    pub fn start(handler: impl Handler) -> Self {
        Self::bind(LOOPBACK, handler)
            .unwrap_or_else(|error| panic!("no free port on 127.0.0.1: {error}"))
    }

    /// The bound address. It stays the same over [`stop`](Self::stop).
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the port and all connections. On return, connections are refused.
    pub fn stop(&mut self) {
        self.running = None;
    }

    /// Listens again on the same port. Does nothing while it listens.
    ///
    /// # Panics
    ///
    /// When another process took the port meanwhile.
    pub fn start_again(&mut self) {
        if self.running.is_none() {
            let running = Running::start(self.address, self.tls.clone(), Arc::clone(&self.handler))
                .unwrap_or_else(|error| panic!("port {} was taken: {error}", self.address.port()));
            self.running = Some(running);
        }
    }
}

/// The requests that a server received, for the tests' threads to look at.
#[derive(Clone, Default)]
pub(crate) struct RequestLog(Arc<(Mutex<Vec<ReceivedRequest>>, Condvar)>);

impl RequestLog {
    pub(crate) fn push(&self, request: ReceivedRequest) {
        self.lock().push(request);
        self.0.1.notify_all();
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Vec<ReceivedRequest>> {
        unpoisoned(&self.0.0)
    }

    pub(crate) fn wait_for(&self, count: usize, timeout: Duration) -> bool {
        let (_guard, result) = self
            .0
            .1
            .wait_timeout_while(self.lock(), timeout, |requests| requests.len() < count)
            .unwrap_or_else(PoisonError::into_inner);
        !result.timed_out()
    }
}

pub(crate) fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One life of the port, from `bind` to `stop`.
struct Running {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    tls: Option<Identity>,
    stopping: AtomicBool,
    next: AtomicU64,
    connections: Mutex<HashMap<u64, TcpStream>>,
}

impl Running {
    fn start(
        address: SocketAddr,
        tls: Option<Identity>,
        handler: Arc<dyn Handler>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            tls,
            stopping: AtomicBool::new(false),
            next: AtomicU64::new(0),
            connections: Mutex::new(HashMap::new()),
        });
        let for_acceptor = Arc::clone(&shared);
        let acceptor = std::thread::Builder::new()
            .name(format!("accept-{}", address.port()))
            .spawn(move || accept(&listener, &for_acceptor, &handler))?;
        Ok(Self { address, shared, acceptor: Some(acceptor) })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which sees the flag and drops the listener.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        for connection in unpoisoned(&self.shared.connections).values() {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, handler: &Arc<dyn Handler>) {
    loop {
        let Ok((stream, _)) = listener.accept() else {
            continue;
        };
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let (shared, handler) = (Arc::clone(shared), Arc::clone(handler));
        let id = shared.next.fetch_add(1, Ordering::SeqCst);
        if let Ok(copy) = stream.try_clone() {
            unpoisoned(&shared.connections).insert(id, copy);
        }
        std::thread::spawn(move || {
            // A peer that breaks off is the peer's business: what came whole was recorded.
            let _ = serve(stream, &shared, &*handler);
            unpoisoned(&shared.connections).remove(&id);
        });
    }
}

fn serve(stream: TcpStream, shared: &Shared, handler: &dyn Handler) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let closer = stream.try_clone()?;
    let mut wire = match &shared.tls {
        None => Wire::new(stream),
        Some(identity) => Wire::new(identity.wrap(stream)?),
    };
    let result = serve_requests(&mut wire, shared, handler);
    let _ = closer.shutdown(Shutdown::Both);
    result
}

fn serve_requests(wire: &mut Wire, shared: &Shared, handler: &dyn Handler) -> io::Result<()> {
    while let Some(head) = wire.read_request_head()? {
        if head.headers.lists("expect", "100-continue") {
            wire.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let body = wire.read_body(Framing::of_request(&head.headers)?)?;
        let upgrade = head.headers.get("upgrade").map(<[u8]>::to_vec);
        let close = head.headers.lists("connection", "close");
        let method = head.method.clone();
        let answer = handler.answer(ReceivedRequest {
            received_at: Instant::now(),
            protocol: Protocol::Http1,
            method: head.method,
            path: head.target,
            raw_head: head.raw,
            headers: head.headers,
            body: body.bytes,
            trailers: body.trailers,
        });
        pause(answer.delay, shared);
        let bytes = answer.to_http1(&method);
        match answer.fault {
            None => wire.write_all(&bytes)?,
            Some(Fault::CloseBeforeHead) => return Ok(()),
            Some(Fault::CloseMidBody) => {
                let half = bytes.len() - answer.body.len() / 2;
                return wire.write_all(bytes.get(..half).unwrap_or(&bytes));
            }
            Some(Fault::Hang) => {
                while !handler.gave_up() && !shared.stopping.load(Ordering::SeqCst) {
                    std::thread::sleep(POLL);
                }
                return Ok(());
            }
        }
        if answer.status == 101 && upgrade.is_some() {
            return echo(wire);
        }
        if close {
            break;
        }
    }
    Ok(())
}

/// What an upgraded connection does: every byte comes back.
fn echo(wire: &mut Wire) -> io::Result<()> {
    loop {
        let bytes = wire.read_some()?;
        if bytes.is_empty() {
            return Ok(());
        }
        wire.write_all(&bytes)?;
    }
}

fn pause(delay: Duration, shared: &Shared) {
    let end = Instant::now() + delay;
    while let Some(left) = end.checked_duration_since(Instant::now())
        && !shared.stopping.load(Ordering::SeqCst)
    {
        std::thread::sleep(left.min(POLL));
    }
}

pub(crate) const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

const POLL: Duration = Duration::from_millis(10);
