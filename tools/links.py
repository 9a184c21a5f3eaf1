"""Links of the project's documents that lead nowhere.

    python3 tools/links.py

A link within the project must lead to a file or folder that is there, and what stands after `#` must be a heading of
that document, by the rule of GitHub: in small letters, without punctuation, a hyphen for each space, and a number
for each repetition. Links to other sites are not asked. It needs git and the standard library.
"""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent.parent

FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
HEADING = re.compile(r"^ {0,3}#{1,6}\s+(.*?)\s*#*\s*$")
CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
INLINE = re.compile(r"\]\(\s*(<[^>]*>|[^)\s]*)(?:\s+[\"'(][^)]*)?\s*\)")
DEFINITION = re.compile(r"^ {0,3}\[[^\]]+\]:\s*(<[^>]*>|\S+)")
HTML = re.compile(r"<(?:a|img|source)\b[^>]*?\b(?:href|src|srcset)\s*=\s*[\"']([^\"']+)[\"']", re.IGNORECASE)
ANCHOR = re.compile(r"<[a-z]+\b[^>]*?\b(?:id|name)\s*=\s*[\"']([^\"']+)[\"']", re.IGNORECASE)
SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*:|^//", re.IGNORECASE)
LINE = re.compile(r"L(\d+)(?:-L(\d+))?")


def prose(text):
    """The lines outside of blocks of code, each with its number from 1."""
    fence = None
    for number, line in enumerate(text.splitlines(), 1):
        found = FENCE.match(line)
        if fence is None and found:
            fence = found[1]
        elif fence is None:
            yield number, line
        elif found and found[1][0] == fence[0] and len(found[1]) >= len(fence) and line.strip() == found[1]:
            fence = None


def slug(heading):
    """The anchor of a heading that is the first of its text."""
    shown = re.sub(r"!?\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])", r"\1", heading)
    kept = re.sub(r"[^\w\- ]", "", shown.strip().lower())
    return kept.replace(" ", "-")


def anchors(text):
    """Every anchor of a document."""
    seen = {}
    found = set()
    for _, line in prose(text):
        found.update(ANCHOR.findall(CODE.sub("", line)))
        heading = HEADING.match(line)
        if heading:
            name = slug(heading[1])
            times = seen.get(name, 0)
            seen[name] = times + 1
            found.add(f"{name}-{times}" if times else name)
    return found


def links(text):
    """Where a document's links lead, each with the number of its line."""
    for number, line in prose(text):
        line = CODE.sub("", line)
        for pattern in (INLINE, DEFINITION, HTML):
            for target in pattern.findall(line):
                yield number, target.strip("<>")


def trouble(root, document, target):
    """What is wrong with a link of a document, a path from the root; nothing, if it leads somewhere."""
    if SCHEME.match(target):
        return None
    path, _, anchor = target.partition("#")
    path, anchor = unquote(path), unquote(anchor)
    if path.startswith("/"):
        return "begins with `/`, expected a path from the document's own folder"
    file = (root / document).parent / path if path else root / document
    if not file.resolve().is_relative_to(root.resolve()):
        return "leads out of the project"
    if not file.exists():
        return "leads to nothing"
    if not anchor:
        return None
    if file.is_dir():
        return f"a folder has no `#{anchor}`"
    text = file.read_text(encoding="utf-8", errors="replace")
    if file.suffix == ".md":
        return None if anchor in anchors(text) else f"there is no heading `#{anchor}`"
    lines = LINE.fullmatch(anchor)
    last = int(lines[2] or lines[1]) if lines else 0
    return None if 0 < last <= len(text.splitlines()) else f"there is no line `#{anchor}`"


def documents(root):
    """The documents of the project that are committed or could be, paths from its root."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    return [name for name in sorted(set(listed.split("\0"))) if name and (root / name).is_file()]


def dead_links(root):
    """A line for each link that leads nowhere."""
    found = []
    for document in documents(root):
        text = (root / document).read_text(encoding="utf-8")
        for number, target in links(text):
            wrong = trouble(root, document, target)
            if wrong:
                found.append(f"{document}:{number}: `{target}` {wrong}")
    return found


def main():
    found = dead_links(ROOT)
    print("\n".join(found) if found else f"every link of {len(documents(ROOT))} documents leads somewhere")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
