"""Every link of the project's documents leads somewhere; and tests of links.py, which says so.

    python3 -m unittest discover tools
"""

import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import links

DOCUMENT = """# Title: `code`, and *more*

## Again
## Again
<a id="by-hand"></a>

```sh
# no heading
[no link](nowhere.md)
```

[one](other.md#part-a_b) `[none](nowhere.md)` [two](#again-1 "with a title") ![picture](<a b.svg>)
[site](https://example.org/x.md) <img alt="" src="a%20b.svg"> [mail](mailto:a@example.org)

[named]: other.md
"""


class LinksTest(unittest.TestCase):
    def test_every_link_of_the_project_leads_somewhere(self):
        self.assertEqual(links.dead_links(links.ROOT), [])

    def test_documents_are_found(self):
        found = links.documents(links.ROOT)
        for document in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "docs/README.md", "examples/README.md"]:
            self.assertIn(document, found)

    def test_the_index_lists_every_document_beside_it(self):
        listed = {target for _, target in links.links((links.ROOT / "docs/README.md").read_text())}
        beside = {path.name for path in (links.ROOT / "docs").glob("*.md")} - {"README.md"}
        self.assertEqual(beside - listed, set())

    def test_anchors_are_those_of_github(self):
        self.assertEqual(links.slug("A dense model, into 1.58 bits: with `--x y`"), "a-dense-model-into-158-bits-with---x-y")
        self.assertEqual(links.slug("[Linked](a.md) — part `a_b`"), "linked--part-a_b")
        self.assertEqual(links.slug("Größe"), "größe")
        self.assertEqual(links.anchors(DOCUMENT), {"title-code-and-more", "again", "again-1", "by-hand"})

    def test_links_are_read_outside_of_code(self):
        found = [target for _, target in links.links(DOCUMENT)]
        self.assertEqual(
            sorted(found),
            sorted([
                "other.md#part-a_b", "#again-1", "a b.svg", "https://example.org/x.md", "a%20b.svg",
                "mailto:a@example.org", "other.md",
            ]),
        )
        self.assertEqual([number for number, target in links.links(DOCUMENT) if target == "#again-1"], [12])

    def test_what_leads_nowhere_is_said(self):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "project"
            (root / "docs").mkdir(parents=True)
            (Path(folder) / "outside.md").write_text("# Outside\n")
            (root / "docs/one.md").write_text(DOCUMENT)
            (root / "docs/other.md").write_text("# Part `a_b`\n")
            (root / "code.rs").write_text("one\ntwo\n")
            (root / "docs/a b.svg").write_text("<svg/>")

            def trouble(target):
                return links.trouble(root, "docs/one.md", target)

            for target in [
                "#again", "#again-1", "other.md", "other.md#part-a_b", "../code.rs", "../code.rs#L2", "..",
                "a%20b.svg", "https://example.org", "mailto:a@example.org",
            ]:
                self.assertIsNone(trouble(target), target)
            for target, wrong in [
                ("another.md", "nothing"), ("#again-2", "heading"), ("other.md#again", "heading"),
                ("../code.rs#L3", "line"), ("../docs#again", "folder"), ("/docs/one.md", "begins with"),
                ("../../outside.md", "out of the project"),
            ]:
                self.assertIn(wrong, trouble(target) or "", target)


if __name__ == "__main__":
    unittest.main()
