//! `cargo xtask dist`: the program as a tarball that runs where it is unpacked.
//!
//! | module | holds |
//! |---|---|
//! | `machine` | what this machine lacks for it |
//! | `build` | the release build, and what it was made of |
//! | `packages` | what Cargo and `Cargo.lock` know of that |
//! | `sbom` | the bill of materials |
//! | `licences` | the terms of others, as one text |
//! | `elf` | whether the program is static |
//! | `archive` | the tarball, the same bytes each time |
//! | `trial` | the tarball unpacked and the program run |
//!
//! ```text
//! tercet-VERSION-TARGET.tar.gz     bin/tercet  share/man/man1/…  completions  sbom.cdx.json  README  licences
//! SHA256SUMS                       of every tarball of this version in the folder
//! ```

mod archive;
mod build;
mod elf;
mod licences;
mod machine;
mod packages;
mod sbom;
mod trial;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::process;
use archive::Archive;
use build::{Built, build, named_folders};
use elf::Elf;
use machine::{Compiler, Machine, processor, standard_library};
use packages::{Metadata, Package, Part};
use sbom::{Program, sbom, sha256};

/// The package with the program, and the program.
const PACKAGE: &str = "tercet-cli";
const PROGRAM: &str = "tercet";
/// Files of the project that go along as they are.
const FILES: [&str; 5] = ["README.md", "CHANGELOG.md", "NOTICE", "LICENSE-MIT", "LICENSE-APACHE"];
/// What is inside the program besides packages.
const MODEL: &str = "crates/tercet/models/stories/model.safetensors";
/// What comes with the compiler about the library that it links, in its own folder.
const STANDARD_LIBRARY_TERMS: &str = "share/doc/rust/COPYRIGHT-library.html";
/// The time that everything bears, in seconds since 1970, where somebody says it.
const TIME: &str = "SOURCE_DATE_EPOCH";
/// Sections of the program that are named.
const SECTIONS: usize = 4;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The target [default: this kind of processor, Linux, static by musl].
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
    /// This machine's own target, with its C library.
    #[arg(long, conflicts_with = "target")]
    native: bool,
    /// The folder that takes the tarball and the checksums.
    #[arg(long, value_name = "FOLDER", default_value = "target/dist")]
    out: PathBuf,
}

/// A release of the program for a target.
struct Release {
    compiler: Compiler,
    metadata: Metadata,
    package: Package,
    target: String,
    /// Seconds since 1970 that everything bears as its time.
    time: u64,
    lock: String,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let compiler = Compiler::ask()?;
    let target = match &arguments.target {
        Some(target) => target.clone(),
        None if arguments.native => compiler.host.clone(),
        None => format!("{}-unknown-linux-musl", std::env::consts::ARCH),
    };
    let metadata = Metadata::read(&[&target, &compiler.host])?;
    let package = metadata.own(PACKAGE)?.clone();
    let lock = process::root().join("Cargo.lock");
    let lock = fs::read_to_string(&lock).with_context(|| format!("{}: cannot be read", lock.display()))?;
    let release = Release { compiler, metadata, package, target, time: time()?, lock };
    let c_compiler = release.check_machine()?;
    release.make(&arguments.out, c_compiler.as_deref())
}

impl Release {
    /// Refuses to begin what cannot be finished here; else the C compiler for the target, where one is needed.
    fn check_machine(&self) -> Result<Option<String>> {
        let parts = self.metadata.parts(&self.package.id, None, &self.lock)?;
        let variable = |name: &str| std::env::var(name).ok();
        let machine = Machine { host: &self.compiler.host, has: &process::exists, variable: &variable };
        let mut missing: Vec<_> = standard_library(&self.compiler, &self.target)?.into_iter().collect();
        let c_compiler = machine.c_compiler(&self.target, &packages::that_compile_c(&parts));
        let c_compiler = c_compiler.map_err(|lacking| missing.push(lacking)).ok().flatten();
        missing.extend(machine.linker(&self.target));
        if missing.is_empty() {
            return Ok(c_compiler);
        }
        let lines = missing.iter().map(|one| format!("\n  {}\n    hint: {}", one.what, one.hint));
        let native = format!("\nhint: `cargo xtask dist --native` makes one for {}", self.compiler.host);
        bail!("this machine lacks{}{native}", lines.collect::<String>());
    }

