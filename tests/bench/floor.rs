//! The floor that admission is measured against: the same process and the same server, which reads each
//! review and answers a constant. `bench` starts it as it starts the webhook.

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use bytes::Bytes;
use clap::Parser;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use runtime::Shutdown;
use runtime::program::ProcessArgs;
use runtime::server::Server;
use runtime::tls::{self, Certificate};

/// The shortest answer that the API server takes, so that the floor is as low as it can be.
const ANSWER: &[u8] = br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"705ab4f5-6393-11e8-b7cc-42010a800002","allowed":true}}"#;

/// Answers every review with the same bytes
#[derive(Debug, Parser)]
struct Args {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    tls_cert: PathBuf,
    #[arg(long)]
    tls_key: PathBuf,
    #[command(flatten)]
    process: ProcessArgs,
}

impl AsRef<ProcessArgs> for Args {
    fn as_ref(&self) -> &ProcessArgs {
        &self.process
    }
}

fn main() -> ExitCode {
    runtime::program::run(run)
}

async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let certificate = Certificate::default();
    certificate.replace(&fs::read(args.tls_cert)?, &fs::read(args.tls_key)?)?;
    let server = Server::bind("floor", args.listen, Some(tls::server_config(&certificate)?)).await?;
    server.serve(|_client| service_fn(answer), shutdown).await;
    Ok(())
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    // A body that breaks off costs its connection either way.
    let _read = request.into_body().collect().await;
    let mut response = Response::new(Full::new(Bytes::from_static(ANSWER)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
