//! `cargo xtask arm64`: the kernels' battery and the digests of tiny models on aarch64, under
//! QEMU's user emulation.
//!
//! The compiler is Debian's, which has the standard library of both kinds of machine; the target
//! folder is its own. Threads hang in older versions of that emulator, so only tests that run on
//! the main thread are run, with pools of one.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::process;

const TARGET: &str = "aarch64-unknown-linux-gnu";
const RUSTC: &str = "/usr/bin/rustc";
const LINKER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64-static";
/// Where Debian keeps the C library that a program for aarch64 loads.
const LIBRARIES: &str = "/usr/aarch64-linux-gnu";
/// What the emulated CPU must offer: the battery fails where it cannot compare it.
const ISA: &str = "neon_dotprod";
/// What gives a Debian machine all of it, as root.
const INSTALL: [&str; 3] = [
    "dpkg --add-architecture arm64",
    "apt-get update",
    "apt-get install --yes --no-install-recommends rustc-web libstd-rust-web-dev:arm64 gcc-aarch64-linux-gnu \
     libc6-dev-arm64-cross qemu-user-static",
];

/// What runs under emulation, crate and name: tests without the harness that start no thread where
/// `TERCET_TEST_THREADS` is 1.
const TESTS: [(&str, &str); 2] = [("tercet-kernels", "battery"), ("tercet", "digests")];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Installs what is missing (Debian; needs root).
    #[arg(long)]
    install: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.install && !missing().is_empty() {
        for line in INSTALL {
            let words: Vec<&str> = line.split_whitespace().collect();
            process::run(process::command(words[0], &words[1..]).env("DEBIAN_FRONTEND", "noninteractive"))?;
        }
    }
    let missing = missing();
    ensure!(
        missing.is_empty(),
        "missing: {}\nhint: on Debian, as root, `cargo xtask arm64 --install`, which is\n{}",
        missing.join(", "),
        INSTALL.join(" &&\n")
    );
    for (package, test) in TESTS {
        let arguments = ["test", "--profile", "test-fast", "--target", TARGET, "-p", package, "--test", test];
        let mut cargo = process::command("cargo", &arguments);
        cargo
            .env("RUSTC", RUSTC)
            .env("CARGO_TARGET_DIR", Path::new("target").join("arm64"))
            .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER)
            .env(
                "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER",
                format!("{EMULATOR} -cpu max -L {LIBRARIES}"),
            )
            .env("TERCET_ISA", ISA)
            .env("TERCET_TEST_THREADS", "1")
            // Cargo names its own compiler's libraries here; they are not those of `RUSTC`.
            .env_remove("LD_LIBRARY_PATH");
        process::run(&mut cargo)?;
    }
    println!("aarch64 gives the bits of the definition and the published digests");
    Ok(())
}

/// What this machine lacks.
fn missing() -> Vec<String> {
    let mut missing: Vec<String> = [RUSTC, LINKER, EMULATOR]
        .into_iter()
        .filter(|program| !process::exists(program))
        .map(|program| format!("`{program}`"))
        .collect();
    if !has_standard_library() {
        missing.push(format!("the standard library of `{RUSTC}` for {TARGET}"));
    }
    if !Path::new(LIBRARIES).join("lib/libc.so").exists() {
        missing.push(format!("the C library in `{LIBRARIES}`"));
    }
    missing
}

fn has_standard_library() -> bool {
    let mut ask = process::command(RUSTC, &["--print", "target-libdir", "--target", TARGET]);
    let Ok(output) = ask.env_remove("LD_LIBRARY_PATH").output() else { return false };
    let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let files = Path::new(&folder).read_dir().into_iter().flatten().flatten();
    files.map(|file| file.file_name()).any(|name| name.to_string_lossy().starts_with("libstd-"))
}
