//! What a call takes and answers, read from the types of its handler, so that the description is the code.

use axum::Json;
use axum::extract::State;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::extract::{Body, Path, Query};
use super::stream::Stream;
use super::user::{Actor, Root};

/// One call of the document, while it is put together.
pub(super) struct Operation<'a> {
    path: &'a str,
    schemas: &'a mut SchemaGenerator,
    fields: Map<String, Value>,
}

impl<'a> Operation<'a> {
    pub(super) fn new(path: &'a str, schemas: &'a mut SchemaGenerator) -> Self {
        Self { path, schemas, fields: Map::new() }
    }

    /// The operation object of OpenAPI.
    pub(super) fn finish(mut self, summary: &str) -> Value {
        self.fields.insert("summary".to_owned(), summary.into());
        Value::Object(self.fields)
    }

    /// One more parameter of the path, the query or the headers.
    pub(super) fn parameter(&mut self, parameter: Value) {
        let parameters = self.fields.entry("parameters").or_insert_with(|| json!([]));
        parameters.as_array_mut().expect("only this function makes it").push(parameter);
    }

    /// The answers: this one on success, and a sentence on failure.
    pub(super) fn answer(&mut self, what: &str, content: Value) {
        let error = self.schemas.subschema_for::<sysclone_protocol::agent::ErrorReply>();
        let refusal = |what: &str| json!({ "description": what, "content": { "application/json": { "schema": error } } });
        let responses = json!({
            "200": { "description": what, "content": content },
            "4XX": refusal("It is refused: what is wrong, and what to do."),
            "5XX": refusal("The server could not do it. It can be tried again after 503."),
        });
        self.fields.insert("responses".to_owned(), responses);
    }

    /// The schema of a type, which is put among the document's components when it has a name.
    pub(super) fn schema<T: JsonSchema>(&mut self) -> Schema {
        self.schemas.subschema_for::<T>()
    }
}

/// An extractor whose part of the request is in the document.
pub(super) trait Asks {
    /// Adds it.
    fn describe(operation: &mut Operation<'_>);
}

/// An answer that is in the document.
pub(super) trait Answers {
    /// Adds it.
    fn describe(operation: &mut Operation<'_>);
}

/// A handler whose arguments and answer are in the document. `T` is the list of arguments, as axum has it.
pub(super) trait Described<T> {
    /// Adds all.
    fn describe(operation: &mut Operation<'_>);
}

macro_rules! described {
    ($($argument:ident),+) => {
        impl<F, Answer, Reply, Marker, $($argument),+> Described<(Marker, $($argument,)+)> for F
        where
            F: Fn($($argument),+) -> Answer,
            Answer: Future<Output = Result<Reply, ApiError>>,
            Reply: Answers,
            $($argument: Asks),+
        {
            fn describe(operation: &mut Operation<'_>) {
                $($argument::describe(operation);)+
                Reply::describe(operation);
            }
        }
    };
}

described!(A);
described!(A, B);
described!(A, B, C);
described!(A, B, C, D);
described!(A, B, C, D, E);

impl<S> Asks for State<S> {
    fn describe(_: &mut Operation<'_>) {}
}

impl Asks for Actor {
    fn describe(_: &mut Operation<'_>) {}
}

impl Asks for Root {
    fn describe(operation: &mut Operation<'_>) {
        operation.fields.insert("description".to_owned(), "For root only.".into());
    }
}

impl<A: Asks, B: Asks> Asks for (A, B) {
    fn describe(operation: &mut Operation<'_>) {
        A::describe(operation);
        B::describe(operation);
    }
}

impl<T: JsonSchema> Asks for Body<T> {
    fn describe(operation: &mut Operation<'_>) {
        let schema = operation.schema::<T>();
        let body = json!({ "required": true, "content": { "application/json": { "schema": schema } } });
        operation.fields.insert("requestBody".to_owned(), body);
    }
}

impl<T: JsonSchema> Asks for Path<T> {
    fn describe(operation: &mut Operation<'_>) {
        let (_, name) = operation.path.split_once('{').expect("a path with a place in braces");
        let name = name.trim_end_matches('}');
        let schema = operation.schema::<T>();
        operation.parameter(json!({ "name": name, "in": "path", "required": true, "schema": schema }));
    }
}

impl<T: JsonSchema> Asks for Query<T> {
    fn describe(operation: &mut Operation<'_>) {
        let schema = T::json_schema(operation.schemas).to_value();
        for (name, schema) in schema["properties"].as_object().expect("a query has named fields") {
            let mut schema = schema.clone();
            let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
            no_null(&mut schema);
            let parameter =
                json!({ "name": name, "in": "query", "description": description, "schema": schema });
            operation.parameter(parameter);
        }
    }
}

/// What a query may leave out is not null in it.
fn no_null(schema: &mut Value) {
    if let Some([Value::String(kind), ..]) = schema["type"].as_array().map(Vec::as_slice) {
        schema["type"] = kind.as_str().into();
    }
}

impl<T: JsonSchema> Answers for Json<T> {
    fn describe(operation: &mut Operation<'_>) {
        let schema = operation.schema::<T>();
        operation.answer("It is done.", json!({ "application/json": { "schema": schema } }));
    }
}

impl<T: JsonSchema> Answers for Stream<T> {
    fn describe(operation: &mut Operation<'_>) {
        let schema = operation.schema::<T>();
        let what = "Lines, each of which is one such document. They come while the work goes on.";
        operation.answer(what, json!({ "application/jsonl": { "schema": schema } }));
    }
}
