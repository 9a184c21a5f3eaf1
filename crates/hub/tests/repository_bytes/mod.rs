//! The reader of a repository's list, as the smoke test and the fuzz target call it.
#![allow(unreachable_pub, reason = "each user includes the file and uses its own part")]

use std::path::{Component, Path};

use tercet_hub::{Repository, RepositoryId};

/// A right answer of the Hub: files in git, in large-file storage, and one without a digest.
pub fn right_answer() -> Vec<u8> {
    let (commit, git, sha256) = ("0a".repeat(20), "1b".repeat(20), "2c".repeat(32));
    let answer = format!(
        r#"{{"id":"org/name","sha":"{commit}","siblings":[
            {{"rfilename":"config.json","size":5,"blobId":"{git}"}},
            {{"rfilename":"a/b c.safetensors","size":134,"blobId":"{git}",
              "lfs":{{"sha256":"{sha256}","size":7000000000,"pointerSize":134}}}},
            {{"rfilename":"notes"}}]}}"#
    );
    answer.into_bytes()
}

/// Reads an answer; whether it is one. What it names must stay in its folder, and a record of it must
/// read as it was written.
pub fn repository(bytes: &[u8]) -> bool {
    let id: RepositoryId = "org/name".parse().expect("a name of the Hub");
    let Ok(repository) = Repository::parse(&id, bytes) else { return false };
    assert!(repository.commit().len() == 40 && repository.commit().is_ascii());
    for name in repository.names() {
        let is_inside = |part: Component<'_>| matches!(part, Component::Normal(_));
        assert!(!name.is_empty() && Path::new(name).components().all(is_inside), "{name:?}");
        assert!(!name.contains(char::is_control), "{name:?}");
    }
    if let Some(json) = repository.tree_json() {
        let read = Repository::parse_tree(&id, repository.commit(), &json);
        assert_eq!(read.as_ref(), Some(&repository), "a record reads as it was written");
    }
    true
}
