//! The socket that listens, and its connections, in HTTP/1.1 without TLS.
//!
//! A client that closes its side, or half of it, has left: what was done for it is dropped at once. HTTP/2 is absent:
//! in it a client that opens no window keeps its answer, and its place, for ever, and hardly any client speaks it
//! without TLS.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tower::ServiceExt;

use super::connections::{Connections, Place, Working};
use super::front::Front;
use super::shutdown::{self, Ended, Signals};
use super::socket::Socket;
use crate::limits::Limits;

/// Connections that the system holds until they are accepted.
const BACKLOG: u32 = 1024;
/// What the system holds of an answer that its client does not take. With more, nothing would tell a slow client.
const SEND_BUFFER_BYTES: u32 = 64 << 10;
/// The smallest buffer that hyper takes for a head.
const HEAD_BUFFER_MIN: usize = 8 << 10;
/// How long accepting rests after it failed, as when there are too many open files.
const REST: Duration = Duration::from_millis(100);
/// How long the last bytes may take on their way, after all is done.
pub const LAST_BYTES: Duration = Duration::from_secs(5);

/// Listens on an address; port 0 takes one that is free.
///
/// # Errors
/// What the system says, such as that the address is in use.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    // Connections take it over from the one that listens.
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until a signal or the engine ends it. Each request goes to the router that there is when it comes: while the
/// model is loaded, another one than afterwards.
pub async fn serve(
    listener: TcpListener,
    front: Arc<Front>,
    router: watch::Receiver<Router>,
    signals: &mut Signals,
) -> Ended {
    let connections = Connections::new(&front.limits);
    let (drain, draining) = watch::channel(false);
    let server = Server {
        builder: Arc::new(builder(&front.limits)),
        front: Arc::clone(&front),
        connections: Arc::clone(&connections),
        router,
        draining,
    };
    let accepting = tokio::spawn(server.accept(listener));
    let ended = shutdown::until_end(&front, signals, &drain).await;
    accepting.abort();
    if ended.is_orderly() {
        // Also where nobody asked the engine to end.
        drain.send_replace(true);
        // Where a client does not take them, there is nothing left to wait for.
        let _ = tokio::time::timeout(LAST_BYTES, connections.none_open()).await;
    }
    ended
}

/// How connections are read.
fn builder(limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    // The time for a head is measured by `connections`.
    builder.header_read_timeout(None);
    builder.max_buf_size(limits.header_bytes.max(HEAD_BUFFER_MIN)).max_headers(limits.headers);
    builder
}

/// What every connection needs.
#[derive(Clone)]
struct Server {
    builder: Arc<Builder>,
    front: Arc<Front>,
    connections: Arc<Connections>,
    router: watch::Receiver<Router>,
    draining: watch::Receiver<bool>,
}

impl Server {
    async fn accept(self, listener: TcpListener) {
        for number in 0.. {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let place = self.connections.admit(number).await;
                    tokio::spawn(self.clone().connection(stream, place));
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection was not accepted");
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    async fn connection(mut self, stream: TcpStream, place: Place) {
        // Each token is sent as it comes. A socket that is closed already shows so soon enough.
        let _ = stream.set_nodelay(true);
        let connection = Arc::clone(&place.connection);
        let socket = Socket::new(stream, Arc::clone(&connection), self.front.limits.write_time);
        let (router, draining) = (self.router.clone(), self.draining.clone());
        let service = service_fn(|request: Request<Incoming>| {
            let working = connection.request();
            let is_draining = *draining.borrow();
            let router = router.borrow().clone();
            answer(router, request, working, is_draining)
        });
        let builder = Arc::clone(&self.builder);
        let mut served = pin!(builder.serve_connection(TokioIo::new(socket), service));
        let mut overdue = pin!(place.connection.overdue());
        // One that comes while the server ends is closed by the header of its answer.
        let mut hears_of_end = !*self.draining.borrow_and_update();
        loop {
            tokio::select! {
                // How a connection ends is the client's affair.
                _ = &mut served => return,
                () = &mut overdue => return,
                _ = self.draining.changed(), if hears_of_end => {
                    hears_of_end = false;
                    served.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

async fn answer(
    router: Router,
    request: Request<Incoming>,
    working: Working,
    is_draining: bool,
) -> Result<Response<Answered>, Infallible> {
    let mut response = router.oneshot(request.map(Body::new)).await?;
    if is_draining {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|body| Answered { body, _working: working }))
}

/// A body that holds its connection at work.
struct Answered {
    body: Body,
    _working: Working,
}

impl HttpBody for Answered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
