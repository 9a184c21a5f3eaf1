#!/usr/bin/env python3
"""A Hugging Face Hub on this machine, with the models of a folder.

    python3 tools/interop/hub_server.py FOLDER

FOLDER/org/name/… are the files of the model org/name, whose only commit is COMMIT. Files that end in
.safetensors, .bin or .gguf lie in large-file storage, which is another port, as on the Hub another
host. The first line on standard output is one JSON object with the address, {"endpoint": …}; the server
ends when its standard input does. It needs the standard library only.
"""

import argparse
import hashlib
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = {".safetensors", ".bin", ".gguf"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    Handler.folder = parser.parse_args().folder.resolve()
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for handler in (Hub, Storage)]
    addresses = [f"http://127.0.0.1:{server.server_port}" for server in servers]
    Handler.storage = addresses[1]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"endpoint": addresses[0]}), flush=True)
    sys.stdin.read()


class Handler(BaseHTTPRequestHandler):
    """What the Hub and its storage have in common."""

    protocol_version = "HTTP/1.1"
    folder: Path
    storage: str

    def do_GET(self) -> None:
        self.answer(has_body=True)

    def do_HEAD(self) -> None:
        self.answer(has_body=False)

    def answer(self, has_body: bool) -> None:
        status, headers, body = self.reply(unquote(urlsplit(self.path).path).lstrip("/"))
        start = self.headers.get("Range", "")
        if status == 200 and start.startswith("bytes=") and start.endswith("-"):
            first = int(start[len("bytes=") : -1])
            headers["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
            status, body = 206, body[first:]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if has_body:
            self.wfile.write(body)

    def reply(self, path: str) -> tuple[int, dict[str, str], bytes]:
        raise NotImplementedError

    def log_message(self, *_: object) -> None:
        """Says nothing: the first line is all that is read."""


class Storage(Handler):
    """The storage of large files: each under its SHA-256."""

    def reply(self, path: str) -> tuple[int, dict[str, str], bytes]:
        for file in self.folder.rglob("*"):
            if is_large(file) and sha256(file) == path:
                return 200, {}, file.read_bytes()
        return 404, {}, b""


class Hub(Handler):
    """The Hub's interface, as far as downloads need it."""

    def reply(self, path: str) -> tuple[int, dict[str, str], bytes]:
        if path.startswith("api/models/"):
            return self.api(path.removeprefix("api/models/").split("/"))
        organisation, name, _, _, *rest = path.split("/")
        file = self.folder / organisation / name / "/".join(rest)
        if "resolve" not in path or not file.is_file():
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        if not is_large(file):
            return 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{git_sha1(file)}"'}, file.read_bytes()
        headers = {
            "X-Repo-Commit": COMMIT,
            "X-Linked-Etag": f'"{sha256(file)}"',
            "X-Linked-Size": str(file.stat().st_size),
            "Location": f"{self.storage}/{sha256(file)}",
        }
        return 302, headers, b""

    def api(self, parts: list[str]) -> tuple[int, dict[str, str], bytes]:
        repository = self.folder / parts[0] / parts[1]
        if not repository.is_dir():
            return 401, {"X-Error-Code": "RepoNotFound"}, b""
        files = sorted(file for file in repository.rglob("*") if file.is_file())
        if parts[2:3] == ["tree"]:
            answer: object = [described(file, repository) for file in files]
        else:
            siblings = [sibling(file, repository) for file in files]
            answer = {"id": "/".join(parts[:2]), "sha": COMMIT, "siblings": siblings}
        return 200, {"Content-Type": "application/json"}, json.dumps(answer).encode()


def described(file: Path, repository: Path) -> dict:
    """A file as the list of a tree has it."""
    size = file.stat().st_size
    entry: dict = {"type": "file", "path": file.relative_to(repository).as_posix(), "size": size}
    entry["oid"] = git_sha1(file)
    if is_large(file):
        entry["lfs"] = {"oid": sha256(file), "size": size, "pointerSize": 134}
    return entry


def sibling(file: Path, repository: Path) -> dict:
    """A file as the description of a model has it."""
    entry = described(file, repository)
    found: dict = {"rfilename": entry["path"], "size": entry["size"], "blobId": entry["oid"]}
    if is_large(file):
        found["lfs"] = {"sha256": sha256(file), "size": entry["size"], "pointerSize": 134}
    return found


def is_large(file: Path) -> bool:
    return file.suffix in LARGE


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def git_sha1(file: Path) -> str:
    contents = file.read_bytes()
    return hashlib.sha1(f"blob {len(contents)}\0".encode() + contents).hexdigest()


if __name__ == "__main__":
    main()
