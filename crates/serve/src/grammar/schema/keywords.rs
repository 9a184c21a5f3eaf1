//! The keywords of JSON Schema that are supported, by what their values are.

/// The types of values.
pub(super) const TYPES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];

/// The formats of texts that are supported.
pub(super) const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"];

/// What a keyword's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    /// Something for readers.
    Annotation,
    /// A schema.
    Schema,
    /// A list of schemas.
    Schemas,
    /// Either.
    SchemaOrList,
    /// Schemas by names.
    NamedSchemas,
    /// A place within the schema.
    Reference,
    /// A type, or a list of them.
    Types,
    /// Any value.
    Constant,
    /// A list of values.
    Constants,
    /// A whole number, not negative.
    Count,
    /// A number.
    Number,
    /// A list of names.
    Names,
    /// A regular expression.
    Pattern,
    /// The name of a format.
    Format,
}

/// The kind of a keyword that is supported.
pub(super) fn keyword(name: &str) -> Option<Keyword> {
    Some(match name {
        "$schema" | "$id" | "id" | "$anchor" | "$comment" | "title" | "description" | "default"
        | "examples" | "example" | "deprecated" | "readOnly" | "writeOnly" | "contentMediaType"
        | "contentEncoding" => Keyword::Annotation,
        "additionalProperties" | "additionalItems" => Keyword::Schema,
        "anyOf" | "oneOf" | "allOf" | "prefixItems" => Keyword::Schemas,
        "items" => Keyword::SchemaOrList,
        "properties" | "patternProperties" | "$defs" | "definitions" => Keyword::NamedSchemas,
        "$ref" => Keyword::Reference,
        "type" => Keyword::Types,
        "const" => Keyword::Constant,
        "enum" => Keyword::Constants,
        "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties" => {
            Keyword::Count
        }
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => Keyword::Number,
        "required" => Keyword::Names,
        "pattern" => Keyword::Pattern,
        "format" => Keyword::Format,
        _ => return None,
    })
}
