//! The process that unpacks one layer and ends. It is this program started with the argument `unpack` and a
//! [`Job`]; standard input is the compressed layer, standard output marks the layer's directory, standard error takes
//! the answer. It has no other descriptors and no environment.
//!
//! Before it reads the first byte it locks itself up: the layer's directory is its root and the only mount it sees, it
//! has no network, six capabilities, no way to more, and may make the system calls below and no others. What an
//! archive could make it do, were there a fault in a decompressor or in our reader, is to write another layer.
//!
//! Deliberately absent: `CAP_SYS_ADMIN`, which marking opaque directories would need; the agent does that.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;
use std::sync::mpsc::sync_channel;
use std::thread;

use agent_runtime::sandbox::{self, Sandbox};
use oci_spec::runtime::LinuxSeccomp;
use serde_json::json;

use super::chunks::Chunks;
use super::inflate::{self, Output, Stop};
use super::job::{Answer, Job};
use super::{Limits, UnpackError, Written, write};
use crate::content::{Algorithm, Digest};

/// Bytes read at a time.
const PIECE: usize = 256 << 10;
/// Pieces that may wait between the two threads.
const WAITING: usize = 8;
/// Memory that it may write to: the largest dictionary, buffers and directories' times all fit.
const MEMORY: u64 = 256 << 20;
/// The directory tree is walked with a few descriptors; removing a deep one takes one for each level.
const DESCRIPTORS: u64 = 1024;

/// Owners and modes of any kind, special files, and capabilities of files. Writing where the owner is another needs
/// the two `DAC` ones.
const CAPABILITIES: [&str; 6] =
    ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_MKNOD", "CAP_SETFCAP"];

/// Memory without execution, files beneath the root, threads of its own.
const CALLS: [&str; 57] = [
    "brk",
    "clock_gettime",
    "clock_nanosleep",
    "close",
    "exit",
    "exit_group",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "fchown",
    "fchownat",
    "fcntl",
    "fdatasync",
    "flistxattr",
    "fsetxattr",
    "fstat",
    "fstatfs",
    "futex",
    "getcwd",
    "getdents64",
    "getpid",
    "getrandom",
    "gettid",
    "linkat",
    "lseek",
    "madvise",
    "mkdirat",
    "mknodat",
    "mremap",
    "munmap",
    "nanosleep",
    "newfstatat",
    "openat",
    "openat2",
    "ppoll",
    "poll",
    "read",
    "readlinkat",
    "readv",
    "restart_syscall",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_getaffinity",
    "sched_yield",
    "set_robust_list",
    "sigaltstack",
    "statx",
    "symlinkat",
    "unlinkat",
    "utimensat",
    "write",
    "writev",
    "membarrier",
    "set_tid_address",
    "getrusage",
];

