//! When a container that has ended runs again: a pure function of its policy,
//! what became of it before, how it ended and the time. The meanings are
//! Docker's; the answer is kept in the record, so it holds for whichever agent
//! comes next. Acting on it is `engine/restart.rs`. Containers of tasks have no
//! policy: the controller replaces those.

use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The pause before the first restart, in milliseconds; it doubles from one restart to the next.
pub const FIRST_PAUSE_MS: u64 = 100;
/// The longest pause, in milliseconds.
pub const LONGEST_PAUSE_MS: u64 = 60_000;
/// Who ran for so long, in milliseconds, starts over with the first pause.
pub const SETTLED_MS: u64 = 10_000;

/// Which ends of a container are followed by another start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// None.
    #[default]
    No,
    /// Those with an exit code other than 0.
    OnFailure {
        /// So many times in a row at most; without it there is no limit.
        max: Option<NonZeroU32>,
    },
    /// All; one stopped by hand comes back when the agent or the host does.
    Always,
    /// All; one stopped by hand stays stopped until it is started by hand.
    UnlessStopped,
}

/// A text that names no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a restart policy: it is no, on-failure, on-failure:TIMES, always or unless-stopped")]
pub struct NoPolicy(String);

impl FromStr for RestartPolicy {
    type Err = NoPolicy;

    /// Docker's notation; an empty text is `no`.
    fn from_str(text: &str) -> Result<Self, NoPolicy> {
        let unknown = || NoPolicy(text.to_owned());
        match text.split_once(':') {
            None => match text {
                "" | "no" => Ok(Self::No),
                "on-failure" => Ok(Self::OnFailure { max: None }),
                "always" => Ok(Self::Always),
                "unless-stopped" => Ok(Self::UnlessStopped),
                _ => Err(unknown()),
            },
            // 0 is "no limit", as with Docker.
            Some(("on-failure", times)) if times.bytes().all(|byte| byte.is_ascii_digit()) => {
                let times = times.parse().map_err(|_| unknown())?;
                Ok(Self::OnFailure { max: NonZeroU32::new(times) })
            }
            Some(_) => Err(unknown()),
        }
    }
}

impl std::fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::No => f.write_str("no"),
            Self::OnFailure { max: None } => f.write_str("on-failure"),
            Self::OnFailure { max: Some(max) } => write!(f, "on-failure:{max}"),
            Self::Always => f.write_str("always"),
            Self::UnlessStopped => f.write_str("unless-stopped"),
        }
    }
}

/// What a policy needs to know of the past; part of a container's record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Restarts {
    /// Restarts since it was last started by hand.
    pub(crate) count: u32,
    /// The pause before the last of them, in milliseconds; 0 before the first.
    pub(crate) pause_ms: u64,
    /// When it is to run again, in milliseconds since 1970.
    pub(crate) due_at_ms: Option<u64>,
    /// It was ended by hand.
    pub(crate) stopped: bool,
}

/// One end of a container.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    /// Whether that was a failure: an exit code other than 0, or a start that did not succeed.
    pub(crate) failed: bool,
    /// How long it had run, in milliseconds.
    pub(crate) ran_ms: u64,
}

/// What the policy makes of an end at the time `now_ms`: the record's next
/// state, due again or not.
pub(crate) fn after_end(policy: RestartPolicy, past: &Restarts, end: End, now_ms: u64) -> Restarts {
    let again = !past.stopped
        && match policy {
            RestartPolicy::No => false,
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
            RestartPolicy::OnFailure { max } => end.failed && max.is_none_or(|max| past.count < max.get()),
        };
    if !again {
        return Restarts { due_at_ms: None, ..past.clone() };
    }
    let pause_ms = match past.pause_ms {
        0 => FIRST_PAUSE_MS,
        _ if end.ran_ms >= SETTLED_MS => FIRST_PAUSE_MS,
        last => last.saturating_mul(2).min(LONGEST_PAUSE_MS),
    };
    Restarts {
        count: past.count.saturating_add(1),
        pause_ms,
        due_at_ms: Some(now_ms.saturating_add(pause_ms)),
        stopped: false,
    }
}

