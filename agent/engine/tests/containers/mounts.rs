//! What is mounted into containers: volumes, binds, memory and images.

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use agent_engine::container::mount::{Bind, Kind, Mount, Spread};
use agent_engine::volume::{VolumeConfig, VolumeError};
use agent_engine::{ContainerConfig, Engine, EngineError};

use crate::host::{IMAGE, command, log, on_a_host, run, script};

/// A directory beside the engine's, with a canary that nothing may change.
struct Outside {
    dir: tempfile::TempDir,
}

impl Outside {
    fn new() -> Outside {
        let dir = tempfile::Builder::new().prefix("outside-").tempdir_in("/tmp").unwrap();
        std::fs::write(dir.path().join("canary"), "alive").unwrap();
        Outside { dir }
    }

    fn path(&self) -> String {
        self.dir.path().display().to_string()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn mount(kind: Kind, source: &str, target: &str) -> Mount {
    Mount { kind, source: source.to_owned(), target: target.to_owned(), ..Mount::default() }
}

fn with(mounts: &[Mount], text: &str) -> ContainerConfig {
    ContainerConfig { mounts: mounts.to_vec(), ..script(text) }
}

/// Runs it to its end and answers what it wrote.
async fn said(engine: &Engine, config: ContainerConfig) -> String {
    let (id, exit) = run(engine, config).await;
    let text = log(engine, &id, false).await;
    assert_eq!(exit.code, 0, "{text}");
    text
}

/// Entries of an archive: a path with its content, or with the link's target.
enum File<'a> {
    Dir(&'a str, u64),
    Plain(&'a str, u64, &'a str),
    Link(&'a str, &'a str),
}

async fn import(engine: &Engine, name: &str, files: &[File<'_>], volumes: &[&str]) {
    let mut archive = tar::Builder::new(Vec::new());
    for file in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        match file {
            File::Dir(path, owner) => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(0o750);
                header.set_uid(*owner);
                archive.append_data(&mut header, path, std::io::empty()).unwrap();
            }
            File::Plain(path, owner, text) => {
                header.set_mode(0o640);
                header.set_uid(*owner);
                header.set_size(text.len() as u64);
                archive.append_data(&mut header, path, text.as_bytes()).unwrap();
            }
            File::Link(path, target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                archive.append_link(&mut header, path, target).unwrap();
            }
        }
    }
    let busybox = std::fs::read("/bin/busybox").unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(busybox.len() as u64);
    archive.append_data(&mut header, "bin/busybox", busybox.as_slice()).unwrap();
    for applet in ["sh", "cat", "true"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        archive.append_link(&mut header, format!("bin/{applet}"), "busybox").unwrap();
    }
    let volumes: serde_json::Map<String, serde_json::Value> =
        volumes.iter().map(|path| ((*path).to_owned(), serde_json::json!({}))).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "config": { "Env": ["PATH=/bin"], "Cmd": ["sh"], "Volumes": volumes }
    });
    let layers = vec![archive.into_inner().unwrap()];
    engine.images().import(&name.parse().unwrap(), layers, config).await.unwrap();
}

