//! The harness of the tests that need more than one crate: hosts made of
//! network namespaces, the real programs on them, a real registry, and a list
//! of everything that a container can leave behind on a host.
//!
//! Deliberately absent: any fake. What a test can't have (root, a package) it
//! fails for, saying so.
#![forbid(unsafe_code)]

pub mod calls;
pub mod dev;
pub mod host;
pub mod image;
pub mod inventory;
pub mod programs;
pub mod registry;
pub mod solo;
pub mod wait;
