//! Logs to standard error, filtered by RUST_LOG (default `info`), and traces to
//! an OpenTelemetry collector if OTEL_EXPORTER_OTLP_ENDPOINT names one. Trace
//! context comes in with gRPC metadata and with assignments, and leaves with the
//! containers, so that what a person asked for can be followed to the keeper;
//! that works without a collector too. A collector that is not there costs its
//! spans and one line in the log, nothing else.

mod export;
mod fields;
mod steps;

use std::io::IsTerminal;
use std::time::Duration;

use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use proto::v1::TaskAssignment;
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

pub use self::steps::start_steps;
use crate::task::machine::Action;

/// The standard variable that turns export on.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// What is logged unless `RUST_LOG` says otherwise.
const DEFAULT_FILTER: &str = "info";
/// What others say is left out unless `RUST_LOG` names them.
const QUIET: &str =
    "h2=warn,hyper=warn,hyper_util=warn,reqwest=warn,rustls=warn,sled=warn,tonic=warn,tower=warn";
/// What becomes spans. The exporter's own HTTP/2 spans would feed the exporter.
const TRACED: &str =
    "info,h2=off,hyper=off,hyper_util=off,reqwest=off,sled=off,tonic=off,tower=off,opentelemetry=off";
/// How long the last spans may take. A collector that does not answer is not waited for any longer.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// The field of a W3C trace context that is passed on.
const TRACEPARENT: &str = "traceparent";

/// Keeps the exporter; [`Telemetry::finish`] sends what it still holds.
#[derive(Debug)]
#[must_use = "spans are lost when this is dropped at once"]
pub struct Telemetry {
    provider: SdkTracerProvider,
}

/// Starts logs and traces for this process. Needs a tokio runtime to be entered.
pub fn start() -> Telemetry {
    let resource = Resource::builder().with_service_name("agent").build();
    let mut provider = SdkTracerProvider::builder().with_resource(resource);
    let mut refused = None;
    if std::env::var_os(ENDPOINT).is_some_and(|endpoint| !endpoint.is_empty()) {
        match export::exporter() {
            Ok(exporter) => provider = provider.with_batch_exporter(exporter),
            Err(error) => refused = Some(error),
        }
    }
    // Without an exporter the spans still have ids, which leave with the containers.
    let provider = provider.build();
    opentelemetry::global::set_tracer_provider(provider.clone());
    let wanted = std::env::var("RUST_LOG").unwrap_or_default();
    let (filter, misread) = filter(&wanted);
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt::layer().compact().with_ansi(colour);
    let lines = lines.fmt_fields(fields::Fields).with_writer(std::io::stderr);
    let traces = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("agent"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false);
    let traces = traces.with_filter(EnvFilter::new(TRACED));
    // Fails only where a subscriber was set before, as in tests; theirs is as good.
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).with(traces).try_init();
    if let Some(error) = misread {
        tracing::warn!(RUST_LOG = wanted, %error, "logging at info");
    }
    if let Some(error) = refused {
        tracing::warn!(%error, "traces are not exported");
    }
    Telemetry { provider }
}

/// What is logged when `RUST_LOG` is `wanted`, and why that was not understood.
fn filter(wanted: &str) -> (EnvFilter, Option<ParseError>) {
    let with_quiet = |directives: &str| format!("{QUIET},{directives}");
    let directives = if wanted.trim().is_empty() { DEFAULT_FILTER } else { wanted };
    match EnvFilter::try_new(with_quiet(directives)) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(with_quiet(DEFAULT_FILTER)), Some(error)),
    }
}

impl Telemetry {
    /// Sends the last spans. Blocks for at most two seconds.
    pub fn finish(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(LAST_SPANS) {
            tracing::debug!(%error, "the last spans were not exported");
        }
    }
}

struct One<'a>(&'a str);

impl Extractor for One<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACEPARENT).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

#[derive(Default)]
struct Kept(Option<String>);

impl Injector for Kept {
    fn set(&mut self, key: &str, value: String) {
        if key == TRACEPARENT {
            self.0 = Some(value);
        }
    }
}

/// Makes the trace context `traceparent` the parent of `span`; text that is none
/// changes nothing.
pub fn adopt(span: &Span, traceparent: &str) {
    if traceparent.is_empty() {
        return;
    }
    let context = TraceContextPropagator::new().extract(&One(traceparent));
    if context.span().span_context().is_valid() {
        // An error means that no trace layer is installed, as in tests.
        let _ = span.set_parent(context);
    }
}

/// The trace context to pass on from here: the current span's, or where no spans
/// are made, what came in.
pub fn context(incoming: &str) -> Option<String> {
    let mut kept = Kept::default();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut kept);
    kept.0.or_else(|| (!incoming.is_empty()).then(|| incoming.to_owned()))
}

macro_rules! work_span {
    ($name:literal, $task:expr, $service:expr, $slot:expr) => {
        tracing::info_span!(
            $name,
            task = $task,
            service = $service,
            slot = $slot,
            otel.status_code = Empty,
            otel.status_description = Empty
        )
    };
}

/// The span of one piece of work on a task; preparing and starting belong to the
/// trace of the request that caused the task.
pub fn task_span(action: &Action, task: &TaskAssignment) -> Span {
    let (id, service, slot) = (&task.task_id, &task.service_name, task.slot);
    let span = match action {
        Action::Prepare => work_span!("prepare task", id, service, slot),
        Action::Start => work_span!("start task", id, service, slot),
        Action::Stop => work_span!("stop task", id, service, slot),
        Action::WaitUntil(_) => Span::none(),
        _ => work_span!("remove task", id, service, slot),
    };
    if matches!(action, Action::Prepare | Action::Start) {
        adopt(&span, &task.traceparent);
    }
    span
}

/// Marks a span whose work failed.
pub fn record_failure(span: &Span, reason: &str) {
    span.record("otel.status_code", "ERROR");
    span.record("otel.status_description", reason);
}

/// The span of a request, a child of the caller's.
pub fn request_span(name: &'static str, metadata: &tonic::metadata::MetadataMap) -> Span {
    let span = tracing::info_span!(
        "rpc",
        otel.name = format!("roadstead.v1.NodeControl/{name}"),
        otel.kind = "server",
        otel.status_code = Empty,
        otel.status_description = Empty
    );
    let incoming = metadata.get(TRACEPARENT).and_then(|value| value.to_str().ok());
    adopt(&span, incoming.unwrap_or_default());
    span
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_exporter_the_context_that_came_in_is_passed_on() {
        let incoming = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(context(incoming).as_deref(), Some(incoming));
        assert_eq!(context(""), None);
    }

    #[test]
    fn others_are_quiet_unless_they_are_named() {
        for (wanted, expected) in [("", "h2=warn"), ("debug", "h2=warn"), ("debug,h2=trace", "h2=trace")] {
            let (filter, misread) = filter(wanted);
            assert!(misread.is_none());
            assert!(filter.to_string().split(',').any(|part| part == expected), "{wanted:?}: {filter}");
        }
        let (filter, misread) = filter("=,=nonsense=");
        assert!(misread.is_some() && filter.to_string().contains("info"), "{filter}");
    }

    #[test]
    fn text_that_is_no_trace_context_is_ignored() {
        let span = tracing::info_span!("test");
        for text in ["", "00-zz", "ff-0-0-0", "\u{1f600}"] {
            adopt(&span, text);
        }
    }
}
