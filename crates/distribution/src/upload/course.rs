//! What comes after a failed upload: the next way, the same upload from where it stands, a new one, or
//! the end. Bounded, and decided only where it is cheap: a whole try is the queue's affair.

use std::time::Duration;

use http::StatusCode;

use super::Upload;
use crate::blob::Presence;
use crate::client::{Purpose, Registry};
use crate::error::{Cause, Error};
use crate::manifest::Blob;
use crate::quirks::{Habits, Sign, Way};
use crate::transport::{Home, LEAST};

/// How often in a row an upload is taken up without progress.
const FRUITLESS_LIMIT: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// How the upload of one blob has gone so far.
pub(super) struct Course {
    /// What was known of the registry when it began.
    before: Habits,
    way: Way,
    /// Why a way was left for another.
    left: Option<Sign>,
    /// The first refusal of a way.
    refused: Option<Error>,
    fruitless: u32,
    /// The most bytes that the registry was seen to have, of any upload.
    reached: u64,
    /// The upload was gone on with where the registry said it stood.
    resumed: bool,
    /// That came to nothing.
    mangled: bool,
}

/// What to do next.
pub(super) enum Next {
    /// To go on with this upload, from its offset.
    Upload(Upload),
    /// To begin a new one.
    Anew,
    /// Nothing: the blob has arrived, and only the answer was lost.
    Arrived,
}

/// What a failure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The registry does not take this way and may take the other.
    Refused(Way),
    /// The connection was lost, or a gateway has lost the registry.
    Lost,
    /// Nothing moved.
    Stalled,
    /// The bytes do not go on where the registry's end.
    Gap,
    /// The token has run out, or a login is refused that was taken before.
    Unproven,
    /// An upload that was gone on with is lost, or has other bytes than were sent.
    Mangled,
    /// Another try is not up to us.
    Final,
}

impl Course {
    pub(super) fn new(before: Habits) -> Self {
        Self {
            way: before.way,
            before,
            left: None,
            refused: None,
            fruitless: 0,
            reached: 0,
            resumed: false,
            mangled: false,
        }
    }

    /// The way to go.
    pub(super) fn way(&self) -> Way {
        self.way
    }

    /// Remembers what was learnt of the registry.
    pub(super) fn arrived(&self, home: &Home, bytes: u64) {
        home.learnt().arrived(home.url(), self.before, bytes, self.way, self.left);
        // Had the source's bytes been wrong, the whole upload would not have arrived either.
        if self.mangled {
            home.learnt().resumes_wrongly(home.url());
        }
    }

    fn fault(&self, upload: &Upload, error: &Error) -> Fault {
        match &error.cause {
            Cause::Broken(_) => Fault::Lost,
            Cause::Stalled(_) | Cause::Slow { .. } => Fault::Stalled,
            Cause::TokenExpired | Cause::LoginDoubted(_) => Fault::Unproven,
            _ if self.resumed && (error.refuses_bytes() || error.is_absence()) => Fault::Mangled,
            Cause::Status(answer) => match answer.status {
                StatusCode::RANGE_NOT_SATISFIABLE => Fault::Gap,
                StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => Fault::Lost,
                status => self.way.after(status, upload.chunk_min).map_or(Fault::Final, Fault::Refused),
            },
            _ => Fault::Final,
        }
    }

    /// Leaves a way for another.
    fn leave(&mut self, way: Way, sign: Sign) {
        self.way = way;
        // What was said outweighs what may have been an accident.
        if self.left != Some(Sign::Told) {
            self.left = Some(sign);
        }
    }

    /// The error to tell: every way may have been refused, and the first refusal is about the usual one.
    fn told(&mut self, error: Error) -> Error {
        let refusal = error.answer().is_some_and(|answer| Way::Put.after(answer.status, 0).is_some());
        self.refused.take_if(|_| refusal).unwrap_or(error)
    }

    /// Counts a failure. Whether it is one too many.
    fn is_fruitless(&mut self, fault: Fault) -> bool {
        self.fruitless += match fault {
            // Has cost a minute, or cannot be mended twice.
            Fault::Stalled | Fault::Gap | Fault::Unproven => 2,
            Fault::Lost => 1,
            // There are only so many ways, and one upload in which nothing is taken up again.
            Fault::Refused(_) | Fault::Mangled | Fault::Final => 0,
        };
        self.fruitless > FRUITLESS_LIMIT
    }

    fn may_resume(&self) -> bool {
        !self.mangled && !self.before.resumes_wrongly
    }

    fn pause(&self) -> Duration {
        FIRST_PAUSE * 2u32.pow(self.fruitless.saturating_sub(1))
    }
}

impl Registry {
    /// Decides what comes after a failure. `left` is how many bytes were not sent.
    pub(super) async fn recover(
        &self,
        purpose: &Purpose<'_>,
        course: &mut Course,
        mut upload: Upload,
        blob: &Blob,
        left: u64,
        error: Error,
    ) -> Result<Next, Error> {
        let fault = course.fault(&upload, &error);
        course.resumed = false;
        if course.is_fruitless(fault) {
            return Err(course.told(error));
        }
        tracing::debug!(blob = %blob.digest, way = ?course.way, ?fault, cause = %error.cause, "upload failed");
        if left == 0 && self.has_arrived(purpose, fault, &error, blob).await {
            return Ok(Next::Arrived);
        }
        match fault {
            Fault::Final => return Err(course.told(error)),
            Fault::Refused(way) => {
                course.leave(way, Sign::Told);
                course.refused.get_or_insert(error);
                return Ok(Next::Anew);
            }
            // Nothing was taken of a request that proved nothing.
            Fault::Unproven if course.way.is_one_request() => return Ok(Next::Anew),
            Fault::Mangled => {
                course.mangled = true;
                return Ok(Next::Anew);
            }
            Fault::Lost | Fault::Stalled | Fault::Gap | Fault::Unproven => {}
        }
        tokio::time::sleep(course.pause()).await;
        if course.may_resume()
            && let Some(offset) = self.offset(purpose, &mut upload, blob).await?
        {
            if offset >= course.reached + LEAST {
                (course.fruitless, course.reached) = (0, offset);
            }
            course.resumed = true;
            match (course.way, fault) {
                // Only a PATCH can go on.
                (Way::Put, _) => course.way = Way::Patch,
                // Broken twice, smaller requests are worth their number.
                (Way::Patch, Fault::Lost) => course.leave(Way::Chunks, Sign::Broke),
                _ => {}
            }
            return Ok(Next::Upload(Upload { offset, ..upload }));
        }
        match fault {
            // To send all of it again at that pace is no cheap decision.
            Fault::Stalled => Err(error),
            Fault::Lost if error.answer().is_some() => Err(error),
            Fault::Lost if left < blob.size => {
                if let Some(way) = course.way.after_break() {
                    course.leave(way, Sign::Broke);
                }
                Ok(Next::Anew)
            }
            _ => Ok(Next::Anew),
        }
    }

    /// Whether a blob whose every byte was sent is there, although no good answer has come.
    async fn has_arrived(&self, purpose: &Purpose<'_>, fault: Fault, error: &Error, blob: &Blob) -> bool {
        let unanswered = matches!(fault, Fault::Lost | Fault::Stalled) || error.is_absence();
        match purpose.repository.filter(|_| unanswered) {
            Some(repository) => {
                self.find_blob(repository, blob).await.is_ok_and(|found| found == Presence::Whole)
            }
            None => false,
        }
    }
}
