//! Spans of a container's start, made from the steps that engine and keeper timed.
//! The keeper exports nothing by itself: it has one thread and no network.
//!
//! How long each step took is measured; when it began is not, so the steps stand
//! one after another, and those inside the container end when the keeper stops waiting for it.

use std::time::{Duration, SystemTime};

use opentelemetry::Context;
use opentelemetry::global;
use opentelemetry::trace::{SpanBuilder, TraceContextExt, Tracer};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The engine's last step, in which everything is the keeper's.
const KEEPER: &str = "keeper";
/// The keeper's own total.
const CREATE: &str = "keeper create";
/// While the keeper is in this step, the container goes through its own.
const MEANWHILE: &str = "wait-for-child";

/// A step and its time in microseconds.
type Timing = (String, u64);

/// A step with its place in time, in microseconds since the start.
#[derive(Debug, PartialEq, Eq)]
struct Stretch<'a> {
    name: &'a str,
    /// Index of the step that this is a part of.
    parent: Option<usize>,
    from: u64,
    to: u64,
}

/// Makes spans below the current one, of a start that began at `begun`.
pub fn start_steps(begun: SystemTime, timings: &[Timing]) {
    let above = Span::current().context();
    if !above.span().span_context().is_valid() {
        return;
    }
    let at = |micros: u64| begun + Duration::from_micros(micros);
    let tracer = global::tracer("agent");
    let stretches = layout(timings);
    let mut contexts: Vec<Context> = Vec::with_capacity(stretches.len());
    for stretch in &stretches {
        let parent = stretch.parent.and_then(|index| contexts.get(index)).unwrap_or(&above);
        let builder = SpanBuilder::from_name(stretch.name.to_owned()).with_start_time(at(stretch.from));
        let span = tracer.build_with_context(builder, parent);
        contexts.push(parent.with_span(span));
    }
    for (stretch, context) in stretches.iter().zip(contexts) {
        context.span().end_with_timestamp(at(stretch.to));
    }
}

/// Puts steps in their places. A part never reaches out of its whole.
fn layout(timings: &[Timing]) -> Vec<Stretch<'_>> {
    let keeper = timings.iter().position(|(name, _)| name == KEEPER);
    let (ours, theirs) = timings.split_at(keeper.map_or(timings.len(), |index| index + 1));
    let mut laid = Vec::with_capacity(timings.len());
    place(&mut laid, None, ours, 0, u64::MAX);
    let Some(keeper) = keeper else { return laid };
    let (mut parent, mut from, mut to) = (keeper, laid[keeper].from, laid[keeper].to);
    let mut steps = theirs;
    if let Some(total) = theirs.iter().position(|(name, _)| name == CREATE) {
        // What follows the keeper's total is the engine's again: it compares, then lets the program run.
        let index = laid.len();
        place(&mut laid, Some(keeper), &theirs[total..], from, to);
        steps = &theirs[..total];
        parent = index;
        (from, to) = (laid[parent].from, laid[parent].to);
    }
    let inside = steps.iter().position(|(name, _)| name == MEANWHILE).map_or(steps.len(), |index| index + 1);
    let (outside, inside) = steps.split_at(inside);
    place(&mut laid, Some(parent), outside, from, to);
    let met = laid.last().map_or(to, |last| last.to);
    let took = inside.iter().fold(0_u64, |sum, (_, took)| sum.saturating_add(*took));
    place(&mut laid, Some(parent), inside, met.saturating_sub(took).max(from), met);
    laid
}

/// One after another, from `from` to `to` at most.
fn place<'a>(laid: &mut Vec<Stretch<'a>>, parent: Option<usize>, steps: &'a [Timing], from: u64, to: u64) {
    let mut now = from;
    for (name, took) in steps {
        let end = now.saturating_add(*took).min(to);
        laid.push(Stretch { name, parent, from: now, to: end });
        now = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timings(steps: &[(&str, u64)]) -> Vec<Timing> {
        steps.iter().map(|(name, took)| ((*name).to_owned(), *took)).collect()
    }

    #[test]
    fn steps_stand_one_after_another_below_whose_they_are() {
        let timings = timings(&[
            ("network attach", 10),
            ("keeper", 100),
            ("plan", 5),
            ("clone", 20),
            ("wait-for-child", 40),
            ("wait-for-keeper", 10),
            ("mount", 25),
            ("keeper create", 70),
            ("attest", 5),
        ]);
        let laid = layout(&timings);
        let told: Vec<_> = laid.iter().map(|step| (step.name, step.parent, step.from, step.to)).collect();
        let expected = [
            ("network attach", None, 0, 10),
            ("keeper", None, 10, 110),
            ("keeper create", Some(1), 10, 80),
            ("attest", Some(1), 80, 85),
            ("plan", Some(2), 10, 15),
            ("clone", Some(2), 15, 35),
            ("wait-for-child", Some(2), 35, 75),
            ("wait-for-keeper", Some(2), 40, 50),
            ("mount", Some(2), 50, 75),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn no_steps_and_strange_ones_are_no_trouble() {
        assert!(layout(&[]).is_empty());
        for steps in [
            timings(&[("keeper", 1)]),
            timings(&[("keeper", 1), ("keeper create", u64::MAX)]),
            timings(&[("a", u64::MAX), ("keeper", u64::MAX), ("wait-for-child", 9), ("b", u64::MAX)]),
        ] {
            let laid = layout(&steps);
            assert_eq!(laid.len(), steps.len());
            for step in &laid {
                let whole = step.parent.map_or((0, u64::MAX), |parent| (laid[parent].from, laid[parent].to));
                assert!(whole.0 <= step.from && step.from <= step.to && step.to <= whole.1, "{step:?}");
            }
        }
    }
}
