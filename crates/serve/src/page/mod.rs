//! The web page: its files, which are in the binary, as routes.
//!
//! | module | holds |
//! |---|---|
//! | `asset` | one file: its type, its digest, and whether a client has it already |
//!
//! The files are plain, and served as they lie in `crates/serve/page`. They hold no secret, so they need no key; what
//! the page shows it asks the API for, with the key of whoever looks at it. It knows no API.

mod asset;

use axum::Router;
use axum::routing::get;

use asset::Asset;

/// A file of the folder `page`.
macro_rules! asset {
    ($path:literal, $media_type:ident, $file:literal) => {
        Asset::new($path, asset::$media_type, include_bytes!(concat!("../../page/", $file)))
    };
}

/// All files, each with the path it is found at. The page names the others by paths relative to its own, so that it
/// works behind a proxy that puts a folder before them.
static ASSETS: [Asset; 15] = [
    asset!("/", HTML, "index.html"),
    asset!("/page/style.css", CSS, "style.css"),
    asset!("/page/icon.svg", SVG, "icon.svg"),
    asset!("/page/api.js", JAVASCRIPT, "api.js"),
    asset!("/page/app.js", JAVASCRIPT, "app.js"),
    asset!("/page/chat.js", JAVASCRIPT, "chat.js"),
    asset!("/page/continue.js", JAVASCRIPT, "continue.js"),
    asset!("/page/dom.js", JAVASCRIPT, "dom.js"),
    asset!("/page/layers.js", JAVASCRIPT, "layers.js"),
    asset!("/page/markdown.js", JAVASCRIPT, "markdown.js"),
    asset!("/page/settings.js", JAVASCRIPT, "settings.js"),
    asset!("/page/speed.js", JAVASCRIPT, "speed.js"),
    asset!("/page/status.js", JAVASCRIPT, "status.js"),
    asset!("/page/store.js", JAVASCRIPT, "store.js"),
    asset!("/page/theme.js", JAVASCRIPT, "theme.js"),
];

/// The paths of the page's files, each with `GET`; none needs a key.
pub fn paths() -> impl Iterator<Item = &'static str> {
    ASSETS.iter().map(Asset::path)
}

/// A router of the page's files.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    ASSETS.iter().fold(Router::new(), |router, asset| {
        router.route(asset.path(), get(async |headers| asset.answer(&headers)))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// The whole of it stays small.
    const PAGE_MAX_BYTES: usize = 96 << 10;

    #[test]
    fn every_file_of_the_folder_is_served() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
        let name =
            |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let files: BTreeSet<String> = folder.read_dir().unwrap().map(name).collect();
        let served: BTreeSet<String> =
            paths().map(|path| path.strip_prefix("/page/").unwrap_or("index.html").to_owned()).collect();
        assert_eq!(served, files);
    }

    #[test]
    fn files_name_nothing_that_is_not_served_and_nothing_of_others() {
        for asset in &ASSETS {
            let text = std::str::from_utf8(asset.bytes()).unwrap();
            for foreign in ["https://", "http://", "innerHTML", "outerHTML", "insertAdjacentHTML", "eval("] {
                // The name space of SVG is a name and no address.
                let text = text.replace("http://www.w3.org/2000/svg", "");
                assert!(!text.contains(foreign), "{} has `{foreign}`", asset.path());
            }
            for (quote, start) in [("\"", "\"page/"), ("'", "'./")] {
                for (at, _) in text.match_indices(start) {
                    let rest = &text[at + start.len()..];
                    let name = &rest[..rest.find(quote).unwrap()];
                    let path = format!("/page/{name}");
                    assert!(paths().any(|known| known == path), "{} names {path}", asset.path());
                }
            }
            for inline in ["<style", " style=", "<script>", " onclick=", "javascript:"] {
                assert!(!text.contains(inline), "{} has `{inline}`, which its policy forbids", asset.path());
            }
        }
        let size: usize = ASSETS.iter().map(|asset| asset.bytes().len()).sum();
        assert!(size < PAGE_MAX_BYTES, "{size} bytes");
    }
}
