//! Input and output of containers through the engine.

use agent_engine::{LogOptions, WindowSize};
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::host::{on_a_host, script};

#[test]
fn what_is_attached_before_the_start_misses_nothing() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let mut config = script("echo first; cat; echo last >&2");
        config.open_stdin = true;
        config.auto_remove = true;
        let id = engine.create(config).await.unwrap();
        let mut attachment = engine.attach(&id).await.unwrap();
        assert!(!attachment.raw);
        engine.start(&id).await.unwrap();
        let wait = tokio::spawn({
            let (engine, id) = (engine.clone(), id.clone());
            async move { engine.wait(&id).await }
        });
        attachment.write_all(b"input\n").await.unwrap();
        attachment.shutdown().await.unwrap();
        let mut bytes = Vec::new();
        attachment.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(streams(&bytes), ["first\ninput\n", "last\n"]);
        assert_eq!(wait.await.unwrap().unwrap().code, 0);
        assert!(engine.list().is_empty(), "its name is free when its end is known");
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn input_that_is_never_read_does_not_break_the_output_off() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let mut config = script("read go; echo all");
        config.open_stdin = true;
        let id = engine.create(config).await.unwrap();
        let (mut from, mut to) = tokio::io::split(engine.attach(&id).await.unwrap());
        engine.start(&id).await.unwrap();
        let feed = tokio::spawn(async move {
            let piece = "go\n".repeat(20_000);
            while to.write_all(piece.as_bytes()).await.is_ok() {}
        });
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(streams(&bytes)[0], "all\n");
        feed.await.unwrap();
        engine.shutdown(true).await.unwrap();
    });
}

/// Standard output and error, put together from their frames. How many frames there are, and how those of the two
/// streams lie among each other, is a matter of time.
fn streams(mut frames: &[u8]) -> [String; 2] {
    let mut texts = [String::new(), String::new()];
    while let [stream @ (1 | 2), 0, 0, 0, length @ ..] = frames {
        let (length, rest) = length.split_first_chunk().expect("a whole header");
        let (data, rest) = rest.split_at(usize::try_from(u32::from_be_bytes(*length)).expect("a length"));
        texts[usize::from(stream - 1)].push_str(std::str::from_utf8(data).expect("text"));
        frames = rest;
    }
    assert!(frames.is_empty(), "not a frame: {frames:?}");
    texts
}

#[test]
fn a_terminal_is_raw_and_has_the_size_it_is_given() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let mut config = script("stty size; read x; stty size; echo $TERM");
        config.terminal = true;
        config.open_stdin = true;
        config.window = Some(WindowSize { rows: 5, columns: 6 });
        let id = engine.create(config).await.unwrap();
        engine.resize(&id, WindowSize { rows: 7, columns: 8 }).await.unwrap();
        let mut attachment = engine.attach(&id).await.unwrap();
        assert!(attachment.raw);
        engine.start(&id).await.unwrap();
        let mut lines =
            Box::pin(engine.logs(&id, LogOptions { follow: true, ..LogOptions::default() }).unwrap());
        lines.next().await.unwrap();
        engine.resize(&id, WindowSize { rows: 9, columns: 10 }).await.unwrap();
        attachment.write_all(b"\n").await.unwrap();
        let mut text = String::new();
        attachment.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "7 8\r\n\r\n9 10\r\nxterm\r\n");
        engine.shutdown(true).await.unwrap();
    });
}
