//! The helper: a process of one thread that copies files of one container and ends. It is this program started with
//! the argument `files`; standard input is the socket of [`super::job`], standard output marks the container's root
//! directory, standard error is a pidfd of a process of the container. It has no other descriptors and no environment.
//!
//! Deliberately absent: `chroot`, anything of the image that would be executed or loaded, and more rights than the
//! container's root has.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use flate2::bufread::MultiGzDecoder;
use nix::sched::{CloneFlags, setns};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{OpenTreeFlags, open_tree};

use super::job::{Frames, Job, MAX_FRAME, Tag, Work, receive, send};
use super::pack::{Owners, PackError, Packer};
use super::place::{Placer, check_real};
use super::root::{Root, info};
use super::{Copied, FilesError};

/// The helper's `main`: what a program runs when its first argument is `files`, before it has started any thread.
pub fn main() -> ExitCode {
    let own = |fd: BorrowedFd<'_>| fd.try_clone_to_owned();
    let ends = own(std::io::stdin().as_fd()).and_then(|socket| {
        Ok((UnixStream::from(socket), own(std::io::stdout().as_fd())?, own(std::io::stderr().as_fd())?))
    });
    let Ok((socket, root, process)) = ends else { return ExitCode::FAILURE };
    let (Ok(reading), writing) = (socket.try_clone(), socket) else { return ExitCode::FAILURE };
    let mut source = BufReader::with_capacity(256 * 1024, reading);
    let mut answers = BufWriter::with_capacity(256 * 1024, writing);
    let Ok(job) = receive(&mut source) else { return ExitCode::FAILURE };
    let outcome = become_root_of(&process, &job, &root)
        .and_then(|root| perform(&job.work, &root, &mut source, &mut answers));
    let said = match outcome {
        Ok(copied) => serde_json::to_vec(&copied).map(|body| (Tag::Done, body)),
        Err(fault) => serde_json::to_vec(&fault).map(|body| (Tag::Failed, body)),
    };
    let Ok((tag, body)) = said else { return ExitCode::FAILURE };
    match send(&mut answers, tag, &body).and_then(|()| answers.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Gives up every right but those of the container's root, and answers where look-ups start.
fn become_root_of(process: &OwnedFd, job: &Job, root: &OwnedFd) -> Result<Root, FilesError> {
    let failed = |what: &'static str| {
        move |fault: nix::errno::Errno| FilesError::helper(format!("cannot {what}: {fault}"))
    };
    let kernel = |fault: rustix::io::Errno| FilesError::helper(std::io::Error::from(fault));
    let alone = if matches!(job.work, Work::Export) {
        // A mount can only be copied by a process that sees it; afterwards /proc is to be ours again.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let home = openat(CWD, "/proc/self/ns/mnt", flags, Mode::empty()).map_err(kernel)?;
        setns(process, CloneFlags::CLONE_NEWNS).map_err(failed("enter the container's mounts"))?;
        let flags =
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        let alone = open_tree(root, "", flags).map_err(kernel)?;
        setns(home, CloneFlags::CLONE_NEWNS).map_err(failed("leave the container's mounts"))?;
        Some(alone)
    } else {
        None
    };
    if job.own_users {
        setns(process, CloneFlags::CLONE_NEWUSER).map_err(failed("enter the container's user namespace"))?;
        let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
        setgroups(&[]).map_err(failed("leave its groups"))?;
        setresgid(gid, gid, gid).map_err(failed("become the container's root"))?;
        setresuid(uid, uid, uid).map_err(failed("become the container's root"))?;
    }
    match alone {
        Some(alone) => Ok(Root::new(alone)),
        None => root.try_clone().map(Root::new).map_err(FilesError::helper),
    }
}

fn perform(
    work: &Work,
    root: &Root,
    source: &mut BufReader<UnixStream>,
    answers: &mut impl Write,
) -> Result<Copied, FilesError> {
    match work {
        Work::Stat { path, follow } => {
            tell(root, path, *follow, answers)?;
            Ok(Copied::default())
        }
        Work::Read { path, follow, name } => {
            let marked = tell(root, path, *follow, answers)?;
            check_real(marked.as_fd(), path)?;
            let name = if name.is_empty() { last_part(path) } else { name };
            archive(&marked, if name == b"/" { b"" } else { name }, answers)
        }
        Work::Export => archive(&tell(root, b"/", true, answers)?, b"", answers),
        Work::Write { path, keep_owners } => {
            rustix::process::umask(Mode::empty());
            let mut placer = Placer::new(root, path, *keep_owners)?;
            let gzip = source.fill_buf().map_err(FilesError::helper)?.starts_with(&[0x1f, 0x8b]);
            if gzip {
                placer.unpack(BufReader::new(MultiGzDecoder::new(source)))?;
            } else {
                placer.unpack(source)?;
            }
            Ok(placer.copied)
        }
    }
}

/// Answers what is under a path, and marks it.
fn tell(root: &Root, path: &[u8], follow: bool, answers: &mut impl Write) -> Result<OwnedFd, FilesError> {
    let marked = root.find(path, follow).map_err(|fault| FilesError::system("find", path, fault))?;
    let found = info(marked.as_fd(), last_part(path).to_vec())
        .map_err(|fault| FilesError::system("look at", path, fault))?;
    let body = serde_json::to_vec(&found).map_err(FilesError::helper)?;
    send(answers, Tag::Info, &body).and_then(|()| answers.flush()).map_err(FilesError::helper)?;
    Ok(marked)
}

fn archive(marked: &OwnedFd, name: &[u8], answers: &mut impl Write) -> Result<Copied, FilesError> {
    let mut packer = Packer::new(BufWriter::with_capacity(MAX_FRAME, Frames(answers)), Owners::AsSeen);
    let outcome = packer.tree(marked, name);
    if let Err(fault) = outcome {
        let done = packer.copied;
        return Err(match fault {
            PackError::Files(fault) if done.entries == 0 => fault,
            fault => FilesError::Partly { reason: fault.to_string(), done },
        });
    }
    let ended = packer.finish().and_then(|(mut sink, copied)| sink.flush().map(|()| copied));
    ended.map_err(FilesError::helper)
}

/// The last part of a path; `/` for the root.
fn last_part(path: &[u8]) -> &[u8] {
    let mut parts = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    match parts.next_back() {
        Some(b"..") | None => b"/",
        Some(part) => part,
    }
}

#[cfg(test)]
mod tests {
    use super::last_part;

    #[test]
    fn the_last_part_of_a_path_names_it() {
        for (path, name) in
            [("/etc/passwd", "passwd"), ("a/b/", "b"), ("a/.", "a"), ("/", "/"), ("", "/"), ("a/..", "/")]
        {
            assert_eq!(last_part(path.as_bytes()), name.as_bytes(), "{path}");
        }
    }
}