    fn make(&self, out: &Path, c_compiler: Option<&str>) -> Result<()> {
        let built = build(&self.metadata, &self.package, PROGRAM, &self.target, c_compiler)?;
        let bytes = fs::read(&built.program)
            .with_context(|| format!("{}: cannot be read", built.program.display()))?;
        let kind = self.kind(&bytes, &built.program)?;
        let parts = self.metadata.parts(&self.package.id, Some(&built.compiled), &self.lock)?;
        let is_linux = self.target.contains("linux") && self.compiler.host.contains("linux");
        let runs_here = is_linux && processor(&self.target) == processor(&self.compiler.host);
        let version = &self.package.version;
        let top = format!("{PROGRAM}-{version}-{}", self.target);
        let archive = self.archive(&built, &bytes, &parts, runs_here)?;
        let tarball = archive.tar_gz(&top, self.time)?;

        fs::create_dir_all(out).with_context(|| format!("{}: cannot be made", out.display()))?;
        let path = out.join(format!("{top}.tar.gz"));
        write(&path, &tarball)?;
        let sums = checksums(out, &format!("{PROGRAM}-{version}-"))?;
        write(&out.join("SHA256SUMS"), sums.as_bytes())?;
        if runs_here {
            trial::try_out(&path, &top, version)?;
        }

        println!("{PROGRAM} {version} for {}: {kind}", self.target);
        println!("binary   {}{}", megabytes(bytes.len() as u64), sections(&bytes)?);
        println!("tarball  {}  {}", megabytes(tarball.len() as u64), path.display());
        println!("sha256   {}", sha256(&tarball));
        let linked = parts.values().filter(|part| part.is_linked).count();
        println!("packages {linked} in the program, {} that only build it", parts.len() - linked);
        for folder in self.named(&bytes) {
            println!("note     the program names the folder {} of this machine", folder.display());
        }
        if runs_here {
            println!("tried    unpacked and run: its version, and the published digest of the logits");
        } else {
            println!("tried    not at all: this machine is {}", self.compiler.host);
        }
        Ok(())
    }

    /// How the program depends on the machine that runs it, in words. A program for musl is static, or there is none.
    fn kind(&self, bytes: &[u8], program: &Path) -> Result<String> {
        if !self.target.contains("linux") {
            return Ok("what it wants of a machine is not looked at".to_owned());
        }
        let loader = Elf::new(bytes)?.interpreter()?;
        match loader {
            None => Ok("static, for any Linux of this kind of processor".to_owned()),
            Some(loader) if self.target.ends_with("-musl") => {
                bail!("the program is not static: it wants `{loader}` to load it")
            }
            Some(loader) => Ok(match elf::oldest_glibc(program)? {
                Some(version) => format!("dynamic, for glibc {version} or newer ({loader})"),
                None => {
                    format!("dynamic ({loader}); the oldest glibc is not known without `readelf` (binutils)")
                }
            }),
        }
    }

    /// All files of the tarball.
    fn archive(
        &self,
        built: &Built,
        bytes: &[u8],
        parts: &BTreeMap<String, Part>,
        runs_here: bool,
    ) -> Result<Archive> {
        let root = process::root();
        let mut archive = Archive::default();
        archive.add_program(format!("bin/{PROGRAM}"), bytes);
        for file in FILES {
            archive.add_file(file, &root.join(file))?;
        }
        // What the program says of itself, it says on any machine alike.
        let own_files = if runs_here {
            trial::own_files(&built.program)?
        } else {
            let here = &self.compiler.host;
            trial::own_files(&build(&self.metadata, &self.package, PROGRAM, here, None)?.program)?
        };
        for (path, bytes) in own_files {
            archive.add(path, bytes);
        }
        archive.add("licences/third-party.txt", licences::third_party(parts)?);
        let terms = self.compiler.folder()?.join(STANDARD_LIBRARY_TERMS);
        if terms.exists() {
            archive.add_file("licences/rust-standard-library.html", &terms)?;
        } else {
            eprintln!("note: {} is not installed and so not in the tarball", terms.display());
        }
        let model = root.join(MODEL);
        let model = fs::read(&model).with_context(|| format!("{}: cannot be read", model.display()))?;
        let program = Program {
            id: &self.package.id,
            name: PROGRAM,
            bytes,
            target: &self.target,
            compiler: &self.compiler.version,
            model: &model,
            time: self.time,
        };
        let bill = serde_json::to_string_pretty(&sbom(&program, parts))?;
        archive.add("sbom.cdx.json", bill + "\n");
        Ok(archive)
    }

