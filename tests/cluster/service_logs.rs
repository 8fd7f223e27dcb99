//! What of a service's output is kept: as the service says, on every task, and as it says anew after an update.

use std::path::{Path, PathBuf};

use itest::dev::Dev;
use itest::host::Host;
use itest::wait;

use crate::{SOON, scratch};

/// The files below a directory whose names end so.
fn files_called(dir: &Path, end: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let of = |path: PathBuf| match path.is_dir() && !path.is_symlink() {
        true => files_called(&path, end),
        false if path.to_string_lossy().ends_with(end) => vec![path],
        false => Vec::new(),
    };
    entries.flat_map(|entry| of(entry.path())).collect()
}

#[test]
fn a_service_says_how_its_logs_are_kept() {
    let (host, dir) = (Host::new("slog"), scratch());
    let dev = Dev::start(&host, dir.path(), &[]);
    let logging = ["--log-driver", "json-file", "--log-opt", "max-size=2m", "--log-opt", "tag={{.Name}}!"];
    let create = ["service", "create", "--name", "web", "--replicas", "2", "--publish", "8080:80"];
    dev.ctl(&[&create[..], &logging, &["roadstead/hello"]].concat());
    let service = dev.json(&["service", "inspect", "web"]);
    assert_eq!(
        (&service["log_driver"], &service["log_options"]["max-size"]),
        (&"json-file".into(), &"2m".into())
    );
    wait::until("a request is logged", SOON, || dev.curl("localhost:8080").map(drop));
    let logs = wait::until("both tasks have a file", SOON, || {
        let found = files_called(dir.path(), "-json.log");
        let texts: Vec<String> = found.iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect();
        if texts.iter().filter(|text| text.contains("!\"}")).count() == 2 {
            Ok(texts)
        } else {
            Err(format!("{texts:?}"))
        }
    });
    assert!(logs.iter().all(|text| text.contains("\"attrs\":{\"tag\":\"")), "{logs:?}");
    dev.ctl(&["service", "update", "--log-driver", "none", "web"]);
    let service = dev.json(&["service", "inspect", "web"]);
    assert_eq!((&service["log_driver"], &service["log_options"]), (&"none".into(), &serde_json::json!({})));
    let running = dev.ctl(&["ps", "-q", "--no-trunc"]);
    assert_eq!(running.lines().count(), 2, "{running}");
    for id in running.lines() {
        let driver = dev.ctl(&["container", "inspect", "--format", "{{.Config.Log.Driver}}", id]);
        assert_eq!(driver, "none\n");
    }
    dev.ctl(&["service", "rm", "web"]);
}
