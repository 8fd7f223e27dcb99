//! Bad input: one clear error each, and nothing half-made.

use agent_engine::{ContainerConfig, ContainerState, Engine, Limits};

use crate::host::{command, on_a_host, script};

async fn refused(engine: &Engine, change: impl FnOnce(&mut ContainerConfig)) -> String {
    let mut config = script("true");
    change(&mut config);
    let error = engine.create(config).await.expect_err("it is refused").to_string();
    assert!(engine.list().is_empty());
    error
}

#[test]
fn a_bad_request_is_refused_by_name_and_makes_nothing() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let text = refused(&engine, |config| {
            config.limits = Limits { memory_bytes: Some(4096), ..Limits::default() }
        })
        .await;
        assert!(text.contains("4096") && text.contains("6 MiB"), "{text}");
        let text = refused(&engine, |config| config.user = "ghost".into()).await;
        assert!(text.contains("ghost"), "{text}");
        let text = refused(&engine, |config| config.image = "none/such:1".into()).await;
        assert!(text.contains("none/such:1"), "{text}");
        let text = refused(&engine, |config| config.image = "NOT an image".into()).await;
        assert!(text.starts_with("image"), "{text}");
        let text = refused(&engine, |config| config.command = vec![String::new()]).await;
        assert!(text.contains("command"), "{text}");
        let text = refused(&engine, |config| config.working_dir = "relative".into()).await;
        assert!(text.contains("relative"), "{text}");
        let text = refused(&engine, |config| config.env = vec![format!("LONG={}", "x".repeat(60_000))]).await;
        assert!(text.contains("too long"), "{text}");
        assert!(std::fs::read_dir(host.data().join("containers")).unwrap().next().is_none());
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn a_program_that_does_not_exist_is_named_and_the_container_stays_created() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let mut config = script("");
        config.command = vec!["/no/such/program".to_owned()];
        let id = engine.create(config.clone()).await.unwrap();
        let error = engine.start(&id).await.unwrap_err().to_string();
        assert!(error.contains("/no/such/program"), "{error}");
        let container = engine.inspect(&id).unwrap();
        assert_eq!(container.state, ContainerState::Created);
        assert!(container.error.unwrap().contains("/no/such/program"));
        assert!(!command("ip", &["-o", "link"]).contains(&id[..12]));
        config.auto_remove = true;
        let removed = engine.create(config).await.unwrap();
        engine.start(&removed).await.unwrap_err();
        assert_eq!(engine.list().len(), 1);
        engine.remove(&id, false).await.unwrap();
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn a_name_belongs_to_one_container() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let mut config = script("true");
        config.name = Some("web".to_owned());
        let id = engine.create(config.clone()).await.unwrap();
        let error = engine.create(config.clone()).await.unwrap_err().to_string();
        assert!(error.contains("web") && error.contains(&id[..12]), "{error}");
        engine.remove("web", false).await.unwrap();
        engine.create(config).await.unwrap();
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn a_container_beyond_its_memory_limit_is_killed_and_says_so() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let mut config = script("x=a; while :; do x=$x$x; done");
        config.limits = Limits { memory_bytes: Some(16 << 20), ..Limits::default() };
        let (id, exit) = crate::host::run(&engine, config).await;
        assert!(exit.oom_killed, "{exit:?}");
        assert_ne!(exit.code, 0);
        engine.remove(&id, false).await.unwrap();
        engine.shutdown(true).await.unwrap();
    });
}
