//! Traces of `ctl`: every command is a span, every request carries its W3C
//! context, and spans are exported when `OTEL_EXPORTER_OTLP_ENDPOINT` is set.
//! `RUST_LOG` shows events on stderr; without it `ctl` logs nothing. A collector
//! that is not there is nothing a command should wait for or speak of.

use std::io::IsTerminal;
use std::time::Duration;

use opentelemetry::propagation::{Injector, TextMapPropagator};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{RetryPolicy, WithTonicConfig};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// The standard variable that turns export on.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// What others say is left out unless `RUST_LOG` names them.
const QUIET: &str = "h2=warn,hyper=warn,hyper_util=warn,rustls=warn,tonic=warn,tower=warn";
/// How long a finished command may still be busy with sending its span.
const LAST_SPANS: Duration = Duration::from_secs(1);

/// Keeps the exporter alive until [`Telemetry::finish`].
#[derive(Debug)]
#[must_use = "spans are lost when this is dropped at once"]
pub struct Telemetry {
    provider: SdkTracerProvider,
}

/// Installs the subscriber of the process. Needs a tokio runtime to be entered.
pub fn start() -> Telemetry {
    let mut builder = SdkTracerProvider::builder()
        .with_resource(opentelemetry_sdk::Resource::builder().with_service_name("ctl").build());
    if std::env::var_os(ENDPOINT).is_some_and(|endpoint| !endpoint.is_empty()) {
        let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic();
        match exporter.with_retry_policy(RetryPolicy::disabled()).build() {
            Ok(exporter) => builder = builder.with_batch_exporter(exporter),
            Err(error) => crate::output::note(&format!("traces are not exported: {error}")),
        }
    }
    let provider = builder.build();
    let spans = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("ctl"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false);
    let spans = spans.with_filter(EnvFilter::new("off,ctl=info"));
    let log = std::env::var("RUST_LOG").ok().filter(|wanted| !wanted.trim().is_empty()).map(|wanted| {
        let filter = EnvFilter::try_new(format!("{QUIET},{wanted}")).unwrap_or_else(|error| {
            crate::output::note(&format!("RUST_LOG={wanted}: {error}"));
            EnvFilter::new(QUIET)
        });
        let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let lines = tracing_subscriber::fmt::layer().compact().with_ansi(colour);
        lines.with_writer(std::io::stderr).with_filter(filter)
    });
    // A second start in one process (tests) keeps the first subscriber.
    let _ = tracing_subscriber::registry().with(spans).with(log).try_init();
    Telemetry { provider }
}

/// The span of one command, `name` being the words that choose it.
pub fn command_span(name: &str) -> Span {
    tracing::info_span!("ctl", otel.name = name, otel.status_code = Empty, otel.status_description = Empty)
}

/// Marks a span whose command failed.
pub fn record_failure(span: &Span, reason: &str) {
    span.record("otel.status_code", "ERROR");
    span.record("otel.status_description", reason);
}

impl Telemetry {
    /// Sends what is buffered, for at most a second.
    pub fn finish(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(LAST_SPANS) {
            tracing::debug!(%error, "traces were not all exported");
        }
    }
}

/// Puts the current span's context into the metadata of each request, and the
/// node that a controller is to hand it on to.
#[derive(Debug, Clone, Default)]
pub struct Propagate {
    /// Name or id of that node; none when it is meant for whoever receives it.
    pub node: Option<MetadataValue<tonic::metadata::Ascii>>,
}

impl tonic::service::Interceptor for Propagate {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        let context = tracing::Span::current().context();
        TraceContextPropagator::new().inject_context(&context, &mut Metadata(request.metadata_mut()));
        if let Some(node) = &self.node {
            request.metadata_mut().insert("roadstead-node", node.clone());
        }
        Ok(request)
    }
}

struct Metadata<'a>(&'a mut MetadataMap);

impl Injector for Metadata<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) =
            (MetadataKey::from_bytes(key.as_bytes()), MetadataValue::try_from(value))
        {
            self.0.insert(key, value);
        }
    }
}
