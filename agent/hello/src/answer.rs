//! What each path answers, and how an answer is written. Everything that the
//! text says comes from the environment the agent gave the task, the kernel's
//! host name, and the address the request arrived at.

use std::net::IpAddr;
use std::time::Duration;

use crate::request::Request;

/// The longest time that `/slow` waits.
const MAX_WAIT_MS: u64 = 60_000;

/// A status and a plain text.
pub(crate) struct Answer {
    /// HTTP status code.
    pub(crate) status: u16,
    text: String,
}

impl Answer {
    /// An answer with this text.
    pub(crate) fn text(status: u16, text: String) -> Self {
        Self { status, text }
    }

    /// The bytes of the answer; without the text for a HEAD request.
    pub(crate) fn encode(&self, close: bool, head_only: bool) -> Vec<u8> {
        let connection = if close { "close" } else { "keep-alive" };
        let head = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\nConnection: {connection}\r\n\r\n",
            self.status,
            reason(self.status),
            self.text.len(),
        );
        let text = if head_only { "" } else { self.text.as_str() };
        [head.as_bytes(), text.as_bytes()].concat()
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        _ => "Service Unavailable",
    }
}

/// Answers a request that arrived at the address `local`. May sleep.
pub(crate) fn to(request: &Request, local: IpAddr) -> Answer {
    if !matches!(request.method.as_str(), "GET" | "HEAD") {
        return Answer::text(405, "only GET and HEAD\n".to_owned());
    }
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    match path {
        "/" => Answer::text(200, introduce(local)),
        "/healthz" => Answer::text(200, "ok\n".to_owned()),
        "/slow" => slow(query, local),
        _ => Answer::text(404, "not found; try /, /healthz or /slow?ms=100\n".to_owned()),
    }
}

fn slow(query: &str, local: IpAddr) -> Answer {
    let wish = query.split('&').find_map(|pair| pair.strip_prefix("ms=")).map(str::parse::<u64>);
    match wish {
        Some(Ok(milliseconds)) => {
            std::thread::sleep(Duration::from_millis(milliseconds.min(MAX_WAIT_MS)));
            Answer::text(200, introduce(local))
        }
        Some(Err(_)) | None => Answer::text(400, "say how long: /slow?ms=100\n".to_owned()),
    }
}

fn introduce(local: IpAddr) -> String {
    let environment = |name: &str| std::env::var(name).unwrap_or_default();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!(
        "hello from {}\ntask {}\nservice {}\nslot {}\nnode {}\naddress {local}\n",
        host.trim_end(),
        environment("ROADSTEAD_TASK"),
        environment("ROADSTEAD_SERVICE"),
        environment("ROADSTEAD_SLOT"),
        environment("ROADSTEAD_NODE"),
    )
}
