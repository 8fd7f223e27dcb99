//! Files of the kernel, devices and mounts: what a shell in a container tries first.

use agent_runtime::container::ContainerSpec;

use super::{Outcome, all_devices, of_the_host, ran, unfiltered, unmasked};
use crate::lab::{Lab, Ran};

/// One attack: the script says "won" when it has, and what lacks when it can.
struct Attack {
    name: &'static str,
    script: &'static str,
    loosen: fn(&mut ContainerSpec),
}

const fn attack(name: &'static str, script: &'static str, loosen: fn(&mut ContainerSpec)) -> Attack {
    Attack { name, script, loosen }
}

fn writable_settings(spec: &mut ContainerSpec) {
    unmasked(spec);
    of_the_host(spec);
}

fn raw_devices(spec: &mut ContainerSpec) {
    all_devices(spec);
    of_the_host(spec);
}

fn mounts(spec: &mut ContainerSpec) {
    unfiltered(spec);
    of_the_host(spec);
}

/// The hierarchy from its root, where what runs at a cgroup's end is set.
fn whole_hierarchy(spec: &mut ContainerSpec) {
    mounts(spec);
    if let Some(namespaces) = spec.oci.linux_mut().as_mut().and_then(|linux| linux.namespaces_mut().as_mut())
    {
        namespaces.retain(|namespace| namespace.typ() != oci_spec::runtime::LinuxNamespaceType::Cgroup);
    }
}

fn no_pids_limit(spec: &mut ContainerSpec) {
    if let Some(resources) = spec.oci.linux_mut().as_mut().and_then(|linux| linux.resources_mut().as_mut()) {
        resources.set_pids(None);
    }
}

const ATTACKS: &[Attack] = &[
    attack("read the keys in use", "[ \"$(stat -c %t:%T /proc/keys)\" = 1:3 ] || echo won", unmasked),
    attack("read the kernel's timers", "busybox grep -q . /proc/timer_list && echo won", writable_settings),
    attack("read which interrupts arrive", "busybox grep -q . /proc/interrupts && echo won", unmasked),
    attack(
        "find anything that should be masked",
        "for f in /proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug \
           /proc/scsi /proc/timer_list /proc/timer_stats /sys/devices/virtual/powercap /sys/firmware; do \
         [ -d $f ] && [ -n \"$(ls -A $f)\" ] && echo won; [ -f $f ] && echo won; done",
        unmasked,
    ),
    attack("read the tables of the firmware", "ls /sys/firmware | busybox grep -q . && echo won", unmasked),
    attack(
        "choose what runs when anything crashes",
        "exec 3>>/proc/sys/kernel/core_pattern && echo won",
        writable_settings,
    ),
    attack("keep the kernel from panicking", "exec 3>>/proc/sys/kernel/panic && echo won", writable_settings),
    attack(
        "choose what is run for foreign programs",
        "[ -w /proc/sys/fs ] && exec 3>>/proc/sys/fs/file-max && echo won",
        writable_settings,
    ),
    attack("silence the kernel", "exec 3>>/proc/sys/kernel/printk && echo won", writable_settings),
    attack("move interrupts", "exec 3>>/proc/irq/default_smp_affinity && echo won", writable_settings),
    attack(
        "let memory be overcommitted",
        "exec 3>>/proc/sys/vm/overcommit_memory && echo won",
        writable_settings,
    ),
    attack(
        "read the kernel's log by a node of its own",
        "mknod /kmsg c 1 11 && exec 3</kmsg && echo won",
        raw_devices,
    ),
    attack(
        "drive other file systems by fuse",
        "mknod /fuse c 10 229 && exec 3<>/fuse && echo won",
        raw_devices,
    ),
    attack(
        "reach the hypervisor's socket",
        "mknod /loop c 10 237 && exec 3</loop; [ $? = 0 ] && echo won",
        raw_devices,
    ),
    attack("mount a tmpfs over what is checked", "mount -t tmpfs x /etc && echo won", mounts),
    attack("mount a proc of its own", "mount -t proc x /tmp && echo won", mounts),
    attack("mount a sysfs of its own", "mount -t sysfs x /tmp && echo won", mounts),
    attack("mount the cgroups of the host", "mount -t cgroup2 x /tmp && echo won", mounts),
    attack(
        "make the cgroup tree writable again",
        "mount -o remount,rw,bind /sys/fs/cgroup && echo won",
        mounts,
    ),
    attack("make sysfs writable again", "mount -o remount,rw,bind /sys && echo won", mounts),
    attack("make the settings writable again", "mount -o remount,rw,bind /proc/sys && echo won", mounts),
    attack("take a mask off", "busybox umount /proc/keys && echo won", mounts),
    attack("show the host's devices", "mount -t devtmpfs x /tmp && [ -e /tmp/kmsg ] && echo won", mounts),
    attack(
        RELEASE_AGENT,
        "for c in $(busybox cut -d: -f2 /proc/self/cgroup); do mount -t cgroup -o $c x /tmp && \
         [ -e /tmp/release_agent ] && echo won; busybox umount /tmp; done",
        whole_hierarchy,
    ),
    attack(
        "start processes without end",
        "i=0; while [ $i -lt 1100 ]; do sleep 20 & i=$((i+1)); done 2>/dev/null; [ $i = 1100 ] && echo won; busybox killall sleep",
        no_pids_limit,
    ),
];

/// An attack on version 1 of cgroups: version 2 has no program that is run at a cgroup's end.
const RELEASE_AGENT: &str = "be told when a cgroup is empty";

fn has_named_hierarchies() -> bool {
    let own = std::fs::read_to_string("/proc/self/cgroup").expect("a kernel with cgroups");
    own.lines().any(|line| line.contains(":name=systemd:"))
}

/// Only the last line counts: what a shell says on the way is noise.
fn won(ran: &Ran) -> bool {
    ran.out.lines().any(|line| line == "won")
}

#[test]
fn each_attack_fails_and_succeeds_where_its_defence_is_missing() {
    let lab = Lab::new();
    let mut outcome = Outcome::default();
    let applies = |attack: &&Attack| attack.name != RELEASE_AGENT || has_named_hierarchies();
    for Attack { name, script, loosen } in ATTACKS.iter().filter(applies) {
        let script = format!("alias mknod='busybox mknod'; {script}");
        let args = ["sh", "-c", script.as_str()];
        let (defended, loosened) = (ran(&lab, &args, |_| ()), ran(&lab, &args, loosen));
        outcome.add(name, won(&defended), won(&loosened), &(&defended, &loosened));
    }
    outcome.finish();
}
