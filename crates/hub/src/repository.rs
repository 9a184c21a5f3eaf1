//! What a repository holds at one commit: its files with their sizes and digests.
//!
//! Read from the Hub's answer, and from the record `trees/COMMIT.json` that a cache keeps of it. Both
//! come from outside: names, sizes and digests are checked here, once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::HubError;
use crate::id::{RepositoryId, is_commit};

/// Larger files are not served over plain HTTP.
const FILE_MAX_BYTES: u64 = 50_000_000_000;
/// Far more files than any repository has.
const FILES_MAX: usize = 20_000;
/// The longest name of a file, and the longest part of one, in bytes.
const NAME_MAX_BYTES: usize = 1024;
const NAME_PART_MAX_BYTES: usize = 255;
/// The version of the record in a cache.
const TREE_VERSION: u32 = 1;

/// A file of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RemoteFile {
    /// Its size.
    pub(crate) bytes: u64,
    /// What its contents are called.
    pub(crate) digest: Digest,
    /// Git's name of the pointer that stands for a file in large-file storage, if it is known.
    pub(crate) pointer: Option<Digest>,
}

/// A file that may not be described yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listed {
    Described(RemoteFile),
    /// Only its name is known; the server says the rest when it is asked for the file.
    Named,
}

/// What a repository holds at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    id: RepositoryId,
    commit: String,
    pub(crate) files: BTreeMap<String, Listed>,
    /// Files whose names are none on some systems, or would leave the folder. They are only recorded.
    unfit: BTreeMap<String, Listed>,
}

impl Repository {
    /// The repository, as it was asked for.
    pub fn id(&self) -> &RepositoryId {
        &self.id
    }

    /// The commit, as 40 hexadecimal digits.
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// The names of all files that can be had, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// The names of files that no cache can hold, sorted. They may not be used as paths.
    pub fn unfit_names(&self) -> impl Iterator<Item = &str> {
        self.unfit.keys().map(String::as_str)
    }

    /// A file, if it is described.
    pub(crate) fn file(&self, name: &str) -> Option<RemoteFile> {
        match self.files.get(name)? {
            Listed::Described(file) => Some(*file),
            Listed::Named => None,
        }
    }

    /// Reads the Hub's answer to `/api/KIND/ID/revision/REVISION?blobs=true`, where `KIND` is `models` or `datasets`.
    ///
    /// # Errors
    /// [`HubError`] if it is another answer.
    pub fn parse(id: &RepositoryId, json: &[u8]) -> Result<Self, HubError> {
        let answer: Answer = serde_json::from_slice(json).map_err(|error| HubError::Answer {
            id: id.to_string(),
            found: error.to_string(),
            expected: "a commit and its files",
        })?;
        let files = answer.siblings.into_iter().map(|sibling| {
            let (lfs_sha256, lfs_size) = sibling.lfs.map_or((None, None), |lfs| (lfs.sha256, lfs.size));
            let described = match (lfs_size.or(sibling.size), lfs_sha256, sibling.blob_id) {
                (Some(bytes), Some(sha256), pointer) => Some(Described { bytes, digest: sha256, pointer }),
                (Some(bytes), None, Some(digest)) => Some(Described { bytes, digest, pointer: None }),
                _ => None,
            };
            (sibling.rfilename, described)
        });
        Self::checked(id, answer.sha, files)
    }

    /// Reads the record of a cache; `None` if it is of another version or damaged.
    pub fn parse_tree(id: &RepositoryId, commit: &str, json: &[u8]) -> Option<Self> {
        let tree: Tree = serde_json::from_slice(json).ok()?;
        if tree.format_version != TREE_VERSION {
            return None;
        }
        let files = tree.files.into_iter().map(|(name, file)| {
            let bytes = file.lfs_size.unwrap_or(file.size);
            let described = match file.lfs_sha256 {
                Some(digest) => Described { bytes, digest, pointer: Some(file.blob_id) },
                None => Described { bytes, digest: file.blob_id, pointer: None },
            };
            (name, Some(described))
        });
        Self::checked(id, commit.to_owned(), files).ok()
    }

