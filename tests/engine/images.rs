//! Images as users have them on one host: names, archives, what is removed and what that frees. Archives are made
//! here and by the tools of others ([`peers`]); no registry is involved.

mod garbage;
mod peers;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use itest::host::Host;
use itest::image::{Image, busybox, digest};
use itest::solo::Solo;
use itest::{programs, wait};
use serde_json::{Value, json};

use crate::{SOON, scratch};

/// An archive as `docker save` wrote it before it wrote layouts, in a file.
fn archive_of(folder: &Path, name: &str, image: &Image) -> PathBuf {
    let mut archive = tar::Builder::new(Vec::new());
    let mut put = |path: &str, data: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, data).expect("writing to memory");
    };
    put("layer.tar", &image.layer);
    put("config.json", &image.config);
    let manifest = json!([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]);
    put("manifest.json", manifest.to_string().as_bytes());
    let path = folder.join(format!("{}.tar", name.replace(['/', ':'], "-")));
    std::fs::write(&path, archive.into_inner().expect("writing to memory")).expect("a writable directory");
    path
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// Loads an image of busybox with this command under a name.
fn load(solo: &Solo<'_>, name: &str, command: &[&str]) {
    let archive = archive_of(solo.root(), name, &busybox(command));
    assert_eq!(solo.ctl(&["image", "load", "-q", "-i", text(&archive)]), format!("Loaded image: {name}\n"));
}

/// Blobs and layers of the agent's store.
fn contents(root: &Path) -> BTreeSet<String> {
    let list = |folder: &str| {
        let folder = root.join("data/agent").join(folder);
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path().display().to_string()).collect::<Vec<_>>()
    };
    let folders = ["content/blobs/sha256", "content/ingest", "snapshots/layers", "snapshots/incoming"];
    folders.iter().flat_map(|folder| list(folder)).chain(list("snapshots/trash")).collect()
}

/// The store comes to hold this and nothing else: a container that is just on its way out takes what only it used
/// along.
fn settles(root: &Path, expected: &BTreeSet<String>) {
    wait::until("the store holds nothing else", SOON, || {
        let now = contents(root);
        if now == *expected { Ok(()) } else { Err(format!("{:?}", now.symmetric_difference(expected))) }
    });
}

