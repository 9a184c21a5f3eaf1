//! `cargo xtask arm64`: the kernels' battery and the digests of tiny models on aarch64, under
//! QEMU's user emulation.
//!
//! The compiler is Debian's, which has the standard library of both kinds of machine; the target
//! folder is its own. Threads hang in older versions of that emulator, so only tests that run on
//! the main thread are run, with pools of one.

use std::path::Path;

use anyhow::{Result, bail};

use crate::process;

const TARGET: &str = "aarch64-unknown-linux-gnu";
const RUSTC: &str = "/usr/bin/rustc";
const LINKER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64-static";
const PACKAGES: &str = "rustc-web libstd-rust-web-dev:arm64 gcc-aarch64-linux-gnu qemu-user-static";

/// Tests without the harness: crate and name.
const TESTS: [(&str, &str); 2] = [("tercet-kernels", "battery"), ("tercet", "digests")];

#[derive(clap::Args)]
pub struct Arguments {
    /// Installs what is missing (Debian; needs root).
    #[arg(long)]
    install: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    if arguments.install {
        install()?;
    }
    for needed in [RUSTC, LINKER, EMULATOR] {
        if !process::exists(needed) {
            bail!(
                "`{needed}` is missing; on Debian, as root: dpkg --add-architecture arm64 && apt-get update && \
                 apt-get install -y {PACKAGES}, or `cargo xtask arm64 --install`"
            );
        }
    }
    for (package, test) in TESTS {
        let arguments = ["test", "--profile", "test-fast", "--target", TARGET, "-p", package, "--test", test];
        let mut cargo = process::command("cargo", &arguments);
        cargo
            .env("RUSTC", RUSTC)
            .env("CARGO_TARGET_DIR", Path::new("target").join("arm64"))
            .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER)
            .env(
                "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER",
                format!("{EMULATOR} -cpu max -L /usr/aarch64-linux-gnu"),
            )
            .env("TERCET_TEST_THREADS", "1");
        process::run(&mut cargo)?;
    }
    println!("aarch64 gives the bits of the definition and the published digests");
    Ok(())
}

fn install() -> Result<()> {
    process::run(&mut process::command("dpkg", &["--add-architecture", "arm64"]))?;
    process::run(&mut process::command("apt-get", &["update"]))?;
    let arguments: Vec<&str> = ["install", "-y"].into_iter().chain(PACKAGES.split(' ')).collect();
    process::run(&mut process::command("apt-get", &arguments))
}
