//! What can happen to a container, and how it is told: Docker's names of
//! actions, and attributes that say more.

use std::collections::BTreeMap;

use agent_runtime::keeper::Exit;

use super::isolation::NetworkMode;
use super::mount::{Kind, Mount};
use super::record::{Entry, Record};
use crate::engine::Inner;
use crate::events::Subject;

/// Something that happened to a container.
#[derive(Debug, Clone)]
pub struct ContainerEvent {
    /// Of which container.
    pub id: String,
    /// The task it belongs to, if any.
    pub task: Option<String>,
    /// What happened.
    pub kind: ContainerEventKind,
}

/// What can happen to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerEventKind {
    /// It was made.
    Created,
    /// Its first process runs.
    Started,
    /// It, or a further process in it, was about to start, and was stopped because the kernel did not show it
    /// confined as asked.
    AttestFailed {
        /// Of the further process, if it was one.
        exec: Option<String>,
        /// What was asked for and what was found.
        reason: String,
    },
    /// The kernel killed a process of it for want of memory.
    OutOfMemory,
    /// Its first process has ended.
    Exited(Exit),
    /// Somebody asked it to stop, and it has.
    Stopped,
    /// Somebody asked for it to be stopped and started, and it was.
    Restarted,
    /// Nothing of it is left.
    Removed,
    /// Its processes stand still.
    Paused,
    /// They go on.
    Unpaused,
    /// A signal was sent to it.
    Killed {
        /// The signal's number.
        signal: i32,
    },
    /// Somebody reads its output and may write its input.
    Attached,
    /// Somebody left who was attached, and it goes on.
    Detached,
    /// Its terminal has another size.
    Resized {
        /// Lines.
        rows: u16,
        /// Characters in a line.
        columns: u16,
    },
    /// Its limits or its restart policy are others.
    Updated,
    /// It has another name.
    Renamed {
        /// The name it had.
        from: String,
    },
    /// A further process was prepared in it.
    ExecCreated {
        /// Of this further process.
        exec: String,
        /// Program and arguments.
        command: String,
    },
    /// A further process runs in it.
    ExecStarted {
        /// Of this further process.
        exec: String,
        /// Program and arguments.
        command: String,
    },
    /// A further process has ended.
    ExecEnded {
        /// Of this further process.
        exec: String,
        /// Its exit code.
        code: i32,
    },
    /// Whoever was attached to a further process has left it, and it goes on.
    ExecDetached {
        /// Of this further process.
        exec: String,
    },
    /// Something of it was read, copied or kept.
    Used {
        /// Docker's word for it.
        action: &'static str,
        /// More about it.
        attributes: Vec<(&'static str, String)>,
    },
    /// The last checks of its health changed what is thought of it: "starting", "healthy" or "unhealthy".
    Health(String),
}

