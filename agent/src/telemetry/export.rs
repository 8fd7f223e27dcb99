//! Spans on their way to the collector. When they do not arrive, that is said
//! once, however long it lasts: a collector is nothing that others depend on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_otlp::{ExporterBuildError, RetryPolicy, SpanExporter, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as Export};

/// An exporter to where the standard variables say.
pub(super) fn exporter() -> Result<Audible, ExporterBuildError> {
    // Enough for a connection that broke, too little to hold up the end of this process.
    let retries =
        RetryPolicy::recommended().with_max_retries(2).with_initial_delay(Duration::from_millis(100));
    let inner = SpanExporter::builder().with_tonic().with_retry_policy(retries).build()?;
    Ok(Audible { inner, said: AtomicBool::new(false) })
}

/// Logs its first failure.
#[derive(Debug)]
pub(super) struct Audible {
    inner: SpanExporter,
    said: AtomicBool,
}

impl Export for Audible {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.inner.export(batch).await;
        if let Err(error) = &result
            && !self.said.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(%error, "traces do not reach the collector; this is said only once");
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
