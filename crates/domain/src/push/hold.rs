//! A registry on hold: while nothing that is sent there fares any better, its pushes wait together, and one
//! of them at a time, the probe, finds out when it is back.

use std::time::Duration;

use jiff::Timestamp;

use super::{DOWN_LIMIT, Failure, Reason, Tries, doubled, jittered, later};

/// A registry that is down is looked for often, since one refused connection costs nothing.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// Why and until when a registry is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Since when.
    pub since: Timestamp,
    /// Looks that failed.
    pub failures: u32,
    /// No probe before this moment.
    pub until: Timestamp,
    /// What the last look ended with.
    pub reason: Reason,
    /// The same in words.
    pub message: String,
}

/// How the push that failed came to see the registry.
#[derive(Clone, Copy, Debug, Default)]
pub struct Looked {
    /// It was the probe.
    pub is_probe: bool,
    /// It brought a login of its own, other than the one that is stored with the registry.
    pub with_own_login: bool,
}

impl Hold {
    /// What a failure at `now` makes of a registry's hold; `None` when the failure is one push's own
    /// affair. Pushes that were under way when the hold began fail after it without prolonging it, unless
    /// the registry asks for more time.
    pub fn after(
        before: Option<Self>,
        looked: Looked,
        failure: &Failure,
        now: Timestamp,
        jitter: f64,
    ) -> Option<Self> {
        let Looked { is_probe, with_own_login } = looked;
        // Limits are those of a login: somebody else's may be far from its own.
        if !failure.registry_wide || (with_own_login && failure.reason == Reason::RateLimited) {
            return None;
        }
        let asked = failure.retry_after.map(|_| later(now, failure.asked_wait()));
        let (since, failures) = match before {
            Some(hold) if !is_probe => {
                return Some(Self { until: hold.until.max(asked.unwrap_or(hold.until)), ..hold });
            }
            Some(hold) => (hold.since, hold.failures.saturating_add(1)),
            None => (now, 1),
        };
        let until = later(now, jittered(doubled(failures), LONGEST_WAIT, jitter));
        let until = until.max(asked.unwrap_or(until));
        let (reason, message) = (failure.reason, failure.message.clone());
        Some(Self { since, failures, until, reason, message })
    }

    /// Pushes that have been due since this moment or earlier have waited for too long by `now`; `None`
    /// while the registry has not been on hold for that long.
    pub fn given_up_at(&self, now: Timestamp) -> Option<Timestamp> {
        (now >= later(self.since, DOWN_LIMIT)).then(|| now.saturating_sub(DOWN_LIMIT).unwrap_or(now))
    }

    /// The tries of a push that was asked for at that moment and, tried or not, has waited since.
    pub fn waiting(&self, tries: Tries, requested_at: Timestamp) -> Tries {
        Tries { down_since: tries.down_since.or(Some(self.since.max(requested_at))), ..tries }
    }

    /// What an administrator reads about every push that waits for the registry.
    pub fn told(&self, is_probed: bool) -> String {
        let Self { since, failures, until, .. } = self;
        let message = self.message.trim_end_matches('.');
        let next = match is_probed {
            true => "it is being looked for now".to_owned(),
            false => format!("next look at {until:.0}"),
        };
        format!(
            "{message}; waiting for the registry to come back, looked for {failures} times since {since:.0}, {next}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBE: Looked = Looked { is_probe: true, with_own_login: false };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).expect("in range")
    }

    fn wide(retry_after: Option<u64>) -> Failure {
        Failure {
            registry_wide: true,
            retry_after: retry_after.map(Duration::from_secs),
            ..Failure::new(Reason::DestinationUnreachable, "refused.")
        }
    }

    #[test]
    fn a_failure_of_one_push_holds_nobody_up() {
        assert_eq!(
            Hold::after(None, Looked::default(), &Failure::new(Reason::Denied, "403"), at(0), 1.0),
            None
        );
    }

    #[test]
    fn the_limit_of_one_login_is_not_that_of_the_registry() {
        let own = Looked { with_own_login: true, ..Looked::default() };
        let limited = Failure { reason: Reason::RateLimited, ..wide(Some(40)) };
        assert_eq!(Hold::after(None, own, &limited, at(0), 1.0), None);
        assert!(Hold::after(None, Looked::default(), &limited, at(0), 1.0).is_some());
        assert!(Hold::after(None, own, &wide(Some(40)), at(0), 1.0).is_some());
    }

    #[test]
    fn only_probes_make_the_wait_longer_and_it_stays_short() {
        let mut hold = Hold::after(None, Looked::default(), &wide(None), at(0), 1.0).expect("a hold");
        assert_eq!((hold.since, hold.failures, hold.until), (at(0), 1, at(1)));
        let late = Hold::after(Some(hold.clone()), Looked::default(), &wide(None), at(5), 1.0);
        assert_eq!(late.as_ref(), Some(&hold), "it was under way before");
        for (now, until) in [(1, 3), (3, 7), (7, 15), (15, 30), (30, 45)] {
            hold = Hold::after(Some(hold), PROBE, &wide(None), at(now), 1.0).expect("a hold");
            assert_eq!((hold.since, hold.until), (at(0), at(until)));
        }
    }

    #[test]
    fn a_registry_is_left_alone_for_as_long_as_it_asks_but_five_minutes() {
        let hold = Hold::after(None, Looked::default(), &wide(Some(40)), at(0), 0.0).expect("a hold");
        assert_eq!(hold.until, at(40));
        let more =
            Hold::after(Some(hold), Looked::default(), &wide(Some(100_000)), at(10), 0.0).expect("a hold");
        assert_eq!((more.failures, more.until), (1, at(310)));
    }

    #[test]
    fn pushes_are_given_up_when_both_they_and_the_hold_are_a_day_old() {
        let hold = Hold::after(None, Looked::default(), &wide(None), at(0), 1.0).expect("a hold");
        let day = DOWN_LIMIT.as_secs() as i64;
        assert_eq!(hold.given_up_at(at(day - 1)), None);
        assert_eq!(hold.given_up_at(at(day + 5)), Some(at(5)));
    }

    #[test]
    fn the_message_says_what_came_back_and_when_the_next_look_is_due() {
        let hold = Hold::after(None, Looked::default(), &wide(None), at(0), 1.0).expect("a hold");
        let told = hold.told(false);
        assert!(
            told.starts_with("refused; ") && told.contains("1 times since 2023-11-14T22:13:20Z"),
            "{told}"
        );
        assert!(told.ends_with("next look at 2023-11-14T22:13:21Z"), "{told}");
        assert!(hold.told(true).ends_with("looked for now"));
    }
}
