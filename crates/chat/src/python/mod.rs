//! What chat templates call that Python has and the engine lacks: methods, `tojson`, dates.
//!
//! It knows no templates and no conversations.

mod date;
mod json;
mod methods;

use minijinja::value::Kwargs;
use minijinja::{Environment, Error, Value};

pub(crate) use date::strftime;

/// Lets templates call what is here.
pub(crate) fn add_to(environment: &mut Environment<'static>) {
    environment.set_unknown_method_callback(methods::unknown_method);
    environment.add_filter("tojson", json::tojson);
    environment.add_filter("default", default);
    environment.add_filter("d", default);
}

/// `value | default(default_value, boolean)`: another value where this one is undefined, or with
/// `boolean` where it is empty. The engine's own knows no names of arguments.
fn default(
    value: &Value,
    default_value: Option<Value>,
    boolean: Option<bool>,
    named: Kwargs,
) -> Result<Value, Error> {
    let default_value = match default_value {
        Some(default_value) => default_value,
        None => named.get::<Option<Value>>("default_value")?.unwrap_or_else(|| Value::from("")),
    };
    let boolean = match boolean {
        Some(boolean) => boolean,
        None => named.get::<Option<bool>>("boolean")?.unwrap_or(false),
    };
    named.assert_all_used()?;
    let is_replaced = value.is_undefined() || (boolean && !value.is_true());
    Ok(if is_replaced { default_value } else { value.clone() })
}
