//! An agent that is killed: its containers go on, and the next one knows them.

use proto::v1;

use super::harness::Agent;

#[tokio::test]
async fn containers_outlive_a_killed_agent_and_are_adopted() {
    let mut agent = Agent::start().await;
    let before = agent.run_hello("web").await;
    agent.crash_and_restart().await;
    let after = agent.containers().await;
    assert_eq!(after.len(), 1);
    assert_eq!(
        (&after[0].id, after[0].pid, &after[0].state),
        (&before.id, before.pid, &"running".to_owned())
    );
    let kill = v1::KillContainerRequest { container: "web".into(), signal: 9, ..Default::default() };
    agent.client().await.kill_container(kill).await.unwrap();
    let wait = v1::WaitContainerRequest { container: "web".into(), ..Default::default() };
    let exit = agent.client().await.wait_container(wait).await.unwrap().into_inner();
    assert_eq!(exit.exit_code, 137);
}
