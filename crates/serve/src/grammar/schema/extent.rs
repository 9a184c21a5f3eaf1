//! How large a schema becomes when what it combines is multiplied out.
//!
//! ```text
//! both of A and B:    size = size(A) · ways(B) + size(B) · ways(A), and for each name of one the rest of the other
//! one of A and B:     size = size(A) + size(B)      ways = ways(A) + ways(B)
//! parts of an object: size = the sum of theirs      ways = the most of theirs
//! a reference:        itself; where it is combined with something, what it refers to
//! ```
//!
//! It errs on the side of counting, so that the work of the library is bounded.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::super::error::GrammarError;

/// The greatest size of a schema, and of all that are compiled together.
pub(in super::super) const SIZE_MAX: u64 = 20_000;

/// References that may follow on each other, with the schemas between them.
const CHAIN_MAX: usize = 256;

/// What a regular expression counts.
const PATTERN_SIZE: u64 = 64;

/// The library's work grows with the square of an object's properties: so many of them squared count one.
const NAMES_SQUARED: u64 = 64;

/// What patterns of property names count together, each being compared with every other in each way.
const PATTERN_PROPERTIES_SIZE: u64 = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    size: u64,
    /// The ways in which it can be obeyed, at the place where there are most.
    ways: u64,
    /// Names of properties.
    names: u64,
    /// Size of what is said of all other properties, or of all items.
    rest: u64,
}

impl Extent {
    const ONE: Self = Self { size: 1, ways: 1, names: 0, rest: 0 };

    fn both(self, other: Self) -> Self {
        let product = |factors: [u64; 3]| factors.into_iter().fold(1, u64::saturating_mul);
        let ways = self.ways.saturating_mul(other.ways);
        let terms = [
            product([self.size, other.ways, 1]),
            product([other.size, self.ways, 1]),
            product([self.names, other.rest, self.ways]),
            product([other.names, self.rest, other.ways]),
            product([2 * self.names / NAMES_SQUARED, other.names, ways]),
        ];
        Self {
            size: terms.into_iter().fold(0, u64::saturating_add),
            ways,
            names: self.names.saturating_add(other.names),
            rest: self.rest.saturating_add(other.rest),
        }
    }

    /// Both, in different places.
    fn beside(self, other: Self) -> Self {
        Self { ways: self.ways.max(other.ways), ..self.either(other) }
    }

    fn either(self, other: Self) -> Self {
        Self {
            size: self.size.saturating_add(other.size),
            ways: self.ways.saturating_add(other.ways),
            names: self.names.saturating_add(other.names),
            rest: self.rest.saturating_add(other.rest),
        }
    }
}

/// The size of a checked schema.
///
/// # Errors
/// [`GrammarError::Limit`] if it is more than [`SIZE_MAX`].
pub(super) fn size(schema: &Value) -> Result<u64, GrammarError> {
    let mut extents = Extents { root: schema, resolved: HashMap::new() };
    let mut size = extents.of(schema, false, 0)?.size;
    for definitions in ["$defs", "definitions"] {
        let definitions = schema.get(definitions).and_then(Value::as_object);
        for definition in definitions.into_iter().flat_map(Map::values) {
            size = size.saturating_add(extents.of(definition, false, 0)?.size);
        }
    }
    // Each reference is followed once, from wherever it stands.
    chain(schema, schema, 0, &mut HashMap::new())?;
    if size <= SIZE_MAX {
        return Ok(size);
    }
    Err(GrammarError::Limit(format!(
        "the schema has {size} parts when multiplied out, expected at most {SIZE_MAX}"
    )))
}

struct Extents<'a> {
    root: &'a Value,
    /// What references are, resolved; one that is being resolved counts as itself.
    resolved: HashMap<&'a str, Extent>,
}

impl<'a> Extents<'a> {
    fn of(&mut self, schema: &'a Value, is_resolved: bool, depth: usize) -> Result<Extent, GrammarError> {
        if depth > CHAIN_MAX {
            return Err(too_long());
        }
        let Some(object) = schema.as_object() else { return Ok(Extent::ONE) };
        // What is intersected: each keyword that combines, and all others together.
        let combines = |name: &str| matches!(name, "anyOf" | "oneOf" | "allOf" | "$ref" | "enum" | "const");
        let is_plain = |name: &str| !combines(name) && !matches!(name, "$defs" | "definitions" | "type");
        let is_one = object.keys().filter(|name| combines(name)).count() == 1
            && !object.keys().any(|name| is_plain(name))
            && object.get("allOf").and_then(Value::as_array).is_none_or(|list| list.len() == 1);
        let is_resolved = is_resolved || !is_one;
        let depth = depth + 1;

        let mut extent = self.plain(object, is_resolved, depth)?;
        for (name, value) in object.iter().filter(|(name, _)| combines(name)) {
            let of_keyword = match name.as_str() {
                "$ref" => self.reference(value, is_resolved, depth)?,
                "allOf" => {
                    let schemas = value.as_array().into_iter().flatten();
                    let mut all = Extent::ONE;
                    for schema in schemas {
                        all = all.both(self.of(schema, is_resolved, depth)?);
                    }
                    all
                }
                "anyOf" | "oneOf" => {
                    let schemas = value.as_array().into_iter().flatten();
                    let mut any = Extent { ways: 0, ..Extent::ONE };
                    for schema in schemas {
                        any = any.either(self.of(schema, is_resolved, depth)?);
                    }
                    any
                }
                "enum" => {
                    let ways = value.as_array().map_or(1, Vec::len) as u64;
                    Extent { size: parts(value), ways: ways.max(1), ..Extent::ONE }
                }
                _ => Extent { size: parts(value), ..Extent::ONE },
            };
            extent = extent.both(of_keyword);
        }
        Ok(extent)
    }

