//! HTTP/2 with prior knowledge, over the `h2` crate, behind blocking calls.
//!
//! Trailers and separate `cookie` fields stay as they are on the wire. The `http` crate refuses
//! control bytes in values; tests that need those speak HTTP/1.1.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

use crate::answer::{Answer, Fault};
use crate::header_lines::HeaderLines;
use crate::server::{Handler, Protocol, ReceivedRequest};

/// The HTTP/2 twin of [`Server`](crate::server::Server), without stop and start.
pub(crate) struct Http2Server {
    address: SocketAddr,
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

/// Why an exchange over HTTP/2 failed.
#[derive(Debug)]
pub(crate) enum Http2Error {
    /// The request cannot be written as HTTP/2 by the `http` crate.
    Unwritable(http::Error),
    /// A reset stream, a closed connection, a protocol error.
    Protocol(h2::Error),
    /// The socket failed.
    Io(io::Error),
    /// No complete response in time.
    TimedOut,
}

/// What a response over HTTP/2 consists of.
pub(crate) struct Http2Response {
    pub(crate) status: u16,
    pub(crate) headers: HeaderLines,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: HeaderLines,
}

impl Http2Server {
    pub(crate) fn bind(address: SocketAddr, handler: impl Handler) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = runtime()?;
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let handler: Arc<dyn Handler> = Arc::new(handler);
        let thread = std::thread::Builder::new().name(format!("h2-{}", address.port())).spawn(
            move || {
                runtime.block_on(async {
                    let Ok(listener) = TcpListener::from_std(listener) else {
                        return;
                    };
                    tokio::spawn(accept(listener, handler));
                    stopped.notified().await;
                });
            },
        )?;
        Ok(Self { address, stop, thread: Some(thread) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Http2Server {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Sends one request on a connection of its own.
pub(crate) fn exchange(
    address: SocketAddr,
    request: http::Request<()>,
    body: Vec<u8>,
    trailers: Option<http::HeaderMap>,
    timeout: Duration,
) -> Result<Http2Response, Http2Error> {
    let exchange = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = h2::client::handshake(stream).await?;
        tokio::spawn(connection);
        let mut sender = sender.ready().await?;
        let is_extended = request.extensions().get::<h2::ext::Protocol>().is_some();
        while is_extended && !sender.is_extended_connect_protocol_enabled() {
            // The server's settings say so; nothing tells when they come.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let end_of_stream = body.is_empty() && trailers.is_none() && !is_extended;
        let (response, mut stream) = sender.send_request(request, end_of_stream)?;
        if !body.is_empty() || trailers.is_some() {
            // An early answer may close the stream; the answer then tells more than the error.
            let mut sent = Ok(());
            if !body.is_empty() {
                sent = stream.send_data(Bytes::from(body), trailers.is_none());
            }
            if let (Ok(()), Some(trailers)) = (sent, trailers) {
                let _ = stream.send_trailers(trailers);
            }
        }
        let (head, mut stream) = response.await?.into_parts();
        let is_tunnel = is_extended && head.status == http::StatusCode::OK;
        // A tunnel has no end of its own; it is given up here.
        let (body, trailers) =
            if is_tunnel { Default::default() } else { read(&mut stream).await? };
        let headers = HeaderLines::from_map(&head.headers);
        Ok(Http2Response { status: head.status.as_u16(), headers, body, trailers })
    };
    let runtime = runtime()?;
    runtime.block_on(async {
        tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(Http2Error::TimedOut))
    })
}

impl fmt::Display for Http2Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unwritable(error) => write!(f, "not writable as HTTP/2: {error}"),
            Self::Protocol(error) => write!(f, "HTTP/2: {error}"),
            Self::Io(error) => write!(f, "socket: {error}"),
            Self::TimedOut => write!(f, "no complete response in time"),
        }
    }
}

impl From<h2::Error> for Http2Error {
    fn from(error: h2::Error) -> Self {
        Self::Protocol(error)
    }
}

impl From<io::Error> for Http2Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<http::Error> for Http2Error {
    fn from(error: http::Error) -> Self {
        Self::Unwritable(error)
    }
}

async fn accept(listener: TcpListener, handler: Arc<dyn Handler>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        tokio::spawn(serve(stream, Arc::clone(&handler)));
    }
}

async fn serve(stream: TcpStream, handler: Arc<dyn Handler>) {
    let Ok(mut connection) = h2::server::Builder::new()
        .max_header_list_size(MAX_HEADER_LIST_BYTES)
        .handshake::<_, Bytes>(stream)
        .await
    else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(answer(request, respond, Arc::clone(&handler)));
    }
}

/// A peer that resets the stream is the peer's business: what came whole was recorded.
async fn answer(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    handler: Arc<dyn Handler>,
) -> Result<(), Http2Error> {
    let (head, mut stream) = request.into_parts();
    let (body, trailers) = read(&mut stream).await?;
    let path = head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let mut headers = HeaderLines::default();
    headers.push(":method", head.method.as_str());
    headers.push(":path", &path);
    headers.push(":scheme", head.uri.scheme_str().unwrap_or_default());
    headers.push(":authority", head.uri.authority().map_or("", |authority| authority.as_str()));
    for line in &HeaderLines::from_map(&head.headers) {
        headers.push(&line.name, &line.value);
    }
    let answer = handler.answer(ReceivedRequest {
        received_at: std::time::Instant::now(),
        protocol: Protocol::Http2,
        method: head.method.as_str().to_owned(),
        path,
        raw_head: Vec::new(),
        headers,
        body,
        trailers,
    });
    tokio::time::sleep(answer.delay).await;
    match answer.fault {
        None => send(answer, &mut respond, head.method == http::Method::HEAD)?,
        Some(Fault::CloseBeforeHead) => respond.send_reset(h2::Reason::INTERNAL_ERROR),
        Some(Fault::CloseMidBody) => {
            let half = answer.body.len() / 2;
            let mut stream = respond.send_response(response_head(&answer)?, false)?;
            stream.send_data(Bytes::copy_from_slice(&answer.body[..half]), false)?;
            stream.send_reset(h2::Reason::INTERNAL_ERROR);
        }
        Some(Fault::Hang) => {
            while !handler.gave_up() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    Ok(())
}

fn send(
    answer: Answer,
    respond: &mut h2::server::SendResponse<Bytes>,
    head_only: bool,
) -> Result<(), Http2Error> {
    let empty = head_only || answer.body.is_empty();
    let mut stream = respond.send_response(response_head(&answer)?, empty)?;
    if !empty {
        stream.send_data(Bytes::from(answer.body), true)?;
    }
    Ok(())
}

fn response_head(answer: &Answer) -> Result<http::Response<()>, Http2Error> {
    let mut response =
        http::Response::builder().status(answer.status).body(()).map_err(Http2Error::Unwritable)?;
    *response.headers_mut() = answer.headers.to_map()?;
    Ok(response)
}

async fn read(stream: &mut h2::RecvStream) -> Result<(Vec<u8>, HeaderLines), h2::Error> {
    let mut body = Vec::new();
    while let Some(piece) = stream.data().await {
        let piece = piece?;
        stream.flow_control().release_capacity(piece.len())?;
        body.extend_from_slice(&piece);
    }
    let trailers = stream.trailers().await?;
    Ok((body, trailers.as_ref().map(HeaderLines::from_map).unwrap_or_default()))
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_io().enable_time().build()
}

/// Tests send 60 KiB of headers; `h2` allows 16 KiB unless told.
const MAX_HEADER_LIST_BYTES: u32 = 1024 * 1024;
