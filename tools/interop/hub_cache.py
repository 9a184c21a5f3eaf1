#!/usr/bin/env python3
"""What huggingface_hub does with a cache of models, its own or that of another program.

    python3 -m pip install -r tools/requirements-interop.txt
    HF_HOME=FOLDER python3 tools/interop/hub_cache.py fill|read|scan|delete [ID] [--only GLOB …]

`fill` downloads the model from HF_ENDPOINT, `read` wants it whole in the cache, `delete` removes its
commits. Standard output is one JSON object:

    {"path": "…/snapshots/0123…", "files": {"config.json": "sha256 …"}}   of fill and read
    {"error": "IncompleteSnapshotError"}                                  if that cannot be done
    {"models": {"org/name": {"commit": "0123…", "refs": ["main"], "bytes": 5}},
     "incomplete": 0, "warnings": []}                                     of scan and delete
"""

import argparse
import hashlib
import json
from pathlib import Path

from huggingface_hub import scan_cache_dir, snapshot_download


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("action", choices=["fill", "read", "scan", "delete"])
    parser.add_argument("id", nargs="?")
    parser.add_argument("--only", nargs="+", help="patterns of the files that are wanted")
    arguments = parser.parse_args()
    if arguments.action in ("fill", "read"):
        answer = snapshot(arguments.id, arguments.only, is_local=arguments.action == "read")
    else:
        if arguments.action == "delete":
            delete(arguments.id)
        answer = scan()
    print(json.dumps(answer, sort_keys=True))


def snapshot(model: str, only: list[str] | None, is_local: bool) -> dict:
    """The folder of a model's files, and their digests."""
    try:
        path = snapshot_download(model, allow_patterns=only, local_files_only=is_local)
    except Exception as error:  # noqa: BLE001: whatever it is, it is the answer
        return {"error": type(error).__name__, "message": str(error)}
    files = (file for file in Path(path).rglob("*") if file.is_file())
    digests = {
        file.relative_to(path).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }
    return {"path": path, "files": digests}


def delete(model: str) -> None:
    """Removes all commits of a model."""
    cache = scan_cache_dir()
    found = [repository for repository in cache.repos if repository.repo_id == model]
    commits = [revision.commit_hash for repository in found for revision in repository.revisions]
    cache.delete_revisions(*commits).execute()


def scan() -> dict:
    """What huggingface_hub sees in the cache."""
    cache = scan_cache_dir()
    models = {}
    for repository in cache.repos:
        for revision in repository.revisions:
            models[repository.repo_id] = {
                "commit": revision.commit_hash,
                "refs": sorted(revision.refs),
                "bytes": revision.size_on_disk,
            }
    warnings = [str(warning) for warning in cache.warnings]
    return {"models": models, "incomplete": len(cache.incomplete_files), "warnings": warnings}


if __name__ == "__main__":
    main()