    /// The record for a cache; `None` if not all of it is known.
    pub fn tree_json(&self) -> Option<Vec<u8>> {
        let mut files = BTreeMap::new();
        for (name, listed) in self.files.iter().chain(&self.unfit) {
            let Listed::Described(RemoteFile { bytes, digest, pointer }) = *listed else { return None };
            let file = match digest {
                Digest::Sha256(_) => TreeFile {
                    size: bytes,
                    blob_id: pointer?.to_string(),
                    lfs_sha256: Some(digest.to_string()),
                    lfs_size: Some(bytes),
                },
                Digest::Git(_) => {
                    TreeFile { size: bytes, blob_id: digest.to_string(), lfs_sha256: None, lfs_size: None }
                }
            };
            files.insert(name.clone(), file);
        }
        let tree = Tree { format_version: TREE_VERSION, files };
        Some(serde_json::to_vec_pretty(&tree).expect("a tree of strings and numbers is JSON"))
    }

    /// Checks what came from outside: each file's name and what describes it.
    fn checked(
        id: &RepositoryId,
        commit: String,
        listed: impl ExactSizeIterator<Item = (String, Option<Described>)>,
    ) -> Result<Self, HubError> {
        let answer = |found, expected| HubError::Answer { id: id.to_string(), found, expected };
        if !is_commit(&commit) {
            return Err(answer(format!("`sha` {commit:?}"), "a commit of 40 hexadecimal digits"));
        }
        if listed.len() > FILES_MAX {
            return Err(HubError::TooMany { id: id.to_string(), found: listed.len(), limit: FILES_MAX });
        }
        let (mut files, mut unfit) = (BTreeMap::new(), BTreeMap::new());
        for (name, described) in listed {
            let listed = match described {
                None => Listed::Named,
                Some(Described { bytes, digest, pointer }) => {
                    let bad = || answer(format!("digest {digest:?} of `{name}`"), "a SHA-256 or git's SHA-1");
                    let digest = Digest::parse(&digest).ok_or_else(bad)?;
                    let pointer = pointer.as_deref().and_then(Digest::parse);
                    Listed::Described(RemoteFile { bytes, digest, pointer })
                }
            };
            let place = if is_file_name(&name) { &mut files } else { &mut unfit };
            match place.entry(name) {
                Entry::Vacant(entry) => _ = entry.insert(listed),
                Entry::Occupied(entry) => {
                    return Err(answer(format!("`{}` twice", entry.key()), "each file once"));
                }
            }
        }
        Ok(Repository { id: id.clone(), commit, files, unfit })
    }
}

/// Refuses a file that is larger than any of a repository.
pub(crate) fn check_size(id: &RepositoryId, name: &str, file: &RemoteFile) -> Result<(), HubError> {
    if file.bytes > FILE_MAX_BYTES {
        let (id, name) = (id.to_string(), name.to_owned());
        return Err(HubError::TooLarge { id, file: name, found: file.bytes, limit: FILE_MAX_BYTES });
    }
    Ok(())
}

/// Whether a name is a relative path that stays in its folder, on every system.
fn is_file_name(name: &str) -> bool {
    let is_part = |part: &str| {
        (1..=NAME_PART_MAX_BYTES).contains(&part.len()) && part != "." && part != ".." && part != "~"
    };
    name.len() <= NAME_MAX_BYTES
        && !name.contains(['\\', ':'])
        && !name.contains(char::is_control)
        && name.split('/').all(is_part)
}

/// What describes a file, as it came.
struct Described {
    bytes: u64,
    digest: String,
    pointer: Option<String>,
}

/// The parts of the Hub's answer that are asked for.
#[derive(Deserialize)]
struct Answer {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<LargeFile>,
}

#[derive(Deserialize)]
struct LargeFile {
    sha256: Option<String>,
    size: Option<u64>,
}

/// The record of a cache, as huggingface_hub writes it.
#[derive(Serialize, Deserialize)]
struct Tree {
    format_version: u32,
    files: BTreeMap<String, TreeFile>,
}

