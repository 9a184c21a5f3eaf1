//! A cache as others leave it: parts of snapshots, links that lead away, and what a removal takes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tercet_hub::{Cache, HubError, RepositoryId};

const FIRST: &str = "1111111111111111111111111111111111111111";
const SECOND: &str = "2222222222222222222222222222222222222222";

struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    /// `org/name` at two commits that have `shared` in common, and a model beside it.
    fn new() -> Self {
        let scene = Scene { folder: tempfile::tempdir().unwrap() };
        scene.add("org/name", FIRST, &[("a.json", 'a', 10), ("sub/shared", 'c', 100)]);
        scene.add("org/name", SECOND, &[("a.json", 'b', 1000), ("sub/shared", 'c', 100)]);
        scene.add("org/other", FIRST, &[("a.json", 'a', 10)]);
        scene.write("models--org--name/refs/main", SECOND.as_bytes());
        scene.write("models--org--name/refs/refs/pr/1", FIRST.as_bytes());
        scene.write(".locks/models--org--name/x.lock", b"");
        scene.write("CACHEDIR.TAG", b"Signature");
        scene.write("datasets--org--name/refs/main", FIRST.as_bytes());
        scene
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    fn cache(&self) -> Cache {
        Cache::new(self.root())
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn add(&self, id: &str, commit: &str, files: &[(&str, char, usize)]) {
        let model = format!("models--{}", id.replace('/', "--"));
        for (name, letter, bytes) in files {
            let blob = letter.to_string().repeat(40);
            self.write(&format!("{model}/blobs/{blob}"), &vec![0; *bytes]);
            let link = self.root().join(&model).join("snapshots").join(commit).join(name);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            let up = "../".repeat(name.matches('/').count() + 2);
            symlink(format!("{up}blobs/{blob}"), link).unwrap();
        }
    }

    fn remove(&self, id: &str) -> Result<Option<u64>, HubError> {
        let Some(removal) = self.cache().removal(&id.parse::<RepositoryId>()?, &[])? else { return Ok(None) };
        removal.run()?;
        Ok(Some(removal.bytes))
    }

    fn has(&self, path: &str) -> bool {
        self.root().join(path).symlink_metadata().is_ok()
    }
}

#[test]
fn models_are_listed_with_their_revisions_and_sizes() {
    let scene = Scene::new();
    scene.write("models--org--name/blobs/dd.incomplete", &[0; 7]);
    scene.write("models--org--part/blobs/dd.incomplete", &[0; 7]);
    scene.write(&format!("models--org--name/.no_exist/{FIRST}/x.json"), b"");
    let models = scene.cache().models().unwrap();
    let names: Vec<_> = models.iter().map(|model| model.id.name()).collect();
    assert_eq!(names, ["org/name", "org/other", "org/part"]);
    let [name, _, part] = &models[..] else { panic!("three models") };
    assert_eq!((name.bytes, name.partial_bytes), (10 + 1000 + 100 + 7, 7));
    let revisions: Vec<_> = name
        .revisions
        .iter()
        .map(|found| (found.snapshot.commit.as_str(), found.references.join(" "), found.bytes))
        .collect();
    assert_eq!(revisions, [(FIRST, "refs/pr/1".to_owned(), 110), (SECOND, "main".to_owned(), 1100)]);
    assert_eq!(name.revisions[0].snapshot.names().unwrap(), ["a.json", "sub/shared"]);
    assert_eq!((part.revisions.len(), part.bytes), (0, 7));
    assert!(Cache::new(scene.folder.path().join("nothing")).models().unwrap().is_empty());
}

#[test]
fn contents_that_lie_in_a_snapshot_are_counted() {
    let scene = Scene::new();
    scene.write(&format!("models--org--plain/snapshots/{FIRST}/a.json"), &[0; 30]);
    let models = scene.cache().models().unwrap();
    let plain = models.iter().find(|model| model.id.name() == "org/plain").unwrap();
    assert_eq!((plain.bytes, plain.revisions[0].bytes), (30, 30));
    assert_eq!(scene.remove("org/plain").unwrap(), Some(30));
}

#[test]
fn a_revision_is_found_by_its_name_or_commit() {
    let scene = Scene::new();
    let commit = |id: &str| Some(scene.cache().snapshot(&id.parse().unwrap()).unwrap()?.commit);
    assert_eq!(commit("org/name").as_deref(), Some(SECOND));
    assert_eq!(commit("org/name@refs/pr/1").as_deref(), Some(FIRST));
    assert_eq!(commit(&format!("org/name@{FIRST}")).as_deref(), Some(FIRST));
    assert_eq!(commit("org/name@v1"), None);
    assert_eq!(commit("org/none"), None);
    assert_eq!(commit("org/name@refs"), None, "a folder is no reference");
    for damaged in [&b"../../../etc"[..], b"", &[b'1'; 39], &[b'1'; 5000], b"\xff"] {
        scene.write("models--org--name/refs/main", damaged);
        assert_eq!(commit("org/name"), None, "what is damaged is not known");
        assert!(!scene.cache().has_reference(&"org/name".parse().unwrap()).unwrap());
        let models = scene.cache().models().unwrap();
        assert_eq!(models.len(), 2, "the others are listed");
        assert_eq!(models[0].damaged_references, ["main"]);
        assert_eq!(models[0].revisions[0].references, ["refs/pr/1"]);
        assert!(models[1].damaged_references.is_empty());
    }
    assert_eq!(scene.remove("org/name@main").unwrap(), None);
    assert!(scene.remove("org/name@refs/pr/1").unwrap().is_some());
    assert!(scene.has("models--org--name/refs/main") && !scene.has("models--org--name/refs/refs/pr/1"));
    assert!(scene.remove("org/name").unwrap().is_some());
    assert!(!scene.has("models--org--name"));
}

#[test]
fn a_stray_file_is_no_branch() {
    let scene = Scene::new();
    let [whole, cut] = ["9.ThreadId(1)", "9.ThreadId(2)"].map(|name| format!("refs/.{name}.partial"));
    scene.write(&format!("models--org--name/{whole}"), FIRST.as_bytes());
    scene.write(&format!("models--org--name/{cut}"), b"");
    let models = scene.cache().models().unwrap();
    assert!(models[0].damaged_references.is_empty(), "{:?}", models[0].damaged_references);
    assert_eq!(models[0].revisions[0].references, ["refs/pr/1"]);
    // Other software takes a reference to a commit that is not there for damage.
    assert!(scene.remove("org/name@refs/pr/1").unwrap().is_some());
    assert!(!scene.has(&format!("models--org--name/{whole}")));
}

#[test]
fn the_record_tells_a_part_from_the_whole() {
    let scene = Scene::new();
    let tree = format!(
        r#"{{"format_version":1,"files":{{"a.json":{{"size":1000,"blob_id":"{0}"}},"z":{{"size":1,"blob_id":"{0}"}}}}}}"#,
        "b".repeat(40)
    );
    scene.write(&format!("models--org--name/trees/{SECOND}.json"), tree.as_bytes());
    let snapshot = scene.cache().snapshot(&"org/name".parse().unwrap()).unwrap().unwrap();
    let listed: Vec<_> = snapshot.repository.as_ref().unwrap().names().collect();
    assert_eq!(listed, ["a.json", "z"]);
    assert!(snapshot.has("a.json") && !snapshot.has("z"));
    // Shorter than the record says.
    scene.write(&format!("models--org--name/blobs/{}", "b".repeat(40)), &[0; 3]);
    assert!(!snapshot.has("a.json"));
    fs::remove_file(scene.root().join("models--org--name/blobs").join("c".repeat(40))).unwrap();
    assert!(!snapshot.has("sub/shared"), "a dead link is no file");
}

#[test]
fn a_record_that_is_too_long_is_none() {
    let scene = Scene::new();
    let tree = scene.root().join(format!("models--org--name/trees/{SECOND}.json"));
    fs::create_dir_all(tree.parent().unwrap()).unwrap();
    // Holes take no room on the disk.
    fs::File::create(&tree).unwrap().set_len((64 << 20) + 1).unwrap();
    assert_eq!(scene.cache().models().unwrap().len(), 2);
    let snapshot = scene.cache().snapshot(&"org/name".parse().unwrap()).unwrap().unwrap();
    assert!(snapshot.repository.is_none());
}

#[test]
fn a_removed_model_leaves_the_others() {
    let scene = Scene::new();
    assert_eq!(scene.remove("org/name").unwrap(), Some(1110 + 2 * 40));
    assert!(!scene.has("models--org--name") && !scene.has(".locks/models--org--name"));
    assert!(scene.has("models--org--other") && scene.has("datasets--org--name") && scene.has("CACHEDIR.TAG"));
    assert_eq!(scene.remove("org/name").unwrap(), None);
    assert_eq!(scene.remove("org/other@1111111").unwrap(), Some(10), "its only revision");
    assert!(!scene.has("models--org--other"));
}

#[test]
fn a_removed_revision_leaves_what_others_use() {
    for (revision, kept, gone) in [("refs/pr/1", 'b', 'a'), ("main", 'a', 'b'), ("2222222", 'a', 'b')] {
        let scene = Scene::new();
        assert!(scene.remove(&format!("org/name@{revision}")).unwrap().is_some());
        let blob = |letter: char| format!("models--org--name/blobs/{}", letter.to_string().repeat(40));
        assert!(scene.has(&blob(kept)) && scene.has(&blob('c')) && !scene.has(&blob(gone)), "{revision}");
        let models = scene.cache().models().unwrap();
        assert_eq!(models[0].revisions.len(), 1);
        assert_eq!(models[0].revisions[0].references.len(), 1, "the reference to the other went along");
    }
    let scene = Scene::new();
    for unknown in ["v1", "222222", "3333333"] {
        assert_eq!(scene.remove(&format!("org/name@{unknown}")).unwrap(), None, "{unknown}");
    }
}

#[test]
fn removals_are_planned_one_after_the_other() {
    let whole = 1110 + 2 * 40;
    for (ids, want) in [
        (&["org/name@refs/pr/1", "org/name@main"][..], &[10 + 40, whole - 10 - 40][..]),
        (&["org/name@main", "org/name"], &[1000 + 40, whole - 1000 - 40]),
        (&["org/name", "org/name"], &[whole, 0]),
        (&["org/name", "org/name@main"], &[whole, 0]),
        (&["org/name@main", "org/name@2222222"], &[1000 + 40, 0]),
    ] {
        let scene = Scene::new();
        let mut planned = Vec::new();
        for id in ids {
            planned.push(scene.cache().removal(&id.parse().unwrap(), &planned).unwrap().unwrap());
        }
        let bytes: Vec<u64> = planned.iter().map(|removal| removal.bytes).collect();
        assert_eq!(bytes, want, "{ids:?}");
        for removal in &planned {
            assert_eq!(removal.is_empty(), removal.bytes == 0, "{ids:?}");
            removal.run().unwrap();
        }
        let is_all = bytes.iter().sum::<u64>() == whole;
        assert_eq!(scene.has("models--org--name"), !is_all, "{ids:?}");
        assert!(scene.has("models--org--other"));
    }
}

#[test]
fn nothing_outside_the_cache_is_removed() {
    let outside = |scene: &Scene| {
        let outside = scene.folder.path().join("outside");
        fs::create_dir_all(outside.join(FIRST)).unwrap();
        for file in ["a".repeat(40), "precious".to_owned(), format!("{FIRST}/precious")] {
            fs::write(outside.join(file), "precious").unwrap();
        }
        outside
    };
    let is_whole = |outside: &Path| {
        ["precious".to_owned(), "a".repeat(40), format!("{FIRST}/precious")]
            .iter()
            .all(|file| fs::read_to_string(outside.join(file)).is_ok_and(|text| text == "precious"))
    };
    // A link in place of the model, its snapshots, its blobs, the locks, or a file.
    let replace = |scene: &Scene, path: &str, outside: &Path| {
        let path = scene.root().join(path);
        let _ = fs::remove_dir_all(&path);
        let _ = fs::remove_file(&path);
        symlink(outside, path).unwrap();
    };
    for path in [
        "models--org--name",
        "models--org--name/snapshots",
        "models--org--name/blobs",
        "models--org--name/refs",
        ".locks",
        ".locks/models--org--name",
        "models--org--name/snapshots/1111111111111111111111111111111111111111/a.json",
        "models--org--name/snapshots/1111111111111111111111111111111111111111/sub",
    ] {
        for id in ["org/name", "org/name@refs/pr/1", "org/name@1111111111111111111111111111111111111111"] {
            let scene = Scene::new();
            let outside = outside(&scene);
            replace(&scene, path, &outside);
            let _ = scene.remove(id);
            assert!(is_whole(&outside), "{path}, {id}");
        }
    }
    // The cache itself may be a link.
    let scene = Scene::new();
    let moved = scene.folder.path().join("moved");
    fs::rename(scene.root(), &moved).unwrap();
    symlink(&moved, scene.root()).unwrap();
    assert!(scene.remove("org/name").unwrap().is_some());
    assert!(!moved.join("models--org--name").exists());
}
