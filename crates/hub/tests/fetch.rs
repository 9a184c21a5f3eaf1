//! Files from a Hub on this machine into a cache: whole, resumed, damaged, refused.

mod server;

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use server::{COMMIT, Fault, File, Server, TOKEN, digest};
use tercet_hub::{Cache, Client, HubError, News, Repository, RepositoryId, Settings, Token};

const ID: &str = "org/name";
const LARGE: &str = "model.safetensors";

fn files() -> Vec<File> {
    let weights: Vec<u8> = (0..1_000_003u32).map(|i| (i * 7 % 251) as u8).collect();
    vec![
        ("config.json", b"{}".to_vec(), false),
        ("a folder/notes.txt", b"notes".to_vec(), false),
        ("empty", Vec::new(), false),
        (LARGE, weights, true),
    ]
}

/// A Hub, a cache, and what was heard of a download.
struct Scene {
    server: Server,
    folder: tempfile::TempDir,
    token: Option<&'static str>,
}

/// How a download went.
#[derive(Debug, Default)]
struct Heard {
    retries: usize,
    came: u64,
    lost: u64,
    planned: Vec<(usize, u64, u64)>,
}

impl Scene {
    fn new() -> Self {
        Scene { server: Server::new(&[(ID, &files())]), folder: tempfile::tempdir().unwrap(), token: None }
    }

    fn cache(&self) -> Cache {
        Cache::new(self.folder.path())
    }

    fn settings(&self) -> Settings {
        Settings {
            endpoint: self.server.endpoint.clone(),
            cache: self.folder.path().to_path_buf(),
            token: self.token.and_then(|token| Token::parse(token, "test").unwrap()),
            offline_variable: None,
            shows_bars: false,
            read_timeout: Duration::from_secs(5),
            retry_wait: Duration::from_millis(1),
        }
    }

    /// Fetches all files of a model, and those that cannot be had.
    fn pull(&self, id: &str) -> Result<Heard, HubError> {
        self.pull_until(id, u64::MAX)
    }

