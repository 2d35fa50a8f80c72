#!/usr/bin/env python3
"""Checks the dependency rules of ARCHITECTURE.md against `cargo metadata`, and that versions are pinned once."""

import json
import re
import subprocess
import sys
from pathlib import Path

# What each crate of the workspace may depend on, dev-dependencies aside. The node knows everybody but the two worker programs, which it
# starts as processes.
MAY_USE = {
    "theta-types": set(),
    "theta-state": {"theta-types"},
    "theta-ledger": {"theta-types", "theta-state"},
    "theta-consensus": {"theta-types", "theta-state", "theta-ledger"},
    "theta-rpc": {"theta-types", "theta-state", "theta-ledger", "theta-consensus"},
    "theta-wallet": {"theta-types"},
    "edge-jobs": set(),
    "edge-mesh": {"theta-types", "edge-jobs"},
    "edge-streams": {"theta-types", "edge-jobs"},
    "edge-market": {"theta-types", "theta-wallet", "edge-jobs", "edge-mesh"},
    "edge-gateway": {"theta-types", "theta-wallet", "edge-jobs", "edge-market"},
    "edge-media": {"edge-jobs"},
    "edge-compute": {"edge-jobs"},
}
MAY_USE["thetis"] = set(MAY_USE) - {"edge-media", "edge-compute"}
# No crate but these may bring such a library along, however far down.
WORKER_ONLY = [
    (re.compile(r"^(gstreamer|gst-|glib-sys)"), "edge-media"),
    (re.compile(r"^(burn|cubecl|wgpu|naga|ash$)"), "edge-compute"),
]
PINNED_HERE = re.compile(r'^[A-Za-z0-9_-]+\s*=\s*("\d|\{\s*version)')


def metadata() -> dict:
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def brought_along(root: str, nodes: dict, names: dict) -> set:
    """Names of all packages that a crate links, whatever the platform; what only its build scripts and tests use is left out."""
    seen, left = set(), [root]
    while left:
        for used in nodes[left.pop()]["deps"]:
            if used["pkg"] not in seen and any(kind["kind"] is None for kind in used["dep_kinds"]):
                seen.add(used["pkg"])
                left.append(used["pkg"])
    return {names[package] for package in seen}


def problems_of(package: dict, own: set, linked: set) -> list:
    name, problems = package["name"], []
    direct = {dependency["name"] for dependency in package["dependencies"] if dependency["kind"] != "dev"}
    if name not in MAY_USE:
        problems.append(f"{name} has no entry in MAY_USE")
    for used in sorted((direct & own) - MAY_USE.get(name, set())):
        problems.append(f"{name} may not depend on {used}")
    for pattern, owner in WORKER_ONLY:
        if name != owner:
            problems += [f"{name} may not bring {used} along" for used in sorted(linked) if pattern.match(used)]
    manifest = Path(package["manifest_path"])
    for number, line in enumerate(manifest.read_text().splitlines(), 1):
        if PINNED_HERE.match(line):
            problems.append(f"{manifest}:{number}: versions are pinned in the root Cargo.toml alone: {line}")
    return problems


def main() -> int:
    found = metadata()
    members = set(found["workspace_members"])
    names = {package["id"]: package["name"] for package in found["packages"]}
    nodes = {node["id"]: node for node in found["resolve"]["nodes"]}
    own = {names[member] for member in members}
    problems = []
    for package in found["packages"]:
        if package["id"] in members:
            linked = brought_along(package["id"], nodes, names)
            problems += problems_of(package, own, linked)
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"    {len(members)} crates checked, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
