//! The image `roadstead/hello`, which is part of the agent: one layer with one
//! static program, built by `build.rs`. It is imported at each start, so a newer
//! agent brings a newer one; the same bytes make the same digest.

use std::io;

use agent_engine::Engine;
use agent_engine::image::Reference;

use crate::error::describe;

/// Where the program is in the image.
const PROGRAM: &str = "hello";
static BINARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hello"));

/// The embedded image could not be stored.
#[derive(Debug, thiserror::Error)]
#[error("cannot store the embedded image roadstead/hello: {0}")]
pub struct HelloError(String);

/// Makes sure that this agent's `roadstead/hello` is among the engine's images.
///
/// # Errors
/// When it cannot be stored.
pub async fn import(engine: &Engine) -> Result<(), HelloError> {
    let failed = |error: &dyn std::error::Error| HelloError(describe(error));
    let name: Reference = "roadstead/hello:latest".parse().map_err(|error| failed(&error))?;
    let layer = layer(BINARY).map_err(|error| failed(&error))?;
    let image = engine.images().import(&name, vec![layer], config()).await.map_err(|error| failed(&error))?;
    tracing::debug!(digest = %image.manifest_digest, "the image roadstead/hello is there");
    Ok(())
}

/// A tar archive with the program alone; no clock, no owner's name goes in.
fn layer(binary: &[u8]) -> io::Result<Vec<u8>> {
    let mut header = tar::Header::new_ustar();
    header.set_size(u64::try_from(binary.len()).map_err(io::Error::other)?);
    header.set_mode(0o755);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_entry_type(tar::EntryType::Regular);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, PROGRAM, binary)?;
    archive.into_inner()
}

/// The image's configuration, but for the layers, which the engine knows. The
/// stop signal is SIGKILL because the server has no handler for any other, and
/// process 1 of a container ignores signals without handler.
fn config() -> serde_json::Value {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    serde_json::json!({
        "architecture": architecture,
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "Entrypoint": [format!("/{PROGRAM}")],
            "ExposedPorts": { "80/tcp": {} },
            "StopSignal": "SIGKILL",
            "WorkingDir": "/",
        },
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// Types of the program headers of a 64-bit little-endian ELF file.
    fn segments(elf: &[u8]) -> Vec<u32> {
        let number = |at: usize| usize::from(u16::from_le_bytes([elf[at], elf[at + 1]]));
        let table = usize::try_from(u64::from_le_bytes(elf[32..40].try_into().unwrap())).unwrap();
        let (size, count) = (number(54), number(56));
        let headers = (0..count).map(|index| &elf[table + index * size..][..4]);
        headers.map(|header| u32::from_le_bytes(header.try_into().unwrap())).collect()
    }

    #[test]
    fn the_layer_is_the_same_each_time_and_holds_one_static_program() {
        let bytes = layer(BINARY).unwrap();
        assert_eq!(bytes, layer(BINARY).unwrap());
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut entries = archive.entries().unwrap();
        let mut entry = entries.next().unwrap().unwrap();
        assert_eq!(entry.path_bytes().as_ref(), b"hello");
        assert_eq!(entry.header().mode().unwrap(), 0o755);
        let mut program = Vec::new();
        entry.read_to_end(&mut program).unwrap();
        assert_eq!(&program[..4], b"\x7fELF");
        // A header of type PT_INTERP would name the dynamic loader, which the image does not have.
        assert!(segments(&program).iter().all(|kind| *kind != 3), "not static");
        assert!(entries.next().is_none());
    }
}
