//! The bill of materials of a program: CycloneDX 1.6, as JSON (ECMA-424).
//!
//! ```text
//! metadata.component   the program, with the digest of its file
//! components           its packages: name, version, licence, digest of the archive; and the model inside
//! dependencies         which depends on which
//! ```
//!
//! It is a function of what it is given: its number is made of its content, and its time is that of the commit.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tercet::digest::hex;

use super::packages::{Package, Part};

/// The model inside the program, as a component.
const MODEL: &str = "tercet-stories";

/// What is described.
pub(crate) struct Program<'a> {
    /// Id of the package that it is made from.
    pub(crate) id: &'a str,
    /// What the file is called.
    pub(crate) name: &'a str,
    /// Its bytes.
    pub(crate) bytes: &'a [u8],
    /// For which machine.
    pub(crate) target: &'a str,
    /// The compiler, as it says its version.
    pub(crate) compiler: &'a str,
    /// The weights of the model inside.
    pub(crate) model: &'a [u8],
    /// Seconds since 1970 that it bears as its time.
    pub(crate) time: u64,
}

/// The bill of a program of these parts.
pub(crate) fn sbom(program: &Program<'_>, parts: &BTreeMap<String, Part>) -> Value {
    let root = &parts[program.id];
    let others = parts.iter().filter(|(id, _)| *id != program.id);
    let mut components: Vec<Value> = others.map(|(_, part)| component(part)).collect();
    components.push(json!({
        "type": "machine-learning-model",
        "bom-ref": MODEL,
        "name": MODEL,
        "version": root.package.version,
        "hashes": hashes(&sha256(program.model)),
        "licenses": licenses(&root.package),
    }));
    components.sort_by_cached_key(|component| component["bom-ref"].to_string());
    let mut dependencies: Vec<Value> = parts
        .iter()
        .map(|(id, part)| {
            let mut on: Vec<String> = part.depends_on.iter().map(|id| purl(&parts[id].package)).collect();
            if id == program.id {
                on.push(MODEL.to_owned());
            }
            on.sort();
            json!({ "ref": purl(&part.package), "dependsOn": on })
        })
        .collect();
    dependencies.push(json!({ "ref": MODEL, "dependsOn": [] }));
    dependencies.sort_by_cached_key(|dependency| dependency["ref"].to_string());
    let mut bill = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": "",
        "version": 1,
        "metadata": {
            "timestamp": rfc3339(program.time),
            "tools": { "components": [
                { "type": "application", "name": "cargo xtask dist", "version": env!("CARGO_PKG_VERSION") },
                { "type": "application", "name": "rustc", "version": program.compiler },
            ] },
            "component": {
                "type": "application",
                "bom-ref": purl(&root.package),
                "name": program.name,
                "version": root.package.version,
                "purl": purl(&root.package),
                "hashes": hashes(&sha256(program.bytes)),
                "licenses": licenses(&root.package),
                "properties": [{ "name": "target", "value": program.target }],
            },
        },
        "components": components,
        "dependencies": dependencies,
    });
    bill["serialNumber"] = serial_number(&bill).into();
    bill
}

fn component(part: &Part) -> Value {
    let mut component = Map::new();
    let package = &part.package;
    component.insert("type".into(), "library".into());
    component.insert("bom-ref".into(), purl(package).into());
    component.insert("name".into(), package.name.clone().into());
    component.insert("version".into(), package.version.clone().into());
    // What only makes the program is not in it.
    component.insert("scope".into(), if part.is_linked { "required" } else { "excluded" }.into());
    if let Some(checksum) = &part.checksum {
        component.insert("hashes".into(), hashes(checksum));
    }
    component.insert("licenses".into(), licenses(package));
    component.insert("purl".into(), purl(package).into());
    component.into()
}

/// The package as all software of bills names it.
fn purl(package: &Package) -> String {
    // Of all characters of a version, only `+` has another meaning in an address.
    format!("pkg:cargo/{}@{}", package.name, package.version.replace('+', "%2B"))
}

fn hashes(sha256: &str) -> Value {
    json!([{ "alg": "SHA-256", "content": sha256 }])
}

fn licenses(package: &Package) -> Value {
    match (&package.license, &package.license_file) {
        // A slash is what an older Cargo took for `OR`.
        (Some(expression), _) => {
            let alternatives: Vec<&str> = expression.split('/').map(str::trim).collect();
            json!([{ "expression": alternatives.join(" OR ") }])
        }
        (None, Some(file)) => {
            json!([{ "license": { "name": format!("see {} of the package", file.display()) } }])
        }
        (None, None) => json!([]),
    }
}

/// The SHA-256 of bytes, in hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// A UUID of the bill's content, of version 8 (RFC 9562, 5.8).
fn serial_number(bill: &Value) -> String {
    let mut digest: [u8; 32] = Sha256::digest(bill.to_string().as_bytes()).into();
    digest[6] = digest[6] & 0x0f | 0x80;
    digest[8] = digest[8] & 0x3f | 0x80;
    let digits = hex(&digest[..16]);
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    format!("urn:uuid:{}", parts.join("-"))
}

