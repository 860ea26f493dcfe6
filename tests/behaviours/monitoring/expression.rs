//! What an expression of PromQL names: metrics with the labels that select them, labels that group, and
//! reasons of failed pushes. Only as much of the language is known as ours use; Prometheus reads it all.

use std::collections::{BTreeMap, BTreeSet};

/// The names in an expression.
#[derive(Debug, Default)]
pub(super) struct Expression {
    /// Metrics, with the labels of their selectors.
    pub(super) metrics: BTreeMap<String, BTreeSet<String>>,
    /// Labels of `by`, `on` and `group_left`.
    pub(super) labels: BTreeSet<String>,
    /// What `reason` is compared with.
    pub(super) reasons: BTreeSet<String>,
}

impl Expression {
    pub(super) fn read(text: &str) -> Self {
        let mut names = Self::default();
        let mut rest = text;
        while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic()) {
            let word = &rest[start..];
            let end = word.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(word.len());
            let (word, after) = word.split_at(end);
            rest = after;
            if ["by", "on", "group_left"].contains(&word) {
                let (list, after) = inside(rest.trim_start(), '(', ')');
                names.labels.extend(words(list).map(str::to_owned));
                rest = after;
            } else if word == "up" || word.starts_with("drayage_") || word.starts_with("process_") {
                let (selectors, after) = inside(rest, '{', '}');
                rest = after;
                let labels = names.metrics.entry(word.to_owned()).or_default();
                for selector in words(selectors) {
                    let (label, value) = selector.split_once(['=', '!']).unwrap_or((selector, ""));
                    labels.insert(label.to_owned());
                    if label == "reason" {
                        let value = value.trim_matches(['=', '~', '"']);
                        names.reasons.extend(value.split('|').map(str::to_owned));
                    }
                }
            }
        }
        names
    }
}

/// What stands between two marks at the beginning of a text, and what comes after.
fn inside(text: &str, open: char, close: char) -> (&str, &str) {
    text.strip_prefix(open).and_then(|text| text.split_once(close)).unwrap_or(("", text))
}

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty())
}

#[test]
fn names_of_an_expression_are_found() {
    let read = Expression::read(
        "sum by (le, a) (rate(drayage_x_total{reason=~\"denied|conflict\", b!=\"c\"}[5m])) * on () up > 0",
    );
    assert_eq!(read.metrics.keys().collect::<Vec<_>>(), ["drayage_x_total", "up"]);
    assert_eq!(read.metrics["drayage_x_total"].iter().collect::<Vec<_>>(), ["b", "reason"]);
    assert_eq!(read.labels.iter().collect::<Vec<_>>(), ["a", "le"]);
    assert_eq!(read.reasons.iter().collect::<Vec<_>>(), ["conflict", "denied"]);
}
