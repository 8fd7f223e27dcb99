//! Which container has which address. The truth is in the kernel (the host end of each pair carries the address in
//! its hardware address); this is the table read from it, plus a cursor so that a freed address rests as long as
//! others are free: connection tracking and neighbour caches may still know it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    path::PathBuf,
};

use super::{error::NetworkError, subnet::Subnet};

/// The cursor is written ahead by this many addresses, so most leases write nothing.
const WRITE_AHEAD: u32 = 64;

/// The leased addresses of one subnet, by name of the host end.
#[derive(Debug)]
pub(super) struct Leases {
    subnet: Subnet,
    cursor_file: PathBuf,
    next: u32,
    ahead: u32,
    leased: BTreeMap<String, Ipv4Addr>,
    ordinals: BTreeSet<u32>,
}

impl Leases {
    /// An empty table; the cursor goes on where the last agent on this run directory left it.
    pub(super) fn open(subnet: Subnet, cursor_file: PathBuf) -> Self {
        let stored = std::fs::read_to_string(&cursor_file).ok();
        let next = stored.and_then(|text| text.trim().parse::<u32>().ok()).unwrap_or(0);
        let next = next % subnet.capacity();
        Self { subnet, cursor_file, next, ahead: 0, leased: BTreeMap::new(), ordinals: BTreeSet::new() }
    }

    /// Takes over a lease found on the host. Addresses of another subnet (the agent was given a new one) are kept
    /// too, so that their containers go on as far as they can.
    pub(super) fn adopt(&mut self, name: String, address: Ipv4Addr) {
        self.ordinals.extend(self.subnet.ordinal(address));
        self.leased.insert(name, address);
    }

    /// The address of this name, if it has one.
    pub(super) fn get(&self, name: &str) -> Option<Ipv4Addr> {
        self.leased.get(name).copied()
    }

    /// All names that have an address.
    pub(super) fn names(&self) -> Vec<String> {
        self.leased.keys().cloned().collect()
    }

    /// Leases an address, or returns the one this name has.
    pub(super) fn take(&mut self, name: &str) -> Result<Ipv4Addr, NetworkError> {
        if let Some(address) = self.get(name) {
            return Ok(address);
        }
        let capacity = self.subnet.capacity();
        let from = self.next;
        let found = (0..capacity)
            .map(|step| (step, (from + step) % capacity))
            .find(|(_, ordinal)| !self.ordinals.contains(ordinal))
            .and_then(|(step, ordinal)| Some((step, ordinal, self.subnet.address(ordinal)?)));
        let Some((step, ordinal, address)) = found else {
            return Err(NetworkError::SubnetFull { subnet: self.subnet.to_string(), count: capacity });
        };
        self.advance(step + 1);
        self.ordinals.insert(ordinal);
        self.leased.insert(name.to_owned(), address);
        Ok(address)
    }

    /// Addresses that nobody has.
    pub(super) fn free(&self) -> u32 {
        let taken = u32::try_from(self.ordinals.len()).unwrap_or(u32::MAX);
        self.subnet.capacity().saturating_sub(taken)
    }

    /// Gives the address back; nothing happens when the name has none.
    pub(super) fn release(&mut self, name: &str) {
        if let Some(address) = self.leased.remove(name)
            && let Some(ordinal) = self.subnet.ordinal(address)
        {
            self.ordinals.remove(&ordinal);
        }
    }

    fn advance(&mut self, steps: u32) {
        let capacity = self.subnet.capacity();
        self.next = (self.next + steps) % capacity;
        if let Some(left) = self.ahead.checked_sub(steps) {
            self.ahead = left;
            return;
        }
        self.ahead = WRITE_AHEAD;
        let promised = (self.next + WRITE_AHEAD) % capacity;
        if let Err(error) = std::fs::write(&self.cursor_file, promised.to_string()) {
            // Only costs the rest of freed addresses after a restart.
            tracing::warn!(file = %self.cursor_file.display(), %error, "cannot write the address cursor");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leases(subnet: &str) -> (tempfile::TempDir, Leases) {
        let dir = tempfile::tempdir().unwrap();
        let leases = Leases::open(subnet.parse().unwrap(), dir.path().join("cursor"));
        (dir, leases)
    }

    #[test]
    fn one_name_has_one_address_however_often_it_asks() {
        let (_dir, mut leases) = leases("10.0.0.0/24");
        let first = leases.take("a").unwrap();
        assert_eq!(leases.take("a").unwrap(), first);
        assert_eq!(first, Ipv4Addr::new(10, 0, 0, 2));
    }

    #[test]
    fn a_freed_address_rests_until_the_others_were_used() {
        let (_dir, mut leases) = leases("10.0.0.0/29");
        let mut seen = Vec::new();
        for round in 0..5 {
            let name = format!("n{round}");
            seen.push(leases.take(&name).unwrap());
            leases.release(&name);
        }
        let distinct: BTreeSet<_> = seen.iter().collect();
        assert_eq!(distinct.len(), 5, "{seen:?}");
        assert_eq!(leases.take("again").unwrap(), seen[0]);
    }

    #[test]
    fn a_full_subnet_says_so_and_a_release_makes_room() {
        let (_dir, mut leases) = leases("10.0.0.0/29");
        for name in ["a", "b", "c", "d", "e"] {
            leases.take(name).unwrap();
        }
        let error = leases.take("f").unwrap_err();
        assert_eq!(error.to_string(), "no address is left in subnet 10.0.0.0/29: all 5 are in use");
        leases.release("c");
        assert_eq!(leases.take("f").unwrap(), Ipv4Addr::new(10, 0, 0, 4));
    }

    #[test]
    fn after_a_restart_a_freed_address_still_rests_and_adopted_ones_are_taken() {
        let (dir, mut before) = leases("10.0.0.0/24");
        let freed = before.take("a").unwrap();
        before.release("a");
        let mut after = Leases::open("10.0.0.0/24".parse().unwrap(), dir.path().join("cursor"));
        let adopted = Ipv4Addr::new(10, 0, 0, 200);
        after.adopt("b".into(), adopted);
        let taken: Vec<_> = (0..150).map(|n| after.take(&format!("n{n}")).unwrap()).collect();
        assert!(!taken.contains(&adopted) && !taken.contains(&freed), "{taken:?}");
        assert_eq!(after.take("b").unwrap(), adopted);
    }
}
