//! Devices by CDI specification files: given as a vendor says, refused where that cannot be, and never asked for by an
//! image.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use itest::host::Host;
use itest::image::{self, Image};
use itest::registry::{ADDRESS, Registry};
use itest::solo::Solo;

use super::Bench;
use crate::scratch;

/// A vendor's specification of a device that is the host's null device under another name.
fn vendor(dir: &Path) -> String {
    format!(
        r#"{{
  "cdiVersion": "0.8.0",
  "kind": "example.com/gpu",
  "containerEdits": {{ "env": ["VENDOR=here"] }},
  "devices": [
    {{ "name": "0", "containerEdits": {{
        "env": ["CARD=0"],
        "deviceNodes": [
          {{ "path": "/dev/card0", "hostPath": "{dir}/card", "permissions": "rw" }},
          {{ "path": "/dev/made", "type": "c", "major": 1, "minor": 5, "fileMode": 384 }}
        ],
        "additionalGids": [4242],
        "mounts": [{{ "hostPath": "{dir}/lib", "containerPath": "/usr/lib/vendor", "options": ["ro", "nosuid", "nodev", "rbind"] }}]
    }} }},
    {{ "name": "1", "containerEdits": {{ "env": ["CARD=1"] }} }},
    {{ "name": "hooked", "containerEdits": {{ "hooks": [{{ "hookName": "createContainer", "path": "{dir}/hook" }}] }} }},
    {{ "name": "gone", "containerEdits": {{ "deviceNodes": [{{ "path": "/dev/no-such-card" }}] }} }}
  ]
}}"#,
        dir = dir.display()
    )
}

/// A directory with the vendor's files; answers that of the specifications.
fn install(root: &Path) -> PathBuf {
    let vendor_dir = root.join("vendor");
    let specifications = root.join("cdi");
    for dir in [&vendor_dir.join("lib"), &specifications] {
        fs::create_dir_all(dir).expect("a directory");
    }
    let made =
        std::process::Command::new("mknod").arg(vendor_dir.join("card")).args(["c", "1", "3"]).status();
    assert!(made.is_ok_and(|status| status.success()), "mknod makes a device node: run this as root");
    fs::write(vendor_dir.join("lib/libvendor.so"), "a library\n").expect("a file");
    let hook = vendor_dir.join("hook");
    fs::write(&hook, format!("#!/bin/sh\ntouch {}\n", root.join("hook-ran").display())).expect("a file");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("executable");
    fs::write(specifications.join("example.json"), vendor(&vendor_dir)).expect("a file");
    let yaml = "cdiVersion: 0.8.0\nkind: example.com/net\ndevices:\n- name: eth\n  containerEdits:\n    env:\n    - NET=eth\n";
    fs::write(specifications.join("net.yaml"), yaml).expect("a file");
    specifications
}

#[test]
fn devices_come_from_specifications_and_from_requests_only() {
    let (host, dir) = (Host::new("flags-d"), scratch());
    let registry = Registry::start(&host, dir.path());
    registry.push("busybox", "1", &image::busybox(&["sh"]));
    registry.push("greedy", "1", &greedy());
    let specifications = install(dir.path());
    let flag = specifications.display().to_string();
    let solo = Solo::start_with(&host, dir.path(), &["--cdi-spec-dir", &flag]);
    let bench = Bench { solo, image: format!("{ADDRESS}/busybox:1") };
    a_device_is_all_that_its_vendor_says(&bench);
    several_and_all(&bench);
    a_specification_may_be_yaml(&bench);
    what_cannot_be_had_is_refused(&bench, dir.path());
    an_image_asks_for_nothing(&bench);
    a_specification_is_read_at_each_start(&bench, &specifications);
    info_shows_them(&bench, &specifications);
}

/// An image that says everywhere what it would like to have.
fn greedy() -> Image {
    let mut greedy = image::busybox(&["sh"]);
    let mut config: serde_json::Value = serde_json::from_slice(&greedy.config).expect("a configuration");
    config["config"]["Labels"] = serde_json::json!({
        "cdi.k8s.io/gpu": "example.com/gpu=0", "io.cri-containerd.cdi": "example.com/gpu=all",
    });
    config["config"]["Env"] =
        serde_json::json!(["PATH=/bin", "NVIDIA_VISIBLE_DEVICES=all", "CDI_DEVICES=example.com/gpu=0",]);
    config["config"]["Devices"] = serde_json::json!(["example.com/gpu=0"]);
    config["annotations"] = serde_json::json!({ "cdi.k8s.io/gpu": "example.com/gpu=0" });
    greedy.config = config.to_string().into_bytes();
    greedy
}

