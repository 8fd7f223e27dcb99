//! What the kernel of an ordinary machine has and that of a test's may lack:
//! cgroups of version 2 only, and project quotas below /tmp.
//!
//! `tests/guest/run` runs these, after the tests of runtime and engine, in a
//! guest; `cargo test` does not.

mod limits;
mod quotas;

/// A directory for one test, short enough for unix sockets and gone afterwards.
fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("rt-").tempdir_in("/tmp").expect("/tmp is writable")
}

/// A host with an agent that has the image `busybox`.
fn on_a_host(name: &str, test: impl FnOnce(&itest::solo::Solo<'_>, &str)) {
    let only = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    assert!(only.contains("pids"), "no version 2 of cgroups with its controllers: use tests/guest/run");
    let (host, dir) = (itest::host::Host::new(name), scratch());
    let registry = itest::registry::Registry::start(&host, dir.path());
    registry.push("busybox", "1", &itest::image::busybox(&["sh"]));
    let solo = itest::solo::Solo::start(&host, dir.path());
    test(&solo, &format!("{}/busybox:1", itest::registry::ADDRESS));
}
