//! From create to remove.

use std::time::{Duration, Instant};

use agent_engine::{ContainerEventKind, ContainerState, EngineError, LogOptions, PortMapping, Protocol};
use futures::StreamExt;

use crate::host::{cgroup_dir, command, log, on_a_host, run, script, until};

#[test]
fn a_container_runs_as_asked_and_leaves_nothing() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let mut config = script(
            "echo $FROM $MINE $HOME $PWD; hostname; id; cat /etc/hosts /proc/self/uid_map; echo err >&2; exit 5",
        );
        config.env = vec!["MINE=yes".to_owned()];
        config.user = "web".to_owned();
        config.hostname = "box".to_owned();
        config.name = Some("one".to_owned());
        let mut events = engine.events();
        let (id, exit) = run(&engine, config).await;
        assert_eq!((exit.code, exit.signal, exit.oom_killed), (5, None, false));
        let text = log(&engine, "one", false).await;
        assert!(
            text.starts_with("image yes /srv /srv\nbox\nuid=101(web) gid=102(www) groups=7(logs),102(www)\n"),
            "{text}"
        );
        assert!(text.contains("\tbox\n") && text.contains("65536"), "{text}");
        let container = engine.inspect(&id[..6]).unwrap();
        assert_eq!((container.state, container.pid), (ContainerState::Exited, None));
        assert!(
            container.start_timings.iter().any(|(step, _)| step == "keeper"),
            "{:?}",
            container.start_timings
        );
        engine.remove(&id, false).await.unwrap();
        assert!(matches!(engine.inspect(&id), Err(EngineError::NoSuchContainer(_))));
        assert!(!host.data().join("containers").join(&id).exists());
        let mut kinds = Vec::new();
        while let Ok(event) = events.try_recv() {
            kinds.push(event.kind);
        }
        let expected = [
            ContainerEventKind::Created,
            ContainerEventKind::Started,
            ContainerEventKind::Exited(exit),
            ContainerEventKind::Removed,
        ];
        assert_eq!(kinds, expected);
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn stopping_asks_first_and_kills_after_the_grace() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let polite =
            engine.create(script("trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done")).await.unwrap();
        let stubborn =
            engine.create(script("trap '' TERM; echo up; while :; do sleep 0.05; done")).await.unwrap();
        for id in [&polite, &stubborn] {
            engine.start(id).await.unwrap();
            let mut lines =
                Box::pin(engine.logs(id, LogOptions { follow: true, ..LogOptions::default() }).unwrap());
            lines.next().await.unwrap();
        }
        assert_eq!(engine.stop(&polite, None).await.unwrap().code, 3);
        let begun = Instant::now();
        let exit = engine.stop(&stubborn, Some(Duration::from_millis(300))).await.unwrap();
        assert_eq!((exit.code, exit.signal), (137, Some(9)));
        assert!(begun.elapsed() >= Duration::from_millis(300));
        // It can be started again, and its log goes on.
        engine.start(&polite).await.unwrap();
        engine.kill(&polite, 9).await.unwrap();
        assert_eq!(engine.wait(&polite).await.unwrap().code, 137);
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn signals_without_a_name_reach_the_program() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let id =
            engine.create(script("trap 'exit 4' 37; echo up; while :; do sleep 0.05; done")).await.unwrap();
        engine.start(&id).await.unwrap();
        let mut lines =
            Box::pin(engine.logs(&id, LogOptions { follow: true, ..LogOptions::default() }).unwrap());
        lines.next().await.unwrap();
        assert!(matches!(engine.kill(&id, 65).await, Err(EngineError::Invalid { .. })));
        engine.kill(&id, 37).await.unwrap();
        assert_eq!(engine.wait(&id).await.unwrap().code, 4);
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn what_a_container_uses_is_told_while_it_runs() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let mut config = script("while :; do sleep 0.05; done");
        config.limits.memory_bytes = Some(64 << 20);
        let id = engine.create(config).await.unwrap();
        assert!(matches!(engine.usage(&id).await, Err(EngineError::State { .. })));
        engine.start(&id).await.unwrap();
        let usage = engine.usage(&id).await.unwrap().counted;
        assert_eq!((usage.memory_limit_bytes, usage.pids_limit), (Some(64 << 20), Some(1024)));
        assert!(usage.pids >= 1 && usage.memory_bytes > 0 && usage.cpu_ns > 0, "{usage:?}");
        engine.remove(&id, true).await.unwrap();
        assert!(matches!(engine.usage(&id).await, Err(EngineError::NoSuchContainer(_))));
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn any_user_of_a_container_reads_its_limits() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let mut config =
            script("cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; true");
        config.user = "web".to_owned();
        config.limits.memory_bytes = Some(64 << 20);
        let (id, _) = run(&engine, config).await;
        let text = log(&engine, &id, false).await;
        assert!(text.contains("67108864\n"), "{text}");
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn removing_by_force_is_complete_when_it_answers() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let id = engine.create(script("sleep 100")).await.unwrap();
        engine.start(&id).await.unwrap();
        assert!(matches!(engine.remove(&id, false).await, Err(EngineError::State { .. })));
        let address = engine.inspect(&id).unwrap().address.unwrap();
        assert!(command("ip", &["-o", "link"]).contains(&id[..12]));
        engine.remove(&id, true).await.unwrap();
        assert!(!command("ip", &["-o", "link"]).contains(&id[..12]), "{address}");
        let cgroup = cgroup_dir(&engine.config().cgroup(&id));
        assert!(!cgroup.exists());
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn logs_are_followed_through_rotation_to_the_end() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let mut config = script(
            "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); [ $((i%100)) = 0 ] && sleep 0.02; done",
        );
        let options = [("max-size", "20000"), ("max-file", "6")];
        let options = options.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        config.log = Some(agent_engine::Logging { options, ..Default::default() });
        let id = engine.create(config).await.unwrap();
        engine.start(&id).await.unwrap();
        let text = log(&engine, &id, true).await;
        let expected: String = (0..3000).map(|number| format!("line {number}\n")).collect();
        assert!(text == expected, "{} of {} bytes", text.len(), expected.len());
        let tail = engine.logs(&id, LogOptions { tail: Some(2), ..LogOptions::default() }).unwrap();
        let tail: Vec<_> = tail.map(|entry| entry.data).collect().await;
        assert_eq!(tail, [b"line 2998\n", b"line 2999\n"]);
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn many_containers_start_and_end_at_once() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let all = (0..12).map(|number| {
            let engine = engine.clone();
            async move {
                let mut config = script(&format!("echo {number}; exit {number}"));
                config.auto_remove = number % 2 == 0;
                let id = engine.create(config).await.unwrap();
                let wait = tokio::spawn({
                    let (engine, id) = (engine.clone(), id.clone());
                    async move { engine.wait(&id).await.unwrap() }
                });
                tokio::task::yield_now().await;
                engine.start(&id).await.unwrap();
                assert_eq!(wait.await.unwrap().code, number);
            }
        });
        futures::future::join_all(all).await;
        until("the even ones are removed", || engine.list().len() == 6).await;
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn a_published_port_reaches_the_container_and_belongs_to_it_alone() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let mut config = script("while :; do echo hello | nc -l -p 80; done");
        config.ports = vec![PortMapping { protocol: Protocol::Tcp, published: 8080, target: 80 }];
        let id = engine.create(config.clone()).await.unwrap();
        engine.start(&id).await.unwrap();
        let mut answer = String::new();
        for _ in 0..100 {
            if let Ok(mut stream) = tokio::net::TcpStream::connect("127.0.0.1:8080").await
                && tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.is_ok()
                && !answer.is_empty()
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(answer, "hello\n");
        let error = engine.create(config.clone()).await.unwrap_err().to_string();
        assert!(error.contains("8080"), "{error}");
        engine.remove(&id, true).await.unwrap();
        let listener = std::net::TcpListener::bind("0.0.0.0:8080").unwrap();
        let error = engine.create(config).await.unwrap_err().to_string();
        assert!(error.contains("8080/tcp is already in use"), "{error}");
        drop(listener);
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn name_and_ports_are_free_as_soon_as_the_end_is_known() {
    on_a_host(async |host| {
        let engine = host.open().await;
        for round in 0..5 {
            let mut config = script("exit 0");
            config.name = Some("again".to_owned());
            config.auto_remove = true;
            config.ports = vec![PortMapping { protocol: Protocol::Tcp, published: 8080, target: 80 }];
            let (_, exit) = run(&engine, config).await;
            assert_eq!(exit.code, 0, "round {round}");
            assert!(engine.list().is_empty(), "round {round}: it is still listed");
        }
        engine.shutdown(true).await.unwrap();
    });
}
