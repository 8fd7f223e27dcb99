//! The host's packet filter table: translation of published ports, masquerade, and what keeps containers from
//! being reached any other way. Spoken to over netlink in process; no `nft` program is run.
//!
//! Everything is one table of family `ip`, so removing the table removes all of it. Each change is one atomic
//! transaction of what differs: packets see the old rules or the new ones, established connections see neither.
//!
//! Other tables on the host are left alone. In nftables a packet must pass every table, so a host whose own rules
//! drop forwarded packets (Docker sets the policy of its `FORWARD` chain to drop) must let the bridge pass there,
//! for example `iptables -I DOCKER-USER -i roadstead0 -j ACCEPT` and the same with `-o`.

use std::{collections::BTreeMap, io, net::Ipv4Addr};

use self::{published::Applied, socket::Socket};
use super::{error::NetworkError, port::PortKey, subnet::Subnet};

mod attribute;
mod base;
mod batch;
mod expression;
mod published;
mod socket;
mod track;

/// The name of the table of the default bridge; other bridges' tables carry their name too, so that two agents
/// on one host do not share a table.
const TABLE: &str = "roadstead";
const DEFAULT_BRIDGE: &str = "roadstead0";

/// Rules attribute numbers of a listing (`NFTA_RULE_*`).
const RULE_CHAIN: u16 = 2;
const RULE_USER_DATA: u16 = 7;

/// The table of one bridge, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(super) struct Filter {
    socket: Socket,
    table: String,
    bridge: String,
    subnet: Subnet,
    applied: Applied,
    removed: bool,
}

impl Filter {
    /// Makes the table or adopts the one that is there: base rules are replaced by this version's, published
    /// ports stay as they are.
    pub(super) fn open(bridge: &str, subnet: Subnet) -> Result<Self, NetworkError> {
        let table = match bridge {
            DEFAULT_BRIDGE => TABLE.to_owned(),
            bridge => format!("{TABLE}-{bridge}"),
        };
        let socket = Socket::open().map_err(|source| NetworkError::Filter {
            action: "open the packet filter",
            table: table.clone(),
            source,
        })?;
        let bridge = bridge.to_owned();
        let mut filter = Self { socket, table, bridge, subnet, applied: Applied::new(), removed: false };
        filter.read_back().map_err(|error| filter.failed("list the rules", error))?;
        let mut batch = filter.socket.batch(&filter.table);
        base::write(&mut batch, &filter.bridge, subnet);
        filter.socket.commit(batch).map_err(|error| filter.failed("write the base rules", error))?;
        Ok(filter)
    }

    /// Makes the kernel serve exactly these ports; each has its targets sorted and without duplicates.
    pub(super) fn publish(
        &mut self,
        wanted: &BTreeMap<PortKey, Vec<(Ipv4Addr, u16)>>,
    ) -> Result<(), NetworkError> {
        let result = match self.apply(wanted, false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.write_again(wanted),
            result => result,
        };
        result.map_err(|error| self.failed("change the published ports", error))
    }

    /// Writes everything again if somebody flushed the table or the whole rule set; else does nothing.
    pub(super) fn restore(&mut self) -> Result<(), NetworkError> {
        if self.removed {
            return Ok(());
        }
        let (mut rules, table) = (0u32, &self.table);
        let list = |sequence| batch::list_rules(table, Some(base::NEVER_EMPTY), sequence);
        let listed = self.socket.request(list, |_| rules += 1);
        let restored = listed.and_then(|()| match rules {
            0 => self.write_again(&published::written(&self.applied)),
            _ => Ok(()),
        });
        restored.map_err(|error| self.failed("write the rules again", error))
    }

    fn write_again(&mut self, wanted: &BTreeMap<PortKey, Vec<(Ipv4Addr, u16)>>) -> io::Result<()> {
        tracing::warn!(
            table = self.table,
            "the packet filter was flushed by somebody; writing our rules again"
        );
        self.applied.clear();
        self.apply(wanted, true)
    }

    /// Removes the table with everything in it, for good.
    pub(super) fn remove(&mut self) -> Result<(), NetworkError> {
        self.removed = true;
        self.applied.clear();
        let mut batch = self.socket.batch(&self.table);
        batch.delete_table();
        match self.socket.commit(batch) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed("remove it", error)),
            _ => Ok(()),
        }
    }

    fn apply(&mut self, wanted: &BTreeMap<PortKey, Vec<(Ipv4Addr, u16)>>, with_base: bool) -> io::Result<()> {
        let changes = published::changes(&self.applied, wanted);
        let mut batch = self.socket.batch(&self.table);
        if with_base {
            base::write(&mut batch, &self.bridge, self.subnet);
        }
        for change in &changes {
            published::write(&mut batch, change);
        }
        self.socket.commit(batch)?;
        let stale = |change| track::stale(self.applied.get(&published::key(change)), change);
        let stale: Vec<_> = changes.iter().flat_map(stale).collect();
        for change in changes {
            match change {
                published::Change::Set(key, targets) => {
                    self.applied.insert(key, published::Known::Targets(targets.to_vec()));
                }
                published::Change::Remove(key) => {
                    self.applied.remove(&key);
                }
            }
        }
        self.forget(&stale);
        Ok(())
    }

    /// The ports are as wanted already, so what cannot be forgotten is not an error: those flows end by themselves
    /// once their clients are silent for two minutes.
    fn forget(&mut self, stale: &[track::Stale]) {
        for flows in stale {
            let request = |sequence| batch::delete_flows(&flows.attributes(), sequence);
            match self.socket.request(request, |_| {}) {
                // There are none.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => tracing::warn!(?flows, %error, "cannot end stale UDP flows"),
                Ok(()) => {}
            }
        }
    }

    fn read_back(&mut self) -> io::Result<()> {
        let (table, applied) = (&self.table, &mut self.applied);
        self.socket.request(
            |sequence| batch::list_rules(table, None, sequence),
            |rule| {
                let chain = attribute::find(rule, RULE_CHAIN).and_then(attribute::text);
                let comment = attribute::find(rule, RULE_USER_DATA).and_then(batch::decode_comment);
                applied.extend(chain.and_then(|chain| published::read_back(chain, comment)));
            },
        )
    }

    fn failed(&self, action: &'static str, source: io::Error) -> NetworkError {
        NetworkError::Filter { action, table: self.table.clone(), source }
    }
}
