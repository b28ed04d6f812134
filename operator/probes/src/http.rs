//! One HTTP/1.1 request over a connection that is already open, bounded in headers and body.
//!
//! No redirect is followed, nothing is decompressed, no proxy, cookie or credential is known here. Time is the
//! caller's to bound.

use axum::body::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{Request, StatusCode, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// What the header of a message may take, in bytes.
pub(crate) const LARGEST_HEADER: usize = 16 * 1024;
const MOST_HEADERS: usize = 64;

/// What one exchange came to.
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    /// Whether the body is encoded in a way that was not asked for.
    pub(crate) encoded: bool,
    pub(crate) body: Bytes,
}

/// An exchange that brought no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("the body is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the exchange broke off")]
    Transport(#[from] hyper::Error),
}

impl HttpError {
    /// The error of the socket below, if that is where it came from.
    pub(crate) fn io(&self) -> Option<&std::io::Error> {
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = next {
            if let Some(io) = error.downcast_ref() {
                return Some(io);
            }
            next = error.source();
        }
        None
    }

    /// Whether the peer ended the connection before its response was complete.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self, Self::Transport(error) if error.is_incomplete_message() || error.is_closed())
    }
}

/// Sends the request and reads the whole response.
pub(crate) async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    largest_body: usize,
) -> Result<Response, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(LARGEST_HEADER)
        .max_headers(MOST_HEADERS)
        .handshake(TokioIo::new(stream))
        .await?;
    let exchange = async move {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, largest_body).collect().await;
        let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => HttpError::Transport(*error),
            Err(other) => {
                debug_assert!(other.is::<LengthLimitError>());
                HttpError::TooLarge { limit: largest_body }
            }
        })?;
        Ok(Response {
            status: head.status,
            encoded: head.headers.contains_key(hyper::header::CONTENT_ENCODING),
            body: body.to_bytes(),
        })
    };
    tokio::pin!(exchange, connection);
    // The connection moves the bytes; when it ends first, what it has read is still to be collected.
    tokio::select! {
        biased;
        response = &mut exchange => response,
        ended = &mut connection => {
            let response = exchange.await;
            match ended {
                Err(error) if response.is_err() => Err(error.into()),
                _ => response,
            }
        }
    }
}
