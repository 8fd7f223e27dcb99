//! What the keeper and a container's first process say to each other: a closed set.

use serde::{Deserialize, Serialize};

/// From the keeper to the child.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToInit {
    /// Ids are mapped, the cgroup is entered; with it comes the root filesystem.
    Prepared,
    /// Execute the program.
    Go,
}

/// From the child to the keeper.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromInit {
    /// Its standard streams are made; with it come the keeper's ends.
    Streams(Streams),
    /// It waits at the gate.
    Ready {
        /// How long each step took, in microseconds.
        timings: Vec<(String, u64)>,
    },
    /// A step failed; the child is gone.
    Failed {
        /// Which step.
        step: String,
        /// On what.
        object: String,
        /// What the kernel said.
        errno: i32,
    },
    /// The program could not be executed; the child is gone.
    NotExecuted {
        /// Whether there was such a file at all.
        found: bool,
        /// What the kernel said.
        errno: i32,
    },
}

/// Which descriptors come with [`FromInit::Streams`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Streams {
    /// Output, error, and input in front of them when it is a pipe.
    Pipes {
        /// Whether it is.
        stdin: bool,
    },
    /// The master side of a terminal.
    Terminal,
}
