//! Stops a program before its n-th system call and kills: ptrace, from a thread
//! of its own, which must be the one that waits. All threads are followed, and
//! children until they execute another program, since up to there they are part of
//! what the keeper does.
//!
//! Calls that only look, wait or manage the caller's own memory are not counted:
//! killed before one of them, a program leaves what it left after the call before.

use std::collections::BTreeSet;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Calls that leave no trace outside of the caller.
const TRACELESS: [i64; 68] = [
    libc::SYS_read,
    libc::SYS_close,
    libc::SYS_poll,
    libc::SYS_lseek,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_munmap,
    libc::SYS_brk,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_ioctl,
    libc::SYS_pread64,
    libc::SYS_access,
    libc::SYS_sched_yield,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_dup,
    libc::SYS_dup2,
    libc::SYS_nanosleep,
    libc::SYS_getpid,
    libc::SYS_socket,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_socketpair,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    libc::SYS_exit,
    libc::SYS_uname,
    libc::SYS_fcntl,
    libc::SYS_getcwd,
    libc::SYS_chdir,
    libc::SYS_readlink,
    libc::SYS_umask,
    libc::SYS_getrlimit,
    libc::SYS_getuid,
    libc::SYS_getgid,
    libc::SYS_geteuid,
    libc::SYS_getppid,
    libc::SYS_sigaltstack,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_stat,
    libc::SYS_fstat,
    libc::SYS_lstat,
    libc::SYS_gettid,
    libc::SYS_futex,
    libc::SYS_sched_getaffinity,
    libc::SYS_getdents64,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_ctl,
    libc::SYS_newfstatat,
    libc::SYS_readlinkat,
    libc::SYS_ppoll,
    libc::SYS_set_robust_list,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_getrandom,
    libc::SYS_statx,
    libc::SYS_rseq,
    libc::SYS_pidfd_open,
];

/// The event of a stop that has no other reason than that it was asked for.
const EVENT_STOP: i32 = 128;

/// What a trace saw.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Counted calls, all of them or up to the kill.
    pub(super) calls: usize,
    /// The number of the call before which it killed.
    pub(super) killed_before: Option<i64>,
}

/// A program that is being traced.
pub(super) struct Trace {
    thread: JoinHandle<Seen>,
    over: Arc<AtomicBool>,
    socket: PathBuf,
}

impl Trace {
    /// Traces the process; before its `at`-th counted call, `victims` are killed.
    /// Connecting to `socket` makes it run, which is how the trace ends.
    pub(super) fn start(process: u32, at: Option<usize>, victims: Vec<u32>, socket: PathBuf) -> Trace {
        let over = Arc::new(AtomicBool::new(false));
        let (ready, is_ready) = mpsc::channel();
        let ended = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut tracer = Tracer {
                at,
                victims,
                in_call: BTreeSet::new(),
                seen: Seen::default(),
                known: BTreeSet::new(),
            };
            tracer.seize(process);
            ready.send(()).expect("the test waits");
            tracer.follow(&ended);
            tracer.seen
        });
        is_ready.recv().expect("it can be traced");
        Trace { thread, over, socket }
    }

    /// Lets go of the program and answers what was seen. The end of the thread detaches all.
    pub(super) fn end(self) -> Seen {
        self.over.store(true, Ordering::SeqCst);
        while !self.thread.is_finished() {
            // It may be dead.
            drop(UnixStream::connect(&self.socket));
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        self.thread.join().expect("the tracer does not fail")
    }
}

struct Tracer {
    at: Option<usize>,
    victims: Vec<u32>,
    in_call: BTreeSet<Pid>,
    seen: Seen,
    known: BTreeSet<Pid>,
}

impl Tracer {
    fn seize(&mut self, process: u32) {
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACEEXEC;
        // Threads may be born while we look.
        loop {
            let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("it runs").flatten();
            let threads =
                threads.filter_map(|thread| thread.file_name().to_str()?.parse().ok()).map(Pid::from_raw);
            let new: Vec<Pid> = threads.filter(|thread| !self.known.contains(thread)).collect();
            if new.is_empty() {
                return;
            }
            for thread in new {
                self.known.insert(thread);
                match ptrace::seize(thread, options) {
                    Ok(()) => ptrace::interrupt(thread).expect("it is ours"),
                    // It ended meanwhile, or was born as ours.
                    Err(Errno::ESRCH | Errno::EPERM) => {}
                    Err(error) => panic!("trace {thread}: {error}"),
                }
            }
        }
    }

    fn follow(&mut self, over: &AtomicBool) {
        // Only what this thread traces: other tests have children of their own.
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        loop {
            // What is left after a kill may have nothing to do any more, so that no wait would end.
            let patient = self.seen.killed_before.is_none();
            let flags = if patient { flags } else { flags | WaitPidFlag::WNOHANG };
            match waitpid(None, Some(flags)) {
                // Stopped as it is, it goes on when this thread has ended.
                Ok(_) if over.load(Ordering::SeqCst) => return,
                Ok(WaitStatus::StillAlive) => std::thread::sleep(std::time::Duration::from_millis(1)),
                Ok(status) => self.step(status),
                Err(Errno::EINTR) => {}
                Err(Errno::ECHILD) => return,
                Err(error) => panic!("wait for what is traced: {error}"),
            }
        }
    }

    fn step(&mut self, status: WaitStatus) {
        let (thread, signal) = match status {
            WaitStatus::PtraceSyscall(thread) => {
                if self.in_call.insert(thread) {
                    self.entered(thread);
                } else {
                    self.in_call.remove(&thread);
                }
                (thread, None)
            }
            WaitStatus::PtraceEvent(child, _, event) if event == libc::PTRACE_EVENT_EXEC => {
                // From here on it is the container's own program.
                let _ = ptrace::detach(child, None);
                return;
            }
            WaitStatus::PtraceEvent(thread, signal, event) => {
                let is_group = event == EVENT_STOP && signal != Signal::SIGTRAP;
                (thread, is_group.then_some(signal))
            }
            WaitStatus::Stopped(thread, signal) => (thread, Some(signal)),
            _ => return,
        };
        // One that was just killed is gone.
        let _ = ptrace::syscall(thread, signal);
    }

    fn entered(&mut self, thread: Pid) {
        let Ok(registers) = ptrace::getregs(thread) else { return };
        let call = registers.orig_rax.cast_signed();
        if TRACELESS.contains(&call) || self.seen.killed_before.is_some() {
            return;
        }
        self.seen.calls += 1;
        if Some(self.seen.calls) == self.at {
            self.seen.killed_before = Some(call);
            for victim in &self.victims {
                crate::crash::kill_now(*victim);
            }
        }
    }
}
