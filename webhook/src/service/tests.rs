//! What the HTTP shell answers, without a socket.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::Frame;
use prometheus::Registry;
use routing::Table;

use super::*;

const REVIEW: &str = r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u","resource":{"resource":"pods"},"operation":"CREATE","object":{"metadata":{},"spec":{}}}}"#;

struct Setting {
    service: Service,
    routes: Arc<Routes>,
    registry: Registry,
}

fn setting() -> Setting {
    let registry = Registry::new();
    let routes = Arc::new(Routes::default());
    let metrics = AdmissionMetrics::register(&registry).unwrap();
    let service = Service::new(routes.clone(), Unrouted::Allow, metrics);
    Setting { service, routes, registry }
}

fn ready() -> Setting {
    let setting = setting();
    setting.routes.publish(Table::new([1; 16], &[]));
    setting
}

impl Setting {
    async fn post(&self, body: impl Into<Bytes>) -> (u16, String) {
        self.send(Request::post("/mutate").body(Full::new(body.into())).unwrap()).await
    }

    async fn send<B>(&self, request: Request<B>) -> (u16, String)
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Error>,
    {
        let response = self.service.answer(request).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn counted(&self, outcome: &str) -> f64 {
        let families = self.registry.gather();
        let requests = families.iter().find(|family| family.name() == "drayage_admission_requests_total");
        let metrics = requests.unwrap().get_metric().iter();
        metrics
            .filter(|metric| metric.get_label()[0].value() == outcome)
            .map(|m| m.get_counter().get_value())
            .sum()
    }
}

/// A body of unknown length that yields some megabytes and then ends, or is silent for ever.
struct Stream {
    left: usize,
    ends: bool,
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return if self.ends { Poll::Ready(None) } else { Poll::Pending };
        }
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b' '; 1 << 20])))))
    }
}

#[tokio::test]
async fn before_the_first_load_the_answer_is_503() {
    let setting = setting();
    assert_eq!(setting.post(REVIEW).await.0, 503);
    setting.routes.publish(Table::new([1; 16], &[]));
    assert_eq!(setting.post(REVIEW).await.0, 200);
    assert_eq!(setting.counted("unchanged"), 1.0);
}

#[tokio::test]
async fn only_post_to_mutate_is_served() {
    let setting = ready();
    let request =
        |method, path| Request::builder().method(method).uri(path).body(Full::<Bytes>::default()).unwrap();
    assert_eq!(setting.send(request("POST", "/")).await.0, 404);
    assert_eq!(setting.send(request("GET", "/metrics")).await.0, 404);
    assert_eq!(setting.send(request("GET", "/mutate")).await.0, 405);
    assert_eq!(setting.send(request("POST", "/mutate?timeout=3s")).await.0, 400);
}

#[tokio::test]
async fn the_content_type_is_json_or_unsaid() {
    let setting = ready();
    for (kind, status) in [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("application/x-www-form-urlencoded", 200),
        ("application/vnd.kubernetes.protobuf", 415),
        ("text/html", 415),
    ] {
        let request = Request::post("/mutate").header(CONTENT_TYPE, kind).body(Full::from(REVIEW)).unwrap();
        assert_eq!(setting.send(request).await.0, status, "{kind}");
    }
}

#[tokio::test]
async fn a_malformed_review_is_told_the_reason_and_does_not_stop_the_next() {
    let setting = ready();
    let (status, reason) = setting.post(r#"{"kind": 7}"#).await;
    assert_eq!(status, 400);
    assert!(reason.contains("expected a string at line 1"), "{reason}");
    assert_eq!(setting.post(vec![0xff; 100]).await.0, 400);
    assert_eq!(setting.counted("malformed"), 2.0);
    assert_eq!(setting.post(REVIEW).await.0, 200);
}

#[tokio::test]
async fn an_oversized_body_is_refused_however_it_comes_and_does_not_stop_the_next() {
    let setting = ready();
    assert_eq!(setting.post(vec![b' '; BODY_LIMIT + 1]).await.0, 413);
    let streamed = Request::post("/mutate").body(Stream { left: 20, ends: true }).unwrap();
    assert_eq!(setting.send(streamed).await.0, 413);
    assert_eq!(setting.post(vec![b' '; BODY_LIMIT]).await.0, 400);
    assert_eq!(setting.post(REVIEW).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up_and_its_memory_is_free_again() {
    let setting = ready();
    for (left, status) in [(1, 408), (20, 413)] {
        let silent = Request::post("/mutate").body(Stream { left, ends: false }).unwrap();
        assert_eq!(setting.send(silent).await.0, status);
    }
    assert_eq!(setting.service.0.bodies.available_permits(), BODIES_KIB);
}
