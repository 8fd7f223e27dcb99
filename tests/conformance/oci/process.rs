//! config.md, process: what the program finds itself as.

use serde_json::json;

use super::lab::Lab;
use super::{Case, case};

/// The line of `/proc/self/status` called `name`.
fn status_line(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.trim_start_matches(':').trim().to_owned()
}

fn capability(lab: &Lab, sets: serde_json::Value) -> String {
    let config = lab.changed("cat /proc/self/status", |c| {
        c["process"]["capabilities"] = sets;
        // The shell and cat would empty what they have otherwise.
        c["process"]["args"] = json!(["cat", "/proc/self/status"]);
    });
    lab.run(&config).good()
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = identity();
    cases.extend(limits());
    cases.extend(rest());
    cases
}

fn identity() -> Vec<Case> {
    [identity_first(), identity_second()].into_iter().flatten().collect()
}

fn identity_first() -> Vec<Case> {
    vec![
        case("the program has the user and group asked for", |lab| {
            let user = json!({"uid": 1234, "gid": 5678, "additionalGids": [10, 11]});
            let config = lab.changed("id -u; id -g; id -G", |c| c["process"]["user"] = user);
            let out = lab.run(&config).good();
            let lines: Vec<&str> = out.lines().collect();
            assert_eq!(lines[..2], ["1234", "5678"]);
            assert!(lines[2].contains("10 11"), "{out}");
        }),
        case("the program has the umask asked for", |lab| {
            let config = lab.changed("umask", |c| c["process"]["user"]["umask"] = json!(0o027));
            assert_eq!(lab.run(&config).good(), "0027\n");
        }),
        case("the program has exactly the environment asked for", |lab| {
            let config = lab.changed("", |c| {
                c["process"]["env"] = json!(["PATH=/bin", "A=1", "EMPTY=", "WITH=a=b", "HOME=/h"]);
                c["process"]["args"] = json!(["env"]);
            });
            let out = lab.run(&config).good();
            let mut lines: Vec<&str> = out.lines().collect();
            lines.sort_unstable();
            assert_eq!(lines, ["A=1", "EMPTY=", "HOME=/h", "PATH=/bin", "WITH=a=b"]);
        }),
        case("the program has the arguments asked for", |lab| {
            let config = lab.changed("", |c| c["process"]["args"] = json!(["echo", "a b", "", "$c"]));
            assert_eq!(lab.run(&config).good(), "a b  $c\n");
        }),
        case("without args there is nothing to run: an error", |lab| {
            lab.create_refused(&lab.changed("", |c| c["process"]["args"] = json!([])));
        }),
        case("the program starts in cwd", |lab| {
            let config = lab.changed("pwd", |c| c["process"]["cwd"] = json!("/tmp"));
            assert_eq!(lab.run(&config).good(), "/tmp\n");
        }),
        case("cwd must be absolute", |lab| {
            lab.create_refused(&lab.changed("true", |c| c["process"]["cwd"] = json!("tmp")));
        }),
        case("the permitted, effective and bounding capabilities are those listed", |lab| {
            let both = json!(["CAP_CHOWN", "CAP_KILL"]);
            let sets = json!({"bounding": both, "permitted": both, "effective": ["CAP_KILL"]});
            let status = capability(lab, sets);
            assert_eq!(status_line(&status, "CapBnd"), "0000000000000021");
            // Executing as root makes effective what the bounding set has.
            assert_eq!(status_line(&status, "CapPrm"), "0000000000000021");
        }),
        case("what is listed in no set is not had", |lab| {
            let status = capability(lab, json!({}));
            for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                assert_eq!(status_line(&status, set), "0000000000000000", "{set}");
            }
        }),
    ]
}