fn a_device_is_all_that_its_vendor_says(bench: &Bench<'_>) {
    let script = "echo $VENDOR $CARD; cat /usr/lib/vendor/libvendor.so; echo x > /dev/card0 && echo written; \
                  head -c 2 /dev/made | wc -c; id -G; stat -c '%t:%T %a' /dev/made; touch /usr/lib/vendor/x 2>&1; true";
    let out = bench.sh(&["--device", "example.com/gpu=0"], script);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[..3], ["here 0", "a library", "written"], "{out}");
    assert_eq!(lines[3..6], ["2", "0 4242", "1:5 600"], "{out}");
    assert!(lines[6].contains("Read-only file system"), "{out}");
    // The rule of the device cgroup is the vendor's: no mknod of it, and nothing without the device.
    assert!(bench.sh(&[], "ls /dev/card0 /usr/lib/vendor 2>&1; true").contains("No such file"));
    let id = bench.start(&["--device", "example.com/gpu=0", "--name", "carded"]);
    let options = bench.proc(&id, "mountinfo");
    let line = options.lines().find(|line| line.contains(" /usr/lib/vendor ")).expect("it is mounted");
    for flag in ["ro", "nosuid", "nodev"] {
        assert!(
            line.split(' ').nth(5).is_some_and(|flags| flags.split(',').any(|one| one == flag)),
            "{line}"
        );
    }
}

fn several_and_all(bench: &Bench<'_>) {
    let out = bench
        .sh(&["--device", "example.com/gpu=1", "--device", "example.com/gpu=0"], "echo $CARD; ls /dev/card0");
    assert_eq!(out, "0\n/dev/card0\n", "the later one's variables win");
    let said = bench.refused(&["--device", "example.com/gpu=all"]);
    assert!(said.contains("hook"), "all is every device, also the one with a hook: {said}");
    let out = bench.sh(&["--gpus", "driver=cdi,device=example.com/gpu=1"], "echo $CARD");
    assert_eq!(out, "1\n");
}

fn a_specification_may_be_yaml(bench: &Bench<'_>) {
    let line = ["run", "--rm", "--device", "example.com/net=eth", &bench.image, "sh", "-c", "echo $NET"];
    assert_eq!(bench.solo.ctl(&line), "eth\n");
}

fn what_cannot_be_had_is_refused(bench: &Bench<'_>, root: &Path) {
    let said = bench.refused(&["--device", "example.com/gpu=hooked"]);
    assert!(said.contains("hook") && !root.join("hook-ran").exists(), "{said}");
    assert!(bench.refused(&["--device", "example.com/gpu=7"]).contains("has 0, 1, gone, hooked"));
    assert!(bench.refused(&["--device", "example.com/gpu=gone"]).contains("/dev/no-such-card"));
    assert!(bench.refused(&["--device", "other.com/net=eth0"]).contains("other.com/net"));
    assert!(bench.refused(&["--device", "nonsense"]).contains("VENDOR/CLASS=DEVICE"));
    for gpus in ["all", "1", "device=0"] {
        let said = bench.refused(&["--gpus", gpus]);
        assert!(said.contains("nvidia.com/gpu") && said.contains("nvidia-ctk"), "{said}");
    }
    assert!(bench.refused(&["--gpus", "none"]).contains("--gpus"));
    let volume = format!("{}:/usr/lib/vendor", root.join("vendor").display());
    assert!(bench.refused(&["--device", "example.com/gpu=0", "-v", &volume]).contains("asked for too"));
    assert_eq!(bench.solo.ctl(&["ps", "-aq", "--filter", "status=created"]), "", "nothing was made");
}

fn an_image_asks_for_nothing(bench: &Bench<'_>) {
    let image = format!("{ADDRESS}/greedy:1");
    let annotated =
        ["--annotation", "cdi.k8s.io/gpu=example.com/gpu=0", "--label", "cdi.k8s.io/gpu=example.com/gpu=0"];
    for options in [&[][..], &annotated[..]] {
        let script = "echo [$VENDOR$CARD]; ls /dev/card0 /usr/lib/vendor 2>/dev/null; id -G";
        let out = bench.solo.ctl(&[&["run", "--rm", "-q"], options, &[&image, "sh", "-c", script]].concat());
        assert_eq!(out, "[]\n0\n", "{options:?}");
    }
}

fn a_specification_is_read_at_each_start(bench: &Bench<'_>, specifications: &Path) {
    let file = specifications.join("example.json");
    let text = fs::read_to_string(&file).expect("the specification");
    let line = ["container", "create", "--name", "later", "--device", "example.com/gpu=1", &bench.image];
    bench.solo.ctl(&[&line[..], &["sh", "-c", "echo $CARD"]].concat());
    fs::write(&file, text.replace("CARD=1", "CARD=one")).expect("a file");
    assert_eq!(bench.solo.ctl(&["container", "start", "-a", "later"]), "one\n");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("changed");
    let (code, said) = bench.solo.refused(&["container", "start", "-a", "later"]);
    assert!(code != 0 && said.contains("others than root"), "{said}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("changed");
    fs::write(&file, text).expect("a file");
}

fn info_shows_them(bench: &Bench<'_>, specifications: &Path) {
    fs::write(specifications.join("broken.yaml"), "cdiVersion: 0.8.0\n").expect("a file");
    let info = bench.solo.json(&["info"]);
    assert_eq!(info["cdi"]["directories"], serde_json::json!([specifications]));
    let devices = info["cdi"]["devices"].as_array().expect("a list");
    assert!(devices.contains(&"example.com/gpu=0".into()), "{info}");
    assert!(info["cdi"]["failures"][0].as_str().is_some_and(|text| text.contains("broken.yaml")), "{info}");
}
