//! Logs to standard error, filtered by RUST_LOG (default `info`), and traces to
//! an OpenTelemetry collector if OTEL_EXPORTER_OTLP_ENDPOINT names one. Trace
//! context comes in with gRPC metadata and with assignments, and leaves with the
//! containers, so that what a person asked for can be followed to the keeper.

use std::io::IsTerminal;

use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use proto::v1::TaskAssignment;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

use crate::task::machine::Action;

/// The field of a W3C trace context that is passed on.
const TRACEPARENT: &str = "traceparent";

/// Keeps the exporter; [`Telemetry::finish`] sends what it still holds.
#[derive(Debug)]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

/// Starts logs and traces for this process. Needs a tokio runtime to be entered.
///
/// # Errors
/// When the collector's endpoint makes no sense.
pub fn start() -> Result<Telemetry, opentelemetry_otlp::ExporterBuildError> {
    let provider = exporter()?;
    let traces = provider
        .as_ref()
        .map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("agent")));
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines =
        fmt::layer().compact().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    // Fails only where a subscriber was set before, as in tests; theirs is as good.
    let _ = tracing_subscriber::registry().with(filter).with(lines).with(traces).try_init();
    Ok(Telemetry { provider })
}

fn exporter() -> Result<Option<SdkTracerProvider>, opentelemetry_otlp::ExporterBuildError> {
    if std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_none() {
        return Ok(None);
    }
    let exporter = SpanExporter::builder().with_tonic().build()?;
    let resource = Resource::builder().with_service_name("agent").build();
    Ok(Some(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build()))
}

impl Telemetry {
    /// Sends the last spans.
    pub fn finish(self) {
        if let Some(provider) = self.provider {
            let _ = provider.shutdown();
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
        // Without an exporter there is no span to give a parent to.
        let _ = span.set_parent(context);
    }
}

/// The trace context to pass on from here: the current span's while traces are
/// exported, else what came in.
pub fn context(incoming: &str) -> Option<String> {
    let mut kept = Kept::default();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut kept);
    kept.0.or_else(|| (!incoming.is_empty()).then(|| incoming.to_owned()))
}

/// The span of one piece of work on a task; preparing and starting belong to the
/// trace of the request that caused the task.
pub fn task_span(action: &Action, task: &TaskAssignment) -> Span {
    let (id, service, slot) = (&task.task_id, &task.service_name, task.slot);
    let span = match action {
        Action::Prepare => tracing::info_span!("prepare task", task = id, service, slot),
        Action::Start => tracing::info_span!("start task", task = id, service, slot),
        Action::Stop => tracing::info_span!("stop task", task = id, service, slot),
        Action::WaitUntil(_) => Span::none(),
        _ => tracing::info_span!("remove task", task = id, service, slot),
    };
    if matches!(action, Action::Prepare | Action::Start) {
        adopt(&span, &task.traceparent);
    }
    span
}

/// The span of a request, a child of the caller's.
pub fn request_span(name: &'static str, metadata: &tonic::metadata::MetadataMap) -> Span {
    let span = tracing::debug_span!("request", otel.name = name, rpc = name);
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
    fn text_that_is_no_trace_context_is_ignored() {
        let span = tracing::info_span!("test");
        for text in ["", "00-zz", "ff-0-0-0", "\u{1f600}"] {
            adopt(&span, text);
        }
    }
}