fn names(solo: &Solo<'_>) -> Vec<String> {
    let list = solo.json(&["image", "ls"]);
    let mut names: Vec<String> =
        list.as_array().expect("a list").iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn an_image_lives_from_its_archive_to_its_last_name() {
    let (host, dir) = (Host::new("imgl"), scratch());
    let solo = Solo::start(&host, dir.path());
    let before = contents(dir.path());
    load(&solo, "box:1", &["echo", "hello"]);
    assert_eq!(solo.ctl(&["run", "--rm", "box:1"]), "hello\n");
    solo.ctl(&["image", "tag", "box:1", "localhost:5000/team/box:2"]);
    let list = solo.json(&["image", "ls", "--filter", "reference=*/*/*"]);
    assert_eq!(list[0]["name"], "localhost:5000/team/box:2");
    let table = solo.ctl(&["images", "box"]);
    assert!(table.starts_with("NAME") && table.contains("box:1") && !table.contains("team"), "{table}");
    let id = list[0]["id"].as_str().unwrap().to_owned();
    let short = &id[7..19];
    assert_eq!(solo.ctl(&["image", "ls", "-q", "--no-trunc", "box"]).trim(), id);
    let shown = solo.json(&["image", "inspect", short]);
    assert_eq!(shown[0]["names"], json!(["box:1", "localhost:5000/team/box:2"]));
    assert_eq!(
        (&shown[0]["config"]["Cmd"], &shown[0]["platform"]),
        (&json!(["echo", "hello"]), &json!("linux/amd64"))
    );
    let format = ["image", "ls", "--format", "{{.Repository}} {{.Tag}} {{.ID}}", "localhost:*/*/*"];
    assert_eq!(solo.ctl(&format), format!("localhost:5000/team/box 2 {short}\n"));
    assert_eq!(solo.ctl(&["image", "inspect", "-f", "{{.Config.Cmd}}", short]), "[echo hello]\n");
    let tree = solo.ctl(&["image", "ls", "--tree", "box"]);
    assert!(tree.contains("└─ linux/amd64") && tree.contains("yes"), "{tree}");
    let (code, said) = solo.refused(&["image", "rm", short]);
    assert!(code == 6 && said.contains("box:1, localhost:5000/team/box:2"), "{code} {said}");
    assert_eq!(solo.ctl(&["image", "rm", "box:1"]), "Untagged: box:1\n");
    assert_eq!(solo.refused(&["image", "inspect", "box:1"]).0, 3);
    assert_eq!(solo.refused(&["image", "inspect", "Not A Name"]).0, 6);
    let gone = solo.ctl(&["rmi", short]);
    assert_eq!(gone, format!("Untagged: localhost:5000/team/box:2\nDeleted: {id}\n"));
    settles(dir.path(), &before);
}

#[test]
fn what_containers_use_goes_with_the_last_of_them() {
    let (host, dir) = (Host::new("imgu"), scratch());
    let solo = Solo::start(&host, dir.path());
    let before = contents(dir.path());
    load(&solo, "box:1", &["sleep", "1000"]);
    solo.ctl(&["run", "-d", "--name", "web", "box:1"]);
    let (code, said) = solo.refused(&["image", "rm", "box:1"]);
    assert!(code == 6 && said.contains("used by web (running)") && said.contains("--force"), "{code} {said}");
    assert_eq!(solo.ctl(&["image", "rm", "--force", "box:1"]), "Untagged: box:1\n");
    assert!(names(&solo).contains(&"<none>".to_owned()));
    assert_eq!(solo.ctl(&["image", "prune", "--force", "--output", "json"]).matches("sha256").count(), 0);
    assert_eq!(solo.ctl(&["exec", "web", "echo", "alive"]), "alive\n");
    solo.ctl(&["container", "commit", "web", "made:1"]);
    solo.ctl(&["container", "rm", "--force", "web"]);
    let pruned = solo.json(&["image", "prune", "--force"]);
    assert_eq!(pruned["deleted"].as_array().unwrap().len(), 1, "{pruned}");
    assert_eq!(solo.ctl(&["run", "--rm", "made:1", "echo", "still whole"]), "still whole\n");
    let (code, said) = solo.refused(&["image", "prune"]);
    assert!(code == 2 && said.contains("--force"), "{code} {said}");
    solo.ctl(&["image", "prune", "--all", "--force", "--filter", "reference=made"]);
    settles(dir.path(), &before);
}

#[test]
fn a_mounted_image_is_kept_for_the_container_that_has_it() {
    let (host, dir) = (Host::new("imgm"), scratch());
    let solo = Solo::start(&host, dir.path());
    load(&solo, "box:1", &["sleep", "1000"]);
    let mut files = itest::image::Tree::default();
    files.folder("etc", 0o755).file("etc/said", 0o644, b"from an image\n");
    let archive = archive_of(dir.path(), "files:1", &files.image(&["x"]));
    solo.ctl(&["image", "load", "-i", text(&archive)]);
    solo.ctl(&["run", "-d", "--name", "web", "--mount", "type=image,source=files:1,target=/files", "box:1"]);
    assert!(solo.refused(&["image", "rm", "files:1"]).1.contains("used by web"));
    solo.ctl(&["image", "rm", "--force", "files:1"]);
    solo.ctl(&["image", "prune", "--all", "--force"]);
    solo.ctl(&["container", "restart", "-t", "0", "web"]);
    assert_eq!(solo.ctl(&["exec", "web", "cat", "/files/etc/said"]), "from an image\n");
}

#[test]
fn archives_go_from_host_to_host_by_files_and_by_pipes() {
    let (host, dirs) = (Host::new("imga"), [scratch(), scratch()]);
    let one = Solo::start(&host, dirs[0].path());
    load(&one, "box:1", &["echo", "moved"]);
    load(&one, "other:1", &["echo", "other"]);
    let file = dirs[0].path().join("both.tar");
    one.ctl(&["image", "save", "-o", text(&file), "box:1", "other:1"]);
    assert!(
        std::fs::read_dir(dirs[0].path())
            .unwrap()
            .flatten()
            .all(|entry| { !entry.file_name().to_string_lossy().ends_with(".part") })
    );
    let (code, said) = one.refused(&["image", "save", "-o", "/nowhere/x.tar", "box:1"]);
    assert!(code == 9 && said.contains("/nowhere/x.tar"), "{code} {said}");
    assert_eq!(one.refused(&["image", "save", "nobody:1"]).0, 3);
    // A terminal gets no archive.
    let line = format!("{:?} image save box:1", one.command(&[]).get_program());
    let mut script = one.command(&["image", "save", "box:1"]);
    let words: Vec<String> = std::iter::once(script.get_program().to_owned())
        .chain(script.get_args().map(ToOwned::to_owned))
        .map(|word| word.into_string().unwrap())
        .collect();
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &words.join(" "), "/dev/null"]).stdin(Stdio::null());
    let said = programs::said(&programs::output(&mut terminal));
    assert!(said.contains("does not go to a terminal"), "{line}: {said}");
    let piped = script.stdout(Stdio::piped()).output().expect("ctl starts");
    assert!(piped.status.success());
    drop(one);
    let two = Solo::start(&host, dirs[1].path());
    assert_eq!(two.ctl(&["image", "load", "-q", "--input", text(&file)]).lines().count(), 2);
    assert_eq!(two.ctl(&["run", "--rm", "box:1"]), "moved\n");
    assert_eq!(two.ctl(&["run", "--rm", "other:1"]), "other\n");
    // Compressed, and through a pipe, onto what is here already.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&piped.stdout).unwrap();
    let mut loading = two
        .command(&["image", "load"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("ctl starts");
    loading.stdin.take().unwrap().write_all(&gzip.finish().unwrap()).unwrap();
    let output = loading.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Loaded image: box:1\n");
    let before = contents(dirs[1].path());
    let broken = dirs[1].path().join("broken.tar");
    std::fs::write(&broken, &piped.stdout[..piped.stdout.len() / 2]).unwrap();
    let (code, said) = two.refused(&["image", "load", "-i", text(&broken)]);
    assert!(code == 6 && said.contains("the archive ends within"), "{code} {said}");
    assert_eq!(contents(dirs[1].path()), before);
}

#[test]
fn files_become_an_image_and_its_history_is_told() {
    let (host, dir) = (Host::new("imgi"), scratch());
    let solo = Solo::start(&host, dir.path());
    load(&solo, "box:1", &["true"]);
    solo.ctl(&["run", "--name", "made", "box:1", "sh", "-c", "echo found > /mark"]);
    let tree = dir.path().join("tree.tar");
    solo.ctl(&["container", "export", "--file", text(&tree), "made"]);
    let change = ["--change", "CMD [\"cat\", \"/mark\"]", "-c", "ENV A=b"];
    let import =
        [&["image", "import", "--message", "from a tree"], &change[..], &[text(&tree), "imported:1"]];
    let id = solo.ctl(&import.concat());
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(solo.ctl(&["run", "--rm", "imported:1"]), "found\n");
    let history = solo.json(&["image", "history", "imported:1"]);
    assert_eq!((history.as_array().unwrap().len(), &history[0]["comment"]), (1, &json!("from a tree")));
    assert!(history[0]["size_bytes"].as_u64().unwrap() > 100_000, "{history}");
    let shown = solo.ctl(&["image", "history", "imported:1"]);
    assert!(shown.starts_with("CREATED") && shown.contains("from a tree"), "{shown}");
    let (code, said) = solo.refused(&["image", "import", "-c", "RUN x", text(&tree), "no:1"]);
    assert!(code == 6 && said.contains("RUN x"), "{code} {said}");
    assert_eq!(solo.refused(&["image", "import", "https://example.org/x.tar", "no:1"]).0, 2);
    let foreign = ["image", "import", "--platform", "linux/arm64", text(&tree), "foreign:1"];
    solo.ctl(&foreign);
    let (code, said) = solo.refused(&["run", "--rm", "--pull", "never", "foreign:1", "true"]);
    assert!(code != 0 && said.contains("linux/arm64 only"), "{code} {said}");
}

#[test]
fn what_takes_the_disk_is_shown_and_what_is_unused_goes() {
    let (host, dir) = (Host::new("imgd"), scratch());
    let solo = Solo::start(&host, dir.path());
    let kind = |rows: &Value, kind: &str| {
        rows.as_array().unwrap().iter().find(|row| row["kind"] == kind).cloned().unwrap()
    };
    load(&solo, "box:1", &["sleep", "1000"]);
    load(&solo, "unused:1", &["true"]);
    solo.ctl(&["run", "-d", "--name", "web", "-v", "data:/data", "box:1"]);
    solo.ctl(&["run", "--name", "over", "box:1", "sh", "-c", "head -c 300000 /dev/zero > /file"]);
    solo.ctl(&["exec", "web", "sh", "-c", "head -c 200000 /dev/zero > /data/file"]);
    let usage = solo.json(&["system", "df"]);
    let images = kind(&usage, "images");
    assert_eq!((&images["total"], &images["active"]), (&json!(3), &json!(1)), "{images}");
    let (size, free) =
        (images["size_bytes"].as_u64().unwrap(), images["reclaimable_bytes"].as_u64().unwrap());
    assert!(free > 1000 && free < size, "the two share their layer: {images}");
    let containers = kind(&usage, "containers");
    assert!(containers["reclaimable_bytes"].as_u64().unwrap() >= 300_000, "{containers}");
    let volumes = kind(&usage, "volumes");
    assert_eq!((&volumes["size_bytes"], &volumes["reclaimable_bytes"]), (&json!(200_000), &json!(0)));
    let table = solo.ctl(&["system", "df", "-v"]);
    assert!(["SHARED", "box:1", "over", "data"].iter().all(|word| table.contains(word)), "{table}");
    let pruned = solo.json(&["system", "prune", "--all", "--force"]);
    assert_eq!(pruned["containers"].as_array().unwrap().len(), 1, "{pruned}");
    assert!(pruned["bytes"].as_u64().unwrap() >= 300_000, "{pruned}");
    assert_eq!(names(&solo), ["box:1"]);
    assert_eq!(kind(&solo.json(&["system", "df"]), "images")["reclaimable_bytes"], json!(0));
    assert_eq!(solo.refused(&["system", "prune", "--volumes", "--force", "--filter", "until=1h"]).0, 2);
}

#[test]
fn images_are_told_in_dockers_words() {
    let (host, dir) = (Host::new("imge"), scratch());
    let solo = Solo::start(&host, dir.path());
    load(&solo, "box:1", &["true"]);
    solo.ctl(&["image", "tag", "box:1", "box:2"]);
    solo.ctl(&["image", "save", "-o", "/dev/null", "box:1"]);
    solo.ctl(&["image", "rm", "box:2"]);
    solo.ctl(&["image", "rm", "box:1"]);
    solo.ctl(&["image", "prune", "--force"]);
    let line = ["events", "--since", "1h", "--until", "0s", "--filter", "type=image", "--output", "json"];
    let told: Vec<Value> =
        solo.ctl(&line).lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let actions: Vec<&str> = told.iter().map(|event| event["action"].as_str().unwrap()).collect();
    let own = actions.iter().position(|action| *action == "load").expect("it was loaded");
    assert_eq!(actions[own..], ["load", "tag", "save", "untag", "untag", "delete", "prune"]);
    assert_eq!(told[own]["attributes"]["name"], "box:1");
}

/// The digest of a file, as content is named.
fn digest_of(path: &Path) -> String {
    digest(&std::fs::read(path).expect("it is there"))
}
