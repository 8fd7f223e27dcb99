//! Restart policies, across ends of containers, engines, keepers and the host.

use std::process::Command;
use std::time::{Duration, Instant};

use agent_engine::{ContainerConfig, ContainerEventKind, ContainerState, Engine, Exit};

use crate::host::{Host, cgroup_dir, on_a_host, script, until};

fn with(policy: &str, text: &str) -> ContainerConfig {
    ContainerConfig { restart: policy.parse().unwrap(), ..script(text) }
}

async fn started(engine: &Engine, config: ContainerConfig) -> String {
    let id = engine.create(config).await.unwrap();
    engine.start(&id).await.unwrap();
    id
}

fn state(engine: &Engine, id: &str) -> ContainerState {
    engine.inspect(id).unwrap().state
}

async fn reopened(engine: Engine, host: &Host) -> Engine {
    engine.shutdown(false).await.unwrap();
    drop(engine);
    Engine::open(host.config()).await.unwrap()
}

#[test]
fn failures_are_restarted_with_growing_pauses_up_to_the_limit() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let begun = Instant::now();
        let id = started(&engine, with("on-failure:3", "echo run >> /runs; exit 5")).await;
        until("it is given up", || state(&engine, &id) == ContainerState::Exited).await;
        // 100, 200 and 400 ms.
        assert!(begun.elapsed() >= Duration::from_millis(700), "{:?}", begun.elapsed());
        let seen = engine.inspect(&id).unwrap();
        assert_eq!((seen.restart_count, seen.exit.unwrap().code), (3, 5));
        let runs = host.data().join("snapshots/containers").join(&id).join("upper/runs");
        assert_eq!(std::fs::read_to_string(runs).unwrap(), "run\n".repeat(4));
        let once = started(&engine, with("on-failure", "exit 0")).await;
        assert_eq!(engine.wait(&once).await.unwrap().code, 0);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(
            (state(&engine, &once), engine.inspect(&once).unwrap().restart_count),
            (ContainerState::Exited, 0)
        );
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn a_stop_by_hand_holds_until_a_start_by_hand() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let id = started(&engine, with("always", "sleep 0.1; exit 1")).await;
        until("it waits for its next start", || state(&engine, &id) == ContainerState::Restarting).await;
        assert!(engine.inspect(&id).unwrap().restart_at_ms.is_some());
        engine.stop(&id, None).await.unwrap();
        assert_eq!(state(&engine, &id), ContainerState::Exited);
        let running = started(&engine, with("unless-stopped", "sleep 100")).await;
        engine.kill(&running, 9).await.unwrap();
        engine.wait(&running).await.unwrap();
        tokio::time::sleep(Duration::from_millis(600)).await;
        for stopped in [&id, &running] {
            assert_eq!(state(&engine, stopped), ContainerState::Exited);
        }
        engine.start(&id).await.unwrap();
        until("its policy holds again", || engine.inspect(&id).unwrap().restart_count == 2).await;
        // In the middle of it.
        engine.remove(&id, true).await.unwrap();
        engine.remove(&running, false).await.unwrap();
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert!(engine.list().is_empty());
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn policies_and_pending_restarts_outlive_the_engine() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let config = |policy| with(policy, "sleep 100");
        let mut ids = Vec::new();
        for policy in ["always", "unless-stopped", "on-failure", "no"] {
            ids.push(started(&engine, config(policy)).await);
        }
        let stopped = started(&engine, config("unless-stopped")).await;
        let always = started(&engine, config("always")).await;
        for id in [&stopped, &always] {
            engine.stop(id, Some(Duration::ZERO)).await.unwrap();
        }
        let never = engine.create(config("always")).await.unwrap();
        let pending = started(&engine, with("on-failure", "exit 1")).await;
        until("its pause is long", || engine.inspect(&pending).unwrap().restart_count >= 4).await;
        // With all containers, as when the host goes down in order.
        engine.shutdown(true).await.unwrap();
        drop(engine);
        let engine = Engine::open(host.config()).await.unwrap();
        for (id, policy) in ids.iter().zip(["always", "unless-stopped"]) {
            until(policy, || state(&engine, id) == ContainerState::Running).await;
        }
        until("as with Docker", || state(&engine, &always) == ContainerState::Running).await;
        for id in ids[2..].iter().chain([&stopped]) {
            assert_eq!(state(&engine, id), ContainerState::Exited);
        }
        assert_eq!(state(&engine, &never), ContainerState::Created);
        until("it goes on counting", || engine.inspect(&pending).unwrap().restart_count >= 5).await;
        let engine = reopened(engine, &host).await;
        assert!(engine.inspect(&pending).unwrap().restart_count >= 5);
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn a_keeper_that_is_killed_takes_its_containers_along_and_policy_brings_them_back() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let mut events = engine.events();
        let plain = started(&engine, script("sleep 100 & sleep 100")).await;
        let kept = started(&engine, with("always", "sleep 100")).await;
        let (keeper, pid) = (engine.keeper_pid(), engine.inspect(&kept).unwrap().pid.unwrap());
        let cgroup = cgroup_dir(&engine.config().cgroup(&plain));
        assert!(Command::new("kill").args(["-9", &keeper.to_string()]).status().unwrap().success());
        assert_eq!(engine.wait(&plain).await.unwrap().code, 137);
        until("it runs again", || engine.inspect(&kept).unwrap().pid.is_some_and(|now| now != pid)).await;
        until("nothing of it lives", || !cgroup.exists()).await;
        until("its process is gone", || !std::path::Path::new(&format!("/proc/{pid}")).exists()).await;
        let seen = engine.inspect(&plain).unwrap();
        assert_eq!(seen.error.unwrap(), "the keeper ended, and its containers with it");
        assert_eq!(engine.inspect(&kept).unwrap().restart_count, 1);
        let mut ended = Vec::new();
        while let Ok(event) = events.try_recv() {
            if let ContainerEventKind::Exited(Exit { code: 137, .. }) = event.kind {
                ended.push(event.id);
            }
        }
        ended.sort();
        let mut both = vec![plain, kept];
        both.sort();
        assert_eq!(ended, both);
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn an_unhealthy_container_counts_as_failed_and_comes_back() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let id =
            started(&engine, with("on-failure", "trap 'exit 0' TERM; while :; do sleep 0.05; done")).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        engine.end_unhealthy(&id).await.unwrap();
        until("it is back", || {
            engine.inspect(&id).unwrap().restart_count == 1 && state(&engine, &id) == ContainerState::Running
        })
        .await;
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn a_policy_does_not_go_with_removal_nor_with_tasks() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let removed = ContainerConfig { auto_remove: true, ..with("always", "true") };
        let of_task = ContainerConfig { task: Some("t".to_owned()), ..with("always", "true") };
        for config in [removed, of_task] {
            let refused = engine.create(config).await.unwrap_err().to_string();
            assert!(refused.starts_with("restart: "), "{refused}");
        }
        assert!(engine.list().is_empty());
        engine.shutdown(true).await.unwrap();
    });
}
