//! An OpenTelemetry collector that only remembers: OTLP over gRPC, on one host's
//! loopback.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use itest::host::Host;
use itest::wait;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use tonic::{Request, Response, Status};

/// What is asked of a span.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    /// The program that made it.
    pub(crate) service: String,
    /// What it is called.
    pub(crate) name: String,
    /// The trace, in hex.
    pub(crate) trace: String,
    /// Its own id, in hex.
    pub(crate) id: String,
    /// The id of the span above, in hex; empty at the top.
    pub(crate) parent: String,
    /// Nanoseconds since 1970.
    pub(crate) from: u64,
    /// Nanoseconds since 1970.
    pub(crate) to: u64,
    /// Why it failed, if it did.
    pub(crate) failure: Option<String>,
}

type Spans = Arc<Mutex<Vec<Span>>>;

/// A running collector.
pub(crate) struct Collector {
    spans: Spans,
    endpoint: String,
    _runtime: tokio::runtime::Runtime,
}

impl Collector {
    /// Starts one on `host`.
    pub(crate) fn start(host: &Host) -> Self {
        let listener = host.listen("127.0.0.1:0");
        let endpoint = format!("http://{}", listener.local_addr().expect("it listens"));
        listener.set_nonblocking(true).expect("a socket");
        let spans = Spans::default();
        let service = TraceServiceServer::new(Memory(Arc::clone(&spans)));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("one more thread");
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
            let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
            tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await
        });
        Self { spans, endpoint, _runtime: runtime }
    }

    /// The standard variables that lead a program here, with its spans after `delay_ms` at the latest.
    pub(crate) fn variables(&self, delay_ms: u32) -> [(&str, String); 2] {
        [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", self.endpoint.clone()),
            ("OTEL_BSP_SCHEDULE_DELAY", delay_ms.to_string()),
        ]
    }

    /// All spans so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the span of `service` with this name below the span `parent`, or anywhere.
    #[track_caller]
    pub(crate) fn find(&self, service: &str, name: &str, parent: Option<&Span>) -> Span {
        let what = format!("{service}'s span {name:?} below {:?}", parent.map(|parent| &parent.name));
        wait::until(&what, Duration::from_secs(20), || {
            let spans = self.spans();
            let fits = |span: &&Span| {
                let placed = parent.is_none_or(|parent| span.parent == parent.id);
                span.service == service && span.name == name && placed
            };
            spans.iter().find(fits).cloned().ok_or_else(|| list(&spans))
        })
    }

    /// All spans of a trace.
    pub(crate) fn trace(&self, trace: &str) -> Vec<Span> {
        self.spans().into_iter().filter(|span| span.trace == trace).collect()
    }
}

/// Spans as text, for messages.
fn list(spans: &[Span]) -> String {
    let line = |span: &Span| {
        format!("\n{} {:>16} {:>16} {}: {}", span.trace, span.parent, span.id, span.service, span.name)
    };
    spans.iter().map(line).collect()
}

struct Memory(Spans);

#[tonic::async_trait]
impl TraceService for Memory {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for of_resource in request.into_inner().resource_spans {
            let service = service_name(of_resource.resource.unwrap_or_default());
            for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                kept.push(Span {
                    service: service.clone(),
                    name: span.name,
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    from: span.start_time_unix_nano,
                    to: span.end_time_unix_nano,
                    failure: span.status.filter(|status| status.code == 2).map(|status| status.message),
                });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn service_name(resource: Resource) -> String {
    let named = resource.attributes.into_iter().find(|attribute| attribute.key == "service.name");
    match named.and_then(|attribute| attribute.value).and_then(|value| value.value) {
        Some(Value::StringValue(name)) => name,
        _ => String::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
