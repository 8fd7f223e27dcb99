//! What `docker` prints.

use itest::dev::Dev;
use itest::host::Host;
use itest::programs;
use serde_json::Value;

use crate::{Docker, by_id, scratch, text};

const IMAGE: &str = "roadstead/hello";

/// One container that runs, one that has exited, and two of a service.
fn populate(dev: &Dev<'_>) {
    let web = ["container", "run", "-d", "--name", "web", "-e", "COLOUR=red grey"];
    let ports = ["-p", "9090:80", "-p", "9091:80", "-p", "9053:53/udp"];
    dev.ctl(&[&web[..], &ports, &[IMAGE]].concat());
    dev.ctl(&["container", "run", "-d", "--name", "job", IMAGE, "/hello", "two words"]);
    dev.ctl(&["container", "stop", "job"]);
    dev.ctl(&["service", "create", "--name", "pair", "--replicas", "2", "--publish", "8080:80", IMAGE]);
}

#[test]
fn clients_show_what_ctl_shows() {
    let (host, dir) = (Host::new("docker"), scratch());
    let dev = Dev::start(&host, dir.path(), &[]);
    populate(&dev);
    for docker in Docker::all(&dev) {
        lists_agree(&dev, &docker);
        lists_are_reduced(&dev, &docker);
        one_container_agrees(&dev, &docker);
        images_agree(&dev, &docker);
        the_host_is_described(&dev, &docker);
        refusals_are_readable(&docker);
    }
}

fn lists_agree(dev: &Dev<'_>, docker: &Docker) {
    for all in [&[][..], &["-a"]] {
        let listed = dev.json(&[&["container", "ls"], all].concat());
        let ours = by_id(&listed);
        let theirs = docker.rows(&[&["ps"], all].concat());
        assert_eq!(theirs.len(), ours.len(), "{theirs:?}");
        assert_eq!(ours.len(), if all.is_empty() { 3 } else { 4 });
        for row in &theirs {
            let container = ours.get(&text(row, "ID")).unwrap_or_else(|| panic!("ctl does not know {row}"));
            assert_eq!(text(row, "Names"), text(container, "name"));
            assert_eq!(text(row, "Image"), text(container, "image"));
            assert_eq!(text(row, "State"), text(container, "state"));
            let published =
                if text(container, "state") == "running" { text(container, "ports") } else { String::new() };
            assert_eq!(
                sorted(&text(row, "Ports").replace("0.0.0.0:", "").replace("->", ":")),
                sorted(&published)
            );
            let status = text(row, "Status");
            match container["exit_code"].as_i64() {
                Some(code) => assert!(status.starts_with(&format!("Exited ({code}) ")), "{status}"),
                None => assert!(
                    status.starts_with("Up ") && status.ends_with('d') || status.contains("second"),
                    "{status}"
                ),
            }
        }
        let ids: Vec<String> = theirs.iter().map(|row| text(row, "ID")).collect();
        let listed = listed.as_array().expect("a list").iter().map(|row| text(row, "id"));
        assert!(ids.into_iter().eq(listed), "not newest first: {theirs:?}");
    }
    let job = docker.rows(&["ps", "-a", "-f", "name=^/job$"]);
    assert_eq!(text(&job[0], "Command"), "\"/hello /hello 'two words'\"");
    let table = docker.run(&["ps"]);
    assert!(table.starts_with("CONTAINER ID") && table.contains("web"), "{table}");
}

fn sorted(ports: &str) -> Vec<&str> {
    let mut ports: Vec<&str> = ports.split(", ").collect();
    ports.sort_unstable();
    ports
}

