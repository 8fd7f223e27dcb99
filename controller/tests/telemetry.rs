//! Export of traces: the test starts itself again as a program that has the standard variable set.

use std::error::Error;
use std::io::Read;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use controller::telemetry;

const CHILD: &str = "ROADSTEAD_TEST_SPANS";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_go_to_the_endpoint_in_the_standard_variable() -> Result<(), Box<dyn Error>> {
    if std::env::var_os(CHILD).is_some() {
        let telemetry = telemetry::init("controller")?;
        tracing::info_span!("work").in_scope(|| {
            assert!(telemetry::current_traceparent().is_some_and(|parent| parent.starts_with("00-")));
        });
        tokio::task::spawn_blocking(|| telemetry.shutdown()).await?;
        return Ok(());
    }
    let collector = TcpListener::bind("127.0.0.1:0")?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--exact", "spans_go_to_the_endpoint_in_the_standard_variable"])
        .env(CHILD, "1")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", collector.local_addr()?))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let received = tokio::task::spawn_blocking(move || {
        let (mut connection, _) = collector.accept()?;
        let mut preface = [0_u8; 24];
        connection.read_exact(&mut preface).map(|()| preface)
    });
    let received = tokio::time::timeout(std::time::Duration::from_secs(20), received).await;
    // This collector never answers; how long the child waits for it is not the matter here.
    child.kill()?;
    child.wait()?;
    assert_eq!(&received???, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    Ok(())
}
