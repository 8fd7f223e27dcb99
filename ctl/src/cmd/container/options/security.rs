//! How a container is confined.

use proto::v1::{Confinement, CreateContainerRequest};

use crate::cmd::service::spec;
use crate::error::{CommandError, Kind};

/// Confinement.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Confinement")]
pub(super) struct Security {
    /// Add a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,
    /// Take a capability away, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,
    /// Confine it in nothing: all capabilities and devices, the host's users, no filter
    #[arg(long)]
    privileged: bool,
    /// no-new-privileges=false, seccomp=unconfined, seccomp=FILE or systempaths=unconfined
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// Set a kernel parameter of its namespaces: NAME=VALUE
    #[arg(long, value_name = "NAME=VALUE", value_parser = spec::label)]
    sysctl: Vec<(String, String)>,
}

impl Security {
    pub(super) fn fill(self, request: &mut CreateContainerRequest) -> Result<(), CommandError> {
        let mut confinement = Confinement {
            cap_add: self.cap_add,
            cap_drop: self.cap_drop,
            privileged: self.privileged,
            ..Confinement::default()
        };
        for option in &self.security_opt {
            read(option, &mut confinement).map_err(|reason| {
                CommandError::new(Kind::Usage, format!("--security-opt {option}: {reason}"))
            })?;
        }
        let isolation = super::isolation(request);
        isolation.confinement = Some(confinement);
        isolation.sysctls = self.sysctl.into_iter().collect();
        Ok(())
    }
}

/// One option, with `=` or, as older scripts have it, `:`.
fn read(option: &str, confinement: &mut Confinement) -> Result<(), String> {
    let (key, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
    match (key, value) {
        ("no-new-privileges", "" | "true") => confinement.no_new_privileges = Some(true),
        ("no-new-privileges", "false") => confinement.no_new_privileges = Some(false),
        ("seccomp", "unconfined") => confinement.seccomp_unconfined = true,
        ("seccomp", "default" | "builtin") => {}
        ("seccomp", "") => return Err("expected unconfined, default or a file with a profile".to_owned()),
        ("seccomp", file) => confinement.seccomp_profile = profile(file)?,
        ("systempaths", "unconfined") => confinement.system_paths_unconfined = true,
        // What there is none of is never confined by it.
        ("apparmor", "unconfined") | ("label", "disable") => {}
        ("apparmor", _) => {
            return Err("AppArmor profiles are not applied; only apparmor=unconfined is taken".to_owned());
        }
        ("label", _) => return Err("SELinux labels are not applied; only label=disable is taken".to_owned()),
        _ => {
            return Err("expected no-new-privileges[=false], seccomp=unconfined, seccomp=FILE or \
                        systempaths=unconfined"
                .to_owned());
        }
    }
    Ok(())
}

/// The profile in a file, in one line.
fn profile(file: &str) -> Result<String, String> {
    const MOST: u64 = 4 << 20;
    let size = std::fs::metadata(file).map_err(|error| format!("cannot read {file}: {error}"))?.len();
    if size > MOST {
        return Err(format!("{file} has more than {MOST} bytes"));
    }
    let text = std::fs::read(file).map_err(|error| format!("cannot read {file}: {error}"))?;
    let value: serde_json::Value =
        serde_json::from_slice(&text).map_err(|error| format!("{file} is no JSON: {error}"))?;
    Ok(value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confined(option: &str) -> Result<Confinement, String> {
        let mut confinement = Confinement::default();
        read(option, &mut confinement).map(|()| confinement)
    }

    #[test]
    fn options_are_read_in_both_spellings() {
        for (option, expected) in [
            ("no-new-privileges", true),
            ("no-new-privileges:true", true),
            ("no-new-privileges=false", false),
        ] {
            assert_eq!(confined(option).map(|c| c.no_new_privileges), Ok(Some(expected)), "{option}");
        }
        assert_eq!(confined("seccomp:unconfined").map(|c| c.seccomp_unconfined), Ok(true));
        assert_eq!(confined("systempaths=unconfined").map(|c| c.system_paths_unconfined), Ok(true));
        assert_eq!(confined("apparmor=unconfined"), Ok(Confinement::default()));
    }

    #[test]
    fn what_is_not_applied_is_refused() {
        for option in [
            "apparmor=docker-default",
            "label=type:x",
            "seccomp=",
            "seccomp=/no/such",
            "nope",
            "systempaths=x",
            "no-new-privileges=maybe",
        ] {
            assert!(confined(option).is_err(), "{option}");
        }
    }

    #[test]
    fn a_profile_is_sent_without_its_blanks() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{\n  \"defaultAction\": \"SCMP_ACT_ALLOW\"\n}\n").unwrap();
        let option = format!("seccomp={}", file.path().display());
        assert_eq!(confined(&option).unwrap().seccomp_profile, "{\"defaultAction\":\"SCMP_ACT_ALLOW\"}");
    }
}
