//! The program of the image `roadstead/hello`: a web server that says which
//! task answered, so that the first service on a fresh machine needs neither a
//! network nor a registry.
//!
//! It listens on port $PORT, or 80. One thread serves one connection, and no
//! more than [`MAX_CONNECTIONS`] at a time. Each request is one line on
//! standard output: `GET / 200 0.2ms 10.213.0.1:40312`.
//!
//! Deliberately absent: dependencies, because the agent's build script compiles
//! this crate with a bare `rustc`; and a handler for SIGTERM, which needs
//! `unsafe` or a crate. Process 1 of a pid namespace ignores signals it has no
//! handler for, so the image asks for SIGKILL as its stop signal instead: there
//! is no state that a gentler end could save.
#![forbid(unsafe_code)]

mod answer;
mod request;

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use answer::Answer;
use request::{Reader, Request};

/// Connections served side by side; one more is answered with 503.
const MAX_CONNECTIONS: usize = 256;
/// A client that sends nothing for this long is disconnected.
const IDLE: Duration = Duration::from_secs(60);
/// A client that takes nothing for this long is disconnected.
const STALLED: Duration = Duration::from_secs(10);
/// How much an answering thread needs; the default of 2 MiB is for deeper programs.
const STACK_BYTES: usize = 128 * 1024;

fn main() -> ExitCode {
    match listen() {
        Ok(listener) => serve(&listener),
        Err(reason) => {
            log(&format!("cannot listen: {reason}"));
            ExitCode::FAILURE
        }
    }
}

fn listen() -> Result<TcpListener, String> {
    let port = match std::env::var("PORT") {
        Ok(text) => text.parse().map_err(|_| format!("PORT is \"{text}\", not a number from 0 to 65535"))?,
        Err(_) => 80u16,
    };
    let listener = TcpListener::bind(("0.0.0.0", port)).map_err(|error| format!("port {port}: {error}"))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    log(&format!("listening on {address}"));
    Ok(listener)
}

fn serve(listener: &TcpListener) -> ExitCode {
    let connections = Arc::new(AtomicUsize::new(0));
    loop {
        match listener.accept() {
            Ok((stream, peer)) => admit(stream, &peer.to_string(), &connections),
            // Out of descriptors, or a client that left before it was accepted: neither is a reason to end.
            Err(error) => {
                log(&format!("accept: {error}"));
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

fn admit(stream: TcpStream, peer: &str, connections: &Arc<AtomicUsize>) {
    let place = Place(Arc::clone(connections));
    if connections.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
        refuse(&stream, peer);
        return;
    }
    let owner = peer.to_owned();
    let spawned = thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
        let _place = place;
        if let Err(error) = converse(stream, &owner) {
            log(&format!("{owner}: {error}"));
        }
    });
    if let Err(error) = spawned {
        log(&format!("{peer}: no thread: {error}"));
    }
}

fn refuse(mut stream: &TcpStream, peer: &str) {
    let answer = Answer::text(503, "too many connections\n".to_owned());
    let _ = stream.set_write_timeout(Some(Duration::from_millis(100)));
    let _ = stream.write_all(&answer.encode(true, false));
    log(&format!("- - 503 0.0ms {peer}"));
}

/// A counted connection; leaving it gives the place free.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers requests until the client closes, asks to close, or errs.
fn converse(mut stream: TcpStream, peer: &str) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(STALLED))?;
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?.ip();
    let mut reader = Reader::new(stream.try_clone()?);
    loop {
        let request = match reader.next_request() {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            Err(fault) => {
                let Some((status, text)) = fault.answer() else { return Ok(()) };
                log(&format!("- - {status} 0.0ms {peer}"));
                stream.write_all(&Answer::text(status, text).encode(true, false))?;
                return linger(stream);
            }
        };
        let began = Instant::now();
        let answer = answer::to(&request, local);
        let close = !request.keep_alive;
        let sent = stream.write_all(&answer.encode(close, request.method == "HEAD"));
        log_request(&request, answer.status, began.elapsed(), peer);
        sent?;
        if close {
            return Ok(());
        }
    }
}

/// Reads what a refused client had still sent: closing with unread bytes would
/// reset the connection and could take the answer away from the client.
fn linger(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    let mut piece = [0; 4096];
    for _ in 0..64 {
        if stream.read(&mut piece)? == 0 {
            break;
        }
    }
    Ok(())
}

fn log_request(request: &Request, status: u16, took: Duration, peer: &str) {
    let milliseconds = took.as_secs_f64() * 1000.0;
    log(&format!("{} {} {status} {milliseconds:.1}ms {peer}", request.method, request.target));
}

/// One line, written at once so that lines of several threads do not mix.
fn log(line: &str) {
    let _ = io::stdout().lock().write_all(format!("{line}\n").as_bytes());
}
