//! Where the server listens and who may come: address, keys, names and web pages.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use clap::Args;
use tercet_serve::http::{Keys, Origins};

use crate::failure::{Exit, Failure};
use crate::terminal::note;

/// Keys that no flag gives, so that no list of processes shows them.
const KEY_VARIABLE: &str = "TERCET_API_KEY";

#[derive(Args)]
#[command(next_help_heading = "Network")]
pub(super) struct Exposure {
    /// The address to listen on; `0.0.0.0` or `::` for all of this machine
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1",
        env = "TERCET_HOST",
        hide_env_values = true
    )]
    host: String,
    /// The port; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = 8080, env = "TERCET_PORT", hide_env_values = true)]
    port: u16,
    /// A file of keys, one a line, `#` for comments; clients send one as `Authorization: Bearer KEY`
    #[arg(long, value_name = "FILE", env = "TERCET_API_KEY_FILE", hide_env_values = true)]
    api_key_file: Option<PathBuf>,
    /// A key; whoever lists this machine's processes reads it, so better by file or TERCET_API_KEY
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// Listen on other addresses than this machine's own without a key
    #[arg(long)]
    insecure_no_auth: bool,
    /// Names to answer to beside the address and `localhost`, several by commas
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        value_parser = host_name,
        env = "TERCET_ALLOWED_HOSTS",
        hide_env_values = true
    )]
    allowed_hosts: Vec<String>,
    /// Web pages that may ask, such as `https://example.org`, several by commas; `*` for any, if there is a key
    #[arg(
        long,
        value_name = "ORIGIN",
        value_delimiter = ',',
        env = "TERCET_CORS_ORIGINS",
        hide_env_values = true
    )]
    cors_origins: Vec<String>,
}

/// A name as `Host` has it; ports do not matter, and so none is taken.
fn host_name(text: &str) -> Result<String, String> {
    match text.contains(':') && !(text.starts_with('[') && text.ends_with(']')) {
        true => Err("expected a name without a port, or an address of IPv6 in brackets".to_owned()),
        false => Ok(text.to_owned()),
    }
}

impl Exposure {
    /// All keys: of the file, the variable and the flag.
    ///
    /// # Errors
    /// Exit code 2 if one is weak, or a file or variable that should have some has none; 3 if the file cannot be read.
    pub(super) fn keys(&self) -> Result<Keys, Failure> {
        let mut keys = Keys::default();
        let of = |name: &str, text: &str| {
            Keys::read(text).map_err(|error| {
                let hint = "`openssl rand -base64 32` makes a good key";
                Failure::message(Exit::Usage, format!("{name}: {error}")).with_hint(hint)
            })
        };
        if let Some(file) = &self.api_key_file {
            let name = file.display().to_string();
            let text = std::fs::read_to_string(file);
            let unreadable =
                |error| Failure::message(Exit::Model, format!("{name}: cannot be read: {error}"));
            keys = keys.and(of(&name, &text.map_err(unreadable)?)?);
        }
        if let Some(value) = std::env::var_os(KEY_VARIABLE) {
            let not_text = |_| Failure::message(Exit::Usage, format!("{KEY_VARIABLE} is not UTF-8"));
            keys = keys.and(of(KEY_VARIABLE, &value.into_string().map_err(not_text)?)?);
        }
        if let Some(key) = &self.api_key {
            note("warning: whoever lists the processes of this machine sees the key of `--api-key`");
            keys = keys.and(of("--api-key", key)?);
        }
        Ok(keys)
    }

    /// The address to listen on.
    ///
    /// # Errors
    /// Exit code 2 if there is none of this name, or everybody could come in.
    pub(super) fn address(&self, keys: &Keys) -> Result<SocketAddr, Failure> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let found = (host, self.port).to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
        let Some(address) = found else {
            let message = format!("`--host` is `{}`, expected an address of this machine", self.host);
            return Err(Failure::message(Exit::Usage, message));
        };
        if keys.is_empty() && !address.ip().is_loopback() && !self.insecure_no_auth {
            let message = format!("{} can be reached by others, and there is no key", address.ip());
            let hint = "give keys by `--api-key-file` or TERCET_API_KEY, or say `--insecure-no-auth`";
            return Err(Failure::message(Exit::Usage, message).with_hint(hint));
        }
        if keys.is_empty() && !address.ip().is_loopback() {
            note("warning: whoever reaches this address may use the server, for there is no key");
        }
        Ok(address)
    }

    /// The pages that may ask.
    ///
    /// # Errors
    /// Exit code 2 if one is no origin, or all may and there is no key.
    pub(super) fn origins(&self, keys: &Keys) -> Result<Origins, Failure> {
        let origins = Origins::new(&self.cors_origins)
            .map_err(|error| Failure::message(Exit::Usage, format!("`--cors-origins`: {error}")))?;
        if origins.any() && keys.is_empty() && !self.insecure_no_auth {
            let message = "`--cors-origins *` lets any web page use the server, and there is no key";
            let hint = "name the pages, or give keys by `--api-key-file` or TERCET_API_KEY";
            return Err(Failure::message(Exit::Usage, message).with_hint(hint));
        }
        Ok(origins)
    }

    pub(super) fn allowed_hosts(&self) -> &[String] {
        &self.allowed_hosts
    }
}