/// What the policy makes of a container that is found ended when the agent, and
/// perhaps the host, comes back: a pending restart stays due, and the policies
/// that mean "keep it running" start what ended with the last agent.
pub(crate) fn at_open(policy: RestartPolicy, past: &Restarts, now_ms: u64) -> Restarts {
    let due = match (policy, past.due_at_ms) {
        (RestartPolicy::No, _) => None,
        // The clock may have been set meanwhile; nobody waits longer than the pause.
        (_, Some(due)) => Some(due.min(now_ms.saturating_add(past.pause_ms))),
        (RestartPolicy::Always, None) => Some(now_ms),
        (RestartPolicy::UnlessStopped, None) => (!past.stopped).then_some(now_ms),
        (RestartPolicy::OnFailure { .. }, None) => None,
    };
    Restarts { due_at_ms: due, stopped: past.stopped && due.is_none(), ..past.clone() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policies() -> impl Strategy<Value = RestartPolicy> {
        prop_oneof![
            Just(RestartPolicy::No),
            Just(RestartPolicy::Always),
            Just(RestartPolicy::UnlessStopped),
            (0..9_u32).prop_map(|max| RestartPolicy::OnFailure { max: NonZeroU32::new(max) }),
        ]
    }

    fn ends() -> impl Strategy<Value = End> {
        (any::<bool>(), 0..30_000_u64).prop_map(|(failed, ran_ms)| End { failed, ran_ms })
    }

    proptest! {
        #[test]
        fn a_policy_reads_back_as_it_is_shown(policy in policies()) {
            prop_assert_eq!(policy.to_string().parse(), Ok(policy));
            let json = serde_json::to_string(&policy).unwrap();
            prop_assert_eq!(serde_json::from_str::<RestartPolicy>(&json).unwrap(), policy);
        }

        #[test]
        fn pauses_double_up_to_a_minute_and_start_over_after_ten_seconds(
            ends in prop::collection::vec(ends(), 1..40), now in 0..u64::from(u32::MAX),
        ) {
            let mut past = Restarts::default();
            for end in ends {
                let next = after_end(RestartPolicy::Always, &past, end, now);
                let expected = if past.pause_ms == 0 || end.ran_ms >= 10_000 { 100 } else { (past.pause_ms * 2).min(60_000) };
                prop_assert_eq!(next.pause_ms, expected);
                prop_assert_eq!(next.due_at_ms, Some(now + expected));
                prop_assert_eq!(next.count, past.count + 1);
                past = next;
            }
        }

        #[test]
        fn what_was_stopped_by_hand_stays_whatever_the_policy_until_the_agent_comes_back(
            policy in policies(), end in ends(), count in 0..9_u32,
        ) {
            let past = Restarts { count, stopped: true, ..Restarts::default() };
            let next = after_end(policy, &past, end, 5);
            prop_assert_eq!(&next, &past);
            let opened = at_open(policy, &next, 7);
            prop_assert_eq!(opened.due_at_ms.is_some(), policy == RestartPolicy::Always);
            prop_assert_eq!(opened.stopped, policy != RestartPolicy::Always);
        }

        #[test]
        fn a_limit_on_failures_is_kept_and_success_is_the_end(max in 1..9_u32, ends in prop::collection::vec(ends(), 1..40)) {
            let policy = RestartPolicy::OnFailure { max: NonZeroU32::new(max) };
            let mut past = Restarts::default();
            for end in ends {
                let next = after_end(policy, &past, end, 0);
                prop_assert_eq!(next.due_at_ms.is_some(), end.failed && past.count < max);
                prop_assert!(next.count <= max);
                if next.due_at_ms.is_none() {
                    break;
                }
                past = Restarts { due_at_ms: None, ..next };
            }
        }

        #[test]
        fn a_pending_restart_outlives_the_agent_and_a_clock_that_was_set_back(
            policy in policies(), end in ends(), now in 1..u64::from(u32::MAX), later in 0..u64::from(u32::MAX),
        ) {
            let pending = after_end(policy, &Restarts::default(), end, now);
            let opened = at_open(policy, &pending, later);
            if pending.due_at_ms.is_some() {
                prop_assert!(opened.due_at_ms.unwrap() <= later + pending.pause_ms);
                prop_assert_eq!(opened.count, pending.count);
            }
            prop_assert_eq!(opened.due_at_ms.is_some() && policy == RestartPolicy::No, false);
        }
    }

    #[test]
    fn dockers_notation_is_understood_and_nothing_else() {
        let parse = |text: &str| text.parse::<RestartPolicy>();
        assert_eq!(parse(""), Ok(RestartPolicy::No));
        assert_eq!(parse("on-failure:0"), Ok(RestartPolicy::OnFailure { max: None }));
        assert_eq!(parse("on-failure:3"), Ok(RestartPolicy::OnFailure { max: NonZeroU32::new(3) }));
        for text in [
            "never",
            "on-failure:",
            "on-failure:-1",
            "on-failure:x",
            "always:3",
            "no:1",
            "on-failure:99999999999",
        ] {
            let refused = parse(text).unwrap_err().to_string();
            assert!(refused.contains(text) && refused.contains("unless-stopped"), "{refused}");
        }
    }
}
