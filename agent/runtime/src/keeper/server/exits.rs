//! What happens when a container's first process ends: it is reaped, its log
//! completed, its exit recorded on disk, and only then announced.

use std::os::fd::AsFd;

use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use rustix::process::{WaitId, WaitIdOptions};

use super::Server;
use super::poller::Target;
use crate::keeper::attach::Sent;
use crate::keeper::held::Phase;
use crate::keeper::protocol::{ContainerState, Reply};
use crate::keeper::stream::Finished;
use crate::keeper::{Exit, time};

impl Server {
    pub(super) fn process_ended(&mut self, id: &str) {
        let Some(held) = self.containers.get_mut(id) else {
            return;
        };
        let Some(alive) = held.alive() else {
            return;
        };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let status = match rustix::process::waitid(WaitId::PidFd(alive.process.fd.as_fd()), options) {
            Ok(Some(status)) => status,
            // Not ended after all.
            Ok(None) => return,
            Err(error) => {
                self.journal.line(&format!("wait for {id}: {error}"), None);
                self.ended(id, 255, None);
                return;
            }
        };
        let signal = status.terminating_signal();
        let code = status.exit_status().unwrap_or(128 + signal.unwrap_or(127));
        self.ended(id, code, signal);
    }

    fn ended(&mut self, id: &str, code: i32, signal: Option<i32>) {
        let Some(held) = self.containers.get_mut(id) else {
            return;
        };
        let exit = Exit { code, signal, oom_killed: held.cgroup.oom_killed(), at_ms: time::now_ms() };
        let Phase::Alive(alive) = std::mem::replace(&mut held.phase, Phase::Ended(exit.clone())) else {
            return;
        };
        let trace = held.traceparent.clone();
        let finished = alive.streams.finish(&mut self.buffer, &mut self.poller);
        self.poller.close(alive.process);
        let is_news = !alive.start_failed;
        let written = match (is_news, alive.throw_away) {
            (false, _) => Ok(()),
            (true, false) => exit.write(alive.state_dir.as_fd()),
            (true, true) => exit.note(alive.state_dir.as_fd()),
        };
        if let Err(error) = written {
            self.journal.line(&format!("exit record of {id}: {error}"), trace.as_deref());
        }
        self.let_go(id, finished);
        self.end_executions(id);
        let oom = if exit.oom_killed { " out of memory" } else { "" };
        self.journal.line(&format!("exit {id} code={code}{oom}"), trace.as_deref());
        if is_news {
            self.broadcast(&Reply::Exited { id: id.to_owned(), exit });
        }
        self.answer_deleters(id);
        self.reap_strays();
        self.finish_stopping();
    }

    /// Clients still get what the container wrote last.
    pub(super) fn let_go(&mut self, id: &str, finished: Finished) {
        if let Some(error) = finished.log_error {
            self.journal.line(&format!("log of {id}: {error}; lines were lost"), None);
        }
        for (token, (mut watch, mut peer)) in finished.peers {
            peer.finishing = true;
            peer.input_closed = true;
            let over = peer.send() == Sent::Over;
            if over || self.poller.want(peer.fd(), &mut watch, peer.interest(false)).is_err() {
                self.poller.forget(peer.fd(), watch);
            } else {
                self.poller.retarget(watch, Target::Leaving);
                self.leaving.insert(token, (watch, peer));
            }
        }
    }

    fn answer_deleters(&mut self, id: &str) {
        let deleters =
            self.containers.get_mut(id).map(|held| std::mem::take(&mut held.deleters)).unwrap_or_default();
        if deleters.is_empty() {
            return;
        }
        let reply = match self.free(id, None) {
            Ok(reply) => reply,
            Err(refused) => Reply::Error { kind: refused.kind, message: refused.message },
        };
        for token in deleters {
            self.reply(token, &reply);
            self.settle_client(token);
        }
    }

    /// Reaps children that are no container's first process: what a failed
    /// creation left, and orphans that came to us as their subreaper.
    pub(super) fn reap_strays(&mut self) {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        while let Ok(status) = waitid(Id::All, flags) {
            let Some(pid) = status.pid() else {
                return;
            };
            // A container's own process is reaped through its descriptor, by its event; a further one too.
            let is_own = self
                .containers
                .values()
                .any(|held| held.pid == pid.as_raw() && held.state() != ContainerState::Exited);
            let is_further = self.executions.values().any(|execution| execution.is_process(pid.as_raw()));
            if is_own || is_further {
                return;
            }
            if waitpid(pid, Some(WaitPidFlag::WNOHANG)).is_err() {
                return;
            }
        }
    }

    /// Once everything has ended, frees it and answers whoever asked for the end.
    pub(super) fn finish_stopping(&mut self) {
        let Some(asker) = self.stopping else {
            return;
        };
        if self.containers.values().any(|held| held.state() != ContainerState::Exited) {
            return;
        }
        let ids: Vec<_> = self.containers.keys().cloned().collect();
        for id in ids {
            // What cannot be freed is left to the next engine's sweep; the keeper ends all the same.
            let _ = self.free(&id, None);
            self.containers.remove(&id);
        }
        self.reply(asker, &Reply::Done);
        self.settle_client(asker);
    }
}
