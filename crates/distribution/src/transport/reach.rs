//! Which network addresses an answer of a registry may lead us to. A registry names hosts (token
//! realms, upload locations, redirects), and an attacker behind one would like to name ours.

use std::net::IpAddr;

/// Where an address lies, as far as the guard cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Zone {
    Public,
    Private,
    Loopback,
    /// Link-local (cloud metadata lives there), multicast and reserved: no registry is there.
    Never,
}

/// The zones that requests may reach: the public one always, the others where the registry lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    private: bool,
    loopback: bool,
}

impl Reach {
    /// Every reach, each at its own [`Reach::index`].
    pub(crate) const ALL: [Self; 4] = [
        Self { private: false, loopback: false },
        Self { private: true, loopback: false },
        Self { private: false, loopback: true },
        Self { private: true, loopback: true },
    ];
    /// For the registry's own host, which an administrator named.
    pub(crate) const HOME: Self = Self { private: true, loopback: true };

    /// The reach of a registry that lives at these addresses.
    pub(crate) fn of(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        addresses.into_iter().fold(Self::default(), |reach, address| match zone(address) {
            Zone::Private => Self { private: true, ..reach },
            Zone::Loopback => Self { loopback: true, ..reach },
            Zone::Public | Zone::Never => reach,
        })
    }

    /// The position in [`Reach::ALL`].
    pub(crate) fn index(self) -> usize {
        usize::from(self.private) + 2 * usize::from(self.loopback)
    }

    /// Whether a request may go to the address.
    pub(crate) fn allows(self, address: IpAddr) -> bool {
        match zone(address) {
            Zone::Public => true,
            Zone::Private => self.private,
            Zone::Loopback => self.loopback,
            Zone::Never => false,
        }
    }
}

fn zone(address: IpAddr) -> Zone {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            match (a, b, c) {
                (0 | 127, ..) => Zone::Loopback,
                (10, ..) | (172, 16..=31, _) | (192, 168, _) => Zone::Private,
                // Shared by providers, protocol assignments and benchmarks: some clouds keep metadata here.
                (100, 64..=127, _) | (192, 0, 0) | (198, 18..=19, _) => Zone::Private,
                (169, 254, _) | (224.., ..) => Zone::Never,
                _ => Zone::Public,
            }
        }
        IpAddr::V6(v6) => {
            let [first, second, .., before, last] = v6.segments();
            if v6.is_loopback() || v6.is_unspecified() {
                Zone::Loopback
            } else if v6.is_unicast_link_local() || v6.is_multicast() {
                Zone::Never
            } else if v6.is_unique_local() || first & 0xffc0 == 0xfec0 {
                Zone::Private
            } else if (first, second) == (0x64, 0xff9b) || v6.segments()[..6] == [0; 6] {
                // NAT64 and the old compatible form carry an IPv4 address in their last four bytes.
                let [a, b] = before.to_be_bytes();
                let [c, d] = last.to_be_bytes();
                zone(IpAddr::from([a, b, c, d]))
            } else {
                Zone::Public
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_zone_is_told_apart() {
        let cases = [
            ("8.8.8.8", Zone::Public),
            ("172.32.0.1", Zone::Public),
            ("2606:4700::1", Zone::Public),
            ("10.1.2.3", Zone::Private),
            ("172.16.0.1", Zone::Private),
            ("192.168.7.7", Zone::Private),
            ("100.100.100.200", Zone::Private),
            ("fd00:ec2::254", Zone::Private),
            ("::ffff:10.0.0.1", Zone::Private),
            ("127.0.0.1", Zone::Loopback),
            ("0.0.0.0", Zone::Loopback),
            ("::1", Zone::Loopback),
            ("::ffff:127.0.0.1", Zone::Loopback),
            ("64:ff9b::7f00:1", Zone::Loopback),
            ("169.254.169.254", Zone::Never),
            ("::ffff:169.254.169.254", Zone::Never),
            ("64:ff9b::a9fe:a9fe", Zone::Never),
            ("fe80::1", Zone::Never),
            ("224.0.0.1", Zone::Never),
            ("255.255.255.255", Zone::Never),
        ];
        for (text, expected) in cases {
            assert_eq!(zone(text.parse().expect(text)), expected, "{text}");
        }
    }

    #[test]
    fn a_registry_opens_only_the_zones_it_lives_in() {
        let address = |text: &str| text.parse::<IpAddr>().expect(text);
        let public = Reach::of([address("8.8.8.8")]);
        let private = Reach::of([address("10.0.0.1")]);
        let here = Reach::of([address("127.0.0.1")]);
        assert!(public.allows(address("1.1.1.1")) && !public.allows(address("10.0.0.2")));
        assert!(private.allows(address("192.168.0.1")) && !private.allows(address("127.0.0.1")));
        assert!(here.allows(address("::1")) && !here.allows(address("10.0.0.1")));
        assert!(!Reach::HOME.allows(address("169.254.169.254")));
    }

    #[test]
    fn every_reach_is_found_at_its_index() {
        for (index, reach) in Reach::ALL.into_iter().enumerate() {
            assert_eq!(reach.index(), index);
        }
    }
}