    /// The keywords that do not combine.
    fn plain(
        &mut self,
        object: &'a Map<String, Value>,
        is_resolved: bool,
        depth: usize,
    ) -> Result<Extent, GrammarError> {
        let mut extent = Extent::ONE;
        let names = object.get("properties").and_then(Value::as_object).map_or(0, Map::len) as u64;
        for (name, value) in object {
            let schemas: Vec<&'a Value> = match name.as_str() {
                "properties" | "patternProperties" => {
                    value.as_object().into_iter().flat_map(Map::values).collect()
                }
                "items" | "prefixItems" if value.is_array() => {
                    value.as_array().into_iter().flatten().collect()
                }
                "items" | "additionalItems" | "additionalProperties" => vec![value],
                _ => Vec::new(),
            };
            for schema in schemas {
                let inner = self.of(schema, is_resolved, depth)?;
                extent = extent.beside(inner);
                match name.as_str() {
                    "properties" | "prefixItems" => extent.names += 1,
                    "patternProperties" => {
                        extent.rest = extent.rest.saturating_add(inner.size);
                        extent.size = extent.size.saturating_add(inner.size.saturating_mul(names));
                    }
                    _ => extent.rest = extent.rest.saturating_add(inner.size),
                }
            }
            extent.size = extent.size.saturating_add(match name.as_str() {
                "pattern" | "format" => PATTERN_SIZE,
                "patternProperties" => {
                    let patterns = value.as_object().map_or(0, Map::len) as u64;
                    patterns * patterns * PATTERN_PROPERTIES_SIZE
                }
                "properties" => names * names / NAMES_SQUARED,
                "required" => parts(value),
                // The library makes an alternative of each property, with all others in it.
                "minProperties" | "maxProperties" => names * names,
                _ => 0,
            });
        }
        Ok(extent)
    }

    fn reference(
        &mut self,
        value: &'a Value,
        is_resolved: bool,
        depth: usize,
    ) -> Result<Extent, GrammarError> {
        let Some(target) = value.as_str().filter(|_| is_resolved) else { return Ok(Extent::ONE) };
        if let Some(extent) = self.resolved.get(target) {
            return Ok(*extent);
        }
        self.resolved.insert(target, Extent::ONE);
        let extent = match self.root.pointer(&target[1..]) {
            Some(schema) => self.of(schema, true, depth)?,
            None => Extent::ONE,
        };
        self.resolved.insert(target, extent);
        Ok(extent)
    }
}

/// How many schemas and references follow on each other from here, the longest way; each reference once.
fn chain<'a>(
    root: &'a Value,
    value: &'a Value,
    depth: usize,
    followed: &mut HashMap<&'a str, usize>,
) -> Result<usize, GrammarError> {
    if depth > CHAIN_MAX {
        return Err(too_long());
    }
    let mut longest = 0;
    match value {
        Value::Array(list) => {
            for value in list {
                longest = longest.max(chain(root, value, depth + 1, followed)?);
            }
        }
        Value::Object(object) => {
            for (name, value) in object {
                longest = longest.max(chain(root, value, depth + 1, followed)?);
                let Some(target) = value.as_str().filter(|target| name == "$ref" && target.starts_with('#'))
                else {
                    continue;
                };
                let beyond = match followed.get(target) {
                    Some(beyond) => *beyond,
                    None => {
                        followed.insert(target, 0);
                        let target_schema = root.pointer(&target[1..]).unwrap_or(&Value::Null);
                        let beyond = chain(root, target_schema, depth + 1, followed)?;
                        followed.insert(target, beyond);
                        beyond
                    }
                };
                if depth + beyond > CHAIN_MAX {
                    return Err(too_long());
                }
                longest = longest.max(beyond);
            }
        }
        _ => {}
    }
    Ok(longest + 1)
}

fn too_long() -> GrammarError {
    GrammarError::Limit(format!("references follow on each other, expected at most {CHAIN_MAX} schemas deep"))
}

/// How many values there are in a value.
fn parts(value: &Value) -> u64 {
    match value {
        Value::Array(list) => 1 + list.iter().map(parts).sum::<u64>(),
        Value::Object(object) => 1 + object.values().map(parts).sum::<u64>(),
        _ => 1,
    }
}
