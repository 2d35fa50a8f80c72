#!/usr/bin/env python3
"""Checks the dependency rules of ARCHITECTURE.md against `cargo metadata`, and that versions are pinned once."""

import json
import re
import subprocess
import sys
from pathlib import Path

# What each crate of the workspace may depend on, dev-dependencies aside.
MAY_USE = {
    "theta-types": set(),
    "theta-state": {"theta-types"},
    "theta-ledger": {"theta-types", "theta-state"},
    "theta-consensus": {"theta-types", "theta-state", "theta-ledger"},
    "theta-rpc": {"theta-types", "theta-state", "theta-ledger", "theta-consensus"},
    "theta-wallet": {"theta-types"},
    "edge-jobs": set(),
    "edge-mesh": {"theta-types", "theta-wallet", "edge-jobs"},
    "edge-streams": {"theta-types", "edge-jobs"},
    "edge-market": {"theta-types", "theta-wallet", "edge-jobs", "edge-mesh"},
    "edge-gateway": {"theta-types", "theta-wallet", "edge-jobs", "edge-market"},
    "edge-media": {"edge-jobs"},
    "edge-compute": {"edge-jobs"},
}
# Only the two worker programs may know these.
WORKER_ONLY = {"gstreamer": {"edge-media"}, "burn": {"edge-compute"}, "wgpu": {"edge-compute"}}


def main() -> int:
    raw = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--no-deps", "--locked"],
        check=True, capture_output=True, text=True,
    ).stdout
    packages = json.loads(raw)["packages"]
    names = {package["name"] for package in packages}
    problems = []
    for package in packages:
        name = package["name"]
        normal = {d["name"] for d in package["dependencies"] if d["kind"] != "dev"}
        for used in sorted(normal & names):
            if name != "thetis" and used not in MAY_USE.get(name, set()):
                problems.append(f"{name} may not depend on {used}")
        for library, owners in WORKER_ONLY.items():
            if library in normal and name not in owners:
                problems.append(f"{name} may not depend on {library}")
        manifest = Path(package["manifest_path"])
        for number, line in enumerate(manifest.read_text().splitlines(), 1):
            if re.match(r'^[A-Za-z0-9_-]+\s*=\s*("\d|\{\s*version)', line):
                problems.append(f"{manifest}:{number}: versions are pinned in the root Cargo.toml alone: {line}")
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"    {len(packages)} crates checked, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
