//! The keeper as a program of its own, for the tests of this crate: what the
//! agent does when its first argument is `keeper`, `files` or `unpack`, and nothing else.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "files") {
        return agent_engine::helper_main();
    }
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "unpack") {
        return agent_engine::unpack_main();
    }
    agent_engine::keeper_main()
}
