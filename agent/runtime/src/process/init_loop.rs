//! Process 1 of a container with `--init`: it reaps whatever is left to it, passes signals on, and ends when the
//! container's program does, with its code.
//!
//! It executes no file: it is the child that made the container, which has the container's own credentials,
//! capabilities and filter by now and closes all of its descriptors. It cannot be read or traced from inside, since
//! its memory is the keeper's.

use nix::unistd::ForkResult;
use rustix::process::{DumpableBehavior, Pid, WaitOptions};

use super::channel::InitEnd;
use super::exec::{Executable, NotExecuted};
use super::message::FromInit;
use crate::sys;
use crate::sys::descriptor::{close_range, exit};

/// Exit code when there is no process to wait for, which cannot be.
const LOST: i32 = 125;

/// Forks the program and stays. With a terminal the program is its foreground, so that what the keyboard sends
/// reaches the program once and not twice.
pub(super) fn run(executable: &Executable, channel: &InitEnd, terminal: bool) -> ! {
    if sys::signal::block_all().is_err() {
        exit(LOST);
    }
    // Not clone3, which the default filter does not know how to look into and therefore fails.
    // SAFETY: this process is a clone of the keeper, which has one thread, and so has one itself; the child ends by
    // execve or exit.
    match unsafe { nix::unistd::fork() } {
        Ok(ForkResult::Parent { child }) => stay(child.as_raw()),
        Ok(ForkResult::Child) => program(executable, channel, terminal),
        Err(error) => {
            let _ = channel.send(&FromInit::NotExecuted { found: true, errno: error as i32 }, &[]);
            exit(LOST)
        }
    }
}

fn program(executable: &Executable, channel: &InitEnd, terminal: bool) -> ! {
    // A group of its own; what fails here costs job control and nothing else.
    let _ = rustix::process::setpgid(None, None);
    if terminal {
        let _ = rustix::termios::tcsetpgrp(rustix::stdio::stdin(), rustix::process::getpid());
    }
    if sys::signal::unblock_all().is_err() {
        exit(LOST);
    }
    let NotExecuted { found, errno } = executable.run();
    // The keeper being gone changes nothing about leaving.
    let _ = channel.send(&FromInit::NotExecuted { found, errno }, &[]);
    exit(LOST)
}

fn stay(program: i32) -> ! {
    if rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).is_err()
        || close_range(0, u32::MAX).is_err()
    {
        exit(LOST);
    }
    // Only how it is shown.
    let _ = rustix::thread::set_name(c"init");
    loop {
        match sys::signal::wait() {
            Ok(libc::SIGCHLD) => reap(program),
            // Meant for readers and writers in the background, which this is not.
            Ok(libc::SIGTTIN | libc::SIGTTOU) => {}
            Ok(signal) => {
                // It may have ended already; then its SIGCHLD is next.
                let _ = sys::signal::kill(program, signal);
            }
            // Interrupted: nothing has come yet.
            Err(_) => reap(program),
        }
    }
}

/// Takes all who have ended; ends with the program.
fn reap(program: i32) {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if Pid::as_raw(Some(pid)) == program => {
                let signal = status.terminating_signal().map(|signal| 128 + signal);
                exit(status.exit_status().or(signal).unwrap_or(LOST))
            }
            Ok(Some(_)) => {}
            Ok(None) => return,
            Err(_) => exit(LOST),
        }
    }
}
