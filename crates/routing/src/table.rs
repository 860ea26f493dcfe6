//! What the ledger proved, as a snapshot that admission looks things up in. The follower makes the next
//! one by applying facts to a clone, which shares all that did not change. Texts are kept as keyed
//! hashes, so a look-up costs the same among a hundred routes and a million. How a look-up is judged is
//! in `decision`.

mod entries;
mod places;
mod shards;

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::fact::{Fact, ImageId, Revision, Route};
use domain::reference::{Digest, Reference, Repository, Tag};
use domain::registry::{Address, RegistryId};

use self::entries::{Carrier, Destination, Digested, Image, Leader, RouteTag, Routed, Tagged};
use self::places::Places;
use self::shards::Shards;
use crate::decision::NoRoute;
use crate::key::{Key, Keys, shard_of};

/// All known routes. A clone is cheap and shares what neither side changes.
#[derive(Clone)]
pub struct Table {
    keys: Keys,
    places: Arc<Places>,
    repositories: Shards<entries::Repository>,
    repository_count: u32,
    images: Shards<Image>,
    digests: Shards<Digested>,
    tags: Shards<Tagged>,
    carriers: Shards<Carrier>,
    leaders: Shards<Leader>,
    routes: Shards<Routed>,
    route_count: usize,
    destinations: Shards<Destination>,
    /// Facts about images that are not known yet: a tag or a route may have changed before the last
    /// change of its image, and then comes first.
    waiting: Arc<BTreeMap<u32, Vec<Fact>>>,
}

/// What the table knows of one reference.
pub(crate) enum Found<'t> {
    /// Neither a source image nor where one was pushed to.
    Nothing,
    /// An image at a place where a route lies.
    Destination(Registry<'t>),
    /// An image of the source registry.
    Source {
        /// Its repository, below the address of whichever registry.
        repository: &'t str,
        /// The latest success in a registry that exists, or why there is none.
        latest: Result<Latest<'t>, NoRoute>,
        /// The newest image of this tag has no route to a registry that exists.
        behind: bool,
    },
}

impl Found<'_> {
    fn rank(&self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::Destination(_) => 1,
            Self::Source { latest: Err(NoRoute::NeverCompiled), .. } => 2,
            Self::Source { latest: Err(_), .. } => 3,
            Self::Source { latest: Ok(_), .. } => 4,
        }
    }
}

/// A registry as people know it.
#[derive(Clone, Copy)]
pub(crate) struct Registry<'t> {
    pub(crate) id: RegistryId,
    pub(crate) name: Option<&'t str>,
}

/// A success in force.
pub(crate) struct Latest<'t> {
    pub(crate) registry: Registry<'t>,
    pub(crate) address: &'t Address,
    pub(crate) tag: String,
    pub(crate) succeeded: Revision,
}

impl Table {
    /// An empty table. `secret` keys its hashes and must be random in every process; `aliases` are other
    /// names by which pods call the current source registry.
    pub fn new(secret: [u8; 16], aliases: &[Address]) -> Self {
        Self {
            keys: Keys::new(secret),
            places: Arc::new(Places::new(aliases)),
            repositories: Shards::new(),
            repository_count: 0,
            images: Shards::new(),
            digests: Shards::new(),
            tags: Shards::new(),
            carriers: Shards::new(),
            leaders: Shards::new(),
            routes: Shards::new(),
            route_count: 0,
            destinations: Shards::new(),
            waiting: Arc::default(),
        }
    }

    /// Image and registry pairs in the table.
    pub fn routes(&self) -> usize {
        self.route_count
    }

    /// Takes up one fact; taking it up again changes nothing.
    pub fn apply(&mut self, fact: Fact) {
        match &fact {
            Fact::Source(address) => Arc::make_mut(&mut self.places).set_source(address),
            Fact::Registry { id, name, live } => {
                Arc::make_mut(&mut self.places).set_registry(*id, name.clone(), *live);
            }
            Fact::Image { id, source, repository, digest } => {
                self.apply_image(*id, source, repository, digest);
            }
            Fact::Tag { image: id, tag, revision } => match self.image(*id) {
                Some(image) => self.apply_tag(image, tag, *revision),
                None => self.wait(*id, fact),
            },
            Fact::Route(route) => match self.image(route.image) {
                Some(image) => self.apply_route(image, route),
                None => self.wait(route.image, fact),
            },
        }
    }

    fn image(&self, id: ImageId) -> Option<Image> {
        let image = number(id)?;
        self.images.get(shard_of(image), &(image,)).copied()
    }

    fn wait(&mut self, id: ImageId, fact: Fact) {
        if let Some(image) = number(id) {
            Arc::make_mut(&mut self.waiting).entry(image).or_default().push(fact);
        }
    }

