//! Statuses that pass by themselves, ask for patience, or do not: 429, 503, 500, 502, 403.

use std::time::Duration;

use anyhow::{Context, ensure};
use harness::faults::{Reply, Setup, answer, any, get, head, on_stage, post, put};
use harness::image::Image;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

/// How long the registry wants to be left alone, in seconds; without its asking it would be one at most.
const PATIENCE: u64 = 3;

fn patience_is_heard(status: u16, reason: &str) {
    on_stage(Setup::default(), async |stage| {
        for as_date in [false, true] {
            let built = stage.build(Image::small()?).await?;
            let retry_after = match as_date {
                true => DateTimePrinter::new()
                    .timestamp_to_rfc9110_string(&(Timestamp::now() + Duration::from_secs(PATIENCE)))?,
                false => PATIENCE.to_string(),
            };
            stage.to.forget();
            stage.to.once(put("*/manifests/*"), answer(status).with("retry-after", retry_after));
            stage.ask(&built).await?;
            stage.waits(&built, reason).await?;
            stage.over(&built).await?.succeeded_after(2)?;
            let seen = stage.to.seen(&any("*"));
            let refused = seen.iter().position(|seen| seen.status == status).context("a refusal")?;
            let waited = seen[refused + 1].at - seen[refused].at;
            // A date has no fractions of a second, and was written before the push began.
            let least = if as_date { Duration::from_millis(1500) } else { Duration::from_secs(PATIENCE) };
            ensure!(waited > least, "asked again after {waited:?}");
        }
        Ok(())
    });
}

#[test]
fn too_many_requests_are_fewer_until_the_registry_says_so() {
    patience_is_heard(429, "rate_limited");
}

#[test]
fn service_unavailable_is_left_alone_until_it_says_so() {
    patience_is_heard(503, "destination_unreachable");
}

#[test]
fn server_error_that_passes_costs_one_try() {
    on_stage(Setup::default(), async |stage| {
        for when in [put("*/blobs/uploads/*").larger_than(0), put("*/manifests/*")] {
            let built = stage.build(Image::small()?).await?;
            let rule = stage.to.once(when, answer(500));
            stage.push(&built).await?.succeeded_after(2)?;
            ensure!(rule.applied() == 1, "{rule:?}");
        }
        Ok(())
    });
}

#[test]
fn tag_that_fails_at_each_look_is_written_anew() {
    on_stage(Setup::default(), async |stage| {
        let built = stage.build(Image::small()?).await?;
        let rule = stage.to.once(head("*/manifests/build-*"), answer(500));
        stage.push(&built).await?.succeeded_after(1)?;
        ensure!(rule.applied() == 1, "{rule:?}");
        Ok(())
    });
}

#[test]
fn server_error_of_the_source_that_passes_costs_one_try() {
    on_stage(Setup::default(), async |stage| {
        for when in [get("*/manifests/sha256:*"), get("*/blobs/*")] {
            let built = stage.build(Image::small()?).await?;
            let rule = stage.from.once(when, answer(500));
            stage.push(&built).await?.succeeded_after(2)?;
            ensure!(rule.applied() == 1, "{rule:?}");
        }
        Ok(())
    });
}

#[test]
fn server_error_that_does_not_pass_ends_with_the_tries() {
    on_stage(Setup::default(), async |stage| {
        for when in [post("*"), put("*/manifests/*")] {
            let built = stage.build(Image::small()?).await?;
            let rule = stage.to.always(when, answer(500).error("UNKNOWN", "out of sorts"));
            stage.push(&built).await?.failed_after(3, "destination_unreachable")?.says("out of sorts")?;
            rule.off();
        }
        Ok(())
    });
}

/// What nginx says when the registry behind it is gone.
fn bad_gateway() -> Reply {
    let page = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad \
                Gateway</h1></center>\r\n<hr><center>nginx/1.18.0</center>\r\n</body>\r\n</html>\r\n";
    answer(502).with("content-type", "text/html").body(page)
}

