//! Cgroups by themselves: what is removed and what must not be.

use agent_runtime::cgroup::Cgroup;

fn directory(path: &str) -> std::path::PathBuf {
    let root = std::path::Path::new("/sys/fs/cgroup");
    let v1 = root.join("pids");
    if v1.is_dir() { v1.join(path) } else { root.join(path) }
}

#[test]
fn a_parent_with_a_neighbour_that_has_no_process_yet_stays() {
    let parent = format!("roadstead-test-{}", std::process::id());
    std::fs::create_dir_all(directory(&parent).join("neighbour"))
        .expect("this test makes cgroups: run it as root");
    let cgroup = Cgroup::open(&format!("/{parent}")).expect("a cgroup path");
    cgroup.remove_if_empty();
    assert!(directory(&parent).join("neighbour").is_dir(), "somebody else's cgroup was removed");
    std::fs::remove_dir(directory(&parent).join("neighbour")).expect("it is empty");
    cgroup.remove_if_empty();
    assert!(!directory(&parent).exists(), "an empty parent was left");
}
