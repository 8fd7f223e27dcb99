//! The address range of one bridge network: parsing, the gateway, which addresses containers may have, and the
//! hardware addresses that follow from them.

use std::{fmt, net::Ipv4Addr, str::FromStr};

use super::error::NetworkError;

/// An IPv4 range in CIDR notation, for example `10.213.0.0/16`. The first address is the gateway (the bridge).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    network: u32,
    prefix: u8,
}

impl Subnet {
    /// Length of the prefix in bits.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The network address itself.
    pub fn network(self) -> Ipv4Addr {
        Ipv4Addr::from(self.network)
    }

    /// The first address: the bridge, through which containers reach everything else.
    pub fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from(self.network + 1)
    }

    /// The prefix as a bit mask.
    pub fn mask(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::MAX << (32 - u32::from(self.prefix)))
    }

    /// How many addresses containers can have: all but network, gateway and broadcast.
    pub fn capacity(self) -> u32 {
        (1 << (32 - u32::from(self.prefix))) - 3
    }

    /// The container address with this ordinal, counted from 0; `None` at or beyond [`Self::capacity`].
    pub fn address(self, ordinal: u32) -> Option<Ipv4Addr> {
        (ordinal < self.capacity()).then(|| Ipv4Addr::from(self.network + 2 + ordinal))
    }

    /// The ordinal of a container address; `None` for any other address.
    pub fn ordinal(self, address: Ipv4Addr) -> Option<u32> {
        let ordinal = u32::from(address).checked_sub(self.network)?.checked_sub(2)?;
        (ordinal < self.capacity()).then_some(ordinal)
    }

    /// Whether the address lies in the range.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & u32::from(self.mask()) == self.network
    }
}

impl FromStr for Subnet {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let bad = |rule| NetworkError::BadSubnet { text: text.to_owned(), rule };
        let form = "write it as address/bits, for example 10.213.0.0/16";
        let (address, bits) = text.split_once('/').ok_or_else(|| bad(form))?;
        let address: Ipv4Addr = address.parse().map_err(|_| bad(form))?;
        let prefix: u8 = bits.parse().map_err(|_| bad(form))?;
        if !(8..=29).contains(&prefix) {
            return Err(bad("the prefix must have 8 to 29 bits"));
        }
        if address.is_loopback() || address.is_multicast() || address.is_unspecified() {
            return Err(bad("it must be ordinary unicast addresses"));
        }
        let subnet = Self { network: u32::from(address), prefix };
        if !subnet.contains(address) {
            return Err(bad("bits are set right of the prefix"));
        }
        Ok(subnet)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network(), self.prefix)
    }
}

/// First octet of a container's hardware address (locally administered, unicast).
const CONTAINER_MARK: [u8; 2] = [0x02, 0x72];
/// First octets of the host end of its pair. The host end carries the container's address in its hardware
/// address, so that a restarted agent reads every lease back from one dump of the links.
const HOST_MARK: [u8; 2] = [0x06, 0x72];

fn hardware_address(mark: [u8; 2], address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [mark[0], mark[1], a, b, c, d]
}

/// The hardware address of the interface that has this address (containers' `eth0`, and the bridge).
pub(super) fn container_mac(address: Ipv4Addr) -> [u8; 6] {
    hardware_address(CONTAINER_MARK, address)
}

/// The hardware address of the host end of the pair whose container has this address.
pub(super) fn host_mac(address: Ipv4Addr) -> [u8; 6] {
    hardware_address(HOST_MARK, address)
}

/// The container's address, read back from the hardware address of the host end of its pair.
pub(super) fn address_of_host_mac(mac: &[u8]) -> Option<Ipv4Addr> {
    let (mark, octets) = mac.split_first_chunk::<2>()?;
    let octets: [u8; 4] = octets.try_into().ok()?;
    (*mark == HOST_MARK).then(|| Ipv4Addr::from(octets))
}

/// A hardware address as people write it.
pub(super) fn mac_text(mac: [u8; 6]) -> String {
    let [a, b, c, d, e, f] = mac;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_address_is_the_gateway_and_the_rest_belong_to_containers() {
        let subnet: Subnet = "10.213.0.0/16".parse().unwrap();
        assert_eq!(subnet.gateway(), Ipv4Addr::new(10, 213, 0, 1));
        assert_eq!(subnet.address(0), Some(Ipv4Addr::new(10, 213, 0, 2)));
        assert_eq!(subnet.address(subnet.capacity() - 1), Some(Ipv4Addr::new(10, 213, 255, 254)));
        assert_eq!(subnet.address(subnet.capacity()), None);
        assert_eq!(subnet.ordinal(subnet.gateway()), None);
        assert_eq!(subnet.ordinal(Ipv4Addr::new(10, 213, 255, 255)), None);
        assert_eq!(subnet.to_string(), "10.213.0.0/16");
    }

    #[test]
    fn a_subnet_that_cannot_work_is_refused_with_its_rule() {
        for text in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.1/16", "127.0.0.0/8", "10.0.0.0/30", "x/16"] {
            assert!(matches!(text.parse::<Subnet>(), Err(NetworkError::BadSubnet { .. })), "{text}");
        }
    }

    #[test]
    fn a_lease_can_be_read_back_from_the_host_end() {
        let address = Ipv4Addr::new(10, 213, 7, 9);
        assert_eq!(address_of_host_mac(&host_mac(address)), Some(address));
        assert_eq!(address_of_host_mac(&container_mac(address)), None);
        assert_eq!(address_of_host_mac(&[6, 0x72]), None);
        assert_eq!(mac_text(container_mac(address)), "02:72:0a:d5:07:09");
    }
}
