//! A trace goes from the caller through the log to the agent.

use tonic::Request;

use crate::dispatch::Agent;
use crate::rig::{Rig, spec};

#[tokio::test]
async fn the_callers_trace_reaches_the_agent_with_the_assignment() {
    let _telemetry = controller::telemetry::init("controller-test").unwrap();
    let rig = Rig::start().await;
    let (_, card) = rig.node("n1").await;
    let (mut agent, _) = Agent::join(&rig, &card, "127.0.0.1:1").await;
    agent.assignments().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let caller = "00f067aa0ba902b7";
    let mut request = Request::new(proto::v1::CreateServiceRequest { spec: Some(spec("web", 1)) });
    request.metadata_mut().insert("traceparent", format!("00-{trace}-{caller}-01").parse().unwrap());
    rig.admin().create_service(request).await.unwrap();
    let assigned = agent.assignments().await.update.remove(0).traceparent;
    // The same trace, below a span of the controller.
    assert!(assigned.starts_with(&format!("00-{trace}-")), "{assigned:?}");
    assert!(!assigned.contains(caller), "{assigned:?}");
    rig.stop().await;
}
