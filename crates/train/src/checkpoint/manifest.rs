//! What files a checkpoint has, with their lengths and hashes.
//!
//! ```text
//! {"manifest":BODY,"sha256":"SHA-256 of the bytes of BODY"}\n
//! BODY = {"version":1,"step":100,"metric":2.5,"is_scheduled":true,
//!         "files":[{"name":"masters.safetensors","bytes":4,"sha256":"…"}]}
//! ```
//!
//! Every byte is covered: the frame by comparison, the body by its hash, the files by theirs. It
//! knows no checkpoints beside its own.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tercet::digest::hex;

use super::error::StoreError;
use super::store::{Checkpoint, Moment};

/// The file of a checkpoint that says what the others are.
pub(super) const MANIFEST_FILE: &str = "manifest.json";

/// The longest manifest that is read.
const MANIFEST_MAX_BYTES: u64 = 1 << 24;

const VERSION: u32 = 1;
const FRAME_START: &str = "{\"manifest\":";
const FRAME_MIDDLE: &str = ",\"sha256\":\"";
const FRAME_END: &str = "\"}\n";

/// What a checkpoint holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    version: u32,
    pub(super) step: u64,
    /// The less, the better; none where it was not measured.
    pub(super) metric: Option<f64>,
    /// Whether the run would have saved it without being stopped. Older manifests do not say, and count as such.
    #[serde(default = "yes")]
    pub(super) is_scheduled: bool,
    files: Vec<FileEntry>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileEntry {
    /// Relative to the checkpoint, with `/`.
    name: String,
    bytes: u64,
    sha256: String,
}

fn yes() -> bool {
    true
}

impl Manifest {
    /// The manifest of all files in a folder, each of which it waits for to be on disk.
    pub(super) fn of(folder: &Path, moment: &Moment) -> io::Result<Self> {
        let mut files = Vec::new();
        for name in names(folder).map_err(into_io)? {
            let path = folder.join(&name);
            File::open(&path)?.sync_all()?;
            let (bytes, sha256) = hash(&path)?;
            files.push(FileEntry { name, bytes, sha256 });
        }
        let Moment { step, metric, is_scheduled } = *moment;
        let metric = metric.filter(|metric| metric.is_finite());
        Ok(Self { version: VERSION, step, metric, is_scheduled, files })
    }

    /// Writes it into its folder and waits until it is on disk.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        let body = serde_json::to_string(self)?;
        let sha256 = hex(&Sha256::digest(body.as_bytes()));
        let mut file = File::create(folder.join(MANIFEST_FILE))?;
        file.write_all(format!("{FRAME_START}{body}{FRAME_MIDDLE}{sha256}{FRAME_END}").as_bytes())?;
        file.sync_all()
    }

    /// Reads the manifest of a folder; the files are not looked at.
    pub(super) fn read(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(MANIFEST_FILE);
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => StoreError::Missing { path: path.clone() },
            _ => StoreError::Io { path: path.clone(), action: "read", source },
        };
        let mut text = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(MANIFEST_MAX_BYTES + 1).read_to_end(&mut text))
            .map_err(failed)?;
        parse(&text).map_err(|detail| StoreError::Manifest { path, detail })
    }

    /// What it says of its checkpoint, which lies at `path`.
    pub(super) fn checkpoint(&self, path: PathBuf) -> Checkpoint {
        Checkpoint { step: self.step, metric: self.metric, is_scheduled: self.is_scheduled, path }
    }

    /// Whether a file of the folder is the one that was saved.
    pub(super) fn vouches_for(&self, folder: &Path, name: &str) -> bool {
        let saved = self.files.iter().find(|file| file.name == name);
        saved.is_some_and(|saved| {
            let found = hash(&folder.join(name));
            found.is_ok_and(|(bytes, sha256)| bytes == saved.bytes && sha256 == saved.sha256)
        })
    }

    /// Compares every file of the folder with what the manifest says.
    pub(super) fn verify(&self, folder: &Path) -> Result<(), StoreError> {
        for name in names(folder)? {
            if name != MANIFEST_FILE && self.files.iter().all(|file| file.name != name) {
                return Err(StoreError::Extra { path: folder.join(name) });
            }
        }
        for file in &self.files {
            let path = folder.join(&file.name);
            let failed = |source: io::Error| match source.kind() {
                io::ErrorKind::NotFound => StoreError::Missing { path: path.clone() },
                _ => StoreError::Io { path: path.clone(), action: "read", source },
            };
            let found = fs::metadata(&path).map_err(failed)?.len();
            if found != file.bytes {
                return Err(StoreError::Length { path, found, expected: file.bytes });
            }
            let (_, found) = hash(&path).map_err(failed)?;
            if found != file.sha256 {
                return Err(StoreError::Hash { path, found, expected: file.sha256.clone() });
            }
        }
        Ok(())
    }
}

