//! Which of a container's two outputs some bytes came from.

/// An output of a container. A terminal is all standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Stdout,
    Stderr,
}

impl Source {
    pub(crate) fn index(self) -> usize {
        match self {
            Source::Stdout => 0,
            Source::Stderr => 1,
        }
    }

    /// The number of this output in a frame sent to attached clients.
    pub(crate) fn frame_type(self) -> u8 {
        match self {
            Source::Stdout => 1,
            Source::Stderr => 2,
        }
    }
}
