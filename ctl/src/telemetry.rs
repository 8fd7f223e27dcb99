//! Traces of `ctl`: every command is a span, every request carries its W3C
//! context, and spans are exported when `OTEL_EXPORTER_OTLP_ENDPOINT` is set.
//! `RUST_LOG` shows events on stderr; without it `ctl` logs nothing.

use opentelemetry::propagation::{Injector, TextMapPropagator};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Keeps the exporter alive until [`Telemetry::finish`].
#[derive(Debug)]
pub struct Telemetry {
    provider: SdkTracerProvider,
}

/// Installs the subscriber of the process.
pub fn start() -> Telemetry {
    let mut builder = SdkTracerProvider::builder()
        .with_resource(opentelemetry_sdk::Resource::builder().with_service_name("ctl").build());
    if std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_some() {
        match opentelemetry_otlp::SpanExporter::builder().with_tonic().build() {
            Ok(exporter) => builder = builder.with_batch_exporter(exporter),
            Err(error) => crate::output::note(&format!("traces are not exported: {error}")),
        }
    }
    let provider = builder.build();
    let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("ctl"));
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("off,ctl=info"));
    let shown = std::env::var_os("RUST_LOG").is_some();
    let log = shown.then(|| tracing_subscriber::fmt::layer().with_writer(std::io::stderr).compact());
    // A second start in one process (tests) keeps the first subscriber.
    let _ = tracing_subscriber::registry().with(filter).with(spans).with(log).try_init();
    Telemetry { provider }
}

impl Telemetry {
    /// Sends what is buffered.
    pub fn finish(self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::debug!(%error, "traces were not all exported");
        }
    }
}

/// Puts the current span's context into the metadata of each request.
#[derive(Debug, Clone, Copy)]
pub struct Propagate;

impl tonic::service::Interceptor for Propagate {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        let context = tracing::Span::current().context();
        TraceContextPropagator::new().inject_context(&context, &mut Metadata(request.metadata_mut()));
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