/// The manifest in a text, or what is wrong with it.
fn parse(text: &[u8]) -> Result<Manifest, String> {
    if text.len() as u64 > MANIFEST_MAX_BYTES {
        return Err(format!("found more than {MANIFEST_MAX_BYTES} bytes, expected at most that many"));
    }
    let text = str::from_utf8(text).map_err(|error| error.to_string())?;
    let inner = text.strip_prefix(FRAME_START).and_then(|text| text.strip_suffix(FRAME_END));
    let (body, sha256) = inner
        .and_then(|inner| inner.rsplit_once(FRAME_MIDDLE))
        .ok_or("found no `manifest` and `sha256`, expected both")?;
    let found = hex(&Sha256::digest(body.as_bytes()));
    if found != sha256 {
        return Err(format!("found SHA-256 {found} of its body, expected {sha256}"));
    }
    let manifest: Manifest = serde_json::from_str(body).map_err(|error| error.to_string())?;
    if manifest.version != VERSION {
        return Err(format!("found version {}, expected {VERSION}", manifest.version));
    }
    // The names are joined to the folder, and must not lead out of it.
    let leads_out =
        |name: &str| name.split('/').any(|part| matches!(part, "" | "." | "..") || part.contains('\\'));
    match manifest.files.iter().find(|file| leads_out(&file.name)) {
        Some(file) => Err(format!("found the file name `{}`, expected one inside the folder", file.name)),
        None => Ok(manifest),
    }
}

/// The names of all files in a folder and in those inside it, relative and sorted.
fn names(folder: &Path) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    add_names(folder, "", &mut names)?;
    names.sort_unstable();
    Ok(names)
}

fn add_names(folder: &Path, prefix: &str, into: &mut Vec<String>) -> Result<(), StoreError> {
    let failed = |source| StoreError::Io { path: folder.to_owned(), action: "listed", source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let Some(name) = entry.file_name().to_str().map(|name| format!("{prefix}{name}")) else {
            return Err(StoreError::NotAFile { path });
        };
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            add_names(&path, &format!("{name}/"), into)?;
        } else if kind.is_file() {
            into.push(name);
        } else {
            return Err(StoreError::NotAFile { path });
        }
    }
    Ok(())
}

fn into_io(error: StoreError) -> io::Error {
    match error {
        StoreError::Io { source, .. } => source,
        other => io::Error::other(other),
    }
}

/// The length and SHA-256 of a file.
fn hash(path: &Path) -> io::Result<(u64, String)> {
    const BUFFER_BYTES: usize = 1 << 16;
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut length = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((length, hex(&hash.finalize()))),
            Ok(bytes) => {
                hash.update(&buffer[..bytes]);
                length += bytes as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, want: &str) {
        let sha256 = hex(&Sha256::digest(body.as_bytes()));
        let message =
            parse(format!("{FRAME_START}{body}{FRAME_MIDDLE}{sha256}{FRAME_END}").as_bytes()).unwrap_err();
        assert!(message.contains(want), "found `{message}`, expected `{want}`");
    }

    #[test]
    fn names_do_not_lead_out_of_the_folder() {
        for name in ["../x", "/x", "a/../x", "", "a//b", "a\\\\b"] {
            let body = format!(
                "{{\"version\":1,\"step\":1,\"metric\":null,\"files\":[{{\"name\":\"{name}\",\"bytes\":0,\"sha256\":\"\"}}]}}"
            );
            check(&body, "expected one inside the folder");
        }
    }

    #[test]
    fn other_versions_and_fields_are_refused() {
        check("{\"version\":2,\"step\":1,\"metric\":null,\"files\":[]}", "found version 2, expected 1");
        check("{\"version\":1,\"step\":1,\"metric\":null,\"files\":[],\"x\":1}", "unknown field `x`");
        check("[]", "invalid");
    }

    #[test]
    fn a_metric_that_is_not_finite_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let moment = Moment { step: 1, metric: Some(f64::NAN), is_scheduled: true };
        Manifest::of(folder.path(), &moment).unwrap().write(folder.path()).unwrap();
        assert_eq!(Manifest::read(folder.path()).unwrap().metric, None);
    }

    #[test]
    fn a_manifest_of_before_stops_were_told_apart_is_of_a_scheduled_checkpoint() {
        let body = "{\"version\":1,\"step\":1,\"metric\":null,\"files\":[]}";
        let sha256 = hex(&Sha256::digest(body.as_bytes()));
        let text = format!("{FRAME_START}{body}{FRAME_MIDDLE}{sha256}{FRAME_END}");
        assert!(parse(text.as_bytes()).unwrap().is_scheduled);
    }
}
