//! Builds images from Dockerfiles.
//!
//! What is here: [`parse`], which turns the text of a Dockerfile into
//! [`Instruction`]s with their positions, and [`stages`], which groups them into
//! the stages of a build and says which stage needs which. Both are pure.
//! Deliberately absent until steps are executed: anything that touches an
//! engine or a file.
#![forbid(unsafe_code)]

mod instruction;
mod parse;
mod stage;

pub use instruction::{Arguments, Instruction, Keyword};
pub use parse::{ParseError, parse};
pub use stage::{Stage, StageError, stages};
