//! `ctl`, the client of Roadstead: parse, run, report, exit. Everything else is
//! in the library beside this file.

use std::process::ExitCode;

fn main() -> ExitCode {
    ctl::run()
}
