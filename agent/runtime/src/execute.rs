//! Carrying a plan out, on both sides of the clone.
//!
//! [`host`] runs in the keeper, [`init`] in the child. Neither decides anything: a step is done or it fails, and
//! what failed is named by the step's own words.

mod device;
pub(crate) mod host;
pub(crate) mod init;
mod oci;
mod seal;
mod share;
mod stdio;
mod sysctl;

use std::io;
use std::time::Instant;

/// A step that failed.
#[derive(Debug, thiserror::Error)]
#[error("{step} failed for {object}: {source}")]
pub(crate) struct StepError {
    pub step: String,
    pub object: String,
    pub source: io::Error,
}

impl StepError {
    pub(crate) fn new((step, object): (String, String), source: io::Error) -> StepError {
        StepError { step, object, source }
    }
}

/// How long steps took, summed by name.
#[derive(Debug, Default)]
pub(crate) struct Timings(Vec<(String, u64)>);

impl Timings {
    /// Adds the time since `since` to the step called `name`.
    pub(crate) fn add(&mut self, name: &str, since: Instant) {
        let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        match self.0.last_mut() {
            Some((last, sum)) if last == name => *sum += micros,
            _ => self.0.push((name.to_owned(), micros)),
        }
    }

    pub(crate) fn extend(&mut self, more: Vec<(String, u64)>) {
        self.0.extend(more);
    }

    pub(crate) fn into_inner(self) -> Vec<(String, u64)> {
        self.0
    }
}
