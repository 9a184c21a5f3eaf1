//! A connection's socket, which tells when bytes come and gives up on a reader that takes nothing.
//!
//! A client that reads slowly holds its answer in our memory. From the moment the system takes no more of what is
//! written, the client has to take [`SLOWEST_BYTES`] within each write time, until it has taken everything.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::connections::{Connection, Working};

/// What a client takes at least in the time that it has.
const SLOWEST_BYTES: usize = 16 << 10;

pub(super) struct Socket {
    stream: TcpStream,
    connection: Arc<Connection>,
    write_time: Duration,
    /// Runs while something that was written is not taken.
    stall: Option<Stall>,
}

struct Stall {
    end: Pin<Box<Sleep>>,
    taken_bytes: usize,
    /// The last bytes of an answer are written after its body has ended; till they are taken, it is not done.
    _working: Working,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, connection: Arc<Connection>, write_time: Duration) -> Self {
        Socket { stream, connection, write_time, stall: None }
    }

    /// What a write came to, once it is known whether the client still takes enough.
    fn written(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                if let Some(stall) = &mut self.stall {
                    stall.taken_bytes += bytes;
                }
                written
            }
            Poll::Ready(Err(_)) => written,
            Poll::Pending => {
                let stall = self.stall.get_or_insert_with(|| Stall {
                    end: Box::pin(tokio::time::sleep(self.write_time)),
                    taken_bytes: 0,
                    _working: self.connection.request(),
                });
                while stall.end.as_mut().poll(context).is_ready() {
                    if stall.taken_bytes < SLOWEST_BYTES {
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                    stall.taken_bytes = 0;
                    stall.end.as_mut().reset(Instant::now() + self.write_time);
                }
                Poll::Pending
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.connection.bytes_came();
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, buffer);
        self.written(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        self.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called when nothing is left to write.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if flushed.is_ready() {
            self.stall = None;
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
