//! The OpenAPI document, generated from the handlers and the shapes of `views`. Handlers are written
//! down for `{algorithm}`; their twins for `{owner}/{name}` are added here, as the router does.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::response::IntoResponse;
use http::header::CONTENT_TYPE;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, ObjectBuilder, Ref, RefOr, Required, Type};
use utoipa::{IntoResponses, Modify, OpenApi};

use crate::error::OUR_CODES;
use crate::views::failure::FailureView;
use crate::{algorithms, builds, compile, explain, keys, pods, pushes, registries, routes, versions};

const ONE: &str = "/v1/algorithms/{algorithm}";
const TWIN: &str = "/v1/algorithms/{owner}/{name}";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Drayage",
        description = "Pushes the images of algorithms to enterprise registries and keeps a record of every push.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        registries::create, registries::list, registries::show, registries::replace, registries::cordon,
        registries::delete, algorithms::create, algorithms::show, algorithms::change, algorithms::remove,
        compile::compile, versions::publish, versions::list, versions::show, builds::list, builds::show,
        builds::logs, pushes::again, pushes::list, keys::create, keys::list, keys::revoke,
        routes::list, explain::explain, pods::list,
    ),
    components(schemas(FailureView)),
    modifiers(&Keys, &UniqueIds, &BothAddressings),
)]
struct Document;

/// `GET /v1/openapispec` and `GET /openapi.json`; anybody may read it.
pub(crate) async fn document() -> impl IntoResponse {
    static JSON: LazyLock<String> = LazyLock::new(|| Document::openapi().to_json().unwrap_or_default());
    ([(CONTENT_TYPE, "application/json")], JSON.as_str())
}

/// What every call may answer but success.
pub(crate) struct Refusals;

impl IntoResponses for Refusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let ours: String = OUR_CODES.map(|(code, meaning)| format!("{code}: {meaning}. ")).concat();
        let texts = [
            ("401", "2002: no key, or none that is in force.".to_owned()),
            ("403", "2001: the key may not do this.".to_owned()),
            (
                "4XX",
                format!(
                    "1002: name taken. 1007: already published. 1009: algorithm unknown. 1010: build unknown. 1011: build logs unknown. 1014: version unknown. 2013: malformed JSON. 2015: invalid request. 3000: user unknown. 5002: invalid marker. 5003: invalid limit. 6001: a field is invalid; the message names it. {ours}"
                ),
            ),
            ("5XX", "5001: internal; the log has the detail under the error's id.".to_owned()),
        ];
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Failure"))).build();
        texts
            .into_iter()
            .map(|(status, text)| {
                let response = ResponseBuilder::new().description(text);
                let response = response.content("application/json", content.clone()).build();
                (status.to_owned(), RefOr::T(response))
            })
            .collect()
    }
}

struct Keys;

impl Modify for Keys {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let text = "`Simple KEY`, `Bearer KEY` or the bare key";
        let scheme =
            SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description("Authorization", text)));
        document.components.get_or_insert_default().add_security_scheme("key", scheme);
        document.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>("key", [])]);
    }
}

/// Handlers are named within their module; in the document an operation's id says the module, too.
struct UniqueIds;

impl Modify for UniqueIds {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for operation in document.paths.paths.values_mut().flat_map(operations) {
            let module = operation.tags.iter().flatten().next();
            if let (Some(id), Some(module)) = (&mut operation.operation_id, module) {
                id.insert_str(0, &format!("{module}_"));
            }
        }
    }
}

struct BothAddressings;

impl Modify for BothAddressings {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let paths = &mut document.paths.paths;
        let publish = paths.get(&format!("{ONE}/versions")).and_then(|item| item.post.clone());
        let mut version = PathItem::default();
        version.post = publish;
        paths.insert(format!("{ONE}/version"), version);
        let of_one: Vec<_> = paths
            .iter_mut()
            .filter_map(|(path, item)| Some((path.strip_prefix(ONE)?.to_owned(), item)))
            .collect();
        let mut twins = Vec::new();
        for (below, item) in of_one {
            let mut twin = item.clone();
            if below.is_empty() {
                // Made below the owner's name alone.
                twin.post = None;
            }
            let suffix = if below == "/version" { "_as_version" } else { "" };
            for operation in operations(item) {
                complete(operation, suffix, &[("algorithm", "The algorithm's id (a UUID)")]);
            }
            let names = [("owner", "The owner's username"), ("name", "The algorithm's name")];
            for operation in operations(&mut twin) {
                complete(operation, &format!("{suffix}_by_name"), &names);
            }
            twins.push((format!("{TWIN}{below}"), twin));
        }
        paths.extend(twins);
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete].into_iter().flatten()
}

/// Adds the parameters that address the algorithm, and keeps the operation's id unique.
fn complete(operation: &mut Operation, suffix: &str, params: &[(&str, &str)]) {
    if let Some(id) = &mut operation.operation_id {
        id.push_str(suffix);
    }
    let known = operation.parameters.get_or_insert_default();
    for (name, text) in params.iter().rev() {
        if !known.iter().any(|param| matches!(param, RefOr::T(param) if param.name == *name)) {
            known.insert(0, RefOr::T(parameter(name, text)));
        }
    }
}

fn parameter(name: &str, text: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(text))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build()
}
