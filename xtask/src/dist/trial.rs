//! A tarball is unpacked by the system's own `tar`, and the program in it is run.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tercet::embedded::{DIGEST_PROMPT, DIGEST_TOKENS, STORIES_LOGITS_SHA256};

use crate::process;

/// Unpacks a tarball into a folder of its own and wants the program to say its version and to compute what it must.
pub(crate) fn try_out(tarball: &Path, top: &str, version: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut tar = process::command("tar", &["-xzf"]);
    tar.arg(std::path::absolute(tarball)?).arg("-C").arg(folder.path());
    let status = tar.status().context("cannot start `tar`, which tries the tarball out")?;
    ensure!(status.success(), "`tar` does not unpack the tarball: {status}");
    let program = folder.path().join(top).join("bin/tercet");
    let said = run(&program, folder.path(), &["--version"])?;
    let want = format!("tercet {version}");
    ensure!(said.trim() == want, "`tercet --version` says `{}`, expected `{want}`", said.trim());

    let tokens = DIGEST_TOKENS.to_string();
    let exact = [
        "run",
        DIGEST_PROMPT,
        "--temp",
        "0",
        "-n",
        &tokens,
        "--ignore-eos",
        "--kv",
        "f32",
        "--logits-sha256",
    ];
    let said = run(&program, folder.path(), &exact)?;
    ensure!(
        said.contains(STORIES_LOGITS_SHA256),
        "the program computes other logits than the published ones, {STORIES_LOGITS_SHA256}; it says\n{said}"
    );
    Ok(())
}

/// What the program writes, to both of its outputs. Its caches lie in `folder`.
fn run(program: &Path, folder: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(folder)
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .env_remove("TERCET_ISA");
    let line = format!("tercet {}", arguments.join(" "));
    let output = command.output().with_context(|| format!("cannot start `{line}`"))?;
    let said =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    ensure!(output.status.success(), "`{line}` failed: {}\n{said}", output.status);
    Ok(said)
}

/// What the program prints about itself: a path in the archive, and the file's bytes.
pub(crate) fn own_files(program: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    const SHELLS: [(&str, &str); 5] = [
        ("bash", "share/bash-completion/completions/tercet"),
        ("zsh", "share/zsh/site-functions/_tercet"),
        ("fish", "share/fish/vendor_completions.d/tercet.fish"),
        ("powershell", "share/tercet/completions/tercet.ps1"),
        ("elvish", "share/tercet/completions/tercet.elv"),
    ];
    let mut files = Vec::new();
    for (shell, path) in SHELLS {
        let output = Command::new(program)
            .args(["completions", shell])
            .output()
            .context("cannot start the program")?;
        ensure!(output.status.success(), "`tercet completions {shell}` failed: {}", output.status);
        files.push((path.to_owned(), output.stdout));
    }
    let folder = tempfile::tempdir()?;
    let status = Command::new(program).arg("man").arg("--out").arg(folder.path()).status()?;
    ensure!(status.success(), "`tercet man` failed: {status}");
    for page in fs::read_dir(folder.path())? {
        let page = page?;
        files
            .push((format!("share/man/man1/{}", page.file_name().to_string_lossy()), fs::read(page.path())?));
    }
    ensure!(
        files.len() > SHELLS.len() + 10,
        "found {} manual pages, expected one a command",
        files.len() - SHELLS.len()
    );
    Ok(files)
}
