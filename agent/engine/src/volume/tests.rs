//! Volumes on a directory of this host: making, filling, removing, and what a crash leaves.

use super::*;

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place { dir: tempfile::Builder::new().prefix("vol-").tempdir_in("/tmp").unwrap() }
    }

    async fn open(&self) -> (Records, Volumes) {
        let records = Records::open(self.dir.path().join("records")).await.unwrap();
        let volumes = Volumes::open(self.dir.path().join("volumes"), &records, 0x4000_0000).await.unwrap();
        (records, volumes)
    }

    /// One layer of an image with this file.
    fn layer(&self, path: &str, text: &str) -> Vec<PathBuf> {
        let layer = self.dir.path().join("layer");
        let file = layer.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
        vec![layer]
    }

    fn names(&self, of: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path().join("volumes").join(of)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn called(name: &str) -> VolumeConfig {
    VolumeConfig { name: name.to_owned(), ..VolumeConfig::default() }
}

#[tokio::test]
async fn a_volume_is_made_once_and_others_options_are_refused() {
    let place = Place::new();
    let (records, volumes) = place.open().await;
    let made = volumes.create(called("data")).await.unwrap();
    std::fs::write(made.mountpoint.join("x"), "kept").unwrap();
    assert_eq!(volumes.create(called("data")).await.unwrap(), made);
    assert_eq!(std::fs::read_to_string(made.mountpoint.join("x")).unwrap(), "kept");
    let options =
        BTreeMap::from([("type", "tmpfs"), ("device", "tmpfs")].map(|(k, v)| (k.to_owned(), v.to_owned())));
    let other = VolumeConfig { options, ..called("data") };
    assert!(matches!(volumes.create(other).await, Err(VolumeError::Exists { .. })));
    for bad in ["", "x", "../etc", "a/b", "-a", ".hidden"] {
        assert!(matches!(volumes.create(called(bad)).await, Err(VolumeError::Name(_))), "{bad}");
    }
    drop(volumes);
    records.close().await;
    let (_records, volumes) = place.open().await;
    assert_eq!(volumes.list(), [made]);
}

#[tokio::test]
async fn a_volume_in_use_is_not_removed_and_a_removed_one_leaves_nothing() {
    let place = Place::new();
    let (_records, volumes) = place.open().await;
    volumes.create(called("data")).await.unwrap();
    let refused = volumes.remove("data", || vec!["web".to_owned(), "db".to_owned()]).await.unwrap_err();
    assert_eq!(refused.to_string(), "volume data is in use by container web, db; remove them first");
    volumes.remove("data", Vec::new).await.unwrap();
    assert!(matches!(volumes.remove("data", Vec::new).await, Err(VolumeError::NotFound(_))));
    assert_eq!((place.names("all"), place.names("trash")), (Vec::new(), Vec::new()));
    volumes.create(called("data")).await.unwrap();
}

#[tokio::test]
async fn an_empty_volume_is_filled_once() {
    let place = Place::new();
    let (_records, volumes) = place.open().await;
    let data = volumes.create(called("data")).await.unwrap().mountpoint;
    let layer = place.layer("srv/page", "from the image");
    volumes.fill("data", layer.clone(), "/nothing/here").await.unwrap();
    volumes.fill("data", layer.clone(), "/srv").await.unwrap();
    assert_eq!(std::fs::read_to_string(data.join("page")).unwrap(), "from the image");
    std::fs::remove_file(data.join("page")).unwrap();
    volumes.fill("data", layer.clone(), "/srv").await.unwrap();
    assert!(!data.join("page").exists(), "what was deleted came back");
    let own = volumes.create(called("own")).await.unwrap().mountpoint;
    std::fs::write(own.join("mine"), "").unwrap();
    volumes.fill("own", layer, "/srv").await.unwrap();
    assert!(!own.join("page").exists(), "a volume with content was filled");
}

#[tokio::test]
async fn links_of_an_image_lead_nowhere_outside_it() {
    let place = Place::new();
    let (_records, volumes) = place.open().await;
    let data = volumes.create(called("data")).await.unwrap().mountpoint;
    let canary = place.dir.path().join("canary");
    std::fs::create_dir(&canary).unwrap();
    std::fs::write(canary.join("secret"), "").unwrap();
    let layer = place.layer("file", "");
    std::os::unix::fs::symlink(&canary, layer[0].join("absolute")).unwrap();
    std::os::unix::fs::symlink("../canary", layer[0].join("relative")).unwrap();
    std::os::unix::fs::symlink("/proc/self/root", layer[0].join("magic")).unwrap();
    for target in ["/absolute", "/relative", "/magic", "/file", "/../canary"] {
        volumes.fill("data", layer.clone(), target).await.unwrap();
        assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0, "{target}");
    }
}

