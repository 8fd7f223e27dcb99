//! Everything that drives State and Control together: scripts in text files, properties, and the counts that
//! must hold at scale. One test program, so that the cluster in memory is compiled once.

mod agent;
mod cluster;
mod convergence;
mod lifecycle;
mod plans;
mod properties;
mod refusals;
mod scale;
mod scheduling;
mod script;
mod snapshot;
