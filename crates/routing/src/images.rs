//! The images of a pod, read from its JSON as it lies there: borrowed structs that hold only what is
//! decided on and skip the rest without allocating. Each image comes with its position, from which
//! `patch` makes its operations. Whether the JSON is a legal pod is the API server's business.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use domain::labels::{MIRROR_ANNOTATION, PULL_SECRET, ROUTED_ANNOTATION};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// More entries than a pod can hold in the 1.5 MiB that etcd takes; a longer list is an attack on memory.
const LIST_LIMIT: usize = 8192;

/// A pod, as far as admission reads it.
#[derive(Debug, Deserialize)]
pub struct Pod<'a> {
    #[serde(borrow)]
    pub(crate) metadata: Object<Metadata<'a>>,
    spec: Object<Spec<'a>>,
}

/// Of a pod's metadata, what is read.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(rename = "generateName")]
    generate_name: Option<Text<'a>>,
    pub(crate) annotations: Option<Annotations<'a>>,
}

/// Of the annotations, ours and the mirror pod's; the others are skipped.
#[derive(Debug, Default)]
pub(crate) struct Annotations<'a> {
    pub(crate) routed: Option<Text<'a>>,
    mirror: bool,
}

#[derive(Debug, Deserialize)]
struct Spec<'a> {
    #[serde(borrow)]
    containers: Option<List<Object<Container<'a>>>>,
    #[serde(rename = "initContainers")]
    init_containers: Option<List<Object<Container<'a>>>>,
    #[serde(rename = "ephemeralContainers")]
    ephemeral_containers: Option<List<Object<Container<'a>>>>,
    volumes: Option<List<Object<Volume<'a>>>>,
    #[serde(rename = "imagePullSecrets")]
    pull_secrets: Option<List<Object<PullSecret<'a>>>>,
}

#[derive(Debug, Deserialize)]
struct Container<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    image: Option<Text<'a>>,
    #[serde(rename = "imagePullPolicy")]
    pull_policy: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
struct Volume<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    image: Option<Object<VolumeImage<'a>>>,
}

#[derive(Debug, Deserialize)]
struct VolumeImage<'a> {
    #[serde(borrow)]
    reference: Option<Text<'a>>,
    #[serde(rename = "pullPolicy")]
    pull_policy: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
struct PullSecret<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
}

/// Whether a pod is pulled with our Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PulledWith {
    /// It is.
    Ours,
    /// Its list of Secrets lacks ours.
    Others,
    /// It has no such list.
    Nothing,
}

/// The lists of a pod that name images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    InitContainers,
    Containers,
    EphemeralContainers,
    Volumes,
}

/// One image of a pod and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Image<'p> {
    pub(crate) part: Part,
    pub(crate) index: usize,
    pub(crate) name: &'p str,
    /// The reference that the pod names.
    pub image: &'p str,
    pub(crate) pull_policy: Option<&'p str>,
}

impl Pod<'_> {
    /// The name, or the prefix that the server will make one from.
    pub fn name(&self) -> &str {
        let Metadata { name, generate_name, .. } = &*self.metadata;
        let named = name.as_deref().filter(|name| !name.is_empty());
        named.or(generate_name.as_deref()).unwrap_or_default()
    }

    /// Whether it mirrors a static pod, which the kubelet runs whatever the API server stores. A pod that
    /// only claims to be one is not run: the kubelet deletes mirrors that it did not make.
    pub fn is_mirror(&self) -> bool {
        self.metadata.annotations.as_ref().is_some_and(|annotations| annotations.mirror)
    }

    /// All images, those of volumes included.
    pub fn images(&self) -> impl Iterator<Item = Image<'_>> {
        [Part::InitContainers, Part::Containers, Part::EphemeralContainers, Part::Volumes]
            .into_iter()
            .flat_map(|part| self.images_of(part))
    }

    pub(crate) fn pulled_with(&self) -> PulledWith {
        match &self.spec.pull_secrets {
            None => PulledWith::Nothing,
            Some(List(list)) if list.iter().any(|secret| secret.name.as_deref() == Some(PULL_SECRET)) => {
                PulledWith::Ours
            }
            Some(_) => PulledWith::Others,
        }
    }

    /// The images of one list; entries without one are passed over.
    pub(crate) fn images_of(&self, part: Part) -> impl Iterator<Item = Image<'_>> {
        let (containers, volumes): (&[Object<Container<'_>>], &[Object<Volume<'_>>]) = match part {
            Part::InitContainers => (entries(&self.spec.init_containers), &[]),
            Part::Containers => (entries(&self.spec.containers), &[]),
            Part::EphemeralContainers => (entries(&self.spec.ephemeral_containers), &[]),
            Part::Volumes => (&[], entries(&self.spec.volumes)),
        };
        let of_containers = containers.iter().enumerate().filter_map(move |(index, container)| {
            Some(Image {
                part,
                index,
                name: container.name.as_deref()?,
                image: container.image.as_deref()?,
                pull_policy: container.pull_policy.as_deref(),
            })
        });
        let of_volumes = volumes.iter().enumerate().filter_map(move |(index, volume)| {
            let image = volume.image.as_ref()?;
            Some(Image {
                part,
                index,
                name: volume.name.as_deref()?,
                image: image.reference.as_deref()?,
                pull_policy: image.pull_policy.as_deref(),
            })
        });
        of_containers.chain(of_volumes)
    }
}

impl Part {
    /// The list's field in `spec`.
    pub(crate) fn field(self) -> &'static str {
        match self {
            Self::InitContainers => "initContainers",
            Self::Containers => "containers",
            Self::EphemeralContainers => "ephemeralContainers",
            Self::Volumes => "volumes",
        }
    }
}

fn entries<T>(list: &Option<List<T>>) -> &[T] {
    list.as_ref().map_or(&[], |list| &list.0)
}

/// A string that is borrowed unless JSON escapes stand in it. (Serde borrows a bare `Cow` only, not one
/// inside an `Option`.)
#[derive(Debug)]
pub struct Text<'a>(Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// A struct that is read from a JSON object only: what serde derives would take a list of its fields as well.
#[derive(Debug)]
pub struct Object<T>(pub T);

impl<T> std::ops::Deref for Object<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

#[derive(Debug)]
struct List<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {LIST_LIMIT} entries")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while let Some(entry) = entries.next_element()? {
                    if list.len() == LIST_LIMIT {
                        return Err(A::Error::invalid_length(LIST_LIMIT + 1, &self));
                    }
                    list.push(entry);
                }
                Ok(List(list))
            }
        }
        deserializer.deserialize_seq(ListVisitor(PhantomData))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Annotations<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnnotationsVisitor;
        impl<'de> Visitor<'de> for AnnotationsVisitor {
            type Value = Annotations<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of annotations")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut annotations = Annotations::default();
                while let Some(key) = map.next_key::<Text<'de>>()? {
                    match &*key {
                        ROUTED_ANNOTATION => annotations.routed = map.next_value()?,
                        MIRROR_ANNOTATION => {
                            map.next_value::<IgnoredAny>()?;
                            annotations.mirror = true;
                        }
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(annotations)
            }
        }
        deserializer.deserialize_map(AnnotationsVisitor)
    }
}
