//! The program `agent` as a process, on the real kernel. Each agent runs in a
//! network namespace of its own that ends with it, and with directories below
//! the temporary one; it ends when the test drops it, and takes its containers
//! along. Needs root; without it each test fails and says so.

mod api;
mod crash;
mod harness;
mod obstacles;