fn lists_are_reduced(dev: &Dev<'_>, docker: &Docker) {
    let names = |arguments: &[&str]| {
        let all = [&["ps", "--format", "{{.Names}}"], arguments].concat();
        docker.run(&all).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(names(&["-f", "status=exited"]), ["job"]);
    assert_eq!(names(&["-f", "name=^web$"]), ["web"]);
    assert_eq!(names(&["-a", "-f", "exited=0"]), Vec::<String>::new());
    assert_eq!(names(&["-a", "-f", "is-task=true"]).len(), 2);
    assert_eq!(names(&["-a", "-f", "before=job"]), ["web"]);
    assert_eq!(names(&["-n", "1"]).len(), 1);
    assert_eq!(names(&["-a", "-f", "ancestor=roadstead/hello:latest"]).len(), 4);
    assert_eq!(names(&["-a", "-f", "label=nobody=has"]), Vec::<String>::new());
    let id = text(&dev.json(&["container", "ls"])[0], "id");
    assert_eq!(docker.run(&["ps", "-q", "--no-trunc", "-f", &format!("id={id}")]).trim(), id);
}

fn one_container_agrees(dev: &Dev<'_>, docker: &Docker) {
    let list = dev.json(&["container", "ls", "--all"]);
    let named =
        |name: &str| by_id(&list).into_values().find(|row| row["name"] == name).cloned().expect("listed");
    let web = named("web");
    let prefix: String = text(&web, "id").chars().take(12).collect();
    for name in ["web", "/web", &prefix] {
        let shown = docker.json(&["inspect", name]);
        assert_eq!(shown.as_array().map(Vec::len), Some(1), "{shown}");
        let shown = &shown[0];
        assert_eq!((&shown["Id"], &shown["Name"]), (&web["id"], &Value::from("/web")));
        assert_eq!((&shown["Created"], &shown["State"]["Pid"]), (&web["created_at"], &web["pid"]));
        assert_eq!(shown["State"]["FinishedAt"], "0001-01-01T00:00:00Z");
        assert_eq!(shown["NetworkSettings"]["IPAddress"], web["address"]);
        assert_eq!(shown["NetworkSettings"]["Networks"]["bridge"]["IPAddress"], web["address"]);
        assert_eq!(shown["HostConfig"]["PortBindings"]["80/tcp"][1]["HostPort"], "9091");
        let environment = shown["Config"]["Env"].as_array().expect("a list");
        assert!(environment.contains(&Value::from("COLOUR=red grey")), "{environment:?}");
        assert!(std::path::Path::new(&text(shown, "LogPath")).exists());
    }
    let ports = docker.run(&["port", "web"]);
    assert!(ports.contains("53/udp -> 0.0.0.0:9053") && ports.contains("80/tcp -> 0.0.0.0:9090"), "{ports}");
    let job = docker.json(&["inspect", "job"]);
    let state = &job[0]["State"];
    assert_eq!((&state["Status"], &state["ExitCode"]), (&named("job")["state"], &named("job")["exit_code"]));
    assert_ne!(state["FinishedAt"], "0001-01-01T00:00:00Z");
    assert_eq!(job[0]["NetworkSettings"]["Ports"], serde_json::json!({}));
    assert_eq!(job[0]["Args"], serde_json::json!(["/hello", "two words"]));
}

fn images_agree(dev: &Dev<'_>, docker: &Docker) {
    let ours = dev.json(&["image", "ls"]);
    let theirs = docker.rows(&["images"]);
    assert_eq!(theirs.len(), 1, "{theirs:?}");
    assert_eq!(
        format!("{}:{}", text(&theirs[0], "Repository"), text(&theirs[0], "Tag")),
        text(&ours[0], "name")
    );
    assert_eq!(text(&theirs[0], "ID"), text(&ours[0], "digest"));
    let container = docker.json(&["inspect", "web"]);
    assert_eq!(container[0]["Image"], ours[0]["digest"]);
    assert_eq!(docker.rows(&["images", "roadstead/*"]).len(), 1);
    assert!(docker.rows(&["images", "roadstead"]).is_empty());
}

fn the_host_is_described(dev: &Dev<'_>, docker: &Docker) {
    let release = dev.ctl(&["--version"]);
    let release = release.split_whitespace().last().expect("a version");
    let said = docker.run(&[
        "version",
        "--format",
        "{{.Server.Platform.Name}} {{.Server.Version}} {{.Server.MinAPIVersion}}",
    ]);
    assert_eq!(said.trim(), format!("Roadstead {release} 1.24"));
    assert!(docker.run(&["version"]).contains("API version:      1.51 (minimum version 1.24)"));
    let info = docker.json(&["info", "--format", "{{json .}}"]);
    let counts =
        ["Containers", "ContainersRunning", "ContainersStopped", "Images"].map(|name| info[name].as_u64());
    assert_eq!(counts, [Some(4), Some(3), Some(1), Some(1)]);
    assert_eq!(
        info["KernelVersion"],
        programs::succeed(std::process::Command::new("uname").arg("-r")).trim()
    );
    assert!(info["MemTotal"].as_u64().is_some_and(|bytes| bytes > 0));
    let printed = programs::said(&docker.attempt(&["info"]));
    assert!(printed.contains("Server Version: ") && !printed.contains("ERROR"), "{printed}");
}

fn refusals_are_readable(docker: &Docker) {
    let said = docker.refused(&["inspect", "nobody"]);
    assert!(said.to_lowercase().contains("no such object: nobody"), "{said}");
    let said = docker.refused(&["container", "inspect", "nobody"]);
    assert!(said.contains("No such container: nobody"), "{said}");
    let said = docker.refused(&["run", "--rm", IMAGE]);
    assert!(said.contains("POST /containers/create is not supported by Roadstead"), "{said}");
    let said = docker.refused(&["volume", "ls"]);
    assert!(said.contains("GET /volumes is not supported by Roadstead"), "{said}");
    let said = docker.refused(&["ps", "-f", "colour=red"]);
    assert!(said.contains("invalid filter 'colour'"), "{said}");
    let said = docker.refused(&["ps", "-f", "health=healthy"]);
    assert!(said.contains("filter 'health' is not supported"), "{said}");
    let output = programs::output(docker.command(&["ps"]).env("DOCKER_API_VERSION", "1.99"));
    let said = programs::said(&output);
    assert!(said.contains("client version 1.99 is too new"), "{said}");
}
