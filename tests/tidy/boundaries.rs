//! Who may import whom. Only a crate boundary turns "must never" into an error of
//! the compiler, so the manifests are the boundaries, and this is their list.

use crate::manifests;
use crate::tree::{File, Violation};

/// Our own crates.
const OURS: [&str; 10] = [
    "agent",
    "agent-build",
    "agent-docker",
    "agent-engine",
    "agent-runtime",
    "controller",
    "controller-core",
    "ctl",
    "hello",
    "proto",
];

/// What one crate may take.
struct Boundary {
    manifest: &'static str,
    /// Of our own crates: these and no others.
    ours: &'static [&'static str],
    /// Of other people's: `Only` these, or any but these.
    others: Others,
}

enum Others {
    Only(&'static [&'static str]),
    Never(&'static [&'static str]),
}

const BOUNDARIES: [Boundary; 11] = [
    // The brain: no IO, no clock, no async, no wire format in its reach.
    Boundary {
        manifest: "controller/core",
        ours: &[],
        others: Others::Only(&["serde", "thiserror", "rpds"]),
    },
    Boundary {
        manifest: "controller",
        ours: &["controller-core", "proto"],
        others: Others::Never(&["sled", "nix"]),
    },
    Boundary {
        manifest: "agent/runtime",
        ours: &[],
        others: Others::Only(&[
            "cgroups-rs",
            "crc32fast",
            "libc",
            "nix",
            "oci-spec",
            "rustix",
            "serde",
            "serde_json",
            "thiserror",
        ]),
    },
    Boundary {
        manifest: "agent/engine",
        ours: &["agent-runtime"],
        others: Others::Never(&["tonic", "prost", "tonic-prost", "raft"]),
    },
    Boundary {
        manifest: "agent/docker",
        ours: &["agent-engine"],
        others: Others::Never(&["raft", "sled", "nix", "libc", "rustix"]),
    },
    Boundary {
        manifest: "agent/build",
        ours: &["agent-engine"],
        others: Others::Never(&["tonic", "prost", "raft", "sled", "nix", "libc", "rustix"]),
    },
    Boundary {
        manifest: "agent",
        ours: &["agent-build", "agent-docker", "agent-engine", "proto"],
        others: Others::Never(&["raft", "sled", "nix", "libc"]),
    },
    Boundary { manifest: "agent/hello", ours: &[], others: Others::Only(&[]) },
    Boundary { manifest: "ctl", ours: &["proto"], others: Others::Never(&["sled", "raft", "nix", "libc"]) },
    Boundary { manifest: "proto", ours: &[], others: Others::Only(&["prost", "tonic", "tonic-prost"]) },
    Boundary { manifest: "tests", ours: &OURS, others: Others::Never(&[]) },
];

/// Refuses a manifest without a boundary, and every import across one.
pub(crate) fn judge(file: &File) -> Vec<Violation> {
    let folder = file.path.trim_end_matches("/Cargo.toml");
    let Some(boundary) = BOUNDARIES.iter().find(|boundary| boundary.manifest == folder) else {
        return vec![file.violation(1, "a crate without a boundary: decide what it may import")];
    };
    let is_ours = |name: &str| OURS.contains(&name);
    let shipped = manifests::dependencies(file, &["dependencies"]);
    // What tests and build scripts take from others is their business.
    let mut beside = manifests::dependencies(file, &["dev-dependencies", "build-dependencies"]);
    beside.retain(|name| is_ours(name));
    let crosses = |name: &&String| {
        if is_ours(name) {
            return !boundary.ours.contains(&name.as_str());
        }
        match boundary.others {
            Others::Only(allowed) => !allowed.contains(&name.as_str()),
            Others::Never(banned) => banned.contains(&name.as_str()),
        }
    };
    shipped
        .iter()
        .chain(&beside)
        .filter(crosses)
        .map(|name| file.violation(1, format!("{folder} must not import {name}")))
        .collect()
}

#[test]
fn imports_across_a_boundary_are_found() {
    let manifest = |folder: &str, dependency: &str| {
        let text = format!("[dependencies]\n{dependency} = {{ workspace = true }}\n");
        File::example(&format!("{folder}/Cargo.toml"), &text)
    };
    for (folder, dependency) in [
        ("controller/core", "tokio"),
        ("controller/core", "proto"),
        ("controller", "agent-engine"),
        ("agent", "controller-core"),
        ("agent/engine", "tonic"),
        ("agent/runtime", "agent-engine"),
        ("ctl", "agent"),
        ("elsewhere", "serde"),
    ] {
        assert_eq!(judge(&manifest(folder, dependency)).len(), 1, "{folder} -> {dependency}");
    }
    assert!(judge(&manifest("controller", "controller-core")).is_empty());
    for section in ["[target.'cfg(unix)'.dependencies]", "[dev-dependencies]", "[build-dependencies]"] {
        let file =
            File::example("controller/core/Cargo.toml", &format!("{section}\nproto.workspace = true\n"));
        assert_eq!(judge(&file).len(), 1, "{section}");
    }
}
