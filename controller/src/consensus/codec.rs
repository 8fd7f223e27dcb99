//! The old protobuf of the raft crate, in quarantine: bytes in, bytes out.
//!
//! raft 0.7 speaks protobuf 2, the rest of the program prost. This file alone
//! names the `protobuf` crate; across the wire Raft's messages travel as bytes.

use protobuf::{Message as _, ProtobufError};
use raft::eraftpb::{Entry, Message, Snapshot as RaftSnapshot, SnapshotMetadata};
use raft_engine::MessageExt;

use super::log_store::Snapshot;

/// Bytes that are no Raft message.
#[derive(Debug, thiserror::Error)]
#[error("not a raft message: {0}")]
pub(super) struct MessageError(#[from] ProtobufError);

/// A message for a peer as bytes. Encoding a message built in memory cannot fail: no field of it is required.
pub(super) fn encode_message(message: &Message) -> Vec<u8> {
    message.write_to_bytes().unwrap_or_default()
}

/// A peer's message.
pub(super) fn decode_message(bytes: &[u8]) -> Result<Message, MessageError> {
    Ok(Message::parse_from_bytes(bytes)?)
}

/// Encoded size of an entry in bytes.
pub(super) fn entry_size(entry: &Entry) -> u64 {
    u64::from(entry.compute_size())
}

/// A snapshot as raft wants it.
pub(super) fn to_raft(snapshot: Snapshot) -> RaftSnapshot {
    let mut metadata =
        SnapshotMetadata { index: snapshot.index, term: snapshot.term, ..SnapshotMetadata::default() };
    metadata.set_conf_state(snapshot.voters);
    let mut out = RaftSnapshot::default();
    out.set_metadata(metadata);
    out.set_data(snapshot.data.into());
    out
}

/// A snapshot out of raft.
pub(super) fn from_raft(mut snapshot: RaftSnapshot) -> Snapshot {
    let mut metadata = snapshot.take_metadata();
    Snapshot {
        index: metadata.index,
        term: metadata.term,
        voters: metadata.take_conf_state(),
        data: snapshot.take_data().to_vec(),
    }
}

/// Tells raft-engine how to find the index in an entry.
#[derive(Debug)]
pub(super) struct EntryFormat;

impl MessageExt for EntryFormat {
    type Entry = Entry;

    fn index(entry: &Entry) -> u64 {
        entry.index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_the_wire_and_nonsense_is_refused() {
        let message = Message { to: 7, term: 3, ..Message::default() };
        assert_eq!(decode_message(&encode_message(&message)).ok(), Some(message));
        assert!(decode_message(&[0xff; 9]).is_err());
    }
}
