//! The keeper as a program of its own, for the tests of this crate: what the
//! agent does when its first argument is `keeper`, and nothing else.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    agent_engine::keeper_main()
}
