//! config-linux.md, seccomp.

use serde_json::{Value, json};

use super::lab::Lab;
use super::{Case, case};

fn filtered(lab: &Lab, script: &str, seccomp: Value) -> Value {
    lab.changed(script, |c| c["linux"]["seccomp"] = seccomp)
}

/// What a shell tool and its start need.
const NEEDED: [&str; 65] = [
    "execve",
    "brk",
    "arch_prctl",
    "set_tid_address",
    "exit_group",
    "exit",
    "write",
    "mmap",
    "munmap",
    "mprotect",
    "getuid",
    "getgid",
    "geteuid",
    "rt_sigaction",
    "rt_sigprocmask",
    "readlink",
    "prctl",
    "setuid",
    "setgid",
    "set_robust_list",
    "rseq",
    "prlimit64",
    "getrandom",
    "newfstatat",
    "fstat",
    "ioctl",
    "close",
    "sendto",
    "sendmsg",
    "recvmsg",
    "futex",
    "poll",
    "openat",
    "read",
    "capset",
    "setresuid",
    "setresgid",
    "setgroups",
    "getppid",
    "getpid",
    "uname",
    "epoll_ctl",
    "epoll_pwait",
    "nanosleep",
    "fcntl",
    "getdents64",
    "lseek",
    "fstatfs",
    "readlinkat",
    "getcwd",
    "stat",
    "access",
    "faccessat",
    "faccessat2",
    "tgkill",
    "sigaltstack",
    "sched_getaffinity",
    "rt_sigreturn",
    "clone",
    "mincore",
    "madvise",
    "eventfd2",
    "gettid",
    "pread64",
    "close_range",
];

/// Everything but `rule`.
fn but(rule: &Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [rule]})
}

pub(super) fn cases() -> Vec<Case> {
    [first(), second(), third()].into_iter().flatten().collect()
}

fn first() -> Vec<Case> {
    vec![
        case("a call with the action errno fails with the number asked for", |lab| {
            let rule = json!({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28});
            let ran = lab.run(&filtered(lab, "mkdir /new", but(&rule)));
            assert!(ran.err.contains("No space left on device"), "{}", ran.err);
        }),
        case("a call with the action errno and no number is not permitted", |lab| {
            let rule = json!({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"});
            let ran = lab.run(&filtered(lab, "mkdir /new", but(&rule)));
            assert!(ran.err.contains("Operation not permitted"), "{}", ran.err);
        }),
        case("a call with the action kill ends the process", |lab| {
            let rule = json!({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS"});
            let ran = lab.run(&filtered(lab, "(mkdir /new); echo $?", but(&rule)));
            assert_eq!(ran.out, "159\n", "128 and SIGSYS: {}", ran.err);
        }),
        case("a rule with arguments is for calls with those alone", |lab| {
            let rule = json!({"names": ["kill"], "action": "SCMP_ACT_ERRNO",
                "args": [{"index": 1, "value": 15, "op": "SCMP_CMP_EQ"}]});
            let script = "kill -15 $$ 2> /dev/null || echo refused; kill -0 $$ && echo allowed";
            assert_eq!(lab.run(&filtered(lab, script, but(&rule))).out, "refused\nallowed\n");
        }),
        case("all arguments of a rule have to match", |lab| {
            let rule = json!({"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [
                {"index": 1, "value": 0, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 5000, "op": "SCMP_CMP_GT"}]});
            let script = "kill -0 $$ && echo allowed";
            assert_eq!(lab.run(&filtered(lab, script, but(&rule))).out, "allowed\n");
        }),
    ]
}

fn second() -> Vec<Case> {
    vec![case("the default action is for everything without a rule", |lab| {
        let config = lab.changed("", |c| {
            c["process"]["args"] = json!(["mkdir", "/new"]);
            c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ERRNO",
                    "architectures": ["SCMP_ARCH_X86_64"],
                    "syscalls": [{"names": NEEDED.to_vec(), "action": "SCMP_ACT_ALLOW"}]});
        });
        let ran = lab.run(&config);
        assert!(ran.err.contains("Operation not permitted"), "{}{}", ran.out, ran.err);
        assert!(!lab.rootfs().join("new").exists());
    })]
}

fn third() -> Vec<Case> {
    vec![
        case("names of calls nobody knows are passed over", |lab| {
            let rule = json!({"names": ["no_such_call", "mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"});
            let ran = lab.run(&filtered(lab, "mkdir /new || echo refused", but(&rule)));
            assert_eq!(ran.out, "refused\n");
        }),
        case("the filter is loaded without noNewPrivileges too", |lab| {
            let rule = json!({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"});
            let mut config = filtered(lab, "mkdir /new || echo refused", but(&rule));
            config["process"]["noNewPrivileges"] = json!(false);
            assert_eq!(lab.run(&config).out, "refused\n");
        }),
        case("the status of the program says that it is filtered", |lab| {
            let rule = json!({"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"});
            let out = lab.run(&filtered(lab, "cat /proc/self/status", but(&rule))).good();
            assert!(out.contains("Seccomp:\t2"), "{out}");
        }),
        case("an action nobody knows is an error", |lab| {
            lab.create_refused(&filtered(lab, "true", json!({"defaultAction": "SCMP_ACT_NONSENSE"})));
        }),
        case("a notifying filter without a listener is an error", |lab| {
            let rule = json!({"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"});
            lab.create_refused(&filtered(lab, "true", but(&rule)));
        }),
    ]
}
