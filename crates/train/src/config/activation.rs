//! `model.hidden_act` as TOML has it: by its name.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tercet::config::Activation;

/// The names.
pub(super) const NAMES: [&str; Activation::ALL.len()] =
    [Activation::ALL[0].name(), Activation::ALL[1].name()];

pub(super) fn serialize<S: Serializer>(
    activation: &Option<Activation>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    activation.map(Activation::name).serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Activation>, D::Error> {
    let Some(name) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let found = Activation::ALL.into_iter().find(|activation| activation.name() == name);
    found.map(Some).ok_or_else(|| D::Error::unknown_variant(&name, &NAMES))
}