/// A time as RFC 3339 writes it, of seconds since 1970, in UTC.
fn rfc3339(seconds: u64) -> String {
    let (mut day, second) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{:02}-{:02}T{hour:02}:{minute:02}:{:02}Z", month + 1, day + 1, second % 60)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::packages::Metadata;
    use super::super::packages::tests::{compiled, lock, metadata};
    use super::*;
    use crate::dist::machine::Compiler;
    use crate::process;

    fn program(id: &str) -> Program<'_> {
        Program {
            id,
            name: "app",
            bytes: b"program",
            target: "x86_64-unknown-linux-musl",
            compiler: "1.95.0",
            model: b"model",
            time: 1_700_000_000,
        }
    }

    /// What CycloneDX 1.6 requires of the fields that are there.
    fn check(bill: &Value) {
        assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&json!("CycloneDX"), &json!("1.6")));
        let number = bill["serialNumber"].as_str().unwrap().strip_prefix("urn:uuid:").unwrap();
        let groups: Vec<usize> = number.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12]);
        assert!(
            number.chars().all(|c| c == '-' || c.is_ascii_hexdigit() && !c.is_ascii_uppercase()),
            "{number}"
        );
        let all: Vec<&Value> = bill["components"].as_array().unwrap().iter().collect();
        let mut names = BTreeSet::new();
        for component in all.into_iter().chain([&bill["metadata"]["component"]]) {
            for field in ["type", "name", "bom-ref", "version"] {
                assert!(
                    component[field].as_str().is_some_and(|text| !text.is_empty()),
                    "{field}: {component}"
                );
            }
            for hash in component["hashes"].as_array().into_iter().flatten() {
                assert!(hash["alg"] == "SHA-256" && hash["content"].as_str().unwrap().len() == 64, "{hash}");
            }
            for license in component["licenses"].as_array().unwrap() {
                let expression =
                    license["expression"].as_str().or_else(|| license["license"]["name"].as_str());
                assert!(expression.is_some_and(|text| !text.contains('/')), "{license}");
            }
            assert!(names.insert(component["bom-ref"].as_str().unwrap()), "each is named once: {component}");
        }
        let dependencies = bill["dependencies"].as_array().unwrap();
        let described: BTreeSet<&str> = dependencies.iter().map(|one| one["ref"].as_str().unwrap()).collect();
        assert_eq!(described, names, "every component says what it depends on");
        for on in dependencies.iter().flat_map(|one| one["dependsOn"].as_array().unwrap()) {
            assert!(names.contains(on.as_str().unwrap()), "{on} is a component");
        }
    }

    #[test]
    fn a_bill_has_what_the_format_requires() {
        let parts = metadata().parts("app", Some(&compiled()), &lock()).unwrap();
        let bill = sbom(&program("app"), &parts);
        check(&bill);
        let name = |one: &Value| one["name"].as_str().unwrap().to_owned();
        let names: Vec<String> = bill["components"].as_array().unwrap().iter().map(name).collect();
        assert_eq!(names, ["cc", "derive", "one", "quote", MODEL]);
        let of = |name: &str| {
            bill["components"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap()
        };
        assert_eq!((&of("one")["scope"], &of("cc")["scope"]), (&json!("required"), &json!("excluded")));
        assert_eq!(of("one")["licenses"], json!([{ "expression": "MIT OR Apache-2.0" }]));
        assert_eq!(of("one")["purl"], "pkg:cargo/one@1.0.0");
        assert_eq!(bill["metadata"]["timestamp"], "2023-11-14T22:13:20Z");
        assert_eq!(bill, sbom(&program("app"), &parts), "the same again");
        let other = sbom(&Program { bytes: b"other", ..program("app") }, &parts);
        assert_ne!(bill["serialNumber"], other["serialNumber"]);
    }

    /// The bill of this very project: every package of it that the program needs is in the lock, with its checksum.
    #[test]
    fn the_bill_of_the_project_is_that_of_its_lock() {
        let metadata = Metadata::read(&[&Compiler::ask().unwrap().host]).unwrap();
        let lock = std::fs::read_to_string(process::root().join("Cargo.lock")).unwrap();
        let id = metadata.own("tercet-cli").unwrap().id.clone();
        let parts = metadata.parts(&id, None, &lock).unwrap();
        let bill = sbom(&program(&id), &parts);
        check(&bill);
        let components = bill["components"].as_array().unwrap();
        assert!(components.len() > 200, "{} components", components.len());
        for name in ["tercet", "tercet-kernels", "tokenizers", "axum", "serde"] {
            assert!(components.iter().any(|one| one["name"] == name && one["scope"] == "required"), "{name}");
        }
        for name in ["criterion", "proptest", "shuttle"] {
            assert!(!components.iter().any(|one| one["name"] == name), "{name} is for tests only");
        }
        for component in components {
            let hash = component["hashes"][0]["content"].as_str();
            assert!(hash.is_none_or(|hash| component["name"] == MODEL || lock.contains(hash)), "{component}");
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, want) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(seconds), want);
        }
    }
}