fn identity_second() -> Vec<Case> {
    vec![
        case("ambient capabilities survive for a user other than root", |lab| {
            let one = json!(["CAP_KILL"]);
            let config = lab.changed("", |c| {
                c["process"]["args"] = json!(["cat", "/proc/self/status"]);
                c["process"]["user"] = json!({"uid": 1000, "gid": 1000});
                c["process"]["capabilities"] =
                    json!({"bounding": one, "permitted": one, "effective": one, "inheritable": one, "ambient": one});
            });
            let status = lab.run(&config).good();
            for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                assert_eq!(status_line(&status, set), "0000000000000020", "{set}");
            }
        }),
        case("a user other than root without ambient capabilities has none", |lab| {
            let config = lab.changed("", |c| {
                c["process"]["args"] = json!(["cat", "/proc/self/status"]);
                c["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            });
            let status = lab.run(&config).good();
            assert_eq!(status_line(&status, "CapEff"), "0000000000000000");
        }),
        case("noNewPrivileges is as asked for", |lab| {
            assert_eq!(status_line(&lab.sh("cat /proc/self/status"), "NoNewPrivs"), "1");
            let config = lab.changed("cat /proc/self/status", |c| {
                c["process"]["noNewPrivileges"] = json!(false);
            });
            assert_eq!(status_line(&lab.run(&config).good(), "NoNewPrivs"), "0");
        }),
    ]
}

fn limits() -> Vec<Case> {
    [limits_first(), limits_second()].into_iter().flatten().collect()
}

fn limits_first() -> Vec<Case> {
    vec![
        case("resource limits are those asked for", |lab| {
            let config = lab.changed("cat /proc/self/limits", |c| {
                c["process"]["rlimits"] = json!([
                    {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
                    {"type": "RLIMIT_CORE", "soft": 0, "hard": 4096},
                ]);
            });
            let out = lab.run(&config).good();
            let line = |name: &str| {
                let line = out.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
                line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
            };
            assert_eq!(line("Max open files"), "100 200");
            assert_eq!(line("Max core file size"), "0 4096");
        }),
        case("a limit of an unknown resource is an error", |lab| {
            lab.create_refused(&lab.changed("true", |c| {
                c["process"]["rlimits"] = json!([{"type": "RLIMIT_NONSENSE", "soft": 1, "hard": 1}]);
            }));
        }),
        case("a resource with two limits is an error", |lab| {
            lab.create_refused(&lab.changed("true", |c| {
                let limit = json!({"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200});
                c["process"]["rlimits"] = json!([limit, limit]);
            }));
        })
        .but(&[("runc", "the last one counts")]),
        case("a soft limit above the hard one is an error", |lab| {
            lab.create_refused(&lab.changed("true", |c| {
                c["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 300, "hard": 200}]);
            }));
        }),
        case("oomScoreAdj is set when asked for", |lab| {
            let config =
                lab.changed("cat /proc/self/oom_score_adj", |c| c["process"]["oomScoreAdj"] = json!(100));
            assert_eq!(lab.run(&config).good(), "100\n");
        }),
        case("oomScoreAdj is left alone when not asked for", |lab| {
            let own = std::fs::read_to_string("/proc/self/oom_score_adj").expect("a number");
            assert_eq!(lab.sh("cat /proc/self/oom_score_adj"), own);
        }),
        case("ioPriority is the program's", |lab| {
            let config = lab.changed("sleep 100", |c| {
                c["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
            });
            lab.create(&config);
            lab.must("start");
            let pid = lab.pid().to_string();
            let said = itest::programs::succeed(std::process::Command::new("ionice").args(["-p", &pid]));
            assert_eq!(said.trim(), "best-effort: prio 6");
        })
        .but(&[("runc", "newer than 1.1")]),
    ]
}

fn limits_second() -> Vec<Case> {
    vec![
        case("the scheduler is the program's", |lab| {
            let config = lab.changed("sleep 100", |c| {
                c["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 5});
            });
            lab.create(&config);
            lab.must("start");
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", lab.pid())).expect("a process");
            let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
            assert_eq!((fields[16], fields[38]), ("5", "3"), "nice and policy in {stat}");
        })
        .but(&[("runc", "newer than 1.1")]),
    ]
}

fn rest() -> Vec<Case> {
    vec![
        case("standard streams are the caller's", |lab| {
            let ran = lab.run(&lab.config("echo out; echo err >&2; exit 5"));
            assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (5, "out\n", "err\n"));
        }),
        case("no other descriptor gets into the container", |lab| {
            assert_eq!(lab.sh("ls /proc/self/fd | wc -l"), "4\n", "0, 1, 2 and that of the listing");
        }),
        case("a terminal without a console socket is an error of create", |lab| {
            lab.create_refused(&lab.changed("true", |c| c["process"]["terminal"] = json!(true)));
        }),
        case(
            "with a terminal the standard streams are it, and its master goes to the console socket",
            |lab| {
                let config = lab.changed("tty; stty size; echo end; sleep 100", |c| {
                    c["process"]["terminal"] = json!(true);
                    c["process"]["consoleSize"] = json!({"height": 33, "width": 44});
                });
                lab.write(&config);
                let socket = lab.path("console.sock");
                let listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
                let path = socket.display().to_string();
                lab.call(&["create", "--console-socket", &path, &lab.id]).good();
                let master = super::console::receive(&listener);
                lab.must("start");
                let text = super::console::read_until(master, "end");
                assert!(text.contains("/dev/pts/0") || text.contains("/dev/console"), "{text}");
                assert!(text.contains("33 44"), "{text}");
            },
        ),
        case("the pid file has the process id as the host sees it", |lab| {
            lab.write(&lab.config("sleep 100"));
            let file = lab.path("pid").display().to_string();
            lab.call(&["create", "--pid-file", &file, &lab.id]).good();
            assert_eq!(lab.read("pid"), lab.pid().to_string());
        }),
        case("the program is executed from PATH of its own environment", |lab| {
            std::fs::create_dir(lab.rootfs().join("opt")).expect("a directory");
            std::os::unix::fs::symlink("/bin/busybox", lab.rootfs().join("opt/echo")).expect("a link");
            let config = lab.changed("", |c| {
                c["process"]["env"] = json!(["PATH=/nowhere:/opt"]);
                c["process"]["args"] = json!(["echo", "found"]);
            });
            assert_eq!(lab.run(&config).good(), "found\n");
        }),
    ]
}
