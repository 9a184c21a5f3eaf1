use std::path::Path; use anyhow::Result; use super::plan::Outcome;
pub(super) fn write(_docs: &Path, _outcomes: &[Outcome]) -> Result<()> { Ok(()) }
