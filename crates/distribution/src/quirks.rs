//! What single registries, and the gateways in front of them, do their own way, as data: the one place
//! that names them, and what the process learns of each while it runs. Called by `client` and `upload`.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::reference::{DOCKER_HUB, Host};
use http::StatusCode;
use url::Url;

/// The host that speaks the API for the host that references name.
pub(crate) fn api_host(host: &Host) -> &str {
    match host.as_str() {
        DOCKER_HUB => "registry-1.docker.io",
        host => host,
    }
}

/// Names under which Docker's config.json may know the host.
pub(crate) fn login_names(host: &Host) -> &[&'static str] {
    match host.as_str() {
        DOCKER_HUB => &["docker.io", "index.docker.io", "registry-1.docker.io"],
        _ => &[],
    }
}

/// How the bytes of a blob come into an upload, the cheapest way first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// One PUT with the whole body (distribution spec, "POST then PUT").
    #[default]
    Put,
    /// One PATCH with the whole body and an empty PUT, as Docker does.
    Patch,
    /// PATCHes of a few MiB and an empty PUT (distribution spec, "Pushing a blob in chunks").
    Chunks,
    /// The same with as much as gateways take unless they are told otherwise (nginx: 1 MiB).
    SmallChunks,
    /// The same with less.
    SmallestChunks,
}

/// The way to try when a registry does not take a blob in another one, and what says so.
struct Fallback {
    from: Way,
    to: Way,
    signs: &'static [StatusCode],
    /// A connection that breaks under a body is a sign as well, but may be an accident.
    after_break: bool,
}

const FALLBACKS: [Fallback; 4] = [
    // Old Artifactories do not know an upload that no PATCH has touched; nginx limits bodies.
    Fallback {
        from: Way::Put,
        to: Way::Patch,
        signs: &[
            StatusCode::NOT_FOUND,
            StatusCode::METHOD_NOT_ALLOWED,
            StatusCode::PAYLOAD_TOO_LARGE,
            StatusCode::NOT_IMPLEMENTED,
        ],
        after_break: true,
    },
    Fallback {
        from: Way::Patch,
        to: Way::Chunks,
        signs: &[StatusCode::NOT_FOUND, StatusCode::PAYLOAD_TOO_LARGE],
        after_break: true,
    },
    Fallback {
        from: Way::Chunks,
        to: Way::SmallChunks,
        signs: &[StatusCode::PAYLOAD_TOO_LARGE],
        after_break: false,
    },
    Fallback {
        from: Way::SmallChunks,
        to: Way::SmallestChunks,
        signs: &[StatusCode::PAYLOAD_TOO_LARGE],
        after_break: false,
    },
];

impl Way {
    /// Whether the bytes come with the request that ends the upload.
    pub(crate) fn is_one_request(self) -> bool {
        self == Self::Put
    }

    /// How many bytes go with one request at the most; `None` where all do. `least` is the smallest chunk
    /// that the registry takes.
    pub(crate) fn chunk(self, least: u64) -> Option<u64> {
        let usual = match self {
            Self::Put | Self::Patch => return None,
            // Storages behind registries keep nothing smaller by itself.
            Self::Chunks => 5 * 1024 * 1024,
            Self::SmallChunks => 1024 * 1024,
            Self::SmallestChunks => 512 * 1024,
        };
        Some(least.max(usual))
    }

    /// The way after this one, when a connection has broken.
    pub(crate) fn after_break(self) -> Option<Self> {
        self.fallback().filter(|fallback| fallback.after_break).map(|fallback| fallback.to)
    }

    /// The way after this one, when the answer is a sign that this one is not taken. Chunks do not get smaller
    /// than the `least` that the registry takes.
    pub(crate) fn after(self, status: StatusCode, least: u64) -> Option<Self> {
        let fallback = self.fallback().filter(|fallback| fallback.signs.contains(&status))?;
        let is_another = self.chunk(least).is_none() || fallback.to.chunk(least) < self.chunk(least);
        is_another.then_some(fallback.to)
    }

    fn fallback(self) -> Option<&'static Fallback> {
        FALLBACKS.iter().find(|fallback| fallback.from == self)
    }
}

/// How certain it is that a registry does not take a way that was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// It has said so.
    Told,
    /// The connection broke.
    Broke,
}

/// What is known of one registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Habits {
    /// The way that it is known to take.
    pub(crate) way: Way,
    /// The size of a blob under which that way broke and another did not. Once is an accident; an
    /// upload that begins to break after that is none.
    pub(crate) broke_at: Option<u64>,
    /// An upload that went on where the registry said it stood came to nothing.
    pub(crate) resumes_wrongly: bool,
}

/// Origins that are remembered; all go at once, since they are learnt anew with one blob.
const ORIGINS_LIMIT: usize = 1024;

/// What was learnt of registries that do things their own way, for the life of the process.
#[derive(Debug, Default)]
pub(crate) struct Learnt {
    origins: Mutex<HashMap<String, Habits>>,
}

