//! Claims about what follows an outcome.

use super::*;

const POLICY: RetryPolicy = RetryPolicy { max_tries: 3, give_up_after: Duration::from_secs(900) };

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).expect("in range")
}

fn fresh() -> Tries {
    Tries { counted: 0, first_at: at(0), down_since: None }
}

fn down() -> Failure {
    Failure {
        registry_down: true,
        registry_wide: true,
        ..Failure::new(Reason::DestinationUnreachable, "refused")
    }
}

#[test]
fn every_word_is_read_back() {
    for reason in Reason::ALL {
        assert_eq!(reason.as_str().parse(), Ok(*reason));
    }
    for status in PushStatus::ALL {
        assert_eq!(status.as_str().parse(), Ok(*status));
    }
}

#[test]
fn a_final_failure_is_over_at_once() {
    let failure = Failure::new(Reason::CredentialsRefused, "401");
    assert_eq!(after_failure(fresh(), &failure, POLICY, at(1), 0.5), Next::Over);
}

#[test]
fn waits_double_until_the_tries_are_over() {
    let failure = Failure::new(Reason::RateLimited, "429");
    let Next::Again { due_at, tries } = after_failure(fresh(), &failure, POLICY, at(0), 1.0) else {
        panic!("the first of three tries is not the last")
    };
    assert_eq!((due_at, tries.counted), (at(1), 1));
    let Next::Again { due_at, tries } = after_failure(tries, &failure, POLICY, at(1), 1.0) else {
        panic!("the second of three tries is not the last")
    };
    assert_eq!((due_at, tries.counted), (at(3), 2));
    assert_eq!(after_failure(tries, &failure, POLICY, at(3), 1.0), Next::Over);
}

#[test]
fn retry_after_is_obeyed_for_five_minutes_at_most_unless_it_leads_beyond_the_end() {
    let asked = |seconds| Failure {
        retry_after: Some(Duration::from_secs(seconds)),
        ..Failure::new(Reason::RateLimited, "429")
    };
    let next = after_failure(fresh(), &asked(30), POLICY, at(0), 0.0);
    assert!(matches!(next, Next::Again { due_at, .. } if due_at == at(30)), "{next:?}");
    let next = after_failure(fresh(), &asked(3_600), POLICY, at(0), 0.0);
    assert!(matches!(next, Next::Again { due_at, .. } if due_at == at(300)), "{next:?}");
    assert_eq!(after_failure(fresh(), &asked(3_600), POLICY, at(601), 0.0), Next::Over);
}

#[test]
fn waiting_for_a_registry_that_is_down_costs_no_try_and_no_time_but_ends_after_a_day() {
    let Next::Held { tries } = after_failure(fresh(), &down(), POLICY, at(5), 1.0) else {
        panic!("it waits with the others")
    };
    assert_eq!((tries.counted, tries.down_since), (0, Some(at(5))));
    let day = DOWN_LIMIT.as_secs() as i64;
    let still = after_failure(tries, &down(), POLICY, at(4 + day), 1.0);
    assert!(matches!(still, Next::Held { tries } if tries.down_since == Some(at(5))), "{still:?}");
    assert_eq!(after_failure(tries, &down(), POLICY, at(5 + day), 1.0), Next::Over);

    let back = Failure::new(Reason::Internal, "x");
    let waited = Tries { down_since: Some(at(0)), ..fresh() };
    let Next::Again { tries, .. } = after_failure(waited, &back, POLICY, at(5_000), 0.0) else {
        panic!("the wait does not count")
    };
    assert_eq!((tries.counted, tries.first_at, tries.down_since), (1, at(5_000), None));
}
