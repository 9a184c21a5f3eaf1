//! What a release wants of this machine: a compiler for the target, and what else is missing, each with the command
//! that gets it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::process;

/// The compiler that Cargo would use in the project.
pub(crate) struct Compiler {
    /// Its version, such as `1.95.0`.
    pub(crate) version: String,
    /// The target of this machine.
    pub(crate) host: String,
}

/// Something that is not there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) what: String,
    /// What gets it.
    pub(crate) hint: String,
}

/// What of this machine bears on how a target is built.
pub(crate) struct Machine<'a> {
    pub(crate) host: &'a str,
    /// Whether a program is installed.
    pub(crate) has: &'a dyn Fn(&str) -> bool,
    /// What an environment variable says.
    pub(crate) variable: &'a dyn Fn(&str) -> Option<String>,
}

impl Compiler {
    /// Asks it.
    pub(crate) fn ask() -> Result<Self> {
        let said = output(&["--version", "--verbose"])?;
        let line = |key: &str| {
            let value = said.lines().find_map(|line| line.strip_prefix(key));
            value.map(str::to_owned).with_context(|| format!("`rustc -vV` has no line `{key}`"))
        };
        Ok(Compiler { version: line("release: ")?, host: line("host: ")? })
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> Result<PathBuf> {
        Ok(PathBuf::from(output(&["--print", "sysroot"])?.trim()))
    }

    /// Whether it has the standard library of a target.
    pub(crate) fn has_standard_library(&self, target: &str) -> Result<bool> {
        let folder = output(&["--print", "target-libdir", "--target", target])?;
        // A target that is not installed has no such folder.
        let files = Path::new(folder.trim()).read_dir().into_iter().flatten().flatten();
        Ok(files.map(|file| file.file_name()).any(|name| name.to_string_lossy().starts_with("libstd-")))
    }
}

fn output(arguments: &[&str]) -> Result<String> {
    let output = process::command("rustc", arguments).output().context("cannot start `rustc`")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`rustc {}` failed: {}", arguments.join(" "), said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The first part of a target: the kind of processor.
pub(crate) fn processor(target: &str) -> &str {
    target.split('-').next().unwrap_or_default()
}

impl Machine<'_> {
    /// The C compiler for a target, where the packages named compile C.
    pub(crate) fn c_compiler(&self, target: &str, compile_c: &[&str]) -> Result<Option<String>, Missing> {
        if compile_c.is_empty() {
            return Ok(None);
        }
        // In the order in which the crate `cc` asks for them.
        let names =
            [format!("CC_{target}"), format!("CC_{}", target.replace('-', "_")), "TARGET_CC".to_owned()];
        if let Some(given) = names.iter().find_map(|name| (self.variable)(name)) {
            return Ok(Some(given));
        }
        let candidates = self.c_compilers(target);
        if let Some(found) = candidates.iter().find(|program| (self.has)(program)) {
            return Ok(Some(found.clone()));
        }
        let variable = &names[1];
        let hint = if target.ends_with("-musl") && processor(target) == processor(self.host) {
            format!("apt-get install musl-tools    (Debian; or name a compiler in `{variable}`)")
        } else {
            format!("name a compiler in `{variable}`")
        };
        let what = format!(
            "a C compiler for {target}, which {} compile with: found none of {}",
            compile_c.join(" and "),
            candidates.join(", ")
        );
        Err(Missing { what, hint })
    }

    fn c_compilers(&self, target: &str) -> Vec<String> {
        if target == self.host {
            return vec!["cc".to_owned(), "gcc".to_owned(), "clang".to_owned()];
        }
        let mut compilers = vec![format!("{}-gcc", target.replace("-unknown-", "-"))];
        if target.ends_with("-linux-musl") && processor(target) == processor(self.host) {
            compilers.push("musl-gcc".to_owned());
        }
        compilers
    }

    /// What links programs of another kind of processor, where none is named; that of this machine's own kind links
    /// static programs too.
    pub(crate) fn linker(&self, target: &str) -> Option<Missing> {
        let name = target.to_uppercase().replace(['-', '.'], "_");
        let variable = format!("CARGO_TARGET_{name}_LINKER");
        if processor(target) == processor(self.host) || (self.variable)(&variable).is_some() {
            return None;
        }
        let hint = format!("name one in `{variable}`, such as {}-gcc", target.replace("-unknown-", "-"));
        Some(Missing { what: format!("a linker for {target}"), hint })
    }
}

/// The standard library of a target, if it is what is missing.
pub(crate) fn standard_library(compiler: &Compiler, target: &str) -> Result<Option<Missing>> {
    if compiler.has_standard_library(target)? {
        return Ok(None);
    }
    let what = format!("the standard library of Rust {} for {target}", compiler.version);
    Ok(Some(Missing { what, hint: format!("rustup target add {target}") }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "x86_64-unknown-linux-gnu";
    const MUSL: &str = "x86_64-unknown-linux-musl";

    fn c_compiler(
        target: &str,
        programs: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Option<String>, Missing> {
        let has = |program: &str| programs.contains(&program);
        let variable = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Machine { host: HOST, has: &has, variable: &variable }.c_compiler(target, &["ring", "zstd-sys"])
    }

    #[test]
    fn a_compiler_is_found_where_cc_finds_it() {
        let some = |name: &str| Ok(Some(name.to_owned()));
        assert_eq!(c_compiler(HOST, &["cc"], &[]), some("cc"));
        assert_eq!(c_compiler(MUSL, &["cc", "musl-gcc"], &[]), some("musl-gcc"));
        let variables = [("CC_x86_64_unknown_linux_musl", "my-cc"), ("TARGET_CC", "other")];
        assert_eq!(c_compiler(MUSL, &["musl-gcc"], &variables), some("my-cc"));
        let arm = "aarch64-unknown-linux-musl";
        assert_eq!(
            c_compiler(arm, &["musl-gcc", "aarch64-linux-musl-gcc"], &[]),
            some("aarch64-linux-musl-gcc")
        );
    }

    #[test]
    fn what_is_missing_is_named_with_what_gets_it() {
        let missing = c_compiler(MUSL, &["cc"], &[]).unwrap_err();
        assert!(
            missing.what.contains("ring and zstd-sys") && missing.what.contains("musl-gcc"),
            "{missing:?}"
        );
        assert!(missing.hint.contains("musl-tools"), "{missing:?}");
        let missing = c_compiler("aarch64-unknown-linux-musl", &["musl-gcc"], &[]).unwrap_err();
        assert!(missing.hint.contains("CC_aarch64_unknown_linux_musl"), "{missing:?}");
        let machine = Machine { host: HOST, has: &|_| false, variable: &|_| None };
        assert_eq!(machine.linker(MUSL), None);
        let missing = machine.linker("aarch64-unknown-linux-musl").unwrap();
        assert!(missing.hint.contains("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER"), "{missing:?}");
        assert_eq!(machine.c_compiler(MUSL, &[]), Ok(None));
    }

    #[test]
    fn the_compiler_of_these_tests_has_its_own_library() {
        let compiler = Compiler::ask().unwrap();
        assert!(compiler.has_standard_library(&compiler.host).unwrap());
        assert!(standard_library(&compiler, "no-such-target").is_err());
    }
}
