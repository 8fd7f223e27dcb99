//! Layouts of popular images, by their links: all of them must work, since refusing links altogether is a way to be
//! safe that breaks ordinary images.

use super::{container, text, with_agent};

/// What links to what, and under which path a file is written and read then.
const LAYOUTS: [(&str, &str, &str); 50] = [
    ("/var/run", "/run", "/var/run/app.pid"),
    ("/var/lock", "/run/lock", "/var/lock/a"),
    ("/v1/run", "../run", "/v1/run/a"),
    ("/lib64x", "usr/lib64", "/lib64x/a.so"),
    ("/sbinx", "usr/sbin", "/sbinx/tool"),
    ("/binx", "/usr/bin", "/binx/tool"),
    ("/libx", "./usr/lib", "/libx/a"),
    ("/etc/mtabdir", "/proc2/self", "/etc/mtabdir/a"),
    ("/etc/alternatives/java", "/usr/lib/jvm/java-21", "/etc/alternatives/java/a"),
    ("/usr/lib/jvm/default", "java-21", "/usr/lib/jvm/default/a"),
    ("/opt/app/current", "releases/42", "/opt/app/current/a"),
    ("/opt/app/shared/log", "../../../var/log/app", "/opt/app/shared/log/a"),
    ("/srv/www", "/var/www", "/srv/www/index.html"),
    ("/var/www/html", "/usr/share/nginx/html", "/var/www/html/index.html"),
    ("/etc/nginx/modules", "/usr/lib/nginx/modules", "/etc/nginx/modules/a.so"),
    ("/etc/ssl/certs2", "/etc/pki/tls/certs", "/etc/ssl/certs2/ca.pem"),
    ("/etc/pki/java", "../ssl/java", "/etc/pki/java/cacerts"),
    ("/nix/var/nix/profiles/default", "default-1-link", "/nix/var/nix/profiles/default/a"),
    ("/etc/static", "/nix/store/abc-etc", "/etc/static/passwd"),
    ("/run/current-system", "/nix/store/sys", "/run/current-system/a"),
    ("/gnu/profile", "../gnu/store/x", "/gnu/profile/a"),
    ("/home/user", "/var/home/user", "/home/user/.profile"),
    ("/rootx", "var/roothome", "/rootx/.bashrc"),
    ("/mntx", "var/mnt", "/mntx/a"),
    ("/mediax", "run/media", "/mediax/a"),
    ("/ostree", "sysroot/ostree", "/ostree/a"),
    ("/usr/local/share/man", "../man", "/usr/local/share/man/a"),
    ("/usr/tmp", "../var/tmp", "/usr/tmp/a"),
    ("/usr/spool", "/var/spool", "/usr/spool/a"),
    ("/var/mailx", "spool/mail", "/var/mailx/root"),
    ("/usr/share/zoneinfo/posix", "/usr/share/zoneinfo-posix", "/usr/share/zoneinfo/posix/UTC"),
    ("/usr/share/elasticsearch/config", "/etc/elasticsearch", "/usr/share/elasticsearch/config/a.yml"),
    ("/usr/local/tomcat/logs", "/var/log/tomcat", "/usr/local/tomcat/logs/a"),
    ("/var/lib/mysql-files", "/srv/mysql", "/var/lib/mysql-files/dump.sql"),
    ("/var/lib/postgresql/data", "/data/pg", "/var/lib/postgresql/data/pg_hba.conf"),
    ("/usr/local/lib/node", "../../lib/node_modules", "/usr/local/lib/node/a.js"),
    ("/app/node_modules", "/deps/node_modules", "/app/node_modules/a.js"),
    ("/app/storage/public", "/app/public/files", "/app/storage/public/a"),
    ("/usr/lib/python3", "python3.13", "/usr/lib/python3/a.py"),
    ("/usr/local/go", "/usr/lib/go-1.25", "/usr/local/go/VERSION"),
    ("/a/b/c", "../../up/two", "/a/b/c/x"),
    ("/deep1", "/deep2", "/deep1/x"),
    ("/over", "../../../../above", "/over/x"),
    ("/dots", "./././dotted/.", "/dots/x"),
    ("/slash", "//double//slash//", "/slash/x"),
    ("/etc/x11", "/etc/X11/", "/etc/x11/x"),
    ("/config", "/etc/app", "/config/app.toml"),
    ("/secrets", "/run/secrets", "/secrets/token"),
    ("/tmpx", "/dev/shm2", "/tmpx/a"),
    ("/space dir", "/with space", "/space dir/a b"),
];

#[test]
fn fifty_popular_layouts_are_copied_through() {
    with_agent("layouts", |solo, image, files| {
        let mut script = String::from("ln -s /chained /deep2; mkdir -p /chained\n");
        for (link, target, _) in LAYOUTS {
            let parent = link.rsplit_once('/').map_or("/", |(parent, _)| parent);
            script += &format!(
                "mkdir -p '{parent}/'; cd '{parent}/'; [ -e '{target}' ] || mkdir -p \"$(readlink -m '{target}' 2>/dev/null || echo '{target}')\"; [ -e '{link}' ] || ln -s '{target}' '{link}'; [ -d '{link}/' ]\n"
            );
        }
        container(solo, image, "c", &script, true);
        container(solo, image, "d", &script, false);
        for (index, (_, _, path)) in LAYOUTS.iter().enumerate() {
            let content = format!("file {index}\n");
            let file = files.join("in");
            std::fs::write(&file, &content).unwrap();
            // Opening a stopped container costs more; a few of each kind are enough.
            let names: &[&str] = if index % 10 == 0 { &["c", "d"] } else { &["c"] };
            for name in names {
                let there = format!("{name}:{path}");
                solo.ctl(&["container", "cp", text(&file), &there]);
                let back = files.join("out");
                solo.ctl(&["container", "cp", &there, text(&back)]);
                assert_eq!(std::fs::read_to_string(back).unwrap(), content, "{there}");
            }
        }
    });
}