    /// The folders of this machine that can still be read in the program.
    fn named(&self, program: &[u8]) -> Vec<PathBuf> {
        let root = process::root();
        let of_registry = self.metadata.packages.iter().filter(|package| package.source.is_some());
        let registry = of_registry.filter_map(|package| package.manifest_path.parent()?.parent()).next();
        let folders: Vec<&Path> = [root.as_path()].into_iter().chain(registry).collect();
        named_folders(program, &folders).into_iter().map(Path::to_owned).collect()
    }
}

/// The time of the release: what `SOURCE_DATE_EPOCH` says, or that of the last commit.
fn time() -> Result<u64> {
    if let Ok(given) = std::env::var(TIME) {
        return given.parse().with_context(|| format!("{TIME} is `{given}`, expected seconds since 1970"));
    }
    let output =
        process::command("git", &["log", "-1", "--format=%ct"]).output().context("cannot start `git`")?;
    ensure!(output.status.success(), "there is no commit to take the time of\nhint: say it in {TIME}");
    let changes = process::command("git", &["status", "--porcelain"]).output()?;
    if !changes.stdout.is_empty() {
        eprintln!(
            "note: the project has changes that are not committed; the release bears the last commit's time"
        );
    }
    let time = String::from_utf8_lossy(&output.stdout);
    time.trim()
        .parse()
        .with_context(|| format!("`git log` says `{}`, expected seconds since 1970", time.trim()))
}

/// The digests of all tarballs in a folder whose names begin so, as `sha256sum --check` reads them.
fn checksums(folder: &Path, begin: &str) -> Result<String> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("{}: cannot be listed", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(begin) && name.ends_with(".tar.gz") {
            lines.push((name, sha256(&fs::read(entry.path())?)));
        }
    }
    lines.sort();
    Ok(lines.iter().map(|(name, digest)| format!("{digest}  {name}\n")).collect())
}

/// Writes a file beside its place and moves it there.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let partial = path.with_extension("partial");
    let written = fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, path));
    written.with_context(|| format!("{}: cannot be written", path.display()))
}

/// The largest parts of a program for Linux, in words.
fn sections(program: &[u8]) -> Result<String> {
    let Ok(elf) = Elf::new(program) else { return Ok(String::new()) };
    let largest = elf.sections()?.into_iter().take(SECTIONS);
    let largest: Vec<String> = largest.map(|(name, bytes)| format!("{name} {}", megabytes(bytes))).collect();
    Ok(format!("  ({})", largest.join(", ")))
}

fn megabytes(bytes: u64) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_one_version_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["tercet-1.0.0-b.tar.gz", "tercet-1.0.0-a.tar.gz", "tercet-0.9.0-a.tar.gz", "SHA256SUMS"]
        {
            write(&folder.path().join(name), b"abc").unwrap();
        }
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let want = format!("{digest}  tercet-1.0.0-a.tar.gz\n{digest}  tercet-1.0.0-b.tar.gz\n");
        assert_eq!(checksums(folder.path(), "tercet-1.0.0-").unwrap(), want);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4, "nothing is left beside them");
    }

    #[test]
    fn the_files_that_go_along_are_there() {
        for file in FILES.into_iter().chain([MODEL]) {
            assert!(process::root().join(file).is_file(), "{file}");
        }
    }
}
