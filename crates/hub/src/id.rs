//! What a repository of the Hub is called, of a model or of a data set: `org/name`, at a revision.
//!
//! The only file that says which names there may be. They become parts of paths and addresses, so
//! they are checked here, once.

use std::fmt;
use std::str::FromStr;

use crate::error::HubError;

/// The revision that is meant where none is said.
pub(crate) const DEFAULT_REVISION: &str = "main";

/// The longest part of an id, in bytes.
const PART_MAX_BYTES: usize = 96;
/// The longest revision, in bytes.
const REVISION_MAX_BYTES: usize = 255;
/// Stands between the parts of an id in a folder's name, and so in no id.
const SEPARATOR: &str = "--";

/// What a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Model,
    DataSet,
}

impl Kind {
    /// What the Hub's interface and folders of caches call repositories of this kind.
    fn name(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::DataSet => "datasets",
        }
    }
}

/// A repository of the Hub, of a model or of a data set: `org/name` or `org/name@revision`; old ones have no `org`.
///
/// A text is read as a model's; [`RepositoryId::as_data_set`] makes it a data set's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RepositoryId {
    name: String,
    revision: Option<String>,
    kind: Kind,
}

impl RepositoryId {
    /// The data set of this name and revision.
    pub fn as_data_set(self) -> Self {
        Self { kind: Kind::DataSet, ..self }
    }

    /// Where the Hub's interface keeps repositories of this kind.
    pub(crate) fn kind(&self) -> &'static str {
        self.kind.name()
    }

    /// The path of the repository, without the endpoint.
    pub(crate) fn path(&self) -> String {
        match self.kind {
            Kind::Model => format!("/{}", self.name),
            Kind::DataSet => format!("/datasets/{}", self.name),
        }
    }

    /// `org/name`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The branch, tag or commit that is meant; `main` where none was said.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(DEFAULT_REVISION)
    }

    /// The branch, tag or commit that was said.
    pub fn given_revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    /// The commit that is meant, where the revision is one.
    pub(crate) fn commit(&self) -> Option<&str> {
        self.given_revision().filter(|revision| is_commit(revision))
    }

    /// The folder of this repository in a cache.
    pub(crate) fn folder(&self) -> String {
        format!("{}{SEPARATOR}{}", self.kind(), self.name.replace('/', SEPARATOR))
    }

    /// The model whose folder has this name; `None` for those of data sets and others.
    pub(crate) fn of_folder(folder: &str) -> Option<Self> {
        let name = folder.strip_prefix(Kind::Model.name())?.strip_prefix(SEPARATOR)?;
        name.replace(SEPARATOR, "/").parse().ok()
    }
}

impl FromStr for RepositoryId {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        let (name, revision) = match text.split_once('@') {
            Some((name, revision)) => (name, Some(revision)),
            None => (text, None),
        };
        let parts: Vec<&str> = name.split('/').collect();
        if parts.len() > 2 || !parts.iter().all(|part| is_part(part)) {
            return Err(HubError::Id { found: text.to_owned() });
        }
        if let Some(revision) = revision.filter(|revision| !is_revision(revision)) {
            return Err(HubError::Revision { id: name.to_owned(), found: revision.to_owned() });
        }
        let revision = revision.map(str::to_owned);
        Ok(RepositoryId { name: name.to_owned(), revision, kind: Kind::Model })
    }
}

impl fmt::Display for RepositoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.revision {
            Some(revision) => write!(f, "{}@{revision}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Whether a text is a full commit hash.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_part(part: &str) -> bool {
    (1..=PART_MAX_BYTES).contains(&part.len())
        && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && !part.starts_with(['-', '.'])
        && !part.ends_with(['-', '.'])
        && !part.contains(SEPARATOR)
        && !part.contains("..")
}

/// Whether a name may be one of git's: of printable ASCII, and relative as a path.
pub(crate) fn is_revision(revision: &str) -> bool {
    revision.len() <= REVISION_MAX_BYTES
        && revision.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\:?*[~^\"<>|%".contains(&byte))
        && revision.split('/').all(|part| !part.is_empty() && !part.starts_with(['.', '-']))
        && !revision.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_a_name_and_a_revision() {
        let id: RepositoryId = "org/a.b-c_1".parse().unwrap();
        assert_eq!((id.name(), id.revision(), id.given_revision()), ("org/a.b-c_1", "main", None));
        let id: RepositoryId = "org/name@refs/pr/1".parse().unwrap();
        assert_eq!((id.name(), id.revision(), id.commit()), ("org/name", "refs/pr/1", None));
        assert_eq!(id.to_string(), "org/name@refs/pr/1");
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let id: RepositoryId = format!("org/name@{commit}").parse().unwrap();
        assert_eq!(id.commit(), Some(commit));
    }

    #[test]
    fn what_could_leave_a_folder_is_no_id() {
        for text in [
            "",
            "/",
            "org/",
            "/name",
            "a/b/c",
            "../name",
            "org/..",
            "org/.",
            "org/a--b",
            "org/-a",
            "org/a b",
            "org/ä",
            "org/a\\b",
            "org/a%2f",
            "org/na\nme",
            ".org/name",
            "org/name.",
            "a..b/c",
        ] {
            assert!(text.parse::<RepositoryId>().is_err(), "{text:?}");
        }
        assert!(format!("org/{}", "a".repeat(97)).parse::<RepositoryId>().is_err());
        for revision in
            ["", "/a", "a/", "a//b", "..", "a/../b", ".a", "-a", "a b", "a\\b", "a?b", "a%2e", "ü"]
        {
            let text = format!("org/name@{revision}");
            let error = text.parse::<RepositoryId>().unwrap_err();
            assert!(matches!(error, HubError::Revision { .. }), "{text:?}");
        }
    }

    #[test]
    fn folders_are_told_by_their_names() {
        let id: RepositoryId = "org/a-b".parse().unwrap();
        assert_eq!(id.folder(), "models--org--a-b");
        assert_eq!(id.clone().as_data_set().folder(), "datasets--org--a-b");
        assert_eq!(RepositoryId::of_folder("models--org--a-b"), Some(id));
        assert_eq!(RepositoryId::of_folder("models--old").unwrap().name(), "old");
        for folder in ["datasets--org--a", "models--", "models--..--x", "models--a--b--c", ".locks"] {
            assert_eq!(RepositoryId::of_folder(folder), None, "{folder}");
        }
    }
}
