//! Durations as people write them in flags: `500ms`, `30s`, `15m`, `24h`.

use std::time::Duration;

/// Why a text is no duration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a whole number with a unit is needed: 500ms, 30s, 15m or 24h")]
pub struct DurationError;

/// Reads `500ms`, `30s`, `15m` or `24h`; made for clap's `value_parser`.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or(DurationError)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| DurationError)?;
    let seconds = |each: u64| number.checked_mul(each).map(Duration::from_secs).ok_or(DurationError);
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(60 * 60),
        _ => Err(DurationError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_scale_a_whole_number() {
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(parse("24h"), Ok(Duration::from_secs(86_400)));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "30", "s", "-1s", "1.5s", "1h30m", " 1s", "1 s", "1S", "18446744073709551615h"] {
            assert_eq!(parse(text), Err(DurationError), "{text:?}");
        }
    }
}
