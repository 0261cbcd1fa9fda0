//! The listening side. Not axum's own server, because that always answers: here a connection may be reset instead.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;

use crate::control;
use crate::exchange::{Reply, Request};
use crate::serve::{Sent, answer};
use crate::world::World;

/// No vendor takes more in one request.
const BODY_BYTES: usize = 16 << 20;

/// How long a webhook may take before it counts as unanswered, at most; the vendors' own patience is in the webhooks' code.
const HOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves until it is dropped.
///
/// # Errors
/// When no HTTP client for webhooks can be built.
pub async fn serve(listener: TcpListener) -> anyhow::Result<Infallible> {
    // Fails if it was done before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().no_proxy().timeout(HOOK_TIMEOUT).build()?;
    let world = Arc::new(World::new(http));
    let control = control::router(Arc::clone(&world));
    loop {
        // What fails is one connection (its end, or a lack of descriptors), which the next one may not meet.
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        tokio::spawn(connection(stream, peer, Arc::clone(&world), control.clone()));
    }
}

/// Ends a connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is reset as told")]
struct Reset;

async fn connection(stream: TcpStream, peer: SocketAddr, world: Arc<World>, control: Router) {
    // Without a copy of the descriptor resets would be ordinary ends; it is the stream's own until that is dropped.
    let Ok(copy) = stream.as_fd().try_clone_to_owned() else { return };
    let _ = stream.set_nodelay(true);
    let copy = Arc::new(copy);
    let service = service_fn(move |request| {
        let (world, control, copy) = (Arc::clone(&world), control.clone(), Arc::clone(&copy));
        async move { respond(request, peer.ip(), (world, control), &copy).await }
    });
    // Its end, also by a client that went away, is nobody's concern.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn respond(
    request: http::Request<Incoming>,
    peer: IpAddr,
    (world, control): (Arc<World>, Router),
    connection: &OwnedFd,
) -> Result<Response<Body>, Reset> {
    if request.uri().path().starts_with("/_sim/") {
        let Ok(response) = control.oneshot(request.map(Body::new)).await;
        return Ok(response);
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_BYTES).collect().await else {
        return Ok(status(StatusCode::PAYLOAD_TOO_LARGE));
    };
    let request = Request {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: Request::parse_query(parts.uri.query()),
        headers: parts.headers,
        body: body.to_bytes(),
        peer,
    };
    match answer(&world, request).await {
        Sent::Whole(reply) => {
            let bytes = reply.bytes();
            Ok(response(&reply, Some(bytes.len()), Body::from(bytes)))
        }
        Sent::Drip { reply, bytes, pause } => Ok(dripping(&reply, bytes, pause)),
        Sent::Broken { reply, keep } => Ok(broken(&reply, keep)),
        Sent::Reset => {
            // With nothing to linger for, closing sends RST instead of FIN.
            let _ = rustix::net::sockopt::set_socket_linger(connection, Some(Duration::ZERO));
            Err(Reset)
        }
    }
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn response(reply: &Reply, length: Option<usize>, body: Body) -> Response<Body> {
    let mut builder = Response::builder().status(reply.status);
    let has_body = !matches!(reply.content, crate::exchange::Content::Empty);
    if has_body {
        builder = builder.header(header::CONTENT_TYPE, reply.content_type);
    }
    if let Some(length) = length.filter(|_| reply.status != 204) {
        builder = builder.header(header::CONTENT_LENGTH, length);
    }
    for (name, value) in &reply.headers {
        builder = builder.header(*name, value);
    }
    builder.body(body).unwrap_or_else(|_| status(StatusCode::INTERNAL_SERVER_ERROR))
}

fn dripping(reply: &Reply, piece: usize, pause: Duration) -> Response<Body> {
    let bytes = Bytes::from(reply.bytes());
    let length = bytes.len();
    let pieces: Vec<Bytes> = bytes.chunks(piece.max(1)).map(Bytes::copy_from_slice).collect();
    let drops = stream::iter(pieces).then(move |piece| async move {
        tokio::time::sleep(pause).await;
        Ok::<_, io::Error>(piece)
    });
    response(reply, Some(length), Body::from_stream(drops))
}

fn broken(reply: &Reply, keep: usize) -> Response<Body> {
    let mut bytes = reply.bytes();
    let length = bytes.len();
    bytes.truncate(keep);
    let pieces = [Ok(Bytes::from(bytes)), Err(io::Error::other("the body ends here as told"))];
    // The pause lets the first piece out before the connection breaks.
    let pieces = stream::iter(pieces).then(|piece| async move {
        if piece.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        piece
    });
    response(reply, Some(length), Body::from_stream(pieces))
}
