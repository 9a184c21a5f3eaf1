//! Where the Hub is, where its cache is, and how patient a download is: what the variables say that
//! all software of the Hub reads.
//!
//! It knows the names of the variables; it asks its caller for their values.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::Uri;

use crate::error::HubError;
use crate::token::Token;

/// The Hub itself.
const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
/// Without a byte for so long, a connection is given up.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// Before the first of several new attempts.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// What forbids to use the network; the second is older, and of other software.
const OFFLINE_VARIABLES: [&str; 2] = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"];
/// What holds the token; the second is the older name.
const TOKEN_VARIABLES: [&str; 2] = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"];

/// How the Hub is reached, and where its files lie.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address of the Hub or of a mirror, without a slash at its end.
    pub endpoint: String,
    /// The folder that holds `models--org--name` and the like.
    pub cache: PathBuf,
    /// What opens private and gated repositories. It is sent to the endpoint and to nobody else.
    pub token: Option<Token>,
    /// The variable that forbids to use the network, if one does.
    pub offline_variable: Option<&'static str>,
    /// Whether bars of progress are wanted.
    pub shows_bars: bool,
    /// Without a byte for so long, a connection is given up.
    pub read_timeout: Duration,
    /// Before the first of several new attempts; it doubles with each.
    pub retry_wait: Duration,
}

impl Settings {
    /// The settings that these variables and the user's home folder give.
    ///
    /// `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_OFFLINE`,
    /// `HF_HUB_DISABLE_IMPLICIT_TOKEN`, `HF_HUB_DISABLE_PROGRESS_BARS`, `HF_HUB_DOWNLOAD_TIMEOUT` and
    /// `XDG_CACHE_HOME`, with the older names of some. An empty variable is as good as none.
    ///
    /// # Errors
    /// [`HubError`] where a value is none of its kind, or no folder for the cache is known.
    pub fn from_variables(
        variable: impl Fn(&str) -> Option<OsString>,
        home: Option<&Path>,
    ) -> Result<Self, HubError> {
        let value = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |name: &str| value(name).map(|value| value.to_string_lossy().into_owned());
        let is_true = |name: &str| text(name).is_some_and(|value| is_true(&value));
        let path = |name: &str| value(name).map(|value| expand_home(Path::new(&value), home));

        let cache_home =
            || path("XDG_CACHE_HOME").or_else(|| Some(home?.join(".cache"))).ok_or(HubError::NoHome);
        let hub_home = match path("HF_HOME") {
            Some(hub_home) => hub_home,
            None => cache_home()?.join("huggingface"),
        };
        let cache = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE"));
        let read_timeout = match text("HF_HUB_DOWNLOAD_TIMEOUT") {
            Some(text) => seconds("HF_HUB_DOWNLOAD_TIMEOUT", &text)?,
            None => READ_TIMEOUT,
        };
        let token = if is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            None
        } else {
            match TOKEN_VARIABLES.iter().find_map(|name| Some((text(name)?, name))) {
                Some((text, name)) => Token::parse(&text, name)?,
                None => Token::read(&path("HF_TOKEN_PATH").unwrap_or_else(|| hub_home.join("token")))?,
            }
        };
        Ok(Settings {
            endpoint: endpoint(text("HF_ENDPOINT"))?,
            cache: cache.unwrap_or_else(|| hub_home.join("hub")),
            token,
            offline_variable: OFFLINE_VARIABLES.into_iter().find(|name| is_true(name)),
            shows_bars: !is_true("HF_HUB_DISABLE_PROGRESS_BARS"),
            read_timeout,
            retry_wait: RETRY_WAIT,
        })
    }
}

/// Whether a variable of the Hub is set to a yes.
fn is_true(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
}

fn seconds(variable: &'static str, text: &str) -> Result<Duration, HubError> {
    match text.parse::<u32>() {
        Ok(seconds @ 1..) => Ok(Duration::from_secs(seconds.into())),
        _ => Err(HubError::Seconds { variable, found: text.to_owned() }),
    }
}

/// The address that is meant, if it is one.
fn endpoint(given: Option<String>) -> Result<String, HubError> {
    let given = given.unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
    let address = given.trim_end_matches('/');
    let is_address = |uri: &Uri| {
        let has_host = uri.host().is_some_and(|host| !host.is_empty());
        let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        matches!(uri.scheme_str(), Some("http" | "https")) && has_host && !has_user && uri.query().is_none()
    };
    match address.parse::<Uri>() {
        Ok(uri) if is_address(&uri) => Ok(address.to_owned()),
        _ => Err(HubError::Endpoint),
    }
}

