//! Calls for a node's agent that come to the controller.

use proto::v1;
use proto::v1::node_control_client::NodeControlClient;
use tonic::{Code, Request, Status};

use crate::dispatch::Agent;
use crate::node_api::NodeApi;
use crate::rig::{Card, Rig};
use controller::ca::Role;

fn admin_card(rig: &Rig) -> Card {
    rig.card(Role::User, "admin")
}

/// Asks for a container's log at the controller, for `node`.
async fn ask(rig: &Rig, card: &Card, node: Option<&str>) -> Result<Vec<String>, Status> {
    let mut client = NodeControlClient::new(rig.channel(Some(card)));
    let mut request =
        Request::new(v1::ContainerLogsRequest { container: "c".to_owned(), ..Default::default() });
    if let Some(node) = node {
        request.metadata_mut().insert("roadstead-node", node.parse().unwrap());
    }
    let mut answers = client.container_logs(request).await?.into_inner();
    let mut lines = Vec::new();
    while let Some(answer) = answers.message().await? {
        lines.push(String::from_utf8(answer.line.unwrap().data).unwrap());
    }
    Ok(lines)
}

#[tokio::test]
async fn a_call_reaches_the_node_it_names_and_no_other() {
    let rig = Rig::start().await;
    let mut nodes = Vec::new();
    for name in ["n1", "n2"] {
        let (id, card) = rig.node(name).await;
        let api = NodeApi::default();
        api.write("c", 1, name);
        let address = api.serve(&rig, &card).await;
        let (agent, _) = Agent::join(&rig, &card, &address).await;
        nodes.push((id.to_string(), api, agent));
    }
    let admin = admin_card(&rig);
    assert_eq!(ask(&rig, &admin, Some("n1")).await.unwrap(), ["n1"]);
    assert_eq!(ask(&rig, &admin, Some("n2")).await.unwrap(), ["n2"]);
    assert_eq!(ask(&rig, &admin, Some(&nodes[1].0[..8])).await.unwrap(), ["n2"]);
    assert_eq!(nodes[0].1.asked.lock().unwrap().len(), 1);

    let nowhere = ask(&rig, &admin, None).await.unwrap_err();
    assert_eq!(nowhere.code(), Code::InvalidArgument);
    assert!(nowhere.message().contains("roadstead-node"), "{nowhere}");
    let unknown = ask(&rig, &admin, Some("n3")).await.unwrap_err();
    assert_eq!((unknown.code(), unknown.message()), (Code::NotFound, "there is no node \"n3\""));
    let refused = nodes[0].1.asked.lock().unwrap().len() + nodes[1].1.asked.lock().unwrap().len();
    assert_eq!(refused, 3, "a refused call came to a node");
    rig.stop().await;
}

#[tokio::test]
async fn errors_of_the_node_come_through_and_a_node_that_is_away_is_named() {
    let rig = Rig::start().await;
    let (_, card) = rig.node("n1").await;
    let api = NodeApi::default();
    let address = api.serve(&rig, &card).await;
    let (_agent, _) = Agent::join(&rig, &card, &address).await;
    let (_, lost) = rig.node("lost").await;
    // Nobody listens on port 1.
    let (_lost_agent, _) = Agent::join(&rig, &lost, "127.0.0.1:1").await;
    let admin = admin_card(&rig);
    let missing = ask(&rig, &admin, Some("n1")).await.unwrap_err();
    assert_eq!((missing.code(), missing.message()), (Code::NotFound, "there is no container \"c\""));
    let away = ask(&rig, &admin, Some("lost")).await.unwrap_err();
    assert_eq!(away.code(), Code::Unavailable);
    assert!(away.message().contains("node lost at 127.0.0.1:1 can't be reached"), "{away}");
    rig.stop().await;
}

#[tokio::test]
async fn nodes_and_strangers_reach_no_agent_through_the_controller() {
    let rig = Rig::start().await;
    let (_, card) = rig.node("n1").await;
    let api = NodeApi::default();
    api.write("c", 1, "secret");
    let address = api.serve(&rig, &card).await;
    let (_agent, _) = Agent::join(&rig, &card, &address).await;
    for other in [card, rig.card(Role::User, "guest")] {
        let refused = ask(&rig, &other, Some("n1")).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    }
    assert!(api.asked.lock().unwrap().is_empty());
    rig.stop().await;
}
