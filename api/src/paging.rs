//! Parameters of a query, and of lists `limit`, `marker`, filters and the page that answers them.

use std::collections::HashMap;
use std::fmt::{Display, Write as _};
use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use domain::pod::PodState;
use http::request::Parts;
use store::PageRequest;
use uuid::Uuid;

use crate::address;
use crate::error::ApiError;
use crate::views::page::Page;

const DEFAULT_LIMIT: u32 = 50;
/// Larger limits are taken for this one.
const LARGEST_LIMIT: u32 = 100;

/// The query of a request, and the path that it came by.
pub(crate) struct QueryValues {
    path: String,
    values: HashMap<String, String>,
}

impl<S: Send + Sync> FromRequestParts<S> for QueryValues {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Query(pairs) = Query::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::Invalid("the query is not `name=value&…`".to_owned()))?;
        let given = pairs.len();
        let values: HashMap<_, _> = pairs.into_iter().collect();
        if values.len() < given {
            return Err(ApiError::Invalid("a parameter is given twice".to_owned()));
        }
        Ok(Self { path: parts.uri.path().to_owned(), values })
    }
}

impl QueryValues {
    /// A boolean in any case.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.values.get(name).map(|value| value.to_ascii_lowercase()).as_deref() {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(ApiError::Invalid(format!("`{name}` is true or false"))),
        }
    }

    /// Refuses parameters of other names, where to pass one over would do harm.
    pub(crate) fn only(&self, names: &[&str]) -> Result<(), ApiError> {
        match self.values.keys().find(|name| !names.contains(&name.as_str())) {
            Some(_) => Err(ApiError::Invalid(format!("the only parameters here are: {}", names.join(", ")))),
            None => Ok(()),
        }
    }

    /// The value as it is.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// One of some words.
    pub(crate) fn word<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let Some(text) = self.values.get(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|error| ApiError::Invalid(format!("`{name}`: {error}")))
    }

    /// A whole number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.values.get(name) else { return Ok(None) };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| text.parse().ok()).flatten();
        Ok(Some(number.ok_or_else(|| ApiError::Invalid(format!("`{name}` is a whole number")))?))
    }

    fn limit(&self) -> Result<u32, ApiError> {
        let Some(text) = self.values.get("limit") else { return Ok(DEFAULT_LIMIT) };
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ApiError::Limit);
        }
        // What does not fit is large.
        match text.parse().unwrap_or(LARGEST_LIMIT) {
            0 => Err(ApiError::Limit),
            limit => Ok(limit.min(LARGEST_LIMIT)),
        }
    }

    /// What to ask the store for: one more than is shown, which tells whether another page follows.
    pub(crate) fn page(&self) -> Result<PageRequest, ApiError> {
        let after = match self.values.get("marker") {
            None => None,
            Some(marker) => Some(address::uuid(marker).ok_or(ApiError::Marker)?),
        };
        Ok(PageRequest { limit: self.limit()? + 1, after })
    }

    /// The page of what the store found; `id` is what the next page's marker names.
    pub(crate) fn answer<T, V>(
        &self,
        found: Option<Vec<T>>,
        id: impl Fn(&T) -> Uuid,
        view: impl Fn(T) -> V,
    ) -> Result<Page<V>, ApiError> {
        let mut found = found.ok_or(ApiError::Marker)?;
        let limit = self.limit()?;
        let more = found.len() > limit as usize;
        found.truncate(limit as usize);
        let marker = found.last().filter(|_| more).map(|last| id(last).to_string());
        let next_link = marker.as_ref().map(|marker| self.link(limit, marker));
        Ok(Page { marker, next_link, results: found.into_iter().map(view).collect() })
    }

    fn link(&self, limit: u32, marker: &str) -> String {
        let mut link = format!("{}?limit={limit}&marker={marker}", self.path);
        for name in ["published", "callable"] {
            if let Ok(Some(flag)) = self.flag(name) {
                // Writing to a String cannot fail.
                let _ = write!(link, "&{name}={flag}");
            }
        }
        if let Ok(Some(state)) = self.word::<PodState>("state") {
            let _ = write!(link, "&state={state}");
        }
        link
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(pairs: &[(&str, &str)]) -> QueryValues {
        let values = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        QueryValues { path: "/v1/x".to_owned(), values }
    }

    #[test]
    fn a_large_limit_is_clamped_and_none_is_below_one() {
        for (text, limit) in [("1", 1), ("56", 56), ("101", 100), ("99999999999999999999", 100)] {
            assert_eq!(query(&[("limit", text)]).limit().expect(text), limit);
        }
        for text in ["0", "-1", "", "x", "1.5", "+1"] {
            assert!(matches!(query(&[("limit", text)]).limit(), Err(ApiError::Limit)), "{text}");
        }
        assert_eq!(query(&[]).limit().expect("the default"), DEFAULT_LIMIT);
    }

    #[tokio::test]
    async fn a_parameter_that_is_given_twice_is_refused() {
        let read = async |uri: &str| {
            let (mut parts, ()) = http::Request::get(uri).body(()).expect("a request").into_parts();
            QueryValues::from_request_parts(&mut parts, &()).await
        };
        assert!(read("/v1/x?a=1&b=1").await.is_ok());
        assert!(matches!(read("/v1/x?a=1&b=2&a=1").await, Err(ApiError::Invalid(_))));
    }

    #[test]
    fn a_flag_is_read_in_any_case() {
        assert_eq!(query(&[("published", "True")]).flag("published").expect("a flag"), Some(true));
        assert!(query(&[("published", "maybe")]).flag("published").is_err());
    }

    #[test]
    fn the_next_link_leads_on_with_the_same_filters() {
        let ids: Vec<_> = (0..3).map(|_| Uuid::new_v4()).collect();
        let asked = query(&[("limit", "2"), ("published", "FALSE"), ("state", "stray"), ("else", "x")]);
        let page = asked.answer(Some(ids.clone()), |id| *id, |id| id).expect("a page");
        assert_eq!(page.results, ids[..2]);
        let link = format!("/v1/x?limit=2&marker={}&published=false&state=stray", ids[1]);
        assert_eq!(page.next_link, Some(link));
        let last = asked.answer(Some(vec![ids[2]]), |id| *id, |id| id).expect("a page");
        assert!(last.marker.is_none() && last.next_link.is_none());
    }
}
