//! The secret that opens private and gated repositories. It is shown nowhere.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use crate::error::HubError;

/// The longest file that holds a token, in bytes.
const FILE_MAX_BYTES: u64 = 64 << 10;

/// A token of the Hub.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The token in a text, line ends and spaces around it left out; `None` if there is nothing else.
    ///
    /// # Errors
    /// [`HubError::Token`] if it has characters that no header may have.
    pub fn parse(text: &str, origin: &str) -> Result<Option<Self>, HubError> {
        let text = text.trim();
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(HubError::Token { origin: origin.to_owned() });
        }
        Ok((!text.is_empty()).then(|| Token(text.to_owned())))
    }

    /// The token in a file; `None` if there is no such file.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, HubError> {
        let origin = path.display().to_string();
        let failed = |source| HubError::Io { path: path.to_path_buf(), attempt: "be read", source };
        match fs::metadata(path) {
            Ok(found) if found.len() > FILE_MAX_BYTES => Err(HubError::Token { origin }),
            Ok(_) => {
                let bytes = fs::read(path).map_err(failed)?;
                let text = String::from_utf8(bytes);
                Token::parse(&text.map_err(|_| HubError::Token { origin: origin.clone() })?, &origin)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// The value of the header `Authorization`.
    pub(crate) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_and_never_shown() {
        let token = Token::parse(" hf_secret\r\n", "HF_TOKEN").unwrap().unwrap();
        assert_eq!(token.header(), "Bearer hf_secret");
        assert!(!format!("{token:?}").contains("secret"));
        assert_eq!(Token::parse(" \n", "HF_TOKEN").unwrap(), None);
        let error = Token::parse("hf_se cret", "HF_TOKEN").unwrap_err();
        assert!(error.to_string().contains("HF_TOKEN") && !error.to_string().contains("cret"));
    }

    #[test]
    fn a_file_may_be_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        assert_eq!(Token::read(&path).unwrap(), None);
        fs::write(&path, "hf_x\n").unwrap();
        assert_eq!(Token::read(&path).unwrap().unwrap().header(), "Bearer hf_x");
        fs::write(&path, b"\xff").unwrap();
        assert!(matches!(Token::read(&path), Err(HubError::Token { .. })));
    }
}
