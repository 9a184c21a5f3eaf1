//! The packages that a program is made of: what Cargo knows of them, and what `Cargo.lock` holds them to.
//!
//! ```text
//! linked   root ─► dependencies ─► theirs …       what ends up in the program
//! build    of any of those: build scripts, procedural macros, and all that these depend on
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::process;

/// What `cargo metadata` says.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) target_directory: PathBuf,
    resolve: Resolve,
}

/// A package.
#[derive(Clone, Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    /// Where it comes from; none for one of the project's own.
    pub(crate) source: Option<String>,
    pub(crate) license: Option<String>,
    pub(crate) license_file: Option<PathBuf>,
    pub(crate) manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Clone, Deserialize)]
struct Target {
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Deserialize)]
struct EdgeKind {
    /// None for an ordinary dependency.
    kind: Option<String>,
}

/// A part of a program.
pub(crate) struct Part {
    pub(crate) package: Package,
    /// Whether it is in the program, and does not only make it.
    pub(crate) is_linked: bool,
    /// Ids of the packages that it depends on, for itself or to be built.
    pub(crate) depends_on: BTreeSet<String>,
    /// The SHA-256 of its archive in the registry, in hexadecimal digits.
    pub(crate) checksum: Option<String>,
}

/// What `Cargo.lock` holds a package to.
#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
}

