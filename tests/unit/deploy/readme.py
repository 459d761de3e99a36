"""What the page deploy/k8s/README.md tells people to type, read so that tests can do it."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

from tests.unit.deploy.rendered import K8S

if TYPE_CHECKING:
    from pathlib import Path


def commands(start: str) -> list[list[str]]:
    """Return the commands of the page that begin so, each as its words."""
    text = (K8S / "README.md").read_text().replace("\\\n", " ")
    return [shlex.split(line) for line in re.findall(rf"^ *({re.escape(start)} .*)$", text, re.MULTILINE)]


def preparation() -> str:
    """Return the script that makes keys, certificates and passwords: what comes before the first kubectl."""
    text = (K8S / "README.md").read_text()
    start = text.index("concordat federation init")
    return text[start : text.index("kubectl apply", start)]


def secrets() -> dict[tuple[str, str], list[str]]:
    """Return (namespace, secret) -> the folders and files that the page puts into it, maybe as KEY=FILE."""
    return {
        (command[2], command[6]): [one.removeprefix("--from-file=") for one in command[7:]]
        for command in commands("kubectl")
        if command[3:6] == ["create", "secret", "generic"]
    }


def mount(volume: dict[str, Any], namespace: str, base: Path, where: Path) -> None:
    """Lay out a volume of secrets as the kubelet does: links through ..data to files that a group can read.

    Args:
        volume: A pod's volume, `secret` or `projected`.
        namespace: Whose secrets.
        base: Where the page's commands were typed; a file that a person makes by hand may be missing.
        where: The volume's folder, which is made.
    """
    kept = where / "..data_1"
    kept.mkdir(parents=True)
    (where / "..data").symlink_to(kept.name)
    single = [{"name": volume["secret"]["secretName"]}] if "secret" in volume else []
    for source in single or [one["secret"] for one in volume["projected"]["sources"]]:
        files = _contents(secrets()[namespace, source["name"]], base)
        items = source.get("items") or [{"key": key, "path": key} for key in files]
        for item in items:
            target = kept / item["path"]
            target.write_bytes(files[item["key"]])
            target.chmod(0o440)
            (where / item["path"]).symlink_to(f"..data/{item['path']}")


def _contents(files: list[str], base: Path) -> dict[str, bytes]:
    found = {}
    for text in files:
        key, _, named = text.rpartition("=")
        path = base / named
        for one in [inner for inner in path.iterdir() if inner.is_file()] if path.is_dir() else [path]:
            found[key or one.name] = one.read_bytes() if one.exists() else b"made by hand\n"
    return found
