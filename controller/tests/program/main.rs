//! The built `controller`, from the command line: it starts, is ready, stops, and
//! says in one line and by its exit code why it cannot.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

type Outcome = Result<(), Box<dyn Error>>;

/// A controller that ends with the test: its standard input is ours.
struct Controller {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

fn command(data: &Path, listen: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_controller"));
    command.arg("--data-dir").arg(data).args(["--listen", listen, "--exit-with-stdin"]);
    command.stdin(Stdio::piped()).stderr(Stdio::piped()).env_remove("RUST_LOG").env("NO_COLOR", "1");
    command
}

impl Controller {
    /// Starts one on a free port and waits for its ready line, which is returned too.
    fn start(data: &Path) -> Result<(Self, String), Box<dyn Error>> {
        let mut child = command(data, "127.0.0.1:0").spawn()?;
        let stderr = BufReader::new(child.stderr.take().ok_or("no pipe")?);
        let mut this = Self { child, stderr };
        let mut said = String::new();
        loop {
            let mut line = String::new();
            if this.stderr.read_line(&mut line)? == 0 {
                return Err(format!("it ended: {said}").into());
            }
            if line.contains("controller is ready") {
                return Ok((this, line));
            }
            said.push_str(&line);
        }
    }

    /// Closes its standard input and returns its exit code and last words.
    fn end(mut self) -> Result<(Option<i32>, String), Box<dyn Error>> {
        drop(self.child.stdin.take());
        let mut words = String::new();
        self.stderr.read_to_string(&mut words)?;
        Ok((self.child.wait()?.code(), words))
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        // Already gone after `end`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs one that must refuse to start.
fn refused(data: &Path, listen: &str) -> Result<(Option<i32>, String), Box<dyn Error>> {
    let Output { status, stderr, .. } = command(data, listen).output()?;
    let text = String::from_utf8(stderr)?;
    let last = text.lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with("controller: "), "{text}");
    Ok((status.code(), last))
}

#[test]
fn it_makes_a_cluster_says_it_is_ready_and_ends_with_its_parent() -> Outcome {
    let scratch = tempfile::tempdir()?;
    let data = scratch.path().join("data");
    let (first, ready) = Controller::start(&data)?;
    assert!(ready.contains("127.0.0.1:") && ready.contains("started_ms"), "{ready}");
    assert_eq!(fs::metadata(&data)?.permissions().mode() & 0o777, 0o700);
    let (code, words) = first.end()?;
    assert_eq!(code, Some(0), "{words}");
    assert!(words.contains("standard input was closed"), "{words}");
    // Again, on what the first one left; and after an abrupt end.
    let (mut second, _) = Controller::start(&data)?;
    second.child.kill()?;
    drop(second);
    let (third, _) = Controller::start(&data)?;
    assert_eq!(third.end()?.0, Some(0));
    Ok(())
}

#[test]
fn sigterm_ends_it_gracefully() -> Outcome {
    let scratch = tempfile::tempdir()?;
    let (mut controller, _) = Controller::start(&scratch.path().join("data"))?;
    let pid = controller.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status()?.success());
    let mut words = String::new();
    controller.stderr.read_to_string(&mut words)?;
    assert_eq!(controller.child.wait()?.code(), Some(0), "{words}");
    Ok(())
}

#[test]
fn a_port_in_use_is_named() -> Outcome {
    let scratch = tempfile::tempdir()?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let (code, words) = refused(&scratch.path().join("data"), &address)?;
    assert_eq!(code, Some(3), "{words}");
    assert!(words.contains(&address) && words.contains("in use"), "{words}");
    assert!(!scratch.path().join("data/ca").exists(), "nothing half-made");
    Ok(())
}

#[test]
fn a_data_directory_that_cannot_be_one_is_named() -> Outcome {
    let scratch = tempfile::tempdir()?;
    fs::write(scratch.path().join("file"), "")?;
    let (code, words) = refused(&scratch.path().join("file/data"), "127.0.0.1:0")?;
    assert_eq!(code, Some(4), "{words}");
    assert!(words.contains("file/data"), "{words}");
    Ok(())
}

#[test]
fn a_data_directory_belongs_to_one_controller() -> Outcome {
    let scratch = tempfile::tempdir()?;
    let data = scratch.path().join("data");
    let (controller, _) = Controller::start(&data)?;
    let (code, words) = refused(&data, "127.0.0.1:0")?;
    assert_eq!(code, Some(5), "{words}");
    assert!(words.contains(&format!("process {}", controller.child.id())), "{words}");
    assert_eq!(controller.end()?.0, Some(0));
    Ok(())
}

#[test]
fn a_damaged_log_is_named_and_left_as_it_is() -> Outcome {
    let scratch = tempfile::tempdir()?;
    let data = scratch.path().join("data");
    assert_eq!(Controller::start(&data)?.0.end()?.0, Some(0));
    let file = data.join("raft/log/0000000000000001.raftlog");
    let mut bytes = fs::read(&file)?;
    bytes[150] ^= 1;
    fs::write(&file, &bytes)?;
    for _ in 0..2 {
        let (code, words) = refused(&data, "127.0.0.1:0")?;
        assert_eq!(code, Some(6), "{words}");
        assert!(words.contains("0000000000000001.raftlog") && words.contains("backup"), "{words}");
        assert!(fs::read(&file)? == bytes, "the file was changed");
    }
    Ok(())
}

#[test]
fn a_log_that_cannot_be_written_ends_it_and_loses_nothing() -> Outcome {
    let scratch = tempfile::tempdir()?;
    let data = scratch.path().join("data");
    assert_eq!(Controller::start(&data)?.0.end()?.0, Some(0));
    // Files may not grow beyond 3 KiB; each start writes a little. `--exit-with-stdin` ends those that could start.
    let limited = "trap '' XFSZ; ulimit -f 6; exec \"$@\"";
    let start = || -> Result<Output, std::io::Error> {
        let mut shell = Command::new("sh");
        shell.args(["-c", limited, "sh", env!("CARGO_BIN_EXE_controller"), "--data-dir"]).arg(&data);
        shell.args(["--listen", "127.0.0.1:0", "--exit-with-stdin"]).stdin(Stdio::null()).output()
    };
    let mut failed = start()?;
    for _ in 0..40 {
        if failed.status.code() != Some(0) {
            break;
        }
        failed = start()?;
    }
    let words = String::from_utf8(failed.stderr)?;
    assert_eq!(failed.status.code(), Some(7), "{words}");
    let last = words.lines().last().unwrap_or_default();
    assert!(last.contains("could not be made durable"), "{words}");
    assert_eq!(Controller::start(&data)?.0.end()?.0, Some(0), "with room again");
    Ok(())
}

#[test]
fn keys_and_log_of_two_clusters_are_not_mixed() -> Outcome {
    let scratch = tempfile::tempdir()?;
    let (one, two) = (scratch.path().join("one"), scratch.path().join("two"));
    for data in [&one, &two] {
        assert_eq!(Controller::start(data)?.0.end()?.0, Some(0));
    }
    fs::remove_dir_all(two.join("raft"))?;
    fs::rename(one.join("raft"), two.join("raft"))?;
    let (code, words) = refused(&two, "127.0.0.1:0")?;
    assert_eq!(code, Some(4), "{words}");
    assert!(words.contains("cluster"), "{words}");
    Ok(())
}

#[test]
fn a_wrong_command_line_is_refused() -> Outcome {
    for arguments in [&["--listen", "127.0.0.1:0"][..], &["--data-dir", "/d", "--listen", "here"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_controller")).args(arguments).output()?;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    Ok(())
}
