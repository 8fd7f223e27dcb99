//! The tasks of this node. [`machine`] decides, as a pure function, the one next
//! move of one task; [`supervisor`] makes the moves, one at a time per task, on
//! a [`world::World`]; [`container`] is the world made of the engine.
//!
//! Nothing is stored here. What a task has come to is read from its container,
//! which carries the task's id, so an agent that was killed goes on from what it
//! finds. Deliberately absent: restarting. A task is one-shot; the controller
//! makes a new one.

pub mod container;
pub mod fetch;
pub mod machine;
pub mod status;
pub mod supervisor;
pub mod world;
