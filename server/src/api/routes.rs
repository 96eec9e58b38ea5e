//! The table of calls: the router and the OpenAPI document are made from the same lines, so that neither can have what
//! the other has not.

use std::sync::Arc;

use axum::handler::Handler;
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::describe::{Described, Operation};
use super::user::Actor;
use crate::app::App;

/// Where the document is served.
const DOCUMENT: &str = "/api/v1/openapi.json";
const ABOUT: &str = "What the verbs of sysclone ask of syscloned. The server listens on a unix socket: curl \
                     --unix-socket /run/sysclone/api.sock http://localhost/api/v1/openapi.json";

/// Calls, as they are added.
pub(super) struct Routes {
    router: Router<Arc<App>>,
    paths: Map<String, Value>,
    schemas: SchemaGenerator,
}

impl Routes {
    pub(super) fn new() -> Self {
        let settings = SchemaSettings::draft2020_12()
            .with(|settings| settings.definitions_path = "/components/schemas".into())
            .with_transform(RecursiveTransform(without_links));
        Self { router: Router::new(), paths: Map::new(), schemas: settings.into_generator() }
    }

    /// A call that changes nothing.
    pub(super) fn get<T, H>(self, path: &str, summary: &str, handler: H) -> Self
    where
        H: Handler<T, Arc<App>> + Described<T>,
        T: 'static,
    {
        self.add::<T, H>((path, "get"), summary, get(handler))
    }

    /// A call that does something, or asks with more than fits into a path.
    pub(super) fn post<T, H>(self, path: &str, summary: &str, handler: H) -> Self
    where
        H: Handler<T, Arc<App>> + Described<T>,
        T: 'static,
    {
        self.add::<T, H>((path, "post"), summary, post(handler))
    }

    fn add<T, H: Described<T>>(
        mut self,
        (path, method): (&str, &str),
        summary: &str,
        route: MethodRouter<Arc<App>>,
    ) -> Self {
        let mut operation = Operation::new(path, &mut self.schemas);
        H::describe(&mut operation);
        let operation = operation.finish(summary);
        self.paths.entry(path).or_insert_with(|| json!({}))[method] = operation;
        self.router = self.router.route(path, route);
        self
    }

    /// The router, with the document as one more call.
    pub(super) fn finish(mut self) -> Router<Arc<App>> {
        let mut operation = Operation::new(DOCUMENT, &mut self.schemas);
        operation.answer("OpenAPI 3.1.", json!({ "application/json": { "schema": { "type": "object" } } }));
        self.paths.insert(DOCUMENT.to_owned(), json!({ "get": operation.finish("This document") }));
        let document = json!({
            "openapi": "3.1.0",
            "info": { "title": "sysclone", "version": env!("CARGO_PKG_VERSION"), "description": ABOUT },
            "servers": [{ "url": "http://localhost" }],
            "paths": self.paths,
            "components": { "schemas": self.schemas.take_definitions(true) },
        });
        let document = Arc::new(document);
        self.router.route(DOCUMENT, get(async move |_actor: Actor| Json(document)))
    }
}

/// Descriptions are the comments of the code, where types are links: [`crate::wire::power::NodeAnswer`] is
/// `NodeAnswer` to people who do not have it.
fn without_links(schema: &mut Schema) {
    let Some(Value::String(text)) = schema.get_mut("description") else { return };
    let mut plain = String::new();
    let mut rest = text.as_str();
    while let Some((before, (link, after))) =
        rest.split_once("[`").and_then(|(before, link)| Some((before, link.split_once("`]")?)))
    {
        let name = link.rsplit("::").next().unwrap_or(link);
        plain.push_str(&format!("{before}`{name}`"));
        rest = after;
    }
    *text = plain + rest;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_the_code_are_names_in_the_document() {
        for (comment, text) in [
            ("Answers lines of [`super::power::NodeAnswer`].", "Answers lines of `NodeAnswer`."),
            ("[`RunLine`] or [`a::B`]: [x] `y`", "`RunLine` or `B`: [x] `y`"),
            ("never [`closed", "never [`closed"),
        ] {
            let mut schema = schemars::json_schema!({ "description": comment });
            without_links(&mut schema);
            assert_eq!(schema.get("description"), Some(&Value::from(text)));
        }
    }
}