impl ContainerEventKind {
    /// Docker's name of it, and the attributes only this kind has.
    pub(crate) fn describe(&self) -> (String, Vec<(&'static str, String)>) {
        let plain = |action: &str| (action.to_owned(), Vec::new());
        match self {
            Self::Created => plain("create"),
            Self::Started => plain("start"),
            Self::AttestFailed { exec, reason } => {
                let exec = exec.iter().map(|exec| ("execID", exec.clone()));
                let attributes = exec.chain([("reason", reason.clone())]).collect();
                ("attest_failed".to_owned(), attributes)
            }
            Self::OutOfMemory => plain("oom"),
            Self::Exited(exit) => ("die".to_owned(), vec![("exitCode", exit.code.to_string())]),
            Self::Stopped => plain("stop"),
            Self::Restarted => plain("restart"),
            Self::Removed => plain("destroy"),
            Self::Paused => plain("pause"),
            Self::Unpaused => plain("unpause"),
            Self::Killed { signal } => ("kill".to_owned(), vec![("signal", signal.to_string())]),
            Self::Attached => plain("attach"),
            Self::Detached => plain("detach"),
            Self::Resized { rows, columns } => {
                ("resize".to_owned(), vec![("height", rows.to_string()), ("width", columns.to_string())])
            }
            Self::Updated => plain("update"),
            Self::Renamed { from } => ("rename".to_owned(), vec![("oldName", from.clone())]),
            Self::ExecCreated { exec, command } => {
                (format!("exec_create: {command}"), vec![("execID", exec.clone())])
            }
            Self::ExecStarted { exec, command } => {
                (format!("exec_start: {command}"), vec![("execID", exec.clone())])
            }
            Self::ExecEnded { exec, code } => {
                ("exec_die".to_owned(), vec![("execID", exec.clone()), ("exitCode", code.to_string())])
            }
            Self::ExecDetached { exec } => ("exec_detach".to_owned(), vec![("execID", exec.clone())]),
            Self::Used { action, attributes } => ((*action).to_owned(), attributes.clone()),
            Self::Health(status) => plain(&format!("health_status: {status}")),
        }
    }
}

impl Inner {
    /// Tells of what a container about to run is connected to.
    pub(crate) fn tell_connected(&self, entry: &Entry) {
        let record = entry.live().record.clone();
        if record.config.isolation.namespaces.network == NetworkMode::Bridge {
            self.told.tell(Subject::Network, "connect", "bridge", network(&record));
        }
        for mount in volumes(&record) {
            let more = [
                ("destination", mount.target.clone()),
                ("propagation", String::new()),
                ("read/write", (!mount.read_only).to_string()),
            ];
            self.told.tell(Subject::Volume, "mount", &mount.source, volume(&record, &more));
        }
    }

    /// Tells that it no longer is.
    pub(crate) fn tell_disconnected(&self, entry: &Entry) {
        let record = entry.live().record.clone();
        if record.config.isolation.namespaces.network == NetworkMode::Bridge {
            self.told.tell(Subject::Network, "disconnect", "bridge", network(&record));
        }
        for mount in volumes(&record) {
            self.told.tell(Subject::Volume, "unmount", &mount.source, volume(&record, &[]));
        }
    }
}

fn volumes(record: &Record) -> impl Iterator<Item = &Mount> {
    record.config.mounts.iter().filter(|mount| mount.kind == Kind::Volume)
}

fn network(record: &Record) -> BTreeMap<String, String> {
    let all = [("container", record.id.as_str()), ("name", "bridge"), ("type", "bridge")];
    all.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

fn volume(record: &Record, more: &[(&str, String)]) -> BTreeMap<String, String> {
    let all = [("container", record.id.clone()), ("driver", "local".to_owned())];
    all.iter().chain(more).map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
}

/// What every event of a container says of it: labels, image and name. The latter two win.
pub(crate) fn attributes(record: &Record) -> BTreeMap<String, String> {
    let mut attributes = record.config.labels.clone();
    attributes.insert("image".to_owned(), record.config.image.clone());
    attributes.insert("name".to_owned(), record.name.clone());
    if let Some(task) = &record.config.task {
        attributes.insert("task".to_owned(), task.clone());
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_called_as_docker_calls_them_and_say_what_docker_says() {
        let exit = Exit { code: 137, signal: Some(9), oom_killed: false, at_ms: 0 };
        let told = |kind: ContainerEventKind| kind.describe();
        assert_eq!(told(ContainerEventKind::Exited(exit)).1, [("exitCode", "137".to_owned())]);
        let (action, attributes) = told(ContainerEventKind::Killed { signal: 15 });
        assert_eq!((action.as_str(), attributes), ("kill", vec![("signal", "15".to_owned())]));
        let exec = ContainerEventKind::ExecCreated { exec: "e1".into(), command: "ls -l".into() };
        assert_eq!(told(exec).0, "exec_create: ls -l");
        assert_eq!(told(ContainerEventKind::Health("healthy".into())).0, "health_status: healthy");
    }
}
