//! A container's log, line by line.

use std::collections::HashMap;

use agent_engine::{LogEntry, LogOptions};
use futures::StreamExt;
use proto::v1;
use tonic::Status;

use super::{Answers, Api};
use crate::error;

pub(super) fn read(
    api: &Api,
    request: &v1::ContainerLogsRequest,
) -> Result<Answers<v1::ContainerLogsResponse>, Status> {
    let since_ms = (request.since_ms > 0).then(|| request.since_ms.saturating_mul(1_000_000));
    let options = LogOptions {
        follow: request.follow,
        tail: request.tail.map(|lines| usize::try_from(lines).unwrap_or(usize::MAX)),
        since_ns: request.since_ns.or(since_ms),
        until_ns: request.until_ns,
    };
    let attributes: HashMap<String, String> = match request.details {
        true => api.engine.log_attributes(&request.container).map_err(|fault| error::engine(&fault))?,
        false => Default::default(),
    }
    .into_iter()
    .collect();
    let entries = api.engine.logs(&request.container, options).map_err(|fault| error::engine(&fault))?;
    let answer = move |entry| v1::ContainerLogsResponse { line: Some(line(entry, attributes.clone())) };
    Ok(Box::pin(entries.map(move |entry| Ok(answer(entry)))))
}

fn line(mut entry: LogEntry, attributes: HashMap<String, String>) -> v1::LogLine {
    let partial = entry.data.pop_if(|last| *last == b'\n').is_none();
    v1::LogLine { time_ns: entry.time_ns, stderr: entry.stderr, data: entry.data, partial, attributes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_of_a_long_line_is_not_a_line() {
        let of =
            |data: &[u8]| line(LogEntry { time_ns: 1, stderr: false, data: data.to_vec() }, HashMap::new());
        assert_eq!((of(b"whole\n").data, of(b"whole\n").partial), (b"whole".to_vec(), false));
        assert!(of(b"piece").partial && of(b"").partial);
        assert_eq!(of(b"\n\n").data, b"\n");
    }
}
