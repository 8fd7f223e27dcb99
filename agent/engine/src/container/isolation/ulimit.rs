//! Limits of processes, by the names of `ulimit`.

use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Spec};
use serde::{Deserialize, Serialize};

use crate::EngineError;

/// One limit. -1 is "unlimited".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// `nofile`, `nproc`, ...
    pub name: String,
    /// What the program starts with.
    pub soft: i64,
    /// What it may raise that to.
    pub hard: i64,
}

impl Ulimit {
    pub(super) fn check(&self) -> Result<(), EngineError> {
        self.parse().map(drop)
    }

    fn parse(&self) -> Result<PosixRlimit, EngineError> {
        let refuse = |rule: String| EngineError::invalid("ulimit", rule);
        let kind = kind(&self.name).ok_or_else(|| {
            refuse(format!(
                "{:?} is no limit; known are {}",
                self.name,
                NAMES.map(|(name, _)| name).join(", ")
            ))
        })?;
        let number = |value: i64| match value {
            -1 => Ok(u64::MAX),
            _ => u64::try_from(value).map_err(|_| {
                refuse(format!("{}: {value} is neither a number from 0 on nor -1 (unlimited)", self.name))
            }),
        };
        let (soft, hard) = (number(self.soft)?, number(self.hard)?);
        if soft > hard {
            return Err(refuse(format!(
                "{}: the soft limit {} exceeds the hard limit {}",
                self.name, self.soft, self.hard
            )));
        }
        PosixRlimitBuilder::default()
            .typ(kind)
            .soft(soft)
            .hard(hard)
            .build()
            .map_err(|error| refuse(error.to_string()))
    }
}

/// Replaces limits of the specification; a later one of the same name wins.
pub(super) fn apply(ulimits: &[Ulimit], oci: &mut Spec) -> Result<(), EngineError> {
    let Some(process) = oci.process_mut() else { return Ok(()) };
    let mut limits = process.rlimits().clone().unwrap_or_default();
    for ulimit in ulimits {
        let limit = ulimit.parse()?;
        limits.retain(|known| known.typ() != limit.typ());
        limits.push(limit);
    }
    process.set_rlimits(Some(limits));
    Ok(())
}

const NAMES: [(&str, PosixRlimitType); 15] = [
    ("core", PosixRlimitType::RlimitCore),
    ("cpu", PosixRlimitType::RlimitCpu),
    ("data", PosixRlimitType::RlimitData),
    ("fsize", PosixRlimitType::RlimitFsize),
    ("locks", PosixRlimitType::RlimitLocks),
    ("memlock", PosixRlimitType::RlimitMemlock),
    ("msgqueue", PosixRlimitType::RlimitMsgqueue),
    ("nice", PosixRlimitType::RlimitNice),
    ("nofile", PosixRlimitType::RlimitNofile),
    ("nproc", PosixRlimitType::RlimitNproc),
    ("rss", PosixRlimitType::RlimitRss),
    ("rtprio", PosixRlimitType::RlimitRtprio),
    ("rttime", PosixRlimitType::RlimitRttime),
    ("sigpending", PosixRlimitType::RlimitSigpending),
    ("stack", PosixRlimitType::RlimitStack),
];

fn kind(name: &str) -> Option<PosixRlimitType> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ulimit(name: &str, soft: i64, hard: i64) -> Ulimit {
        Ulimit { name: name.to_owned(), soft, hard }
    }

    #[test]
    fn a_given_limit_takes_the_place_of_the_default() {
        let mut oci = agent_runtime::defaults::spec(None);
        apply(&[ulimit("nofile", 10, 20), ulimit("core", -1, -1), ulimit("nofile", 30, 40)], &mut oci)
            .expect("limits");
        let limits = oci.process().as_ref().and_then(|process| process.rlimits().clone()).expect("limits");
        let shown: Vec<_> = limits.iter().map(|limit| (limit.typ(), limit.soft(), limit.hard())).collect();
        assert_eq!(
            shown,
            [(PosixRlimitType::RlimitCore, u64::MAX, u64::MAX), (PosixRlimitType::RlimitNofile, 30, 40),]
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in
            [ulimit("files", 1, 1), ulimit("nofile", 2, 1), ulimit("nofile", -2, 1), ulimit("nofile", -1, 5)]
        {
            assert!(bad.check().is_err(), "{bad:?}");
        }
        ulimit("nofile", 5, -1).check().expect("unlimited is more than 5");
    }
}