/// Its `main`: what a program runs when its first argument is `unpack`, before it has started any thread.
pub fn main() -> ExitCode {
    if sandbox::close_inherited().is_err() {
        return ExitCode::FAILURE;
    }
    let Ok(answers) = std::io::stderr().as_fd().try_clone_to_owned() else { return ExitCode::FAILURE };
    let mut answers = File::from(answers);
    let answer = match locked_up() {
        Ok((job, input, root)) => work(&job, File::from(input), root.as_fd()),
        Err(reason) => Answer::Helper(reason),
    };
    let Ok(text) = serde_json::to_vec(&answer) else { return ExitCode::FAILURE };
    match answers.write_all(&text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn locked_up() -> Result<(Job, OwnedFd, OwnedFd), String> {
    let told = std::env::args().nth(2).ok_or("it was told nothing")?;
    let job: Job = serde_json::from_str(&told).map_err(|fault| format!("it was told nonsense: {fault}"))?;
    let input = std::io::stdin().as_fd().try_clone_to_owned().map_err(|fault| fault.to_string())?;
    let calls = calls().map_err(|fault| fault.to_string())?;
    let sandbox = Sandbox {
        capabilities: &CAPABILITIES,
        calls: &calls,
        memory: MEMORY,
        file_bytes: job.limits.total_bytes,
        descriptors: DESCRIPTORS,
    };
    let root = sandbox::enter(&sandbox).map_err(|fault| fault.to_string())?;
    Ok((job, input, root))
}

/// Every other call ends the process.
fn calls() -> serde_json::Result<LinuxSeccomp> {
    let allow = |names: &[&str]| json!({"names": names, "action": "SCMP_ACT_ALLOW"});
    let without_bits = |name: &str, argument: u32, mask: u64| {
        json!({"names": [name], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": argument, "value": mask, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]})
    };
    let executable = u64::from(rustix::mm::ProtFlags::EXEC.bits());
    let thread = u64::from(nix::sched::CloneFlags::CLONE_THREAD.bits().unsigned_abs());
    serde_json::from_value(json!({
        "defaultAction": "SCMP_ACT_KILL_PROCESS",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [
            allow(&CALLS),
            without_bits("mmap", 2, executable),
            without_bits("mprotect", 2, executable),
            // What `clone3` is asked for lies in memory, where no filter sees it: the C library then takes `clone`.
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [
                {"index": 0, "value": thread, "valueTwo": thread, "op": "SCMP_CMP_MASKED_EQ"}]},
            // The name of a thread, and nothing else.
            {"names": ["prctl"], "action": "SCMP_ACT_ALLOW", "args": [
                {"index": 0, "value": 15, "op": "SCMP_CMP_EQ"}]},
        ],
    }))
}

/// Decompresses on one thread and writes on another.
pub(super) fn work(job: &Job, input: File, root: BorrowedFd<'_>) -> Answer {
    let algorithm =
        [Algorithm::Sha256, Algorithm::Sha512].into_iter().find(|one| one.name() == job.algorithm);
    let Some(algorithm) = algorithm else {
        return Answer::Helper(format!("{:?} is no algorithm of digests", job.algorithm));
    };
    let (plain, pieces) = sync_channel::<Vec<u8>>(WAITING);
    let (used, used_pieces) = sync_channel::<Vec<u8>>(WAITING + 2);
    let (inflated, written) = thread::scope(|scope| {
        let output = Output { pieces: plain, used: used_pieces };
        let inflater = thread::Builder::new().name("inflate".into()).spawn_scoped(scope, move || {
            let input = BufReader::with_capacity(PIECE, input);
            inflate::run(input, job.compression, algorithm, &job.limits, &output)
        });
        let written = write_files(Chunks::with_return(pieces, used), root, &job.limits);
        (inflater.map(|thread| thread.join()), written)
    });
    match inflated {
        Ok(Ok(inflated)) => judge(inflated, written),
        Ok(Err(_)) => Answer::Helper("the decompressor failed".to_owned()),
        Err(fault) => Answer::Helper(format!("cannot start a thread: {fault}")),
    }
}

/// Bad data explains a bad archive. The writer reads to the end, so where it succeeded the other was not stopped.
fn judge(inflated: Result<Digest, Stop>, written: Result<Written, UnpackError>) -> Answer {
    match (inflated, written) {
        (Err(Stop::Data(reason)), _) => Answer::Inflate(reason),
        (_, Err(fault)) => Answer::Unpack(fault.to_string()),
        (Err(Stop::Receiver), Ok(_)) => Answer::Helper("the two threads disagree".to_owned()),
        (Ok(diff_id), Ok(Written { unpacked, opaque })) => Answer::Done { diff_id, unpacked, opaque },
    }
}

/// Files, then whatever the archive has behind its end, which the diff id covers too.
fn write_files(
    mut source: Chunks<Vec<u8>>,
    root: BorrowedFd<'_>,
    limits: &Limits,
) -> Result<Written, UnpackError> {
    let written = write(&mut source, root, limits)?;
    std::io::copy(&mut source.by_ref(), &mut std::io::sink())?;
    Ok(written)
}
