//! The child's life: from the clone to the program.
//!
//! Runs in a copy of the keeper and never returns into it: every way out is `execve` or `_exit`. Until the
//! program runs, this process belongs to the container's namespaces but is not dumpable and has nothing of the
//! container's in its memory but the plan.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use super::channel::InitEnd;
use super::exec::{Executable, NotExecuted};
use super::init_loop;
use super::message::{FromInit, ToInit};
use crate::execute::host::Host;
use crate::execute::init::Init;
use crate::execute::{StepError, Timings};
use crate::plan::Plan;
use crate::plan::step::InitStep;
use crate::seccomp::Instruction;
use crate::sys::descriptor::exit;

/// Exit code of a child that was given up or failed; nobody but the keeper sees it.
pub(super) const GIVEN_UP: i32 = 125;

/// Everything the child starts with.
pub(super) struct Start<'a> {
    pub plan: &'a Plan,
    pub host: Host<'a>,
    pub ignored_signals: u64,
    pub filter: Option<Rc<[Instruction]>>,
    pub executable: &'a Executable,
    pub channel: InitEnd,
}

/// Runs the child.
pub(super) fn run(start: Start<'_>) -> ! {
    // A panic must not unwind into the keeper's code, of which this is a copy.
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| live(start)));
    drop(ended);
    exit(GIVEN_UP)
}

fn live(start: Start<'_>) {
    let Start { plan, host, ignored_signals, filter, executable, channel } = start;
    let since = Instant::now();
    let Some(root) = receive_root(&channel) else { return };
    let mut timings = Timings::default();
    timings.add("wait-for-keeper", since);
    let mut init = Init::new(host, root, channel);
    init.filter = filter;
    init.reaper = plan.reaper;
    init.ignored_signals = ignored_signals;
    go(init, &plan.init, timings, executable)
}

/// The steps, the gate, the program.
pub(super) fn go(mut init: Init, steps: &[InitStep], mut timings: Timings, executable: &Executable) -> ! {
    let result = init.run(steps, &mut timings);
    // From here on descriptors that values still own may be closed: nothing is dropped any more.
    let message = match result {
        Ok(()) => FromInit::Ready { timings: timings.into_inner() },
        Err(error) => failed(&error),
    };
    let ready = matches!(message, FromInit::Ready { .. });
    if init.channel.send(&message, &[]).is_err() || !ready {
        exit(GIVEN_UP);
    }
    let Ok(Some((ToInit::Go, _))) = init.channel.receive() else { exit(GIVEN_UP) };
    if let Some(reaper) = init.reaper {
        init_loop::run(executable, &init.channel, reaper.terminal);
    }
    let NotExecuted { found, errno } = executable.run();
    // The keeper being gone changes nothing about leaving.
    let _ = init.channel.send(&FromInit::NotExecuted { found, errno }, &[]);
    exit(GIVEN_UP)
}

fn receive_root(channel: &InitEnd) -> Option<OwnedFd> {
    match channel.receive() {
        Ok(Some((ToInit::Prepared, descriptors))) => descriptors.into_iter().next(),
        _ => None,
    }
}

pub(super) fn failed(error: &StepError) -> FromInit {
    let errno = error.source.raw_os_error().unwrap_or(0);
    let object = match errno {
        // No number to send: the words go with the object.
        0 => format!("{} ({})", error.object, error.source),
        _ => error.object.clone(),
    };
    FromInit::Failed { step: error.step.clone(), object, errno }
}