#[derive(Serialize, Deserialize)]
struct TreeFile {
    size: u64,
    blob_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    lfs_sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lfs_size: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
    const GIT: &str = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0";
    const SHA256: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    fn parse(siblings: &str) -> Result<Repository, HubError> {
        let json = format!(r#"{{"sha":"{COMMIT}","siblings":[{siblings}],"more":1}}"#);
        Repository::parse(&"org/name".parse().unwrap(), json.as_bytes())
    }

    fn whole() -> Repository {
        parse(&format!(
            r#"{{"rfilename":"a/config.json","size":5,"blobId":"{GIT}"}},
               {{"rfilename":"model.safetensors","size":5,"blobId":"{GIT}","lfs":{{"sha256":"{SHA256}","size":5}}}}"#
        ))
        .unwrap()
    }

    #[test]
    fn an_answer_gives_sizes_and_digests() {
        let repository = whole();
        assert_eq!(repository.commit(), COMMIT);
        assert_eq!(repository.names().collect::<Vec<_>>(), ["a/config.json", "model.safetensors"]);
        assert_eq!(repository.file("a/config.json").unwrap().digest.to_string(), GIT);
        assert_eq!(repository.file("model.safetensors").unwrap().digest.to_string(), SHA256);
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let repository = whole();
        let json = repository.tree_json().unwrap();
        let id = "org/name".parse().unwrap();
        assert_eq!(Repository::parse_tree(&id, COMMIT, &json), Some(repository));
        let newer =
            String::from_utf8(json).unwrap().replace("\"format_version\": 1", "\"format_version\": 2");
        assert_eq!(Repository::parse_tree(&id, COMMIT, newer.as_bytes()), None);
        assert_eq!(Repository::parse_tree(&id, COMMIT, b"{"), None);
    }

    #[test]
    fn an_answer_without_digests_is_one_of_names() {
        let repository = parse(r#"{"rfilename":"config.json"}"#).unwrap();
        assert_eq!(repository.files["config.json"], Listed::Named);
        assert_eq!(repository.tree_json(), None);
    }

    #[test]
    fn names_that_leave_the_folder_are_set_apart() {
        let long = "a".repeat(256);
        for name in [
            "",
            "..",
            ".",
            "../x",
            "a/../../x",
            "a/..",
            "/etc/passwd",
            "a//b",
            "a/",
            "c:/x",
            "a\\\\b",
            "a\\u0000b",
            "a\\nb",
            "~/x",
            &long,
        ] {
            let file = |name: &str| format!(r#"{{"rfilename":"{name}","size":5,"blobId":"{GIT}"}}"#);
            let repository = parse(&[file(name), file("config.json")].join(",")).unwrap();
            assert_eq!(repository.names().collect::<Vec<_>>(), ["config.json"], "{name}");
            assert_eq!(repository.unfit_names().count(), 1, "{name}");
            let json = repository.tree_json().unwrap();
            let read = Repository::parse_tree(repository.id(), COMMIT, &json);
            assert_eq!(read, Some(repository), "{name}");
        }
    }

    #[test]
    fn other_answers_are_refused() {
        let file = |size: &str, digest: &str| {
            parse(&format!(r#"{{"rfilename":"a","size":{size},"blobId":"{digest}"}}"#))
        };
        for found in [
            file("-1", GIT),
            file("1", "../../x"),
            file("1", &GIT[1..]),
            parse(r#"{"rfilename":"a"},{"rfilename":"a"}"#),
            parse(r#"{"name":"a"}"#),
        ] {
            assert!(matches!(found, Err(HubError::Answer { .. })), "{found:?}");
        }
        let id: RepositoryId = "org/name".parse().unwrap();
        for json in [&b""[..], b"[]", b"{\"sha\":\"main\",\"siblings\":[]}", b"{\"siblings\":[]}", b"\xff"] {
            assert!(matches!(Repository::parse(&id, json), Err(HubError::Answer { .. })));
        }
        let many: Vec<String> = (0..=FILES_MAX).map(|i| format!(r#"{{"rfilename":"{i}"}}"#)).collect();
        assert!(matches!(parse(&many.join(",")), Err(HubError::TooMany { .. })));
    }
}
