//! What CDI devices change of a container: nodes, rules, variables and groups in its specification, and mounts beside
//! those it asks for. Which devices comes from the request alone.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceBuilder, LinuxDeviceType, Spec};

use super::devices::{is_device, rule_of};
use crate::EngineError;
use crate::cdi::{DeviceNode, Edits, Mount as Asked};
use crate::container::mount::{Bind, Kind, Mount, Spread};
use crate::container::spec::merge_environment;

/// Permissions of a node that is not on the host.
const MODE: u32 = 0o666;

fn refuse(rule: String) -> EngineError {
    EngineError::invalid("device", rule)
}

/// Changes the specification; mounts are [`mounts`].
pub(crate) fn apply(
    edits: &Edits,
    oci: &mut Spec,
    own_users: bool,
    privileged: bool,
) -> Result<(), EngineError> {
    if edits.is_empty() {
        return Ok(());
    }
    let mut owner = 0;
    if let Some(process) = oci.process_mut() {
        let env = merge_environment(&[process.env().as_deref().unwrap_or_default(), &edits.env]);
        process.set_env(Some(env));
        let mut user = process.user().clone();
        owner = user.uid();
        let mut groups = user.additional_gids().clone().unwrap_or_default();
        groups
            .extend(edits.groups.iter().filter(|group| !groups.contains(group)).copied().collect::<Vec<_>>());
        user.set_additional_gids((!groups.is_empty()).then_some(groups));
        process.set_user(user);
    }
    let Some(linux) = oci.linux_mut() else { return Ok(()) };
    let mut nodes = linux.devices().clone().unwrap_or_default();
    let mut rules = Vec::new();
    for asked in &edits.device_nodes {
        let made = node(asked, own_users, owner)?;
        let access = if asked.permissions.is_empty() { "rwm" } else { &asked.permissions };
        rules.push(rule_of(&made, access));
        nodes.retain(|known| known.path() != made.path());
        nodes.push(made);
    }
    if !nodes.is_empty() {
        linux.set_devices(Some(nodes));
    }
    if let Some(resources) = linux.resources_mut().as_mut().filter(|_| !privileged) {
        let mut all = resources.devices().clone().unwrap_or_default();
        all.extend(rules);
        resources.set_devices(Some(all));
    }
    Ok(())
}

/// A node; what the specification does not say is as the host has it.
fn node(asked: &DeviceNode, own_users: bool, user: u32) -> Result<LinuxDevice, EngineError> {
    let path = Path::new(&asked.path);
    if !path.starts_with("/dev")
        || path == Path::new("/dev")
        || asked.path.split('/').any(|part| part == "..")
    {
        return Err(refuse(format!("the CDI device node {} is not below /dev", asked.path)));
    }
    let host = if asked.host_path.is_empty() { &asked.path } else { &asked.host_path };
    let found = std::fs::metadata(host);
    let (kind, major, minor) = match (asked.kind.as_str(), asked.major) {
        ("b", Some(major)) => (LinuxDeviceType::B, major, asked.minor.unwrap_or(0)),
        ("c" | "u", Some(major)) => (LinuxDeviceType::C, major, asked.minor.unwrap_or(0)),
        _ => {
            let found = found.as_ref().map_err(|error| {
                refuse(format!("the CDI device node {host} is not on this host: {error}"))
            })?;
            number_of(host, found)?
        }
    };
    let found = found.ok().filter(is_device);
    let mode =
        asked.file_mode.unwrap_or_else(|| found.as_ref().map_or(MODE, |found| found.permissions().mode()));
    // Without a word about it the node is its user's, as containerd has it.
    let of_host = |id: fn(&Metadata) -> u32| match own_users {
        true => 0,
        false => found.as_ref().map_or(0, id),
    };
    let uid = asked.uid.or((user > 0).then_some(user)).unwrap_or_else(|| of_host(Metadata::uid));
    LinuxDeviceBuilder::default()
        .path(path)
        .typ(kind)
        .major(i64::from(major))
        .minor(i64::from(minor))
        .file_mode(mode & 0o777)
        .uid(uid)
        .gid(asked.gid.unwrap_or_else(|| of_host(Metadata::gid)))
        .build()
        .map_err(|error| refuse(error.to_string()))
}

fn number_of(host: &str, found: &Metadata) -> Result<(LinuxDeviceType, u32, u32), EngineError> {
    use std::os::unix::fs::FileTypeExt;
    if !is_device(found) {
        return Err(refuse(format!("the CDI device node {host} is no device")));
    }
    let kind = if found.file_type().is_block_device() { LinuxDeviceType::B } else { LinuxDeviceType::C };
    let number = found.rdev();
    Ok((kind, rustix::fs::major(number), rustix::fs::minor(number)))
}

/// The mounts among the edits, beside those that were asked for.
pub(crate) fn mounts(edits: &Edits, asked: &[Mount]) -> Result<Vec<Mount>, EngineError> {
    let mut mounts: Vec<Mount> = Vec::new();
    for edit in &edits.mounts {
        let mut mount = bind(edit)?;
        mount.check()?;
        if asked.iter().any(|other| other.target == mount.target) {
            return Err(refuse(format!(
                "{} is mounted by a CDI device, and was asked for too",
                mount.target
            )));
        }
        // Several devices of a vendor bring the same file along.
        match mounts.iter().find(|known| known.target == mount.target) {
            Some(known) if *known == mount => {}
            Some(_) => {
                return Err(refuse(format!("two CDI devices mount different things on {}", mount.target)));
            }
            None => mounts.push(mount),
        }
    }
    let (count, most) = (mounts.len() + asked.len(), super::super::mount::MOST);
    if count > most {
        return Err(refuse(format!(
            "there are {count} mounts with those of CDI devices, at most {most} fit"
        )));
    }
    mounts.sort_by_key(Mount::depth);
    Ok(mounts)
}

