//! The AdmissionReview request (admission.k8s.io/v1) as it comes over the wire: borrowed, and only what is
//! decided on. Kube's types own everything, which costs more than all the rest of an admission.

use routing::images::{Object, Pod, Text};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The body is no review that can be answered.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// Not UTF-8, which JSON must be (RFC 8259, 8.1).
    #[error("the body is not UTF-8")]
    Encoding(#[from] std::str::Utf8Error),
    /// Not JSON, or not of a review's shape.
    #[error("the body is not the JSON of an AdmissionReview")]
    Json(#[from] serde_json::Error),
    /// JSON of something else.
    #[error("the body is no AdmissionReview of admission.k8s.io/v1")]
    Kind,
    /// A review without a request is an answer.
    #[error("the AdmissionReview has no request")]
    NoRequest,
    /// A pod is created or updated, but the pod is not there.
    #[error("the request lacks the pod that it is about")]
    NoPod,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "P: Deserialize<'de>"))]
struct Review<'a, P> {
    #[serde(borrow, rename = "apiVersion")]
    api_version: Text<'a>,
    kind: Text<'a>,
    request: Option<Object<Request<'a, P>>>,
}

/// A request of the API server's, with its objects read as `P`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "P: Deserialize<'de>"))]
pub struct Request<'a, P = Object<Pod<'a>>> {
    #[serde(borrow)]
    pub(super) uid: Text<'a>,
    resource: Object<Resource<'a>>,
    sub_resource: Option<Text<'a>>,
    namespace: Option<Text<'a>>,
    pub(super) operation: Text<'a>,
    pub(super) object: Option<P>,
    pub(super) old_object: Option<P>,
}

#[derive(Debug, Deserialize)]
struct Resource<'a> {
    #[serde(borrow)]
    group: Option<Text<'a>>,
    resource: Text<'a>,
}

/// Reads a review.
///
/// # Errors
/// [`Malformed`]; it is the sender's fault.
pub fn read(body: &[u8]) -> Result<Request<'_>, Malformed> {
    let text = std::str::from_utf8(body)?;
    let request = match parsed::<Object<Pod<'_>>>(text) {
        // What is not a pod need not look like one, and is let through whatever it is.
        Err(Malformed::Json(error)) => match parsed::<IgnoredAny>(text) {
            Ok(other) if !other.is_judged() => other.without_objects(),
            _ => return Err(Malformed::Json(error)),
        },
        other => other?,
    };
    let complete =
        request.object.is_some() && (&*request.operation == "CREATE" || request.old_object.is_some());
    if request.is_judged() && !complete { Err(Malformed::NoPod) } else { Ok(request) }
}

fn parsed<'a, P: Deserialize<'a>>(text: &'a str) -> Result<Request<'a, P>, Malformed> {
    let Object(review): Object<Review<'a, P>> = serde_json::from_str(text)?;
    if &*review.kind != "AdmissionReview" || &*review.api_version != "admission.k8s.io/v1" {
        return Err(Malformed::Kind);
    }
    review.request.map(|Object(request)| request).ok_or(Malformed::NoRequest)
}

impl<'a, P> Request<'a, P> {
    /// The namespace of the object.
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }

    pub(super) fn concerns_pods(&self) -> bool {
        &*self.resource.resource == "pods" && self.resource.group.as_deref().unwrap_or_default().is_empty()
    }

    pub(super) fn sub_resource(&self) -> &str {
        self.sub_resource.as_deref().unwrap_or_default()
    }

    /// Whether admission looks at its objects.
    fn is_judged(&self) -> bool {
        self.concerns_pods()
            && matches!(
                (self.sub_resource(), &*self.operation),
                ("", "CREATE" | "UPDATE") | ("ephemeralcontainers", "UPDATE")
            )
    }

    fn without_objects<Q>(self) -> Request<'a, Q> {
        let Self { uid, resource, sub_resource, namespace, operation, .. } = self;
        Request { uid, resource, sub_resource, namespace, operation, object: None, old_object: None }
    }
}

impl Request<'_> {
    /// The name of the pod, or the prefix that the server will make one from.
    pub fn pod(&self) -> &str {
        self.object.as_deref().map(Pod::name).unwrap_or_default()
    }
}