#[test]
fn containers_with_different_ids_share_a_volume_and_see_the_same_owners() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let volume = [mount(Kind::Volume, "data", "/data")];
        let write = "echo hello > /data/file; busybox chown 101:102 /data/file; echo own > /data/own";
        said(&engine, with(&volume, write)).await;
        let read = "cat /data/file; busybox stat -c %u:%g /data/file /data/own; echo more >> /data/own; cat /proc/self/uid_map";
        let text = said(&engine, with(&volume, read)).await;
        assert!(text.starts_with("hello\n101:102\n0:0\n"), "{text}");
        let stored = engine.volume("data").unwrap();
        let owner = |name: &str| std::fs::metadata(stored.volume.mountpoint.join(name)).unwrap().uid();
        assert_eq!((owner("file"), owner("own"), stored.containers.len()), (101, 0, 2));
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn a_volume_is_filled_from_the_image_once_with_its_owners() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let files = [
            File::Dir("srv", 33),
            File::Plain("srv/page", 44, "image\n"),
            File::Link("srv/link", "/etc/passwd"),
        ];
        import(&engine, "test/web:1", &files, &[]).await;
        let config = |mounts: &[Mount], text: &str| ContainerConfig {
            image: "test/web:1".to_owned(),
            ..with(mounts, text)
        };
        let volume = [mount(Kind::Volume, "site", "/srv")];
        assert_eq!(said(&engine, config(&volume, "cat /srv/page")).await, "image\n");
        let data = engine.volume("site").unwrap().volume.mountpoint;
        let found = |name: &str| std::fs::symlink_metadata(data.join(name)).unwrap();
        assert_eq!((found("").uid(), found("").mode() & 0o777, found("page").uid()), (33, 0o750, 44));
        assert!(found("link").is_symlink());
        said(&engine, config(&volume, "echo changed > /srv/page")).await;
        assert_eq!(said(&engine, config(&volume, "cat /srv/page")).await, "changed\n");
        let empty = Mount {
            volume: agent_engine::container::mount::VolumeOptions { no_copy: true, ..Default::default() },
            ..mount(Kind::Volume, "bare", "/srv")
        };
        assert_eq!(said(&engine, config(&[empty], "echo /srv/*")).await, "/srv/*\n");
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn anonymous_volumes_go_with_their_container_and_named_ones_stay() {
    on_a_host(async |host| {
        let engine = host.open().await;
        import(&engine, "test/db:1", &[File::Dir("var", 0)], &["/var/db"]).await;
        let config = || ContainerConfig {
            image: "test/db:1".to_owned(),
            ..with(&[mount(Kind::Volume, "named", "/named"), mount(Kind::Volume, "", "/extra")], "true")
        };
        let (first, _) = run(&engine, config()).await;
        assert_eq!(engine.volumes().len(), 3);
        let refused = engine.remove_volume("named").await.unwrap_err();
        assert!(matches!(refused, EngineError::Volume(VolumeError::InUse { .. })), "{refused}");
        engine.remove_with_volumes(&first, false).await.unwrap();
        let (second, _) = run(&engine, config()).await;
        engine.remove(&second, false).await.unwrap();
        let names: Vec<(bool, bool)> = engine
            .volumes()
            .into_iter()
            .map(|found| (found.volume.anonymous, found.containers.is_empty()))
            .collect();
        assert_eq!(names.iter().filter(|(anonymous, unused)| *anonymous && *unused).count(), 2, "{names:?}");
        assert_eq!(engine.prune_volumes(false).await.unwrap().len(), 2);
        run(&engine, ContainerConfig { auto_remove: true, ..config() }).await;
        let is_alone =
            || engine.volumes().iter().all(|found| !found.volume.anonymous && found.containers.is_empty());
        crate::host::until("its volumes go with it", is_alone).await;
        assert_eq!(engine.prune_volumes(true).await.unwrap(), ["named"]);
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn a_bind_is_written_as_the_hosts_root_and_the_engines_own_is_refused() {
    on_a_host(async |host| {
        let (engine, outside) = (host.open().await, Outside::new());
        let here = mount(Kind::Bind, &outside.path(), "/host");
        let text =
            said(&engine, with(std::slice::from_ref(&here), "cat /host/canary; echo new > /host/made")).await;
        assert_eq!(text, "alive");
        assert_eq!(std::fs::metadata(outside.at("made")).unwrap().uid(), 0);
        let missing = mount(Kind::Bind, &outside.at("missing/deep").display().to_string(), "/x");
        let (id, config) =
            (engine.create(with(std::slice::from_ref(&missing), "true")).await.unwrap(), &missing);
        let refused = engine.start(&id).await.unwrap_err().to_string();
        assert!(refused.contains("bind source path does not exist"), "{refused} {config:?}");
        let made = Mount { bind: Bind { create_source: true, ..Bind::default() }, ..missing };
        said(&engine, with(&[made], "echo x > /x/y")).await;
        assert!(outside.at("missing/deep/y").exists());
        let own = mount(Kind::Bind, &host.data().join("volumes").display().to_string(), "/x");
        let id = engine.create(with(&[own], "true")).await.unwrap();
        let refused = engine.start(&id).await.unwrap_err().to_string();
        assert!(refused.contains("belongs to the engine"), "{refused}");
        let shared = Bind { propagation: Some(Spread::Shared), ..Bind::default() };
        let id = engine.create(with(&[Mount { bind: shared, ..here }], "true")).await.unwrap();
        let refused = engine.start(&id).await.unwrap_err().to_string();
        assert!(refused.contains("user namespace"), "{refused}");
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn read_only_reaches_the_mounts_below_and_leaves_the_host_writable() {
    struct Below(PathBuf);
    impl Drop for Below {
        fn drop(&mut self) {
            command("umount", &[self.0.to_str().unwrap()]);
        }
    }
    on_a_host(async |host| {
        let (engine, outside) = (host.open().await, Outside::new());
        std::fs::create_dir(outside.at("below")).unwrap();
        command("mount", &["-t", "tmpfs", "tmpfs", outside.at("below").to_str().unwrap()]);
        let _below = Below(outside.at("below"));
        let read_only = Mount { read_only: true, ..mount(Kind::Bind, &outside.path(), "/host") };
        let write =
            "for at in /host /host/below; do echo x 2>/dev/null > $at/x && echo $at; done; cat /host/canary";
        assert_eq!(said(&engine, with(std::slice::from_ref(&read_only), write)).await, "alive");
        let top = Bind { read_only_non_recursive: true, ..Bind::default() };
        let text = said(&engine, with(&[Mount { bind: top, ..read_only.clone() }], write)).await;
        assert_eq!(text, "/host/below\nalive");
        let alone = Bind { non_recursive: true, ..Bind::default() };
        let text = said(&engine, with(&[Mount { bind: alone, ..read_only }], "echo /host/below/*")).await;
        assert_eq!(text, "/host/below/*\n");
        std::fs::write(outside.at("host"), "").unwrap();
        let root =
            ContainerConfig { read_only_root: true, ..script("echo x 2>/dev/null > /x || echo refused") };
        assert_eq!(said(&engine, root).await, "refused\n");
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn a_target_that_is_a_link_of_the_image_stays_inside_the_container() {
    on_a_host(async |host| {
        let (engine, outside) = (host.open().await, Outside::new());
        let before = outside.names();
        let deep = format!("../../../../../..{}", outside.path());
        let files = [
            File::Link("absolute", &outside.path()),
            File::Link("relative", &deep),
            File::Link("magic", "/proc/1/root/tmp"),
            File::Link("file", &format!("{}/canary", outside.path())),
        ];
        import(&engine, "test/hostile:1", &files, &["/absolute/made"]).await;
        let inner = Outside::new();
        std::fs::write(inner.at("canary"), "of the volume").unwrap();
        for target in ["/absolute", "/relative", "/relative/made", "/magic", "/file"] {
            let source = if target == "/file" { inner.at("canary") } else { inner.dir.path().to_owned() };
            let mounts =
                [mount(Kind::Bind, &source.display().to_string(), target), mount(Kind::Volume, "v1", "/x")];
            let config = ContainerConfig { image: "test/hostile:1".to_owned(), ..with(&mounts, "true") };
            let id = engine.create(config).await.unwrap();
            // Refused or harmless, but never on the host.
            let _ = engine.start(&id).await;
            engine.remove_with_volumes(&id, true).await.unwrap();
            assert_eq!(outside.names(), before, "{target}");
            assert_eq!(std::fs::read_to_string(outside.at("canary")).unwrap(), "alive", "{target}");
        }
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn a_subpath_is_inside_the_volume_and_no_link_on_it_is_followed() {
    on_a_host(async |host| {
        let (engine, outside) = (host.open().await, Outside::new());
        let config = VolumeConfig { name: "data".to_owned(), ..VolumeConfig::default() };
        let data = engine.create_volume(config).await.unwrap().volume.mountpoint;
        std::fs::create_dir_all(data.join("a/b")).unwrap();
        std::fs::write(data.join("a/b/file"), "inside").unwrap();
        symlink(outside.path(), data.join("out")).unwrap();
        symlink("a", data.join("in")).unwrap();
        let part =
            |subpath: &str| Mount { subpath: subpath.to_owned(), ..mount(Kind::Volume, "data", "/part") };
        assert_eq!(said(&engine, with(&[part("a/b")], "cat /part/file")).await, "inside");
        assert_eq!(said(&engine, with(&[part("a/b/file")], "cat /part")).await, "inside");
        for (subpath, words) in [("out", "symbolic link"), ("in/b", "symbolic link"), ("none", "no such")] {
            let id = engine.create(with(&[part(subpath)], "true")).await.unwrap();
            let refused = engine.start(&id).await.unwrap_err().to_string();
            assert!(refused.contains(words), "{subpath}: {refused}");
        }
        assert!(engine.create(with(&[part("../x")], "true")).await.is_err());
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn memory_has_its_size_and_a_volume_in_memory_lives_as_long_as_it_is_used() {
    on_a_host(async |host| {
        let engine = host.open().await;
        let mut tmpfs = mount(Kind::Tmpfs, "", "/scratch");
        tmpfs.tmpfs.size_bytes = Some(1 << 20);
        tmpfs.tmpfs.mode = Some(0o1770);
        let text = "busybox stat -c %a /scratch; busybox dd if=/dev/zero of=/scratch/x bs=64k count=32 2>/dev/null || echo full";
        assert_eq!(said(&engine, with(&[tmpfs], text)).await, "1770\nfull\n");
        let options = [("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m")];
        let options = options.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let config = VolumeConfig { name: "fast".to_owned(), options, ..VolumeConfig::default() };
        let data = engine.create_volume(config).await.unwrap().volume.mountpoint;
        let is_mounted = |path: &Path| {
            let path = path.display().to_string();
            std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains(&path)
        };
        let fast = [mount(Kind::Volume, "fast", "/fast")];
        let id = engine.create(with(&fast, "echo here > /fast/x; sleep 100")).await.unwrap();
        engine.start(&id).await.unwrap();
        crate::host::until("the file is there", || data.join("x").exists()).await;
        assert_eq!(said(&engine, with(&fast, "cat /fast/x")).await, "here\n");
        assert!(is_mounted(&data));
        engine.remove(&id, true).await.unwrap();
        crate::host::until("nothing is mounted any more", || !is_mounted(&data)).await;
        assert!(!data.join("x").exists());
        engine.shutdown(true).await.unwrap();
    });
}

#[test]
fn an_image_and_what_another_container_has_can_be_mounted() {
    on_a_host(async |host| {
        let engine = host.open().await;
        import(
            &engine,
            "test/data:1",
            &[File::Dir("set", 0), File::Plain("set/file", 0, "of the image")],
            &[],
        )
        .await;
        let whole = mount(Kind::Image, "test/data:1", "/image");
        let part = Mount { subpath: "set".to_owned(), ..mount(Kind::Image, "test/data:1", "/part") };
        let text = "cat /image/set/file /part/file; echo x 2>/dev/null > /image/x || echo refused";
        let text = said(&engine, with(&[whole, part], text)).await;
        assert_eq!(text, "of the imageof the imagerefused\n");
        let first = ContainerConfig {
            name: Some("first".into()),
            ..with(&[mount(Kind::Volume, "", "/data")], "echo x > /data/x")
        };
        said(&engine, first).await;
        let second = |from: &str| ContainerConfig {
            volumes_from: vec![from.to_owned()],
            ..script("cat /data/x; echo y 2>/dev/null > /data/y || echo refused")
        };
        assert_eq!(said(&engine, second("first:ro")).await, "x\nrefused\n");
        assert_eq!(said(&engine, second("first")).await, "x\n");
        assert!(engine.create(second("first:odd")).await.is_err());
        assert_eq!(engine.inspect("first").unwrap().config.image, IMAGE);
        engine.shutdown(true).await.unwrap();
    });
}
