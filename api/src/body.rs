//! Bodies of requests: read within their limits, parsed as JSON, and turned into the shapes of `views`.
//! A refusal names the field and never repeats a value, which may be a password.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use axum::body::{Bytes, HttpBody as _, to_bytes};
use axum::extract::{FromRequest, Request};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_path_to_error::Track;
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::error::ApiError;

/// The largest body, in bytes; several times what the fields together may hold.
pub(crate) const BODY_LIMIT: usize = 256 << 10;
/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(8);

/// A body that must be a JSON object. The content type is not looked at: clients send all kinds.
pub(crate) struct Required<T>(pub(crate) T);

/// A body that may be missing, empty or `null`, which all mean `{}`.
pub(crate) struct Optional<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Required<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        shape(&read(request).await?).map(Self)
    }
}

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Optional<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let bytes = read(request).await?;
        shape(if matches!(bytes.trim_ascii(), b"" | b"null") { b"{}" } else { &bytes }).map(Self)
    }
}

async fn read(request: Request) -> Result<Bytes, ApiError> {
    if request.body().size_hint().lower() > BODY_LIMIT as u64 {
        return Err(ApiError::BodyTooLarge(BODY_LIMIT));
    }
    match tokio::time::timeout(BODY_TIME, to_bytes(request.into_body(), BODY_LIMIT)).await {
        Err(_) => Err(ApiError::BodyTooSlow),
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if too_large(&error) => Err(ApiError::BodyTooLarge(BODY_LIMIT)),
        Ok(Err(_)) => Err(ApiError::Unintelligible(http::StatusCode::BAD_REQUEST)),
    }
}

fn too_large(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|cause| cause.is::<http_body_util::LengthLimitError>())
}

fn shape<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // What is no JSON at all is told first, whatever is wrong with its fields. Neither look keeps what
    // no field asks for.
    serde_json::from_slice::<IgnoredAny>(bytes).map_err(|error| malformed(&error))?;
    let mut track = Track::new();
    let mut json = serde_json::Deserializer::from_slice(bytes);
    match object(serde_path_to_error::Deserializer::new(&mut json, &mut track)) {
        Ok(Some(shape)) => Ok(shape),
        Ok(None) => Err(ApiError::Invalid("the body is no JSON object".to_owned())),
        Err(error) if error.is_data() => {
            Err(ApiError::Invalid(sentence(&track.path().to_string(), &error.to_string())))
        }
        Err(error) if error.to_string().starts_with("recursion limit") => Err(malformed(&error)),
        // To serde_json a word of an enum that is no string is a mistake in the JSON; it is one in the field.
        Err(_) => Err(ApiError::Invalid(sentence(&track.path().to_string(), "invalid type"))),
    }
}

fn malformed(error: &serde_json::Error) -> ApiError {
    let place = format!("line {}, column {}", error.line(), error.column());
    ApiError::MalformedJson(if error.is_eof() { format!("it ends too early ({place})") } else { place })
}

/// What serde says about a field, without the value that it met and without its place.
fn sentence(path: &str, said: &str) -> String {
    let said = said.rsplit_once(" at line ").map_or(said, |(said, _)| said);
    if let Some(missing) = said.strip_prefix("missing field ") {
        return format!("{missing} is missing");
    }
    if let Some(twice) = said.strip_prefix("duplicate field ") {
        return format!("{twice} is given twice");
    }
    let field = if path == "." { "the body".to_owned() } else { format!("`{path}`") };
    let met_value =
        ["invalid type", "invalid value", "unknown variant"].iter().any(|start| said.starts_with(start));
    // Ours comes last: what was met may hold any text.
    match said.rsplit_once(", expected ") {
        Some((_, expected)) if met_value => format!("{field} is not what it should be: {expected}"),
        _ if met_value => format!("{field} is not what it should be"),
        _ => format!("{field} {said}"),
    }
}

/// One line of at most so many characters.
#[derive(Clone, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Line<const MOST: usize>(pub(crate) String);

/// Any text of at most so many characters.
#[derive(Clone, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Prose<const MOST: usize>(pub(crate) String);