impl Learnt {
    /// What is known of a registry.
    pub(crate) fn habits(&self, origin: &Url) -> Habits {
        self.origins().get(&key(origin)).copied().unwrap_or_default()
    }

    /// A blob of so many bytes has arrived by a way, perhaps after another was left.
    pub(crate) fn arrived(&self, origin: &Url, before: Habits, bytes: u64, way: Way, left: Option<Sign>) {
        match left {
            Some(Sign::Told) => self.change(origin, |habits| habits.way = habits.way.max(way)),
            Some(Sign::Broke) if before.broke_at.is_some() => {
                self.change(origin, |habits| habits.way = habits.way.max(way));
            }
            Some(Sign::Broke) => self.change(origin, |habits| habits.broke_at = Some(bytes)),
            None if way == before.way && before.broke_at.is_some_and(|broke| bytes >= broke) => {
                self.change(origin, |habits| habits.broke_at = None);
            }
            None => {}
        }
    }

    /// What the registry says about where an upload stands is wrong.
    pub(crate) fn resumes_wrongly(&self, origin: &Url) {
        self.change(origin, |habits| habits.resumes_wrongly = true);
    }

    fn change(&self, origin: &Url, change: impl FnOnce(&mut Habits)) {
        let (mut origins, key) = (self.origins(), key(origin));
        if origins.len() >= ORIGINS_LIMIT && !origins.contains_key(&key) {
            origins.clear();
        }
        let habits = origins.entry(key).or_default();
        let before = (habits.way, habits.resumes_wrongly);
        change(habits);
        if (habits.way, habits.resumes_wrongly) != before {
            tracing::info!(
                registry.host = origin.host_str(),
                way = ?habits.way,
                resumes = !habits.resumes_wrongly,
                "learnt how blobs are uploaded there"
            );
        }
    }

    fn origins(&self) -> MutexGuard<'_, HashMap<String, Habits>> {
        self.origins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(origin: &Url) -> String {
    origin.origin().ascii_serialization()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(host: &str) -> Url {
        format!("https://{host}/").parse().expect("a URL")
    }

    #[test]
    fn the_ladder_goes_down_by_its_signs_only_and_ends() {
        let ladder = |status: StatusCode, least: u64| {
            std::iter::successors(Some(Way::Put), |way| way.after(status, least)).last().expect("the first")
        };
        assert_eq!(ladder(StatusCode::FORBIDDEN, 0), Way::Put);
        assert_eq!(ladder(StatusCode::NOT_FOUND, 0), Way::Chunks);
        assert_eq!(ladder(StatusCode::PAYLOAD_TOO_LARGE, 0), Way::SmallestChunks);
        let after_break = std::iter::successors(Some(Way::Put), |way| way.after_break());
        assert_eq!(after_break.last(), Some(Way::Chunks));
    }

    #[test]
    fn chunks_are_never_smaller_than_the_registry_takes() {
        let too_large = StatusCode::PAYLOAD_TOO_LARGE;
        assert_eq!(Way::Chunks.after(too_large, 5 << 20), None);
        assert_eq!(Way::Chunks.after(too_large, 2 << 20), Some(Way::SmallChunks));
        assert_eq!(Way::SmallChunks.chunk(2 << 20), Some(2 << 20));
        assert_eq!(Way::SmallChunks.after(too_large, 2 << 20), None);
    }

    #[test]
    fn what_a_registry_says_is_remembered_for_it_alone() {
        let (learnt, here) = (Learnt::default(), origin("h.example"));
        learnt.arrived(&here, Habits::default(), 9, Way::Chunks, Some(Sign::Told));
        // One that was under way meanwhile found another way.
        learnt.arrived(&here, Habits::default(), 9, Way::Patch, Some(Sign::Told));
        assert_eq!(learnt.habits(&here).way, Way::Chunks);
        assert_eq!(learnt.habits(&origin("h.example:8443")), Habits::default());
    }

    #[test]
    fn a_break_is_an_accident_unless_it_happens_again_after_the_first_was_got_over() {
        let (learnt, here) = (Learnt::default(), origin("h.example"));
        let breaks = |before| learnt.arrived(&here, before, 100, Way::Patch, Some(Sign::Broke));
        let before = learnt.habits(&here);
        // Two at once, as when a line goes down for a moment.
        breaks(before);
        breaks(before);
        assert_eq!(learnt.habits(&here), Habits { broke_at: Some(100), ..Habits::default() });
        // A small blob proves nothing, a large one does.
        learnt.arrived(&here, learnt.habits(&here), 99, Way::Put, None);
        assert_eq!(learnt.habits(&here).broke_at, Some(100));
        learnt.arrived(&here, learnt.habits(&here), 100, Way::Put, None);
        assert_eq!(learnt.habits(&here), Habits::default());
        breaks(learnt.habits(&here));
        breaks(learnt.habits(&here));
        assert_eq!(learnt.habits(&here).way, Way::Patch);
    }
}
