//! Registries, their addresses, and the names by which references call an address. All of these are few,
//! so one change copies them whole.

use std::collections::HashMap;

use domain::reference::{Host, Reference};
use domain::registry::{Address, RegistryId};

/// A registry as the facts tell of it.
#[derive(Clone)]
pub(super) struct Registry {
    pub(super) id: RegistryId,
    pub(super) name: Option<Box<str>>,
    pub(super) live: bool,
}

/// A registry at one of its addresses.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) registry: u32,
    /// The address as the administrator wrote it, which is how rewritten references spell it.
    pub(super) address: u32,
    /// The same address without a port that its scheme implies.
    pub(super) canonical: u32,
}

/// An address as it is spelled and as it is looked up.
#[derive(Clone, Copy)]
struct Numbers {
    spelled: u32,
    canonical: u32,
}

#[derive(Clone)]
struct Name {
    path: Option<Box<str>>,
    means: Means,
}

#[derive(Clone, Copy)]
enum Means {
    Address(u32),
    CurrentSource,
}

#[derive(Clone, Default)]
pub(super) struct Places {
    addresses: Vec<Address>,
    address_numbers: HashMap<Address, Numbers>,
    registries: Vec<Registry>,
    registry_numbers: HashMap<RegistryId, u32>,
    places: Vec<Place>,
    place_numbers: HashMap<Place, u32>,
    /// By host.
    names: HashMap<Box<str>, Vec<Name>>,
    source: Option<u32>,
}

impl Places {
    /// No registry yet; `aliases` are other names of whichever source registry is current.
    pub(super) fn new(aliases: &[Address]) -> Self {
        let mut places = Self::default();
        for alias in aliases {
            places.name(&canonical(alias), Means::CurrentSource);
        }
        places
    }

    /// Makes this the current source registry.
    pub(super) fn set_source(&mut self, address: &Address) {
        self.source = Some(self.named_address(address));
    }

    /// The number under which references find an address, however they spell its port.
    pub(super) fn named_address(&mut self, address: &Address) -> u32 {
        self.address(address).canonical
    }

    /// The number of a registry, which is not live until a fact says so.
    pub(super) fn registry(&mut self, id: RegistryId) -> u32 {
        *self.registry_numbers.entry(id).or_insert_with(|| {
            self.registries.push(Registry { id, name: None, live: false });
            self.registries.len() as u32 - 1
        })
    }

    pub(super) fn set_registry(&mut self, id: RegistryId, name: Option<String>, live: bool) {
        let number = self.registry(id);
        if let Some(registry) = self.registries.get_mut(number as usize) {
            (registry.name, registry.live) = (name.map(Into::into), live);
        }
    }

    /// The number of a registry at an address.
    pub(super) fn place(&mut self, id: RegistryId, address: &Address) -> u32 {
        let registry = self.registry(id);
        let Numbers { spelled, canonical } = self.address(address);
        let place = Place { registry, address: spelled, canonical };
        *self.place_numbers.entry(place).or_insert_with(|| {
            self.places.push(place);
            self.places.len() as u32 - 1
        })
    }

    pub(super) fn at(&self, place: u32) -> Option<(Place, &Registry, &Address)> {
        let place = *self.places.get(place as usize)?;
        let registry = self.registries.get(place.registry as usize)?;
        Some((place, registry, self.addresses.get(place.address as usize)?))
    }

    /// The addresses that a reference may mean, each with the repository below it.
    pub(super) fn meant<'a>(&'a self, reference: &'a Reference<'_>) -> impl Iterator<Item = (u32, &'a str)> {
        self.names.get(reference.host()).into_iter().flatten().filter_map(|name| {
            let below = match &name.path {
                None => reference.repository(),
                Some(path) => reference.repository().strip_prefix(&**path)?.strip_prefix('/')?,
            };
            let address = match name.means {
                Means::Address(address) => address,
                Means::CurrentSource => self.source?,
            };
            Some((address, below))
        })
    }

    fn address(&mut self, address: &Address) -> Numbers {
        if let Some(numbers) = self.address_numbers.get(address) {
            return *numbers;
        }
        let spelled = self.addresses.len() as u32;
        self.addresses.push(address.clone());
        let short = canonical(address);
        let canonical = if short == *address { spelled } else { self.address(&short).canonical };
        if canonical == spelled {
            self.name(address, Means::Address(spelled));
        }
        let numbers = Numbers { spelled, canonical };
        self.address_numbers.insert(address.clone(), numbers);
        numbers
    }

    fn name(&mut self, address: &Address, means: Means) {
        let host = address.host();
        let port = if address.plain_http() { 80 } else { 443 };
        let spelled_out = host.port().is_none().then(|| format!("{host}:{port}").into());
        for host in std::iter::once(Box::from(host.as_str())).chain(spelled_out) {
            let path = address.path().map(|path| path.as_str().into());
            self.names.entry(host).or_default().push(Name { path, means });
        }
    }
}

/// The address without a port that its scheme implies, unless the host would then name none.
fn canonical(address: &Address) -> Address {
    let implied = if address.plain_http() { ":80" } else { ":443" };
    let short = address.host().as_str().strip_suffix(implied).and_then(|host| host.parse::<Host>().ok());
    match short {
        Some(host) => Address::new(host, address.path().cloned(), address.plain_http()),
        None => address.clone(),
    }
}
