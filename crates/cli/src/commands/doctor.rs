//! stub
use crate::failure::Failure;
use std::process::ExitCode;
/// stub
#[derive(clap::Args)]
pub(crate) struct Doctor {}
impl Doctor {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        Ok(ExitCode::SUCCESS)
    }
}