    /// Fetches all files, and stops when so many bytes have come.
    fn pull_until(&self, id: &str, bytes: u64) -> Result<Heard, HubError> {
        let mut heard = Heard::default();
        let mut listener = |news: News<'_>| {
            match news {
                News::Bytes(count) => heard.came += count,
                News::Lost(count) => heard.lost += count,
                News::Retry { .. } => heard.retries += 1,
                News::Plan { files, bytes, done_bytes } => heard.planned.push((files, bytes, done_bytes)),
                _ => {}
            }
            if heard.came > bytes { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let client = Client::new(&self.settings())?;
        let repository = client.list(&id.parse::<RepositoryId>()?, &mut listener)?;
        let names: Vec<&str> = repository.names().chain(repository.unfit_names()).collect();
        client.fetch(&self.cache(), &repository, &names, &mut listener)?;
        self.cache().set_reference(&repository)?;
        Ok(heard)
    }

    fn model(&self) -> std::path::PathBuf {
        self.folder.path().join("models--org--name")
    }

    /// The names in `blobs`, those of parts among them.
    fn blobs(&self) -> Vec<String> {
        let entries = fs::read_dir(self.model().join("blobs")).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Every file is there under its name, and nothing else.
    #[track_caller]
    fn assert_whole(&self) {
        let snapshot = self.cache().snapshot(&ID.parse().unwrap()).unwrap().unwrap();
        for (name, bytes, _) in files() {
            assert!(snapshot.has(name), "{name}");
            assert_eq!(fs::read(snapshot.folder.join(name)).unwrap(), bytes, "{name}");
        }
        let mut names: Vec<String> = files().iter().map(|(_, bytes, large)| digest(bytes, *large)).collect();
        names.sort();
        assert_eq!(self.blobs(), names);
    }
}

#[test]
fn a_model_comes_whole_in_the_layout_that_all_share() {
    let scene = Scene::new();
    scene.pull(ID).unwrap();
    scene.assert_whole();
    let model = scene.model();
    assert_eq!(fs::read_to_string(model.join("refs/main")).unwrap(), COMMIT);
    let tag = fs::read_to_string(scene.folder.path().join("CACHEDIR.TAG")).unwrap();
    assert!(tag.starts_with("Signature: 8a477f597d28d172789f06886806bc55\n"));
    let sha256 = digest(&files()[3].1, true);
    assert!(scene.folder.path().join(format!(".locks/models--org--name/{sha256}.lock")).exists());
    for (name, up) in [(LARGE, "../../"), ("a folder/notes.txt", "../../../")] {
        let link = fs::read_link(model.join("snapshots").join(COMMIT).join(name)).unwrap();
        assert!(link.starts_with(Path::new(up).join("blobs")), "{link:?}");
    }
    let tree = fs::read_to_string(model.join("trees").join(format!("{COMMIT}.json"))).unwrap();
    assert!(tree.contains(&sha256) && tree.contains("\"format_version\": 1"));
}

#[test]
fn a_data_set_comes_beside_a_model_of_its_name() {
    let rows: Vec<File> = vec![("main/test/0000.parquet", b"rows".to_vec(), true)];
    let server = Server::new(&[(ID, &files()), ("datasets/org/name", &rows)]);
    let scene = Scene { server, folder: tempfile::tempdir().unwrap(), token: None };
    let id: RepositoryId = "org/name@refs/convert/parquet".parse().unwrap();
    let id = id.as_data_set();
    let client = Client::new(&scene.settings()).unwrap();
    let mut listener = |_: News<'_>| ControlFlow::Continue(());
    let repository = client.list(&id, &mut listener).unwrap();
    assert_eq!(repository.names().collect::<Vec<_>>(), [rows[0].0]);
    let folder = client.fetch(&scene.cache(), &repository, &[rows[0].0], &mut listener).unwrap();
    scene.cache().set_reference(&repository).unwrap();
    assert_eq!(fs::read(folder.join(rows[0].0)).unwrap(), b"rows");
    let set = scene.folder.path().join("datasets--org--name");
    assert_eq!(fs::read_to_string(set.join("refs/refs/convert/parquet")).unwrap(), COMMIT);
    assert!(scene.cache().snapshot(&id).unwrap().unwrap().has(rows[0].0));
    assert!(!scene.model().exists());
    assert!(scene.cache().models().unwrap().is_empty(), "a data set is no model");
    scene.pull(ID).unwrap();
    scene.assert_whole();
}

#[test]
fn what_is_there_is_not_asked_for_again() {
    let scene = Scene::new();
    scene.pull(ID).unwrap();
    assert_eq!(scene.server.take_log().len(), 1 + 3 + 1, "the list, what is not empty, a redirect");
    let heard = scene.pull(ID).unwrap();
    assert_eq!(heard.planned, [(0, 0, 0)]);
    assert_eq!(scene.server.take_log().len(), 1, "the list alone");
    // The same contents at another revision are linked.
    scene.pull("org/name@refs/pr/1").unwrap();
    assert_eq!(scene.server.take_log().len(), 1);
    assert_eq!(fs::read_to_string(scene.model().join("refs/refs/pr/1")).unwrap(), COMMIT);
    scene.pull(&format!("org/name@{COMMIT}")).unwrap();
    assert!(!scene.model().join("refs").join(COMMIT).exists(), "a commit needs no reference");
}

#[test]
fn a_damaged_record_is_written_anew() {
    let scene = Scene::new();
    scene.pull(ID).unwrap();
    let tree = scene.model().join("trees").join(format!("{COMMIT}.json"));
    let whole = fs::read(&tree).unwrap();
    for damaged in [&b""[..], b"{", &whole[..whole.len() - 1]] {
        fs::write(&tree, damaged).unwrap();
        let snapshot = || scene.cache().snapshot(&ID.parse().unwrap()).unwrap().unwrap();
        assert!(snapshot().repository.is_none());
        scene.pull(ID).unwrap();
        assert_eq!(fs::read(&tree).unwrap(), whole);
        assert!(snapshot().repository.is_some());
    }
}

#[test]
fn a_list_of_names_is_completed_by_asking_for_each() {
    let scene = Scene::new();
    scene.server.list_names_only();
    scene.pull(ID).unwrap();
    scene.assert_whole();
    let heads = scene.server.take_log().iter().filter(|logged| logged.line.starts_with("HEAD")).count();
    assert_eq!(heads, 4);
}

#[test]
fn an_interrupted_download_goes_on_where_it_stopped() {
    let scene = Scene::new();
    let stopped = scene.pull_until(ID, 300_000).unwrap_err();
    assert!(matches!(stopped, HubError::Stopped), "{stopped}");
    let partial = scene.blobs().into_iter().find(|name| name.ends_with(".incomplete")).unwrap();
    let kept = fs::metadata(scene.model().join("blobs").join(partial)).unwrap().len();
    assert!(kept > 0);
    assert!(!scene.model().join("refs/main").exists(), "a part is no revision");
    scene.server.take_log();
    let heard = scene.pull(ID).unwrap();
    scene.assert_whole();
    assert_eq!((heard.planned[0].2, heard.lost), (kept, 0));
    let ranges: Vec<_> = scene.server.take_log().into_iter().filter_map(|logged| logged.range).collect();
    assert_eq!(ranges, [format!("bytes={kept}-"), format!("bytes={kept}-")], "before and after the redirect");
}

#[test]
fn cut_and_silent_connections_are_taken_up_again() {
    for fault in [Fault::Cut(1000), Fault::Stall(1000)] {
        let scene = Scene::new();
        let sha256: &'static str = digest(&files()[3].1, true).leak();
        let mut settings = scene.settings();
        if matches!(fault, Fault::Stall(_)) {
            settings.read_timeout = Duration::from_secs(1);
        }
        scene.server.fault(sha256, 3, fault);
        let client = Client::new(&settings).unwrap();
        let mut retries = 0;
        let mut listener = |news: News<'_>| {
            retries += usize::from(matches!(news, News::Retry { .. }));
            ControlFlow::Continue(())
        };
        let repository = client.list(&ID.parse().unwrap(), &mut listener).unwrap();
        let names: Vec<&str> = repository.names().collect();
        client.fetch(&scene.cache(), &repository, &names, &mut listener).unwrap();
        scene.cache().set_reference(&repository).unwrap();
        scene.assert_whole();
        assert_eq!(retries, 3);
        let ranges: Vec<_> = scene.server.take_log().into_iter().filter_map(|logged| logged.range).collect();
        assert_eq!(ranges.last().unwrap(), "bytes=3000-");
    }
}

#[test]
fn busy_servers_are_asked_again_and_in_the_end_given_up() {
    let scene = Scene::new();
    scene.server.fault("/api/", 1, Fault::Status(503, &[]));
    scene.server.fault("config.json", 2, Fault::Status(429, &[("Retry-After", "0")]));
    scene.server.fault(LARGE, 1, Fault::Status(504, &[]));
    scene.server.fault("a%20folder", 1, Fault::Status(520, &[]));
    assert_eq!(scene.pull(ID).unwrap().retries, 5);
    scene.assert_whole();
    scene.server.fault("/api/", 99, Fault::Status(502, &[]));
    let error = scene.pull(ID).unwrap_err();
    assert!(matches!(error, HubError::Busy { status: 502, .. }), "{error}");
}

#[test]
fn a_server_without_ranges_sends_all_of_it() {
    let scene = Scene::new();
    scene.pull_until(ID, 300_000).unwrap_err();
    let sha256: &'static str = digest(&files()[3].1, true).leak();
    scene.server.fault(sha256, 9, Fault::NoRange);
    let heard = scene.pull(ID).unwrap();
    assert!(heard.lost > 0 && heard.came >= 1_000_003, "{heard:?}");
    scene.assert_whole();
}

#[test]
fn damaged_bytes_never_get_a_name() {
    for (path, index) in [("config.json", 0), (LARGE, 3)] {
        let scene = Scene::new();
        let (_, bytes, is_large) = &files()[index];
        let mut damaged = bytes.clone();
        damaged[1] ^= 1;
        let place: &'static str = if *is_large { digest(bytes, true).leak() } else { path };
        scene.server.fault(place, 1, Fault::Body(damaged));
        let error = scene.pull(ID).unwrap_err();
        assert!(matches!(error, HubError::Damaged { .. }), "{error}");
        assert!(!scene.blobs().iter().any(|name| name.starts_with(&digest(bytes, *is_large))), "{path}");
        scene.pull(ID).unwrap();
        scene.assert_whole();
    }
}

#[test]
fn a_part_of_something_else_is_thrown_away() {
    let scene = Scene::new();
    let blobs = scene.model().join("blobs");
    fs::create_dir_all(&blobs).unwrap();
    let partial = blobs.join(format!("{}.incomplete", digest(&files()[3].1, true)));
    for rubbish in [vec![7; 5000], vec![7; 1_000_003], vec![7; 2_000_000]] {
        fs::write(&partial, rubbish).unwrap();
        scene.pull(ID).unwrap();
        scene.assert_whole();
        fs::remove_file(blobs.join(digest(&files()[3].1, true))).unwrap();
    }
}

#[test]
fn a_file_that_is_not_the_listed_one_is_refused() {
    for body in [vec![0; 3], vec![0; 1]] {
        let scene = Scene::new();
        scene.server.fault("config.json", 1, Fault::Body(body));
        let error = scene.pull(ID).unwrap_err();
        assert!(matches!(error, HubError::Changed { .. }), "{error}");
    }
    let scene = Scene::new();
    let client = Client::new(&scene.settings()).unwrap();
    let mut listener = |_: News<'_>| ControlFlow::Continue(());
    let repository = client.list(&ID.parse().unwrap(), &mut listener).unwrap();
    scene.server.commit("f".repeat(40).as_str(), ID, &files());
    let error = client.fetch(&scene.cache(), &repository, &["config.json"], &mut listener).unwrap_err();
    assert!(matches!(error, HubError::NoFile { .. }), "{error}");
    let error = client.fetch(&scene.cache(), &repository, &["nothing"], &mut listener).unwrap_err();
    assert!(matches!(error, HubError::NoFile { .. }), "{error}");
}

#[test]
fn the_token_goes_to_the_hub_and_to_nobody_else() {
    let mut scene = Scene::new();
    scene.token = Some(TOKEN);
    scene.server.make_private();
    scene.pull(ID).unwrap();
    scene.assert_whole();
    let log = scene.server.take_log();
    assert!(log.iter().any(|logged| logged.is_storage));
    for logged in log {
        let want = (!logged.is_storage).then(|| format!("Bearer {TOKEN}"));
        assert_eq!(logged.authorization, want, "{}", logged.line);
    }
}

#[test]
fn redirects_are_followed_within_bounds() {
    let scene = Scene::new();
    // As for a model that was given another name.
    scene.server.fault(
        "/api/models/org/old",
        1,
        Fault::Redirect(format!("/api/models/{ID}/revision/main?blobs=true")),
    );
    let mut listener = |_: News<'_>| ControlFlow::Continue(());
    let client = Client::new(&scene.settings()).unwrap();
    assert_eq!(client.list(&"org/old".parse().unwrap(), &mut listener).unwrap().commit(), COMMIT);
    for to in ["file:///etc/passwd", "elsewhere", "", "/api/models/org/circle/revision/main"] {
        scene.server.clear_faults();
        scene.server.fault("/api/models/org/circle", 99, Fault::Redirect(to.to_owned()));
        let error = client.list(&"org/circle".parse().unwrap(), &mut listener).unwrap_err();
        assert!(matches!(error, HubError::Redirect { .. }), "{to}: {error}");
    }
}

#[test]
fn refusals_are_told_apart() {
    let mut scene = Scene::new();
    let check = |scene: &Scene, id: &str, is_right: fn(&HubError) -> bool, says: &str| {
        let error = scene.pull(id).unwrap_err();
        assert!(is_right(&error), "{id}: {error:?}");
        let told = format!("{error} {}", error.hint().unwrap_or_default());
        assert!(told.contains(says), "{told}");
        assert!(!told.contains(TOKEN) && !told.contains("hf_wrong"), "{told}");
    };
    check(&scene, "org/none", |e| matches!(e, HubError::NoRepository { .. }), "spelling");
    check(&scene, "org/name@v9", |e| matches!(e, HubError::NoRevision { .. }), "no revision `v9`");
    let gated: &[(&str, &str)] = &[("X-Error-Code", "GatedRepo")];
    scene.server.fault(LARGE, 1, Fault::Status(403, gated));
    check(&scene, ID, |e| matches!(e, HubError::Gated { has_token: false, .. }), "agree to its terms");
    scene.server.fault(LARGE, 1, Fault::Status(403, &[]));
    check(
        &scene,
        ID,
        |e| matches!(e, HubError::Status { status: 403, .. }),
        "status 403 for `model.safetensors`",
    );
    scene.server.fault(LARGE, 1, Fault::Status(404, &[("X-Error-Code", "EntryNotFound")]));
    check(&scene, ID, |e| matches!(e, HubError::NoFile { .. }), "no file `model.safetensors`");
    scene.server.make_private();
    check(&scene, ID, |e| matches!(e, HubError::NoRepository { has_token: false, .. }), "HF_TOKEN");
    scene.token = Some("hf_wrong");
    check(&scene, ID, |e| matches!(e, HubError::TokenRefused { .. }), "expired");
    scene.token = Some(TOKEN);
    scene.server.fault("/api/", 1, Fault::Status(403, gated));
    check(&scene, ID, |e| matches!(e, HubError::Gated { has_token: true, .. }), "account of the token");
}

#[test]
fn nobody_there_is_told_at_once() {
    let scene = Scene::new();
    let mut settings = scene.settings();
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    settings.endpoint = format!("http://127.0.0.1:{port}");
    settings.retry_wait = Duration::from_secs(1000);
    let mut listener = |_: News<'_>| ControlFlow::Continue(());
    let error = Client::new(&settings).unwrap().list(&ID.parse().unwrap(), &mut listener).unwrap_err();
    assert!(matches!(error, HubError::NoConnection { .. }), "{error:?}");
}

#[test]
fn hostile_answers_leave_nothing_behind() {
    let list = |name: &str, size: u64| {
        let blob = "b".repeat(40);
        let file = format!(r#"{{"rfilename":"{name}","size":{size},"blobId":"{blob}"}}"#);
        format!(r#"{{"sha":"{COMMIT}","siblings":[{file}]}}"#).into_bytes()
    };
    for body in [
        list("../../../evil", 3),
        list("/evil", 3),
        list("a\\\\..\\\\evil", 3),
        list("evil\\u001b[2J", 3),
        list("huge", u64::MAX),
        b"{\"sha\":\"../../evil\",\"siblings\":[]}".to_vec(),
        vec![b' '; 17 << 20],
        b"<html>".to_vec(),
    ] {
        let scene = Scene::new();
        scene.server.fault("/api/", 1, Fault::Body(body));
        let error = scene.pull(ID).unwrap_err();
        assert!(!error.to_string().contains('\u{1b}'), "{error}");
        assert_eq!(fs::read_dir(scene.folder.path()).unwrap().count(), 0, "{error}");
    }
}

#[test]
fn what_does_not_fit_on_the_disk_is_refused_before_it_comes() {
    let scene = Scene::new();
    let siblings: Vec<String> = (0..9000u32)
        .map(|i| format!(r#"{{"rfilename":"{i}","size":49000000000,"blobId":"{i:040x}"}}"#))
        .collect();
    let body = format!(r#"{{"sha":"{COMMIT}","siblings":[{}]}}"#, siblings.join(","));
    scene.server.fault("/api/", 1, Fault::Body(body.into_bytes()));
    let error = scene.pull(ID).unwrap_err();
    assert!(matches!(error, HubError::NoSpace { .. }), "{error}");
    assert_eq!(scene.server.take_log().len(), 1, "nothing was asked for but the list");
}

#[test]
fn two_downloads_of_one_model_do_not_disturb_each_other() {
    let scene = Scene::new();
    std::thread::scope(|scope| {
        let pulls: Vec<_> = (0..4).map(|_| scope.spawn(|| scene.pull(ID))).collect();
        for pull in pulls {
            pull.join().unwrap().unwrap();
        }
    });
    scene.assert_whole();
    let sha256 = digest(&files()[3].1, true);
    let came = scene.server.take_log().iter().filter(|logged| logged.line.contains(&sha256)).count();
    assert_eq!(came, 1, "the others waited for it");
}

#[test]
fn a_file_that_is_too_large_is_refused_only_where_it_is_wanted() {
    let scene = Scene::new();
    let json = format!(
        r#"{{"sha":"{COMMIT}","siblings":[
            {{"rfilename":"huge","size":50000000001,"blobId":"{0}"}},
            {{"rfilename":"config.json","size":2,"blobId":"{0}"}}]}}"#,
        digest(b"{}", false)
    );
    let repository = Repository::parse(&ID.parse().unwrap(), json.as_bytes()).unwrap();
    let client = Client::new(&scene.settings()).unwrap();
    let fetch =
        |names: &[&str]| client.fetch(&scene.cache(), &repository, names, &mut |_| ControlFlow::Continue(()));
    let error = fetch(&["config.json", "huge"]).unwrap_err();
    assert!(matches!(&error, HubError::TooLarge { file, .. } if file == "huge"), "{error}");
    assert!(!scene.model().exists(), "it is refused before anything is written");
    assert!(fetch(&["config.json"]).unwrap().join("config.json").exists());
}
