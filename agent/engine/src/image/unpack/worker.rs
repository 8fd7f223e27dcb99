//! The agent's side of unpacking: starts the process of [`super::child`], takes its answer, and does the one thing that
//! it may not. The process is killed when this value goes.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::UnpackError;
use super::extract::mark_opaque;
use super::job::{Answer, Done, Fault, Job, MAX_ANSWER};

/// Who unpacks.
#[derive(Debug, Clone)]
pub(crate) enum Unpacker {
    /// A process of this program, locked up.
    Program(PathBuf),
    /// A thread of the test, in which nothing is locked up.
    #[cfg(test)]
    Thread,
}

/// A layer that is being unpacked.
#[derive(Debug)]
pub(crate) struct Worker {
    work: Work,
    answers: File,
}

#[derive(Debug)]
enum Work {
    Process(Child),
    #[cfg(test)]
    Thread(Option<std::thread::JoinHandle<io::Result<()>>>),
}

impl Drop for Worker {
    fn drop(&mut self) {
        match &mut self.work {
            Work::Process(child) => {
                // It may have ended, which is as good.
                let _ = child.kill();
                let _ = child.wait();
            }
            #[cfg(test)]
            Work::Thread(thread) => drop(thread.take().map(std::thread::JoinHandle::join)),
        }
    }
}

impl Unpacker {
    /// Begins to unpack into `root`. The answer's second part takes the compressed layer; closing it is its end.
    pub(crate) fn start(&self, job: &Job, root: BorrowedFd<'_>) -> io::Result<(Worker, File)> {
        let (input, feed) = io::pipe()?;
        let (answers, answer) = io::pipe()?;
        let (feed, answers) = (File::from(OwnedFd::from(feed)), File::from(OwnedFd::from(answers)));
        // More at a time, where the host allows it.
        let _ = rustix::pipe::fcntl_setpipe_size(&feed, 1 << 20);
        let work = match self {
            Unpacker::Program(program) => Work::Process(
                Command::new(program)
                    .arg("unpack")
                    .arg(serde_json::to_string(job)?)
                    .env_clear()
                    .current_dir("/")
                    .stdin(Stdio::from(input))
                    .stdout(Stdio::from(root.try_clone_to_owned()?))
                    .stderr(Stdio::from(answer))
                    .spawn()
                    .map_err(|fault| {
                        io::Error::new(fault.kind(), format!("start {}: {fault}", program.display()))
                    })?,
            ),
            #[cfg(test)]
            Unpacker::Thread => {
                let (job, root) = (job.clone(), root.try_clone_to_owned()?);
                let thread = std::thread::spawn(move || {
                    let input = File::from(OwnedFd::from(input));
                    let said = super::child::work(&job, input, std::os::fd::AsFd::as_fd(&root));
                    io::Write::write_all(&mut { answer }, &serde_json::to_vec(&said).expect("it is JSON"))
                });
                Work::Thread(Some(thread))
            }
        };
        Ok((Worker { work, answers }, feed))
    }
}

impl Worker {
    /// Waits for the end, and makes of the directory what overlayfs wants.
    pub(crate) fn finish(mut self, root: BorrowedFd<'_>) -> Result<Done, Fault> {
        let helper = |fault: io::Error| Fault::Helper(fault.to_string());
        let mut said = Vec::new();
        self.answers.by_ref().take(MAX_ANSWER).read_to_end(&mut said).map_err(helper)?;
        let Ok(answer) = serde_json::from_slice(&said) else { return Err(Fault::Helper(self.end())) };
        match answer {
            Answer::Done { diff_id, unpacked, opaque } => {
                mark_opaque(root, &opaque).map_err(Fault::Unpack)?;
                Ok(Done { diff_id, unpacked })
            }
            Answer::Inflate(reason) => Err(Fault::Inflate(reason)),
            Answer::Unpack(reason) => Err(Fault::Unpack(UnpackError::Told { reason })),
            Answer::Helper(reason) => Err(Fault::Helper(reason)),
        }
    }

    /// How it ended without a word.
    fn end(&mut self) -> String {
        match &mut self.work {
            Work::Process(child) => match child.wait() {
                Ok(status) => format!("it ended without a word: {status}"),
                Err(fault) => fault.to_string(),
            },
            #[cfg(test)]
            Work::Thread(_) => "the thread ended without a word".to_owned(),
        }
    }
}
