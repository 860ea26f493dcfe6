//! A strict reader of Prometheus's text format, version 0.0.4: every sample belongs to a family
//! that was declared before it, every value is a number.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

/// A page of metrics.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// The type of each family.
    pub(super) families: BTreeMap<String, String>,
    samples: Vec<Sample>,
}

/// One line of a page.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) value: f64,
}

impl Page {
    pub(super) fn read(text: &str) -> Result<Self> {
        let mut page = Self::default();
        for line in text.lines() {
            page.take(line).with_context(|| line.to_owned())?;
        }
        Ok(page)
    }

    /// The only sample of this name that carries these labels, whatever else it carries.
    pub(super) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        let carries = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|held| held == value))
        };
        let mut found = self.samples.iter().filter(carries);
        let sample = found.next().with_context(|| format!("no {name} {labels:?}"))?;
        ensure!(found.next().is_none(), "several {name} {labels:?}");
        Ok(sample.value)
    }

    pub(super) fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter()
    }

    fn take(&mut self, line: &str) -> Result<()> {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').context("a type")?;
            ensure!(self.families.insert(name.into(), kind.into()).is_none(), "declared twice");
        } else if let Some(help) = line.strip_prefix("# HELP ") {
            ensure!(help.split_once(' ').is_some_and(|(_, text)| !text.is_empty()), "no help");
        } else if !line.is_empty() {
            let sample = sample(line)?;
            ensure!(self.declares(&sample.name), "not declared");
            self.samples.push(sample);
        }
        Ok(())
    }

    fn declares(&self, name: &str) -> bool {
        let part = ["_bucket", "_sum", "_count"].into_iter().find_map(|end| name.strip_suffix(end));
        let histogram = part.and_then(|family| self.families.get(family));
        self.families.contains_key(name) || histogram.is_some_and(|kind| kind == "histogram")
    }
}

fn sample(line: &str) -> Result<Sample> {
    let (series, value) = line.rsplit_once(' ').context("a value")?;
    let value = value.parse()?;
    let Some((name, labels)) = series.split_once('{') else {
        return Ok(Sample { name: series.into(), labels: BTreeMap::new(), value });
    };
    let mut rest = labels.strip_suffix('}').context("a closing brace")?;
    let mut labels = BTreeMap::new();
    while !rest.is_empty() {
        let (key, quoted) = rest.split_once("=\"").context("a label")?;
        let (held, after) = unquoted(quoted)?;
        labels.insert(key.to_owned(), held);
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    Ok(Sample { name: name.into(), labels, value })
}

/// A label's value and what follows its closing quote.
fn unquoted(text: &str) -> Result<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                _ => bail!("an unknown escape"),
            },
            _ => value.push(character),
        }
    }
    bail!("no closing quote")
}