    /// An image never changes, for its repository and its digest are what it is.
    fn apply_image(&mut self, id: ImageId, source: &Address, repository: &Repository, digest: &Digest) {
        let Some(image) = number(id).filter(|_| self.image(id).is_none()) else { return };
        let source = Arc::make_mut(&mut self.places).named_address(source);
        let name = self.keys.repository(repository.as_str());
        let repository = match self.repositories.get(name.shard(), &(name.mark, source)) {
            Some(known) => known.number,
            None => {
                let number = self.repository_count;
                self.repository_count += 1;
                self.repositories.put(name.shard(), entries::Repository { name: name.mark, source, number });
                number
            }
        };
        self.images.put(shard_of(image), Image { image, repository });
        let key = self.keys.digest(repository, digest.as_str());
        self.digests.put(key.shard(), Digested { digest: key.mark, image });
        if self.waiting.contains_key(&image) {
            let waited = Arc::make_mut(&mut self.waiting).remove(&image);
            waited.into_iter().flatten().for_each(|fact| self.apply(fact));
        }
    }

    fn apply_tag(&mut self, Image { image, repository }: Image, tag: &Tag, Revision(revision): Revision) {
        let key = self.keys.tag(repository, tag.as_str());
        let newest = self.tags.get(key.shard(), &(key.mark,)).copied();
        if let Some(newest) = newest.filter(|newest| newest.image != image) {
            self.join(newest.image, key);
            self.join(image, key);
        }
        if newest.is_none_or(|newest| newest.revision < revision) {
            self.tags.put(key.shard(), Tagged { tag: key.mark, image, revision });
        }
    }

    /// Takes an image among the several that have carried a tag.
    fn join(&mut self, image: u32, tag: Key) {
        if self.carriers.put(shard_of(image), Carrier { image, tag }) {
            for route in self.routes_of(image).to_vec() {
                self.lead(tag, &route);
            }
        }
    }

    /// Makes the carrier of a tag its leader in one registry if this success is the latest one there.
    fn lead(&mut self, tag: Key, route: &Routed) {
        let Some((place, ..)) = self.places.at(route.place) else { return };
        let registry = place.registry;
        let leader = self.leaders.get(tag.shard(), &(tag.mark, registry));
        let leading = leader.and_then(|leader| self.route_in(leader.image, registry));
        if leading.is_none_or(|leading| leading.succeeded <= route.succeeded) {
            self.leaders.put(tag.shard(), Leader { tag: tag.mark, registry, image: route.image });
        }
    }

    fn apply_route(&mut self, Image { image, repository }: Image, route: &Route) {
        let places = Arc::make_mut(&mut self.places);
        let registry = places.registry(route.registry);
        let place = places.place(route.registry, &route.address);
        let former = self.route_in(image, registry).map(|former| (former.place, former.succeeded));
        if former.is_some_and(|(_, succeeded)| succeeded > route.succeeded.0) {
            return;
        }
        match former {
            Some((former, _)) if former == place => {}
            Some((former, _)) => {
                self.routes.remove(shard_of(image), &(image, former));
                self.count_destination(repository, former, -1);
                self.count_destination(repository, place, 1);
            }
            None => {
                self.route_count += 1;
                self.count_destination(repository, place, 1);
            }
        }
        let entry = Routed { image, place, succeeded: route.succeeded.0, tag: RouteTag::from(&route.tag) };
        self.routes.put(shard_of(image), entry.clone());
        let carried = self.carriers.range(shard_of(image), |carrier| carrier.image.cmp(&image)).to_vec();
        for carrier in carried {
            self.lead(carrier.tag, &entry);
        }
    }

    fn count_destination(&mut self, repository: u32, place: u32, by: i32) {
        let shard = shard_of(repository);
        let images = self.destinations.get(shard, &(repository, place)).map_or(0, |known| known.images);
        match images.saturating_add_signed(by) {
            0 => self.destinations.remove(shard, &(repository, place)),
            images => {
                self.destinations.put(shard, Destination { repository, place, images });
            }
        }
    }

    fn routes_of(&self, image: u32) -> &[Routed] {
        self.routes.range(shard_of(image), |route| route.image.cmp(&image))
    }

    fn route_in(&self, image: u32, registry: u32) -> Option<&Routed> {
        self.routes_of(image)
            .iter()
            .find(|route| self.places.at(route.place).is_some_and(|(place, ..)| place.registry == registry))
    }

