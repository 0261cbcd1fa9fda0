//! The listener: connections, their limits, and the drain.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use millrace_shared::signals::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a connection may take to send a request's head, and how long it may idle between two. Above the 60 seconds after which
/// common load balancers close an idle connection, so that they never write to one that we have just closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// What is left after the drain's deadline for handlers that are cut off to clean up.
const CUT_OFF: Duration = Duration::from_millis(500);

/// Serves until the drain is asked for and done, or its deadline has passed, or an end at once is asked for.
pub async fn serve(listener: TcpListener, router: Router, shutdown: &Shutdown, drain_timeout: Duration) {
    let connections = Connections {
        builder: builder(),
        router,
        graceful: GracefulShutdown::new(),
        cut: CancellationToken::new(),
        tracker: TaskTracker::new(),
    };
    loop {
        tokio::select! {
            biased;
            () = shutdown.drain.cancelled() => break,
            accepted = listener.accept() => connections.take(accepted).await,
        }
    }
    // New connections are refused from here on, instead of waiting for an answer that nobody will give.
    drop(listener);
    connections.drain(shutdown, drain_timeout).await;
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20))
        .max_concurrent_streams(200);
    builder
}

struct Connections {
    builder: Builder<TokioExecutor>,
    router: Router,
    graceful: GracefulShutdown,
    cut: CancellationToken,
    tracker: TaskTracker,
}

impl Connections {
    async fn take(&self, accepted: io::Result<(TcpStream, SocketAddr)>) {
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Mostly a lack of file descriptors, which trying again at once would not mend.
                tracing::warn!(error = &error as &dyn std::error::Error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                return;
            }
        };
        // Without it small answers wait for the client's delayed acknowledgement. A failure costs speed alone.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(self.router.clone());
        let connection = self.builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = self.graceful.watch(connection);
        let cut = self.cut.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                ended = connection => {
                    if let Err(error) = ended {
                        tracing::debug!(error = &*error, "a connection ended badly");
                    }
                }
                () = cut.cancelled() => {}
            }
        });
    }

    async fn drain(self, shutdown: &Shutdown, timeout: Duration) {
        let Self { graceful, cut, tracker, .. } = self;
        tracker.close();
        let finished = tokio::select! {
            () = graceful.shutdown() => true,
            () = tokio::time::sleep(timeout) => false,
            () = shutdown.now.cancelled() => false,
        };
        if finished {
            tracing::info!("drained: every request was answered");
            return;
        }
        tracing::warn!(connections = tracker.len(), "requests were cut off");
        cut.cancel();
        let _ = tokio::time::timeout(CUT_OFF, tracker.wait()).await;
    }
}
