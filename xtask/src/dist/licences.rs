//! The licence texts of the packages that are in a program, as one text: each that several share once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::packages::{Package, Part};

/// How the names of files with terms begin, in capital letters.
const FILES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT", "UNLICENSE"];
const RULE: &str = "================================================================================";

/// The terms of all packages of others that are in the program.
pub(crate) fn third_party(parts: &BTreeMap<String, Part>) -> Result<String> {
    let linked = parts.values().filter(|part| part.is_linked && part.package.source.is_some());
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut without = Vec::new();
    let mut packages = 0;
    for Part { package, .. } in linked {
        packages += 1;
        let name = format!("{} {}", package.name, package.version);
        let files = files(package)?;
        if files.is_empty() {
            let terms = package.license.as_deref().unwrap_or("terms that it does not name");
            without.push(format!("{name}: {terms}"));
        }
        for file in files {
            let bytes = fs::read(&file).with_context(|| format!("{}: cannot be read", file.display()))?;
            let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n").trim().to_owned();
            texts.entry(text).or_default().insert(name.clone());
        }
    }
    let mut by_names: Vec<(BTreeSet<String>, String)> =
        texts.into_iter().map(|(text, names)| (names, text)).collect();
    by_names.sort();
    let mut all = format!(
        "The program has {packages} packages of others in it. Where a package offers several licences, each stands here;\n\
         sbom.cdx.json says which there are. Rust's standard library, which is in it too, is under MIT or Apache-2.0.\n"
    );
    for (names, text) in by_names {
        let names: Vec<String> = names.into_iter().collect();
        write!(all, "\n{RULE}\n{}\n{RULE}\n\n{text}\n", names.join(", "))?;
    }
    if !without.is_empty() {
        write!(all, "\n{RULE}\nWithout a file of their own\n{RULE}\n\n{}\n", without.join("\n"))?;
    }
    Ok(all)
}

/// The files of a package that hold its terms.
fn files(package: &Package) -> Result<Vec<PathBuf>> {
    let folder = package.manifest_path.parent().unwrap_or(Path::new("."));
    let listed = fs::read_dir(folder).with_context(|| format!("{}: cannot be listed", folder.display()))?;
    let mut files: BTreeSet<PathBuf> = package.license_file.iter().map(|file| folder.join(file)).collect();
    for entry in listed {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        if FILES.iter().any(|begin| name.starts_with(begin)) && entry.path().is_file() {
            files.insert(entry.path());
        }
    }
    Ok(files.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::super::packages::tests::{compiled, lock, metadata};
    use super::*;

    #[test]
    fn a_text_that_several_share_is_there_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut parts = metadata().parts("app", Some(&compiled()), &lock()).unwrap();
        for name in ["one", "quote"] {
            let part = parts.get_mut(name).unwrap();
            part.is_linked = true;
            part.package.manifest_path = folder.path().join(name).join("Cargo.toml");
            fs::create_dir_all(folder.path().join(name).join("LICENSES")).unwrap();
        }
        fs::write(folder.path().join("one/LICENSE-MIT"), "Do as you like.\r\n").unwrap();
        fs::write(folder.path().join("quote/license.txt"), "Do as you like.").unwrap();
        fs::write(folder.path().join("quote/COPYING"), "Ask first.").unwrap();
        let text = third_party(&parts).unwrap();
        assert!(text.contains("2 packages of others"), "{text}");
        assert_eq!(text.matches("Do as you like.").count(), 1);
        assert!(text.contains("\none 1.0.0, quote 1.0.0\n") && text.contains("\nquote 1.0.0\n"), "{text}");
        assert!(!text.contains("Without a file"), "{text}");
        fs::remove_file(folder.path().join("one/LICENSE-MIT")).unwrap();
        let text = third_party(&parts).unwrap();
        assert!(text.contains("Without a file") && text.contains("one 1.0.0: MIT/Apache-2.0"), "{text}");
    }
}