fn bind(asked: &Asked) -> Result<Mount, EngineError> {
    let mut mount = Mount {
        kind: Kind::Bind,
        source: asked.host_path.clone(),
        target: asked.container_path.clone(),
        ..Mount::default()
    };
    let (mut once, mut recursive, mut bind) = (false, false, Bind::default());
    for option in &asked.options {
        match option.as_str() {
            "ro" => mount.read_only = true,
            "rw" => mount.read_only = false,
            "bind" => once = true,
            "rbind" => recursive = true,
            "nosuid" => bind.no_suid = true,
            "noexec" => bind.no_exec = true,
            "slave" | "rslave" => bind.propagation = Some(Spread::Slave),
            // As it is anyway: no device opens on a mount of the host's.
            "private" | "rprivate" | "nodev" | "suid" | "exec" | "defaults" | "relatime" | "" => {}
            other => {
                return Err(refuse(format!(
                    "the CDI mount {} has the option {other:?}, which is not known",
                    asked.container_path
                )));
            }
        }
    }
    bind.non_recursive = once && !recursive;
    mount.bind = bind;
    Ok(mount)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edits(json: &str) -> Edits {
        serde_json::from_str(json).expect("edits")
    }

    #[test]
    fn a_node_is_as_the_specification_says_else_as_the_host_has_it() {
        let mut oci = agent_runtime::defaults::spec(None);
        let all = edits(
            "{\"env\": [\"A=1\", \"PATH=/x\"], \"additionalGids\": [7, 7, 8], \"deviceNodes\": [{\"path\": \"/dev/one\", \"hostPath\": \
             \"/dev/zero\", \"permissions\": \"r\"}, {\"path\": \"/dev/two\", \"type\": \"c\", \"major\": 250, \"minor\": 9, \
             \"fileMode\": 384, \"uid\": 5}]}",
        );
        apply(&all, &mut oci, true, false).expect("applied");
        let linux = oci.linux().clone().expect("linux");
        let nodes = linux.devices().clone().expect("nodes");
        let shown: Vec<_> =
            nodes.iter().map(|node| (node.major(), node.minor(), node.uid(), node.file_mode())).collect();
        let zero = std::fs::metadata("/dev/zero").expect("the host's").permissions().mode() & 0o777;
        assert_eq!(shown, [(1, 5, Some(0), Some(zero)), (250, 9, Some(5), Some(0o600))]);
        let rules = linux.resources().as_ref().and_then(|all| all.devices().clone()).expect("rules");
        let access: Vec<_> = rules.iter().rev().take(2).map(|rule| rule.access().clone()).collect();
        assert_eq!(access, [Some("rwm".to_owned()), Some("r".to_owned())]);
        let process = oci.process().clone().expect("a process");
        let env = process.env().clone().unwrap_or_default();
        assert!(env.contains(&"A=1".to_owned()) && env.contains(&"PATH=/x".to_owned()), "{env:?}");
        assert_eq!(env.iter().filter(|one| one.starts_with("PATH=")).count(), 1);
    }

    #[test]
    fn what_cannot_be_given_is_refused() {
        for bad in [
            "{\"deviceNodes\": [{\"path\": \"/etc/null\", \"hostPath\": \"/dev/null\"}]}",
            "{\"deviceNodes\": [{\"path\": \"/dev/../etc/null\", \"hostPath\": \"/dev/null\"}]}",
            "{\"deviceNodes\": [{\"path\": \"/dev/no-such-device\"}]}",
            "{\"deviceNodes\": [{\"path\": \"/dev/x\", \"hostPath\": \"/etc/passwd\"}]}",
        ] {
            let mut oci = agent_runtime::defaults::spec(None);
            assert!(apply(&edits(bad), &mut oci, true, false).is_err(), "{bad}");
        }
        let of = |mount: &str| edits(&format!("{{\"mounts\": [{mount}]}}"));
        let plain = of(
            "{\"hostPath\": \"/a\", \"containerPath\": \"/b\", \"options\": [\"ro\", \"nosuid\", \"nodev\", \"bind\"]}",
        );
        let made = mounts(&plain, &[]).expect("a bind");
        assert!(made[0].read_only && made[0].bind.no_suid && made[0].bind.non_recursive);
        assert!(mounts(&plain, &made).is_err(), "the same place was asked for");
        for bad in [
            "{\"hostPath\": \"/a\", \"containerPath\": \"/proc/x\"}",
            "{\"hostPath\": \"/a\", \"containerPath\": \"/b\", \"options\": [\"dev\"]}",
            "{\"hostPath\": \"/a\", \"containerPath\": \"/b\", \"options\": [\"shared\"]}",
            "{\"hostPath\": \"/a\", \"containerPath\": \"/b\"}, {\"hostPath\": \"/c\", \"containerPath\": \"/b\"}",
        ] {
            assert!(mounts(&of(bad), &[]).is_err(), "{bad}");
        }
    }
}
