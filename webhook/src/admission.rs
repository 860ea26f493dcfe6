//! From an admission review to its answer, without HTTP and without I/O. `service` calls `read`, then
//! `admit`, which cannot fail; what is changed is computed in `routing`.

mod answer;
mod review;

use routing::images::{Object, Pod};
use routing::patch::{Change, Outcome, Unrouted};
use routing::{Table, mutate};

pub use answer::Answer;
pub use review::{Malformed, Request, read};

/// Decides about one request by one snapshot of the routes.
pub fn admit<'r>(request: &'r Request<'_>, table: &Table, unrouted: Unrouted) -> (Answer<'r>, Outcome) {
    match change(request) {
        Some(change) => {
            let mutation = mutate(&change, table, unrouted);
            let outcome = mutation.outcome;
            (Answer::new(&request.uid, mutation), outcome)
        }
        None => (Answer::allowed(&request.uid), Outcome::Unchanged),
    }
}

/// What is done to a pod, if it is anything that admission judges.
fn change<'r, 'a>(request: &'r Request<'a, Object<Pod<'a>>>) -> Option<Change<'r, 'a>> {
    if !request.concerns_pods() {
        return None;
    }
    let pod = request.object.as_deref()?;
    let old = || request.old_object.as_deref();
    match (request.sub_resource(), &*request.operation) {
        ("", "CREATE") => Some(Change::Create(pod)),
        ("", "UPDATE") => Some(Change::Update { pod, old: old()? }),
        ("ephemeralcontainers", "UPDATE") => Some(Change::Debug { pod, old: old()? }),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
