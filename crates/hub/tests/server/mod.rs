//! A Hub on this machine: what its interface answers, large files on another port, faults on demand.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use sha1::Digest as _;

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub(crate) const TOKEN: &str = "hf_canary";

/// A file, and whether it lies in large-file storage.
pub(crate) type File = (&'static str, Vec<u8>, bool);

/// What goes wrong, or is otherwise than usual.
#[derive(Clone)]
pub(crate) enum Fault {
    /// This status with these headers.
    Status(u16, &'static [(&'static str, &'static str)]),
    /// This body in place of the right one, with the right headers.
    Body(Vec<u8>),
    /// The body ends after so many bytes, though more were announced.
    Cut(usize),
    /// The body stands still after so many bytes, for as long as the client waits.
    Stall(usize),
    /// Ranges are not known.
    NoRange,
    /// A redirect to this address.
    Redirect(String),
}

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Logged {
    pub(crate) is_storage: bool,
    pub(crate) line: String,
    pub(crate) authorization: Option<String>,
    pub(crate) range: Option<String>,
}

#[derive(Default)]
struct State {
    repositories: Vec<(&'static str, Vec<File>)>,
    commit: String,
    storage: String,
    /// Whether the token is wanted.
    is_private: bool,
    /// Whether the list has names only.
    has_names_only: bool,
    /// A part of the path, how often, and what goes wrong there.
    faults: Vec<(&'static str, usize, Fault)>,
    log: Vec<Logged>,
}

/// A running server.
pub(crate) struct Server {
    pub(crate) endpoint: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    /// A Hub with these repositories, all at [`COMMIT`].
    pub(crate) fn new(repositories: &[(&'static str, &[File])]) -> Self {
        let listen = || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = format!("http://{}", listener.local_addr().unwrap());
            (listener, address)
        };
        let ((hub, endpoint), (files, storage)) = (listen(), listen());
        let repositories = repositories.iter().map(|(id, files)| (*id, files.to_vec())).collect();
        let state = State { repositories, storage, commit: COMMIT.to_owned(), ..State::default() };
        let state = Arc::new(Mutex::new(state));
        for (listener, is_storage) in [(hub, false), (files, true)] {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let state = Arc::clone(&state);
                    // A client that is killed takes no answer.
                    thread::spawn(move || _ = answer(stream, is_storage, &state));
                }
            });
        }
        Server { endpoint, state }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    /// The next so many requests of a path with this part go wrong.
    pub(crate) fn fault(&self, path: &'static str, times: usize, fault: Fault) {
        self.change(|state| state.faults.push((path, times, fault)));
    }

    pub(crate) fn clear_faults(&self) {
        self.change(|state| state.faults.clear());
    }

    /// Wants the token from now on.
    pub(crate) fn make_private(&self) {
        self.change(|state| state.is_private = true);
    }

    /// Lists names without sizes and digests, as simple mirrors do.
    pub(crate) fn list_names_only(&self) {
        self.change(|state| state.has_names_only = true);
    }

    /// A new commit with these files.
    pub(crate) fn commit(&self, commit: &str, id: &'static str, files: &[File]) {
        self.change(|state| {
            state.commit = commit.to_owned();
            state.repositories.retain(|(other, _)| *other != id);
            state.repositories.push((id, files.to_vec()));
        });
    }

    /// The requests so far, which are forgotten.
    pub(crate) fn take_log(&self) -> Vec<Logged> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }

    pub(crate) fn storage(&self) -> String {
        self.state.lock().unwrap().storage.clone()
    }
}

/// The name that the Hub gives to contents.
pub(crate) fn digest(bytes: &[u8], is_large: bool) -> String {
    let hex = |digest: &[u8]| digest.iter().map(|byte| format!("{byte:02x}")).collect();
    if is_large {
        return hex(&sha2::Sha256::digest(bytes));
    }
    let blob = [format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat();
    hex(&sha1::Sha1::digest(blob))
}

/// A status, its headers and body.
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

fn plain(status: u16, body: impl Into<Vec<u8>>) -> Answer {
    Answer { status, headers: Vec::new(), body: body.into() }
}

fn error(status: u16, code: &str) -> Answer {
    Answer { status, headers: vec![("X-Error-Code", code.to_owned())], body: code.into() }
}

fn answer(mut stream: TcpStream, is_storage: bool, state: &Mutex<State>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let line = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let mut logged = Logged { is_storage, line, authorization: None, range: None };
    for header in lines {
        let header = header?;
        match header.split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                logged.authorization = Some(value.to_owned());
            }
            Some((name, value)) if name.eq_ignore_ascii_case("range") => {
                logged.range = Some(value.to_owned())
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut words = logged.line.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (mut answer, fault) = {
        let mut state = state.lock().unwrap();
        state.log.push(logged.clone());
        let found = state.faults.iter_mut().find(|(part, times, _)| *times > 0 && path.contains(part));
        let fault = found.map(|(_, times, fault)| {
            *times -= 1;
            fault.clone()
        });
        let is_welcome = logged.authorization.as_deref() == Some(&format!("Bearer {TOKEN}"));
        let answer = if is_storage {
            stored(&state, &path)
        } else if state.is_private && !is_welcome {
            refused(&logged)
        } else {
            of_hub(&state, &path)
        };
        (answer, fault)
    };
    match &fault {
        Some(Fault::Status(status, headers)) => {
            answer = plain(*status, "");
            answer.headers.extend(headers.iter().map(|(name, value)| (*name, (*value).to_owned())));
        }
        Some(Fault::Redirect(to)) => {
            answer = plain(307, "");
            answer.headers.push(("Location", to.clone()));
        }
        Some(Fault::Body(body)) => answer.body.clone_from(body),
        _ => {}
    }
    let whole = answer.body.len();
    let start = logged
        .range
        .as_deref()
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    if let (Some(start @ 1..), 200, false) = (start, answer.status, matches!(fault, Some(Fault::NoRange))) {
        answer.status = 206;
        answer.headers.push(("Content-Range", format!("bytes {start}-{}/{whole}", whole - 1)));
        answer.body.drain(..start);
    }
    write!(
        stream,
        "HTTP/1.1 {} x\r\nConnection: close\r\nContent-Length: {}\r\n",
        answer.status,
        answer.body.len()
    )?;
    for (name, value) in &answer.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    write!(stream, "\r\n")?;
    let sent = match fault {
        _ if method == "HEAD" => 0,
        Some(Fault::Cut(bytes) | Fault::Stall(bytes)) => bytes.min(answer.body.len()),
        _ => answer.body.len(),
    };
    stream.write_all(&answer.body[..sent])?;
    stream.flush()?;
    if matches!(fault, Some(Fault::Stall(_))) {
        // Until the client goes.
        let _ = std::io::Read::read(&mut stream, &mut [0]);
    }
    Ok(())
}

fn refused(logged: &Logged) -> Answer {
    match logged.authorization {
        Some(_) => Answer {
            headers: vec![("X-Error-Message", "Invalid credentials in Authorization header".to_owned())],
            ..plain(401, "")
        },
        None => error(401, "RepoNotFound"),
    }
}

/// What the storage of large files answers.
fn stored(state: &State, path: &str) -> Answer {
    let mut files = state.repositories.iter().flat_map(|(_, files)| files);
    match files.find(|(_, bytes, is_large)| *is_large && path.ends_with(&digest(bytes, true))) {
        Some((_, bytes, _)) => plain(200, bytes.clone()),
        None => plain(403, ""),
    }
}

/// What the Hub answers.
fn of_hub(state: &State, path: &str) -> Answer {
    if let Some(rest) = path.strip_prefix("/api/") {
        let Some((id, revision)) = rest.split_once("/revision/") else { return plain(404, "") };
        // Data sets are told from models here as in the paths of their files.
        let id = id.strip_prefix("models/").unwrap_or(id);
        let Some((_, files)) = state.repositories.iter().find(|(other, _)| *other == id) else {
            return error(401, "RepoNotFound");
        };
        let revision = revision.strip_suffix("?blobs=true").unwrap_or(revision);
        if !["main", "refs%2Fpr%2F1", "refs%2Fconvert%2Fparquet", &state.commit].contains(&revision) {
            return error(404, "RevisionNotFound");
        }
        let siblings: Vec<String> = files.iter().map(|file| sibling(state, file)).collect();
        return plain(
            200,
            format!(r#"{{"id":"{id}","sha":"{}","siblings":[{}]}}"#, state.commit, siblings.join(",")),
        );
    }
    let found = state.repositories.iter().find_map(|(id, files)| {
        let file = path.strip_prefix('/')?.strip_prefix(id)?.strip_prefix("/resolve/")?;
        let name = file.strip_prefix(&state.commit)?.strip_prefix('/')?.replace("%20", " ");
        files.iter().find(|(other, _, _)| *other == name)
    });
    let Some((_, bytes, is_large)) = found else { return error(404, "EntryNotFound") };
    let etag = format!("\"{}\"", digest(bytes, *is_large));
    let commit = ("X-Repo-Commit", state.commit.clone());
    if !is_large {
        return Answer { headers: vec![commit, ("ETag", etag)], ..plain(200, bytes.clone()) };
    }
    let location = format!("{}/{}", state.storage, digest(bytes, true));
    Answer {
        headers: vec![
            commit,
            ("X-Linked-Etag", etag),
            ("X-Linked-Size", bytes.len().to_string()),
            ("Location", location),
        ],
        ..plain(302, "")
    }
}

fn sibling(state: &State, (name, bytes, is_large): &File) -> String {
    if state.has_names_only {
        return format!(r#"{{"rfilename":"{name}"}}"#);
    }
    let pointer = digest(format!("pointer to {name}").as_bytes(), false);
    let (blob, large) = match is_large {
        true => (pointer, format!(r#","lfs":{{"sha256":"{}","size":{}}}"#, digest(bytes, true), bytes.len())),
        false => (digest(bytes, false), String::new()),
    };
    format!(r#"{{"rfilename":"{name}","size":{},"blobId":"{blob}"{large}}}"#, bytes.len())
}