impl<'de, const MOST: usize> Deserialize<'de> for Line<MOST> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Prose(text) = Prose::<MOST>::deserialize(from)?;
        if text.chars().any(char::is_control) {
            return Err(D::Error::custom("has line breaks or other control characters"));
        }
        Ok(Self(text))
    }
}

impl<'de, const MOST: usize> Deserialize<'de> for Prose<MOST> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if text.chars().count() > MOST {
            return Err(D::Error::custom(format!("is longer than {MOST} characters")));
        }
        Ok(Self(text))
    }
}

fn text_schema(most: usize) -> RefOr<Schema> {
    let text = ObjectBuilder::new().schema_type(SchemaType::new(Type::String)).max_length(Some(most));
    RefOr::T(Schema::Object(text.build()))
}

impl<const MOST: usize> PartialSchema for Line<MOST> {
    fn schema() -> RefOr<Schema> {
        text_schema(MOST)
    }
}

impl<const MOST: usize> PartialSchema for Prose<MOST> {
    fn schema() -> RefOr<Schema> {
        text_schema(MOST)
    }
}

impl<const MOST: usize> ToSchema for Line<MOST> {}

impl<const MOST: usize> ToSchema for Prose<MOST> {}

/// Deserialises a JSON object and nothing else: serde would take an array for a struct, too.
pub(crate) fn object<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Object<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
        type Value = Option<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON object")
        }

        fn visit_unit<E: serde::de::Error>(self) -> Result<Option<T>, E> {
            Ok(None)
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<T>, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }

    from.deserialize_any(Object(PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Sample {
        #[serde(rename = "password")]
        _password: Prose<8>,
        #[serde(default, deserialize_with = "object", rename = "nested")]
        _nested: Option<Nested>,
    }

    #[derive(Deserialize)]
    struct Nested {
        #[serde(rename = "word")]
        _word: Option<Word>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Word {
        Good,
    }

    fn refusal(body: &str) -> String {
        match shape::<Sample>(body.as_bytes()) {
            Ok(_) => panic!("{body} is refused"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_refusal_names_the_field_and_not_its_value() {
        let cases = [
            ("{}", "`password` is missing"),
            (r#"{"password": 12345}"#, "`password` is not what it should be: a string"),
            (r#"{"password": "hunter2hunter2"}"#, "`password` is longer than 8 characters"),
            (r#"{"password": "", "nested": []}"#, "`nested` is not what it should be: a JSON object"),
            (
                r#"{"password": "", "nested": {"word": "bad, expected x"}}"#,
                "`nested.word` is not what it should be: ",
            ),
            (r#"{"password": "", "nested": {"word": 5}}"#, "`nested.word` is not what it should be"),
            (r#"{"password": "", "nested": {"word": {}}}"#, "`nested.word` is not what it should be"),
            ("[1]", "the body is not what it should be: a JSON object"),
            ("null", "the body is no JSON object"),
            (r#"{"password": "a", "password": "b"}"#, "`password` is given twice"),
            (r#"{"password": 12345, "#, "the body is not JSON: it ends too early"),
            (r#"{"password": "hunter2"}'"#, "the body is not JSON: line 1, column 24"),
        ];
        for (body, message) in cases {
            let said = refusal(body);
            assert!(said.starts_with(message), "{body}: {said}");
            assert!(!said.contains("hunter2") && !said.contains("12345") && !said.contains("bad"), "{said}");
        }
        assert!(shape::<Sample>(br#"{"password": "x", "nested": null, "more": [1]}"#).is_ok());
    }

    #[test]
    fn deep_nesting_is_refused_where_it_would_be_kept() {
        #[derive(Deserialize)]
        struct Keeps {
            #[serde(flatten, rename = "others")]
            _others: serde_json::Map<String, serde_json::Value>,
        }
        let deep = format!("{{\"x\": {}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(matches!(shape::<Keeps>(deep.as_bytes()), Err(ApiError::MalformedJson(_))));
        assert!(matches!(shape::<Sample>(deep.as_bytes()), Err(ApiError::Invalid(_))));
    }
}
