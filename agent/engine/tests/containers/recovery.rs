//! An engine that comes back: containers, keeper and host as they were left.

use std::process::Command;
use std::time::Duration;

use agent_engine::{ContainerState, Engine};

use crate::host::{Host, cgroup_dir, log, on_a_host, script, until};

/// The engine goes without a word, as in a crash.
pub(crate) async fn crash(engine: Engine) {
    drop(engine);
    // Work it had begun holds its records for a moment.
    tokio::time::sleep(Duration::from_millis(200)).await;
}

pub(crate) async fn reopen(host: &Host) -> Engine {
    for _ in 0..50 {
        if let Ok(engine) = Engine::open(host.config()).await {
            return engine;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Engine::open(host.config()).await.unwrap()
}

#[test]
fn a_new_engine_adopts_containers_and_learns_what_ended_meanwhile() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let running =
            engine.create(script("i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done")).await.unwrap();
        let ending = engine.create(script("sleep 1; echo bye; exit 9")).await.unwrap();
        let created = engine.create(script("true")).await.unwrap();
        for id in [&running, &ending] {
            engine.start(id).await.unwrap();
        }
        let before = engine.inspect(&running).unwrap();
        let keeper = engine.keeper_pid();
        // What is not synced yet may be lost with a killed process; here it is dropped.
        crash(engine).await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let engine = reopen(&host).await;
        assert_eq!(engine.keeper_pid(), keeper);
        assert_eq!(engine.swept().removed, Vec::<String>::new());
        let after = engine.inspect(&running).unwrap();
        assert_eq!(
            (after.state, after.pid, after.address),
            (ContainerState::Running, before.pid, before.address)
        );
        assert_eq!(engine.wait(&ending).await.unwrap().code, 9);
        assert_eq!(log(&engine, &ending, false).await, "bye\n");
        assert_eq!(engine.inspect(&created).unwrap().state, ContainerState::Created);
        engine.kill(&running, 9).await.unwrap();
        assert_eq!(engine.wait(&running).await.unwrap().signal, Some(9));
        let text = log(&engine, &running, false).await;
        assert!(text.lines().count() > 20, "{}", text.lines().count());
        for (line, number) in text.lines().zip(0..) {
            assert_eq!(line, format!("{number}"));
        }
        engine.start(&created).await.unwrap();
        assert_eq!(engine.wait(&created).await.unwrap().code, 0);
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn leaving_keeps_containers_running_and_shutting_down_ends_them() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let id = engine.create(script("sleep 100")).await.unwrap();
        engine.start(&id).await.unwrap();
        let pid = engine.inspect(&id).unwrap().pid.unwrap();
        engine.shutdown(false).await.unwrap();
        drop(engine);
        assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
        let engine = reopen(&host).await;
        assert_eq!(engine.inspect(&id).unwrap().pid, Some(pid));
        engine.shutdown(true).await.unwrap();
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    });
}

#[test]
fn a_lost_keeper_is_replaced_and_its_containers_end() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let id = engine.create(script("sleep 100")).await.unwrap();
        engine.start(&id).await.unwrap();
        let (keeper, pid) = (engine.keeper_pid(), engine.inspect(&id).unwrap().pid.unwrap());
        assert!(Command::new("kill").args(["-9", &keeper.to_string()]).status().unwrap().success());
        let exit = engine.wait(&id).await.unwrap();
        assert_eq!((exit.code, exit.signal), (137, Some(9)));
        assert!(engine.inspect(&id).unwrap().error.unwrap().contains("keeper"));
        until("its process is gone", || !std::path::Path::new(&format!("/proc/{pid}")).exists()).await;
        assert_ne!(engine.keeper_pid(), keeper);
        let again = engine.create(script("exit 4")).await.unwrap();
        engine.start(&again).await.unwrap();
        assert_eq!(engine.wait(&again).await.unwrap().code, 4);
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn what_is_in_no_record_is_swept_and_reported() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let config = engine.config().clone();
        engine.shutdown(false).await.unwrap();
        drop(engine);
        let stranger = "feed".repeat(16);
        std::fs::create_dir_all(config.container_dir(&stranger)).unwrap();
        std::fs::create_dir_all(host.data().join("snapshots/containers").join(&stranger)).unwrap();
        std::fs::create_dir_all(cgroup_dir(&config.cgroup(&stranger))).unwrap();
        let engine = reopen(&host).await;
        let removed = &engine.swept().removed;
        for kind in ["cgroup", "snapshot", "state"] {
            assert!(removed.contains(&format!("{kind} {stranger}")), "{removed:?}");
        }
        assert!(!config.container_dir(&stranger).exists());
        engine.shutdown(true).await.unwrap();
    });
}