#[test]
fn server_error_of_the_source_that_does_not_pass_ends_with_the_tries() {
    on_stage(Setup::default(), async |stage| {
        let built = stage.build(Image::small()?).await?;
        stage.from.always(get("*/blobs/*"), answer(500).error("UNKNOWN", "out of sorts"));
        stage.push(&built).await?.failed_after(3, "source_unreachable")?.says("out of sorts")?;
        Ok(())
    });
}

#[test]
fn source_that_asks_for_patience_is_heard_too() {
    on_stage(Setup::default(), async |stage| {
        let built = stage.build(Image::small()?).await?;
        let busy = answer(429).with("retry-after", PATIENCE.to_string());
        stage.from.once(get("*/manifests/sha256:*"), busy);
        stage.ask(&built).await?;
        stage.waits(&built, "rate_limited").await?;
        stage.over(&built).await?.succeeded_after(2)?;
        let seen = stage.from.seen(&get("*/manifests/sha256:*"));
        let waited = seen[1].at - seen[0].at;
        ensure!(waited > Duration::from_secs(PATIENCE), "asked again after {waited:?}");
        Ok(())
    });
}

#[test]
fn bad_gateway_is_told_in_plain_words_and_tried_again() {
    on_stage(Setup::default(), async |stage| {
        let built = stage.build(Image::small()?).await?;
        stage.to.once(put("*/manifests/*"), bad_gateway());
        stage.push(&built).await?.succeeded_after(2)?;
        let built = stage.build(Image::small()?).await?;
        stage.to.always(put("*/manifests/*"), bad_gateway());
        let outcome = stage.push(&built).await?;
        outcome.failed_after(3, "destination_unreachable")?.says("502 Bad Gateway")?.says("nginx")?;
        ensure!(!outcome.message().contains(['<', '>', '\r', '\n']), "{}", outcome.message());
        Ok(())
    });
}

#[test]
fn login_that_may_not_push_is_denied_at_once() {
    on_stage(Setup::default(), async |stage| {
        let denied = || answer(403).error("DENIED", "requested access to the resource is denied");
        for when in [post("*"), put("*/blobs/*"), put("*/manifests/*")] {
            let built = stage.build(Image::small()?).await?;
            let rule = stage.to.always(when, denied());
            stage.push(&built).await?.failed_after(1, "denied")?.says("requested access")?;
            rule.off();
        }
        Ok(())
    });
}

#[test]
fn login_that_is_refused_once_after_it_was_taken_costs_no_try_and_for_good_is_denied() {
    on_stage(Setup::default(), async |stage| {
        let refusal = || {
            let challenge = r#"Basic realm="of one server of several""#;
            answer(401).with("www-authenticate", challenge).error("UNAUTHORIZED", "who is it?")
        };
        for when in [post("*"), put("*/blobs/*").larger_than(0), put("*/manifests/*")] {
            let built = stage.build(Image::small()?).await?;
            let rule = stage.to.once(when.clone(), refusal());
            stage.push(&built).await?.succeeded_after(1)?;
            ensure!(rule.applied() == 1, "{rule:?}");
            let built = stage.build(Image::small()?).await?;
            let rule = stage.to.always(when, refusal());
            stage.push(&built).await?.failed_after(1, "denied")?.says("who is it?")?;
            rule.off();
        }
        Ok(())
    });
}

#[test]
fn registry_that_repeats_the_login_in_its_answer_is_not_repeated() {
    on_stage(Setup::default(), async |stage| {
        let built = stage.build(Image::small()?).await?;
        let words = format!("no such user: {}", stage.pusher.password);
        stage.to.always(put("*/manifests/*"), answer(403).error("DENIED", &words));
        stage.push(&built).await?.failed_after(1, "denied")?.says("no such user")?;
        Ok(())
    });
}
