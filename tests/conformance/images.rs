//! Images by Docker's own client: what it loads, names, saves and removes is what `ctl` sees.

use std::path::Path;

use itest::dev::Dev;
use itest::host::Host;
use itest::programs;
use serde_json::Value;

use crate::{Docker, scratch, text};

const HELLO: &str = "roadstead/hello:latest";

fn names(dev: &Dev<'_>) -> Vec<String> {
    let list = dev.json(&["image", "ls"]);
    let mut names: Vec<String> =
        list.as_array().expect("a list").iter().map(|row| text(row, "name")).collect();
    names.sort();
    names
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

#[test]
fn docker_handles_images_as_ctl_does() {
    let (host, dir) = (Host::new("dimg"), scratch());
    let dev = Dev::start(&host, dir.path(), &[]);
    for docker in Docker::all(&dev) {
        names_come_and_go(&dev, &docker);
        archives_go_both_ways(&dev, &docker, dir.path());
        files_become_an_image(&dev, &docker, dir.path());
        what_is_used_is_refused_and_what_is_not_goes(&dev, &docker);
    }
}

fn names_come_and_go(dev: &Dev<'_>, docker: &Docker) {
    docker.run(&["tag", HELLO, "localhost:5000/team/hello:2"]);
    assert_eq!(names(dev), ["localhost:5000/team/hello:2", HELLO]);
    let shown = docker.json(&["image", "inspect", "localhost:5000/team/hello:2"]);
    let ours = dev.json(&["image", "inspect", HELLO]);
    assert_eq!(shown[0]["Id"], ours[0]["id"]);
    assert_eq!(shown[0]["RepoTags"].as_array().map(Vec::len), Some(2), "{shown}");
    assert_eq!(shown[0]["RootFS"]["Layers"], ours[0]["layers"]);
    assert_eq!(shown[0]["Config"]["Entrypoint"], ours[0]["config"]["Entrypoint"]);
    assert_eq!(
        docker.json(&["inspect", HELLO])[0]["Id"],
        shown[0]["Id"],
        "also without saying that it is an image"
    );
    let short: String = text(&shown[0], "Id").chars().skip(7).take(12).collect();
    let said = docker.refused(&["rmi", &short]);
    assert!(said.contains("several names"), "{said}");
    let history = docker.rows(&["history", "--no-trunc", HELLO]);
    assert_eq!(history[0]["ID"], shown[0]["Id"]);
    assert_eq!(
        docker.run(&["rmi", "localhost:5000/team/hello:2"]),
        "Untagged: localhost:5000/team/hello:2\n"
    );
    assert_eq!(docker.run(&["images", "-q", "-f", "dangling=true"]), "");
    assert_eq!(docker.run(&["images", "-q", "-f", "reference=*/hello"]).trim(), short);
    let said = docker.refused(&["rmi", "nobody"]);
    assert!(said.contains("No such image: nobody"), "{said}");
    let said = docker.refused(&["tag", HELLO, "UPPER"]);
    assert!(said.contains("reference"), "{said}");
}

fn archives_go_both_ways(dev: &Dev<'_>, docker: &Docker, dir: &Path) {
    let archive = dir.join("saved.tar");
    dev.ctl(&["image", "tag", HELLO, "moved:1"]);
    docker.run(&["save", "--output", path(&archive), "moved:1", HELLO]);
    dev.ctl(&["image", "rm", "moved:1"]);
    let said = docker.run(&["load", "--input", path(&archive)]);
    assert!(
        said.contains("Loaded image: moved:1") && said.contains("Loaded image: roadstead/hello"),
        "{said}"
    );
    assert!(names(dev).contains(&"moved:1".to_owned()));
    let of_ctl = dir.join("ctl.tar");
    dev.ctl(&["image", "save", "--file", path(&of_ctl), "moved:1", HELLO]);
    assert_eq!(std::fs::read(&archive).unwrap(), std::fs::read(&of_ctl).unwrap(), "the same archive");
    std::fs::write(&archive, "nothing of the kind, though long enough to be sent").unwrap();
    let said = docker.refused(&["load", "--input", path(&archive)]);
    assert!(said.contains("cannot be loaded"), "{said}");
    docker.run(&["rmi", "moved:1"]);
}

fn files_become_an_image(dev: &Dev<'_>, docker: &Docker, dir: &Path) {
    let (tree, archive) = (dir.join("tree"), dir.join("tree.tar"));
    std::fs::create_dir_all(tree.join("etc")).unwrap();
    std::fs::write(tree.join("etc/said"), "hello").unwrap();
    let mut tar = std::process::Command::new("tar");
    programs::succeed(tar.arg("-cf").arg(&archive).arg("-C").arg(&tree).arg("."));
    let import = ["import", "--change", "ENV A=b", "--message", "by docker", path(&archive), "files:1"];
    let id = docker.run(&import);
    let ours = dev.json(&["image", "inspect", "files:1"]);
    assert_eq!(
        (id.trim(), &ours[0]["config"]["Env"][0]),
        (text(&ours[0], "id").as_str(), &Value::from("A=b"))
    );
    assert_eq!(docker.rows(&["history", "files:1"])[0]["Comment"], "by docker");
    assert!(docker.run(&["rmi", "files:1"]).contains("Deleted: sha256:"));
}

fn what_is_used_is_refused_and_what_is_not_goes(dev: &Dev<'_>, docker: &Docker) {
    dev.ctl(&["container", "run", "-d", "--name", "web", HELLO]);
    let said = docker.refused(&["rmi", HELLO]);
    assert!(said.contains("used by web (running)"), "{said}");
    let table = docker.run(&["system", "df"]);
    assert!(table.starts_with("TYPE") && table.contains("Images"), "{table}");
    let usage = docker.run(&["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}}"]);
    assert!(usage.contains("Images 1 1") && usage.contains("Containers 1 1"), "{usage}");
    dev.ctl(&["image", "tag", HELLO, "spare:1"]);
    let said = docker.run(&["image", "prune", "--all", "--force"]);
    assert!(said.contains("Total reclaimed space: 0B"), "it is the same image, and in use: {said}");
    dev.ctl(&["image", "rm", "spare:1"]);
    dev.ctl(&["container", "rm", "--force", "web"]);
}
