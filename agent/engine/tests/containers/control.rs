//! Steering a container that is there: pausing, renaming, and what is told of it.

use std::time::{Duration, Instant};

use agent_engine::{ContainerState, Engine, EngineError};

use crate::host::{log, on_a_host, run, script, until};
use crate::recovery::{crash, reopen};

const COUNTS: &str = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done";

async fn running(engine: &Engine, text: &str) -> String {
    let id = engine.create(script(text)).await.unwrap();
    engine.start(&id).await.unwrap();
    id
}

/// How many lines it writes in a while.
async fn progress(engine: &Engine, id: &str) -> usize {
    let before = log(engine, id, false).await.lines().count();
    tokio::time::sleep(Duration::from_millis(300)).await;
    log(engine, id, false).await.lines().count() - before
}

fn state(engine: &Engine, id: &str) -> ContainerState {
    engine.inspect(id).unwrap().state
}

fn actions(engine: &Engine) -> Vec<String> {
    engine.listen().past.iter().map(|event| event.action.clone()).collect()
}

#[test]
fn a_paused_container_stands_still_also_after_a_crash_of_the_engine_and_goes_on() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let id = running(&engine, COUNTS).await;
        until("it counts", || engine.inspect(&id).unwrap().pid.is_some()).await;
        engine.pause(&id).await.unwrap();
        assert_eq!(state(&engine, &id), ContainerState::Paused);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(progress(&engine, &id).await, 0);
        assert!(matches!(engine.pause(&id).await, Err(EngineError::State { .. })));
        assert!(matches!(engine.start(&id).await, Err(EngineError::State { .. })));
        let before = engine.inspect(&id).unwrap();
        crash(engine).await;

        let engine = reopen(&host).await;
        let after = engine.inspect(&id).unwrap();
        assert_eq!(
            (after.state, after.pid, after.address),
            (ContainerState::Paused, before.pid, before.address)
        );
        assert_eq!(progress(&engine, &id).await, 0);
        engine.unpause(&id).await.unwrap();
        assert_eq!(state(&engine, &id), ContainerState::Running);
        assert!(progress(&engine, &id).await > 0);
        assert!(matches!(engine.unpause(&id).await, Err(EngineError::State { .. })));
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn a_paused_container_is_stopped_by_its_signal_and_removed_by_force() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let polite = running(&engine, "trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done").await;
        until("it is up", || engine.config().container_dir(&polite).join("log").exists()).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        engine.pause(&polite).await.unwrap();
        let begun = Instant::now();
        assert_eq!(engine.stop(&polite, None).await.unwrap().code, 3);
        assert!(begun.elapsed() < Duration::from_millis(1900), "it was killed after its grace");
        assert!(matches!(engine.pause(&polite).await, Err(EngineError::State { .. })));
        let other = running(&engine, "sleep 1000").await;
        engine.pause(&other).await.unwrap();
        assert!(matches!(engine.remove(&other, false).await, Err(EngineError::State { .. })));
        engine.remove(&other, true).await.unwrap();
        // One that is paused does not keep the engine from ending everything.
        let third = running(&engine, "sleep 1000").await;
        engine.pause(&third).await.unwrap();
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn a_paused_container_dies_with_its_keeper() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let id = running(&engine, "sleep 1000").await;
        engine.pause(&id).await.unwrap();
        let keeper = engine.keeper_pid().to_string();
        crate::host::command("kill", &["-9", &keeper]);
        assert_eq!(engine.wait(&id).await.unwrap().code, 137);
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn a_name_is_given_once_and_survives_a_crash() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let mut ids = Vec::new();
        for name in ["one", "two"] {
            let mut config = script("true");
            config.name = Some(name.to_owned());
            ids.push(engine.create(config).await.unwrap());
        }
        assert!(matches!(engine.rename("one", "two").await, Err(EngineError::NameTaken { .. })));
        for bad in ["", "a/b", "-x", "one"] {
            assert!(matches!(engine.rename("one", bad).await, Err(EngineError::Invalid { .. })), "{bad}");
        }
        // Of those that want the same name at the same time one gets it.
        let (a, b) = tokio::join!(engine.rename("one", "new"), engine.rename("two", "new"));
        assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");
        let winner = if a.is_ok() { &ids[0] } else { &ids[1] };
        assert_eq!(&engine.inspect("new").unwrap().id, winner);
        crash(engine).await;
        let engine = reopen(&host).await;
        assert_eq!(&engine.inspect("new").unwrap().id, winner);
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn what_happens_is_told_in_dockers_words_with_name_image_and_labels() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let mut config = script("sleep 1000");
        config.name = Some("told".to_owned());
        config.labels = [("part".to_owned(), "db".to_owned())].into();
        let id = engine.create(config).await.unwrap();
        engine.start(&id).await.unwrap();
        engine.pause(&id).await.unwrap();
        engine.unpause(&id).await.unwrap();
        engine.rename(&id, "other").await.unwrap();
        engine.kill(&id, 9).await.unwrap();
        engine.wait(&id).await.unwrap();
        engine.remove(&id, false).await.unwrap();
        let life = ["create", "connect", "start", "pause", "unpause", "rename", "kill", "die", "disconnect"];
        let expected = [&["import"], &life[..], &["destroy"]].concat();
        assert_eq!(actions(&engine), expected);
        let past = engine.listen().past;
        let of = |action: &str| &past.iter().find(|event| event.action == action).unwrap().attributes;
        assert_eq!(of("rename")["oldName"], "told");
        assert_eq!((&*of("kill")["signal"], &*of("die")["exitCode"]), ("9", "137"));
        for (key, value) in [("name", "other"), ("image", crate::host::IMAGE), ("part", "db")] {
            assert_eq!(of("die")[key], value);
        }
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn a_container_that_takes_too_much_memory_is_told_of_before_its_end() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let mut config = script("x=x; while :; do x=$x$x; done");
        config.limits.memory_bytes = Some(16 << 20);
        let (_, exit) = run(&engine, config).await;
        assert!(exit.oom_killed, "{exit:?}");
        // Whoever waits may hear of the end before those who listen to events do.
        let told = async {
            while !actions(&engine).iter().any(|action| action == "disconnect") {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), told).await.expect("the end is told");
        let expected = ["import", "create", "connect", "start", "oom", "die", "disconnect"];
        assert_eq!(actions(&engine), expected);
        engine.shutdown(true).await.unwrap();
    });
}
