//! A container's first process, from the clone to the program.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::net::SocketFlags;

use super::hook::{self, HookState};
use crate::execute::host::Host;
use crate::execute::init::Init;
use crate::execute::{StepError, Timings};
use crate::plan::Program;
use crate::plan::oci::OciPlan;
use crate::process::channel::InitEnd;
use crate::process::exec::{Executable, NotExecuted};
use crate::process::message::{FromInit, ToInit};
use crate::rootfs::RootFd;
use crate::sys::descriptor::close_range;

/// What the child knows beside its descriptors.
#[derive(Debug)]
pub(super) struct Start<'a> {
    pub plan: &'a OciPlan,
    pub executable: &'a Executable,
    pub state: HookState,
    pub preserve: u32,
    pub ignored_signals: u64,
}

/// Lives; returning ends the process.
pub(super) fn live(start: &Start<'_>, host: Host<'_>, channel: InitEnd, gate: &OwnedFd) {
    let Ok(Some((ToInit::Prepared, descriptors))) = channel.receive() else { return };
    let Some(root) = descriptors.into_iter().next() else { return };
    let mut init = Init::new(host, root, channel);
    init.ignored_signals = start.ignored_signals;
    if let Some(filter) = &start.plan.filter {
        init.filter = Some(filter.program.clone().into());
        init.filter_flags = filter.flags;
    }
    init.oci_state = Some(start.state.clone());
    let mut timings = Timings::default();
    if let Err(error) = init.run(&start.plan.init, &mut timings) {
        let _ = init.channel.send(&failed(&error), &[]);
        return;
    }
    if let Some(NotExecuted { found, errno }) = missing(&start.plan.program) {
        let _ = init.channel.send(&FromInit::NotExecuted { found, errno }, &[]);
        return;
    }
    // What values still own is closed from here on: nothing may be dropped any more.
    let kept = [gate.as_raw_fd(), init.channel.number()].map(i32::unsigned_abs);
    if close_others(3 + start.preserve, kept).is_err()
        || init.channel.send(&FromInit::Ready { timings: Vec::new() }, &[]).is_err()
    {
        crate::sys::descriptor::exit(1);
    }
    wait_and_go(start, init, gate);
    crate::sys::descriptor::exit(1);
}

/// At the gate until somebody opens it, then on to the program. What fails is told to who opened it.
fn wait_and_go(start: &Start<'_>, mut init: Init, gate: &OwnedFd) {
    let Ok(opener) = accept(gate) else { return };
    std::mem::replace(&mut init.channel, opener).forget();
    let Ok(Some((ToInit::Go, _))) = init.channel.receive() else { return };
    let answer = go(start, &mut init);
    let _ = init.channel.send(&answer, &[]);
    std::mem::forget(init);
}

fn go(start: &Start<'_>, init: &mut Init) -> FromInit {
    if let Err(error) = hook::run_all(&start.plan.start_hooks, &start.state.in_container("created")) {
        let object = error.to_string();
        return FromInit::Failed { step: "startContainer".to_owned(), object, errno: 0 };
    }
    if let Err(error) = init.run(&start.plan.last, &mut Timings::default()) {
        return failed(&error);
    }
    let NotExecuted { found, errno } = start.executable.run();
    FromInit::NotExecuted { found, errno }
}

fn accept(gate: &OwnedFd) -> io::Result<InitEnd> {
    loop {
        match rustix::net::accept_with(gate, SocketFlags::CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            opened => return Ok(InitEnd::of(opened?)),
        }
    }
}

/// Whether the program is there to be executed, as far as can be told without doing it.
pub(super) fn missing(program: &Program) -> Option<NotExecuted> {
    use rustix::fs::{Access, AtFlags, CWD, FileType, accessat, stat};
    let name = program.args.first().map(String::as_str).unwrap_or_default();
    let mut result = NotExecuted { found: false, errno: libc::ENOENT };
    for candidate in crate::process::exec::candidates(name, &program.env) {
        let is_file = stat(candidate.as_slice()).map(|stat| FileType::from_raw_mode(stat.st_mode).is_file());
        match (is_file, accessat(CWD, candidate.as_slice(), Access::EXEC_OK, AtFlags::empty())) {
            (Ok(true), Ok(())) => return None,
            (Ok(_), _) => result = NotExecuted { found: true, errno: libc::EACCES },
            (Err(_), _) => {}
        }
    }
    Some(result)
}

/// Closes every descriptor from `first` on but `kept`.
pub(super) fn close_others(first: u32, mut kept: [u32; 2]) -> io::Result<()> {
    kept.sort_unstable();
    let mut from = first;
    for number in kept.into_iter().filter(|number| *number >= first) {
        if number > from {
            close_range(from, number - 1)?;
        }
        from = number + 1;
    }
    close_range(from, u32::MAX)
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

/// The root of a process that has entered a container already.
pub(super) fn present_root() -> io::Result<RootFd> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(RootFd::new(rustix::fs::open(Path::new("/"), flags, Mode::empty())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_told_from_one_that_may_not_be_executed() {
        let program = |name: &str| Program { args: vec![name.to_owned()], env: vec!["PATH=/bin".to_owned()] };
        assert_eq!(missing(&program("sh")), None);
        assert_eq!(missing(&program("no-such-program")).map(|result| result.found), Some(false));
        assert_eq!(missing(&program("/etc/passwd")).map(|result| result.errno), Some(libc::EACCES));
    }
}