/// `~` and `~/…` as a shell reads them, where the user's home folder is known.
pub fn expand_home(path: &Path, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_path_buf(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, HubError> {
        let value = |name: &str| Some(variables.iter().find(|(key, _)| *key == name)?.1.into());
        Settings::from_variables(value, Some(Path::new("/nowhere/me")))
    }

    #[test]
    fn the_cache_lies_where_all_others_look_for_it() {
        for (variables, want) in [
            (&[][..], "/nowhere/me/.cache/huggingface/hub"),
            (&[("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
            (&[("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/h")], "/h/hub"),
            (&[("HF_HOME", "~/h")], "/nowhere/me/h/hub"),
            (&[("HF_HOME", "/h"), ("HUGGINGFACE_HUB_CACHE", "/old")], "/old"),
            (&[("HF_HOME", "/h"), ("HF_HUB_CACHE", "/c"), ("HUGGINGFACE_HUB_CACHE", "/old")], "/c"),
            (&[("HF_HOME", ""), ("XDG_CACHE_HOME", "")], "/nowhere/me/.cache/huggingface/hub"),
        ] {
            assert_eq!(settings(variables).unwrap().cache, Path::new(want), "{variables:?}");
        }
        let error = Settings::from_variables(|_| None, None).unwrap_err();
        assert!(matches!(error, HubError::NoHome), "{error}");
        let named = |name: &str| (name == "HF_HOME").then(|| "/h".into());
        assert_eq!(Settings::from_variables(named, None).unwrap().cache, Path::new("/h/hub"));
    }

    #[test]
    fn yes_has_four_names() {
        for (value, want) in [
            ("1", true),
            ("on", true),
            ("Yes", true),
            ("TRUE", true),
            ("0", false),
            ("y", false),
            ("", false),
        ] {
            let found = settings(&[("HF_HUB_OFFLINE", value)]).unwrap().offline_variable;
            assert_eq!(found.is_some(), want, "{value}");
        }
        assert!(!settings(&[("HF_HUB_DISABLE_PROGRESS_BARS", "1")]).unwrap().shows_bars);
        assert!(settings(&[]).unwrap().shows_bars);
    }

    #[test]
    fn the_variable_that_forbids_the_network_is_told() {
        let (newer, older) = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE");
        for (variables, want) in [
            (&[][..], None),
            (&[(newer, "1")], Some(newer)),
            (&[(older, "1")], Some(older)),
            (&[(older, "1"), (newer, "0")], Some(older)),
            (&[(older, "1"), (newer, "1")], Some(newer)),
        ] {
            assert_eq!(settings(variables).unwrap().offline_variable, want, "{variables:?}");
        }
    }

    #[test]
    fn a_bad_token_is_told_with_its_variable() {
        for variable in TOKEN_VARIABLES {
            let error = settings(&[(variable, "hf_se cret")]).unwrap_err();
            assert!(matches!(&error, HubError::Token { origin } if origin == variable), "{error}");
        }
    }

    #[test]
    fn the_token_comes_from_a_variable_or_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        let elsewhere = format!("{home}/elsewhere");
        std::fs::write(format!("{home}/token"), "from-home\n").unwrap();
        std::fs::write(&elsewhere, "from-path").unwrap();
        let header = |variables: &[(&str, &str)]| {
            settings(variables).unwrap().token.map(|token| token.header().replace("Bearer ", ""))
        };
        assert_eq!(header(&[]), None);
        assert_eq!(header(&[("HF_HOME", home)]).unwrap(), "from-home");
        assert_eq!(header(&[("HF_HOME", home), ("HF_TOKEN_PATH", &elsewhere)]).unwrap(), "from-path");
        assert_eq!(header(&[("HF_HOME", home), ("HF_TOKEN", " named ")]).unwrap(), "named");
        assert_eq!(header(&[("HUGGING_FACE_HUB_TOKEN", "older")]).unwrap(), "older");
        let disabled = ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1");
        assert_eq!(header(&[("HF_HOME", home), ("HF_TOKEN", "named"), disabled]), None);
    }

    #[test]
    fn an_endpoint_is_an_address() {
        assert_eq!(settings(&[]).unwrap().endpoint, DEFAULT_ENDPOINT);
        let mirror = settings(&[("HF_ENDPOINT", "http://localhost:8080/hub/")]).unwrap();
        assert_eq!(mirror.endpoint, "http://localhost:8080/hub");
        for bad in
            ["huggingface.co", "ftp://a", "https://", "https://me:secret@host", "https://a?b", "/a", "a b"]
        {
            let error = settings(&[("HF_ENDPOINT", bad)]).unwrap_err();
            assert!(matches!(error, HubError::Endpoint), "{bad}");
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn the_timeout_is_a_number_of_seconds() {
        let timeout = |value| settings(&[("HF_HUB_DOWNLOAD_TIMEOUT", value)]).map(|found| found.read_timeout);
        assert_eq!(timeout("30").unwrap(), Duration::from_secs(30));
        for bad in ["0", "-1", "soon"] {
            assert!(matches!(timeout(bad), Err(HubError::Seconds { .. })), "{bad}");
        }
    }
}