    /// Looks a reference up under every name that its registry has, and takes what says most: one
    /// repository can be known below two addresses, each with some of its images.
    pub(crate) fn find<'t>(&'t self, reference: &'t Reference<'_>) -> Found<'t> {
        let mut found = Found::Nothing;
        for (address, name) in self.places.meant(reference) {
            let key = self.keys.repository(name);
            for repository in self.repositories.range(key.shard(), |other| other.name.cmp(&key.mark)) {
                let here = if repository.source == address {
                    self.find_source(reference, name, repository.number)
                } else {
                    self.destination(repository.number, address).map_or(Found::Nothing, Found::Destination)
                };
                if here.rank() > found.rank() {
                    found = here;
                }
            }
        }
        found
    }

    /// The source repositories that a reference may mean: their names and their numbers.
    pub(crate) fn sources<'t>(
        &'t self,
        reference: &'t Reference<'_>,
    ) -> impl Iterator<Item = (&'t str, u32)> {
        self.places.meant(reference).flat_map(|(address, name)| {
            let key = self.keys.repository(name);
            let named = self.repositories.range(key.shard(), move |other| other.name.cmp(&key.mark));
            let sources = named.iter().filter(move |repository| repository.source == address);
            sources.map(move |repository| (name, repository.number))
        })
    }

    /// Whether the newest image of a tag has carried another one too.
    pub(crate) fn share_an_image(&self, repository: u32, other: &str, tag: &str) -> bool {
        let [other, tag] = [other, tag].map(|tag| self.keys.tag(repository, tag));
        let newest = |tag: Key| self.tags.get(tag.shard(), &(tag.mark,)).map(|tagged| tagged.image);
        newest(tag).is_some_and(|image| {
            newest(other) == Some(image) || self.carriers.get(shard_of(image), &(image, other)).is_some()
        })
    }

    fn destination(&self, repository: u32, address: u32) -> Option<Registry<'_>> {
        self.destinations
            .range(shard_of(repository), |destination| destination.repository.cmp(&repository))
            .iter()
            .filter_map(|destination| self.places.at(destination.place))
            .find(|(place, registry, _)| place.canonical == address && registry.live)
            .map(|(_, registry, _)| Registry { id: registry.id, name: registry.name.as_deref() })
    }

    fn find_source<'t>(&'t self, reference: &Reference<'_>, name: &'t str, repository: u32) -> Found<'t> {
        let (latest, behind) = match reference.digest() {
            Some(digest) => {
                let key = self.keys.digest(repository, digest);
                let images = self.digests.range(key.shard(), |image| image.digest.cmp(&key.mark));
                let routes = images.iter().flat_map(|image| self.routes_of(image.image));
                let latest = self.latest(routes);
                (latest.map_err(|lack| if images.is_empty() { NoRoute::NeverCompiled } else { lack }), false)
            }
            None => {
                let key = self.keys.tag(repository, reference.tag().unwrap_or("latest"));
                match self.tags.get(key.shard(), &(key.mark,)) {
                    Some(newest) => {
                        let routes = self.routes_of(newest.image);
                        let behind = self.latest(routes.iter()).is_err();
                        (self.latest(routes.iter().chain(self.leading(key))), behind)
                    }
                    None => (Err(NoRoute::NeverCompiled), false),
                }
            }
        };
        let latest = latest.and_then(|route| self.described(route).ok_or(NoRoute::NeverPushed));
        Found::Source { repository: name, behind: behind && latest.is_ok(), latest }
    }

    /// The latest of some successes whose registry exists.
    fn latest<'t>(&'t self, routes: impl Iterator<Item = &'t Routed>) -> Result<&'t Routed, NoRoute> {
        let (mut latest, mut lack) = (None::<&Routed>, NoRoute::NeverPushed);
        for route in routes {
            if !self.is_live(route) {
                lack = NoRoute::RegistriesDeleted;
            } else if latest.is_none_or(|latest| latest.succeeded < route.succeeded) {
                latest = Some(route);
            }
        }
        latest.ok_or(lack)
    }

    /// The latest success in each registry among the carriers of a tag, if it has several.
    fn leading(&self, tag: Key) -> impl Iterator<Item = &Routed> {
        self.leaders
            .range(tag.shard(), move |leader| leader.tag.cmp(&tag.mark))
            .iter()
            .filter_map(|leader| self.route_in(leader.image, leader.registry))
    }

    fn is_live(&self, route: &Routed) -> bool {
        self.places.at(route.place).is_some_and(|(_, registry, _)| registry.live)
    }

    fn described(&self, route: &Routed) -> Option<Latest<'_>> {
        let (_, registry, address) = self.places.at(route.place)?;
        Some(Latest {
            registry: Registry { id: registry.id, name: registry.name.as_deref() },
            address,
            tag: route.tag.to_string(),
            succeeded: Revision(route.succeeded),
        })
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("routes", &self.route_count).finish_non_exhaustive()
    }
}

/// Ids are small and dense (`domain::fact`); four billion images are beyond any table.
fn number(ImageId(id): ImageId) -> Option<u32> {
    id.try_into().ok()
}

#[cfg(test)]
mod tests;