#[tokio::test]
async fn what_a_crash_leaves_is_finished_or_taken_back() {
    let place = Place::new();
    let (records, volumes) = place.open().await;
    for name in ["making", "filling", "removing", "ready"] {
        let data = volumes.create(called(name)).await.unwrap().mountpoint;
        std::fs::write(data.join("x"), "").unwrap();
        let entry = volumes.entry(name).unwrap();
        let mut record = entry.usable().unwrap();
        record.phase = match name {
            "making" => Phase::Making,
            "filling" => Phase::Filling,
            "removing" => Phase::Removing,
            _ => Phase::Ready,
        };
        volumes.store(name, &entry, record, Durability::Synced).await.unwrap();
    }
    let root = place.dir.path().join("volumes");
    std::fs::create_dir_all(root.join("all/orphan/data")).unwrap();
    std::fs::create_dir_all(root.join("trash/7/data")).unwrap();
    drop(volumes);
    records.close().await;

    let (_records, volumes) = place.open().await;
    let names: Vec<String> = volumes.list().into_iter().map(|volume| volume.name).collect();
    assert_eq!(names, ["filling", "ready"]);
    let mut dirs = place.names("all");
    dirs.sort();
    assert_eq!((dirs, place.names("trash").len()), (vec!["filling".to_owned(), "ready".to_owned()], 0));
    assert!(!root.join("all/filling/data/x").exists() && root.join("all/ready/data/x").exists());
}

/// A file system of its own that counts projects, or does not.
struct FileSystem {
    dir: tempfile::TempDir,
}

impl FileSystem {
    fn new(features: &str, options: &str) -> FileSystem {
        let dir = tempfile::Builder::new().prefix("quota-").tempdir_in("/tmp").unwrap();
        let (image, at) = (dir.path().join("image"), dir.path().join("at"));
        std::fs::create_dir(&at).unwrap();
        std::fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        let words = |path: &Path| path.display().to_string();
        call("mkfs.ext4", &["-q", "-O", features, &words(&image)]);
        call("mount", &["-o", options, &words(&image), &words(&at)]);
        FileSystem { dir }
    }

    async fn open(&self) -> (Records, Volumes) {
        let records = Records::open(self.dir.path().join("records")).await.unwrap();
        let root = self.dir.path().join("at/volumes");
        let volumes = Volumes::open(root, &records, 0x4001_0000).await.unwrap();
        (records, volumes)
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        call("umount", &[&self.dir.path().join("at").display().to_string()]);
    }
}

fn call(program: &str, arguments: &[&str]) {
    let output = std::process::Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn limited(name: &str, size: &str) -> VolumeConfig {
    VolumeConfig { options: BTreeMap::from([("size".to_owned(), size.to_owned())]), ..called(name) }
}

#[tokio::test]
async fn a_size_needs_a_file_system_that_counts() {
    let host = FileSystem::new("^quota", "loop");
    let (_records, volumes) = host.open().await;
    let error = volumes.create(limited("small", "1m")).await.unwrap_err().to_string();
    assert!(error.contains("prjquota"), "{error}");
    assert!(volumes.list().is_empty());
    assert_eq!(std::fs::read_dir(host.dir.path().join("at/volumes/all")).unwrap().count(), 0);
}
