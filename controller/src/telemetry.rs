//! Logs to standard error, traces to OTLP, and W3C trace context in and out.
//!
//! `RUST_LOG` filters what is logged (default `info`). Spans are exported iff
//! `OTEL_EXPORTER_OTLP_ENDPOINT` is set; without it they still have ids, so a
//! trace that passes through this controller is not cut here. A collector that
//! is not there costs its spans and one line in the log, nothing else.
//!
//! Deliberately absent: metrics, and trace context in the state machine: what a
//! command carries is an opaque string made by [`current_traceparent`].

mod export;
mod fields;

use std::io::IsTerminal;
use std::time::Duration;

use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use opentelemetry_sdk::{Resource, error::OTelSdkError};
use tonic::metadata::{KeyRef, MetadataMap};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer};

/// The standard variable that turns export on.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// What is logged unless `RUST_LOG` says otherwise.
const DEFAULT_FILTER: &str = "info";
/// What others say is left out unless `RUST_LOG` names them. Of the log engine only errors: the zeros that a killed
/// process leaves behind are a warning to it, and the scan before it says what matters.
const QUIET: &str = "raft_engine=error,h2=warn,hyper=warn,hyper_util=warn,rustls=warn,tonic=warn,tower=warn";
/// What becomes spans. The exporter's own HTTP/2 spans would feed the exporter, and a session lasts for days.
const TRACED: &str = "info,h2=off,hyper=off,hyper_util=off,tonic=off,tower=off,raft_engine=off,opentelemetry=off,\
    controller::dispatch::session=off";
/// How long the last spans may take. A collector that does not answer is not waited for any longer.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// A subscriber is installed already.
    #[error("logging is set up twice: {0}")]
    Installed(#[from] TryInitError),
}

/// Keeps the exporter alive; [`Telemetry::shutdown`] sends what is still buffered.
#[derive(Debug)]
#[must_use = "spans are lost when this is dropped at once"]
pub struct Telemetry {
    provider: SdkTracerProvider,
}

impl Telemetry {
    /// Sends what is still buffered. Blocks for at most a few seconds.
    pub fn shutdown(self) {
        match self.provider.shutdown_with_timeout(LAST_SPANS) {
            Ok(()) | Err(OTelSdkError::AlreadyShutdown) => {}
            Err(error) => tracing::debug!(%error, "the last spans were not exported"),
        }
    }
}

/// Installs the process-wide subscriber. Call it inside the tokio runtime: the exporter needs one.
///
/// # Errors
/// When a subscriber exists.
pub fn init(service: &'static str) -> Result<Telemetry, TelemetryError> {
    let resource = Resource::builder().with_service_name(service).build();
    let mut provider = SdkTracerProvider::builder().with_resource(resource);
    let mut refused = None;
    if std::env::var_os(ENDPOINT).is_some_and(|endpoint| !endpoint.is_empty()) {
        match export::exporter() {
            Ok(exporter) => provider = provider.with_batch_exporter(exporter),
            Err(error) => refused = Some(error),
        }
    }
    let provider = provider.build();
    let wanted = std::env::var("RUST_LOG").unwrap_or_default();
    let (filter, misread) = filter(&wanted);
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let console = tracing_subscriber::fmt::layer().compact().with_target(false).with_ansi(colour);
    let console = console.fmt_fields(fields::Fields).with_writer(std::io::stderr);
    let traces = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(service))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false);
    let traces = traces.with_filter(EnvFilter::new(TRACED));
    tracing_subscriber::registry().with(console.with_filter(filter)).with(traces).try_init()?;
    if let Some(error) = misread {
        tracing::warn!(RUST_LOG = wanted, %error, "logging at info");
    }
    if let Some(error) = refused {
        tracing::warn!(%error, "traces are not exported");
    }
    Ok(Telemetry { provider })
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

/// The span of one call.
pub fn rpc_span(path: &str) -> Span {
    tracing::info_span!(
        "rpc",
        otel.name = path.trim_start_matches('/'),
        otel.kind = "server",
        otel.status_code = tracing::field::Empty,
        otel.status_description = tracing::field::Empty,
    )
}

/// Marks the span of a call that ended with an error.
pub fn record_status(span: &Span, status: &tonic::Status) {
    if status.code() != tonic::Code::Ok {
        span.record("otel.status_code", "ERROR");
        span.record("otel.status_description", status.message());
    }
}

/// The caller's trace context out of gRPC metadata; an empty context when there is none.
pub fn accept_trace(metadata: &MetadataMap) -> opentelemetry::Context {
    TraceContextPropagator::new().extract(&Incoming(metadata))
}

/// Makes `span` a child of the caller's span, if the metadata names one.
pub fn continue_trace(span: &Span, metadata: &MetadataMap) {
    // An error means that no trace layer is installed, as in tests.
    let _ = span.set_parent(accept_trace(metadata));
}

/// The current span as a W3C `traceparent`, to be carried on by a command.
pub fn current_traceparent() -> Option<String> {
    let mut carrier = Outgoing(None);
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut carrier);
    carrier.0
}

/// Reads headers of a request.
struct Incoming<'a>(&'a MetadataMap);

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        let names = self
            .0
            .keys()
            .filter_map(|key| if let KeyRef::Ascii(key) = key { Some(key.as_str()) } else { None });
        names.collect()
    }
}

/// Keeps the one header that matters.
struct Outgoing(Option<String>);

impl Injector for Outgoing {
    fn set(&mut self, key: &str, value: String) {
        if key.eq_ignore_ascii_case("traceparent") {
            self.0 = Some(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TraceContextExt;

    use super::*;

    #[test]
    fn others_are_quiet_unless_they_are_named() {
        for (wanted, expected) in [("", "h2=warn"), ("debug", "h2=warn"), ("debug,h2=trace", "h2=trace")] {
            let (filter, misread) = filter(wanted);
            assert!(misread.is_none());
            assert!(filter.to_string().split(',').any(|part| part == expected), "{wanted:?}: {filter}");
        }
    }

    #[test]
    fn a_wrong_filter_is_not_the_end_of_logging() {
        let (filter, misread) = filter("=,=nonsense=");
        assert!(misread.is_some());
        assert!(filter.to_string().contains("info"), "{filter}");
    }

    #[test]
    fn a_traceparent_in_the_metadata_becomes_the_remote_parent() {
        let mut metadata = MetadataMap::new();
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        metadata.insert("traceparent", parent.parse().expect("ascii"));
        let context = accept_trace(&metadata);
        assert_eq!(context.span().span_context().trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(context.span().span_context().is_remote());
    }

    #[test]
    fn metadata_without_or_with_a_broken_traceparent_starts_a_new_trace() {
        let mut metadata = MetadataMap::new();
        assert!(!accept_trace(&metadata).span().span_context().is_valid());
        metadata.insert("traceparent", "00-nonsense".parse().expect("ascii"));
        assert!(!accept_trace(&metadata).span().span_context().is_valid());
    }
}
