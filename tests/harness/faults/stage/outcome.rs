//! How a push ended, and what a claim says about that.

use anyhow::{Result, ensure};
use serde_json::Value;

/// How a push ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    status: Value,
    /// What the tag names at the destination.
    tagged: Option<String>,
}

impl Outcome {
    pub(super) fn new(status: Value, tagged: Option<String>) -> Self {
        Self { status, tagged }
    }

    /// It has succeeded, and the tag names the image.
    pub fn succeeded(&self) -> Result<&Self> {
        ensure!(self.status["status"] == "succeeded", "not succeeded: {}", self.status);
        ensure!(self.is_tagged(), "the tag names {:?}: {}", self.tagged, self.status);
        Ok(self)
    }

    /// It has succeeded with so many tries, and the tag names the image.
    pub fn succeeded_after(&self, tries: u64) -> Result<&Self> {
        ensure!(self.status["attempts"] == tries, "not {tries} tries: {}", self.status);
        self.succeeded()
    }

    /// It has failed for this reason with so many tries, says so in words, and the image got no tag.
    pub fn failed_after(&self, tries: u64, reason: &str) -> Result<&Self> {
        ensure!(!self.is_tagged(), "tagged, though it has failed: {}", self.status);
        self.failed(tries, reason)
    }

    /// It has failed for this reason with so many tries, after the image got its tag.
    pub fn unproven_after(&self, tries: u64, reason: &str) -> Result<&Self> {
        ensure!(self.is_tagged(), "the tag names {:?}: {}", self.tagged, self.status);
        self.failed(tries, reason)
    }

    fn failed(&self, tries: u64, reason: &str) -> Result<&Self> {
        ensure!(self.status["status"] == "failed", "not failed: {}", self.status);
        ensure!(self.status["reason"] == reason, "not {reason}: {}", self.status);
        ensure!(self.status["attempts"] == tries, "not {tries} tries: {}", self.status);
        self.says("")
    }

    fn is_tagged(&self) -> bool {
        self.tagged.is_some() && self.status["digest"].as_str() == self.tagged.as_deref()
    }

    /// Its message holds these words.
    pub fn says(&self, words: &str) -> Result<&Self> {
        let message = self.message();
        ensure!(!message.is_empty() && message.contains(words), "does not say {words:?}: {}", self.status);
        Ok(self)
    }

    /// What an administrator reads.
    pub fn message(&self) -> &str {
        self.status["status_message"].as_str().unwrap_or_default()
    }
}