impl Metadata {
    /// Asks Cargo for the packages of some targets: that of a program, and this machine's, on which it is built.
    pub(crate) fn read(targets: &[&str]) -> Result<Self> {
        let mut cargo = process::command("cargo", &["metadata", "--format-version", "1", "--locked"]);
        for target in targets {
            cargo.args(["--filter-platform", target]);
        }
        let output = cargo.output().context("cannot start `cargo metadata`")?;
        if !output.status.success() {
            bail!("`cargo metadata` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout)
            .context("`cargo metadata` gave something else than it did before")
    }

    /// The package of this project with a name.
    pub(crate) fn own(&self, name: &str) -> Result<&Package> {
        let own = self.packages.iter().find(|package| package.name == name && package.source.is_none());
        own.with_context(|| format!("the project has no package `{name}`"))
    }

    /// The packages from `root` on, by id. Where `compiled` is given, those that are not in it are left out: features
    /// that other packages of the project ask for bring some in that this program was built without.
    pub(crate) fn parts(
        &self,
        root: &str,
        compiled: Option<&BTreeSet<String>>,
        lock: &str,
    ) -> Result<BTreeMap<String, Part>> {
        let packages: BTreeMap<&str, &Package> = self.packages.iter().map(|p| (p.id.as_str(), p)).collect();
        let nodes: BTreeMap<&str, &Node> = self.resolve.nodes.iter().map(|n| (n.id.as_str(), n)).collect();
        let package = |id: &str| packages.get(id).with_context(|| format!("package `{id}` is not described"));
        let is_used = |id: &str| compiled.is_none_or(|compiled| compiled.contains(id));
        let checksums = checksums(lock)?;
        let mut parts: BTreeMap<String, Part> = BTreeMap::new();
        let mut left = vec![(root.to_owned(), true)];
        while let Some((id, is_linked)) = left.pop() {
            // A procedural macro runs in the compiler, and so does all that it depends on.
            let found = package(&id)?;
            let is_linked = is_linked && !found.is_macro();
            if let Some(part) = parts.get(&id)
                && (part.is_linked || !is_linked)
            {
                continue;
            }
            let node = nodes.get(id.as_str()).with_context(|| format!("package `{id}` is not resolved"))?;
            let mut depends_on = BTreeSet::new();
            for edge in node.deps.iter().filter(|edge| is_used(&edge.pkg)) {
                let has = |kind: Option<&str>| edge.dep_kinds.iter().any(|one| one.kind.as_deref() == kind);
                if has(None) || has(Some("build")) {
                    depends_on.insert(edge.pkg.clone());
                    left.push((edge.pkg.clone(), is_linked && has(None)));
                }
            }
            let key = (found.name.clone(), found.version.clone(), found.source.clone());
            let checksum = checksums.get(&key).cloned().flatten();
            if found.source.is_some() && checksum.is_none() {
                bail!("Cargo.lock: found no checksum of {} {}, expected one", found.name, found.version);
            }
            let package = (*found).clone();
            parts.insert(id, Part { package, is_linked, depends_on, checksum });
        }
        if let Some(id) = compiled.and_then(|compiled| compiled.iter().find(|id| !parts.contains_key(*id))) {
            bail!(
                "`{id}` was compiled, but `cargo metadata` does not have it among what the program depends on"
            );
        }
        Ok(parts)
    }
}

impl Package {
    fn is_macro(&self) -> bool {
        self.targets.iter().any(|target| target.kind.iter().any(|kind| kind == "proc-macro"))
    }
}

/// The names of those parts whose build compiles C.
pub(crate) fn that_compile_c(parts: &BTreeMap<String, Part>) -> Vec<&str> {
    let is_cc = |id: &String| parts.get(id).is_some_and(|part| part.package.name == "cc");
    let compile = parts.values().filter(|part| part.depends_on.iter().any(is_cc));
    compile.map(|part| part.package.name.as_str()).collect()
}

/// Name, version and source of a package.
type Key = (String, String, Option<String>);

fn checksums(lock: &str) -> Result<BTreeMap<Key, Option<String>>> {
    let lock: Lock = toml::from_str(lock).context("Cargo.lock")?;
    Ok(lock.package.into_iter().map(|one| ((one.name, one.version, one.source), one.checksum)).collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;

    const REGISTRY: &str = "registry+https://example.org/index";

    /// A program `app` of the project that depends on `one`, which is built by `cc`, and on the macro `derive`, which
    /// depends on `one` and on `quote`; with `optional`, which it is built without, and `test`, for its tests.
    pub(crate) fn metadata() -> Metadata {
        let package = |name: &str, source: Value, kind: &str| {
            json!({
                "id": name, "name": name, "version": "1.0.0", "source": source, "license": "MIT/Apache-2.0",
                "license_file": null, "manifest_path": format!("/src/{name}-1.0.0/Cargo.toml"),
                "targets": [{ "kind": [kind] }],
            })
        };
        let edge = |name: &str, kind: Value| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
        let node = |name: &str, deps: Value| json!({ "id": name, "deps": deps });
        let names = ["one", "cc", "quote", "optional", "test"];
        let mut packages: Vec<Value> =
            names.iter().map(|name| package(name, REGISTRY.into(), "lib")).collect();
        packages.push(package("derive", REGISTRY.into(), "proc-macro"));
        packages.push(package("app", Value::Null, "bin"));
        let ordinary = Value::Null;
        let nodes = json!([
            node(
                "app",
                json!([
                    edge("derive", ordinary.clone()),
                    edge("one", ordinary.clone()),
                    edge("optional", ordinary.clone()),
                    edge("test", "dev".into()),
                ])
            ),
            node("derive", json!([edge("quote", ordinary.clone()), edge("one", ordinary.clone())])),
            node("one", json!([edge("cc", "build".into())])),
            node("cc", json!([])),
            node("quote", json!([])),
            node("optional", json!([])),
            node("test", json!([])),
        ]);
        let json =
            json!({ "packages": packages, "target_directory": "/target", "resolve": { "nodes": nodes } });
        serde_json::from_value(json).unwrap()
    }

    /// The lock of these packages.
    pub(crate) fn lock() -> String {
        let names = ["one", "cc", "quote", "optional", "test", "derive"];
        let of_registry = names.iter().map(|name| {
            let sum = "0".repeat(64 - name.len()) + &"a".repeat(name.len());
            format!(
                "[[package]]\nname = '{name}'\nversion = '1.0.0'\nsource = '{REGISTRY}'\nchecksum = '{sum}'\n"
            )
        });
        of_registry.collect::<String>() + "[[package]]\nname = 'app'\nversion = '1.0.0'\n"
    }

    pub(crate) fn compiled() -> BTreeSet<String> {
        ["app", "one", "cc", "derive", "quote"].map(str::to_owned).into()
    }

    #[test]
    fn what_is_compiled_is_there_and_nothing_else() {
        let parts = metadata().parts("app", Some(&compiled()), &lock()).unwrap();
        assert_eq!(parts.keys().cloned().collect::<BTreeSet<_>>(), compiled());
        let linked: Vec<&str> =
            parts.iter().filter(|(_, part)| part.is_linked).map(|(id, _)| id.as_str()).collect();
        assert_eq!(linked, ["app", "one"], "also where a macro uses it too");
        assert_eq!(that_compile_c(&parts), ["one"]);
        let all = metadata().parts("app", None, &lock()).unwrap();
        assert!(all.contains_key("optional") && !all.contains_key("test"));
    }

    #[test]
    fn what_was_compiled_and_is_not_known_is_an_error() {
        let mut compiled = compiled();
        compiled.insert("stranger".to_owned());
        let error = metadata().parts("app", Some(&compiled), &lock()).err().unwrap();
        assert!(error.to_string().contains("`stranger`"), "{error}");
        let error = metadata().parts("app", None, "package = []").err().unwrap();
        assert!(error.to_string().contains("checksum"), "{error}");
    }
}
