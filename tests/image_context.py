"""Copies what the first stage of the Dockerfile can read to the folder given as the argument.

The context is every file of the work tree that git does not ignore, less what .dockerignore leaves
out. Of the context, the files that a COPY line without `--from` names are copied.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent


def expression(pattern):
    """A pattern of .dockerignore as a regular expression over whole paths."""
    parts = []
    position = 0
    while position < len(pattern):
        if pattern.startswith("**/", position):
            parts.append("(?:.*/)?")
            position += 3
        elif pattern.startswith("**", position):
            parts.append(".*")
            position += 2
        else:
            parts.append({"*": "[^/]*", "?": "[^/]"}.get(pattern[position], re.escape(pattern[position])))
            position += 1
    return re.compile("".join(parts))


def read_rules(text):
    """Pairs of a pattern and whether it lets a file in, in their order."""
    lines = (line.strip() for line in text.splitlines())
    lines = [line for line in lines if line and not line.startswith("#")]
    return [(expression(line.lstrip("!").strip("/")), line.startswith("!")) for line in lines]


def is_in_context(path, rules):
    """The last rule that matches the path or a folder above it decides; without one, it is in."""
    path = PurePosixPath(path)
    names = [str(path), *(str(parent) for parent in path.parents if str(parent) != ".")]
    let_in = True
    for pattern, lets_in in rules:
        if any(pattern.fullmatch(name) for name in names):
            let_in = lets_in
    return let_in


def copy_lines(dockerfile):
    """Sources and destination of each COPY line of the first stage that reads the context."""
    stage = re.split(r"^FROM ", dockerfile, flags=re.MULTILINE)[1]
    for line in stage.replace("\\\n", " ").splitlines():
        words = line.split()
        if words[:1] == ["COPY"] and not any(word.startswith("--from") for word in words):
            *sources, destination = [word for word in words[1:] if not word.startswith("--")]
            yield sources, destination


def copies(context, sources, destination):
    """Pairs of a file of the context and where the COPY line puts it, below the work folder."""
    for source in (PurePosixPath(source) for source in sources):
        for name in (PurePosixPath(name) for name in context):
            if name == source and not destination.endswith("/"):
                target = PurePosixPath(destination)
                yield name, target / name.name if destination in (".", "./") else target
            elif name == source:
                yield name, PurePosixPath(destination) / name.name
            elif name.is_relative_to(source):
                yield name, PurePosixPath(destination) / name.relative_to(source)


def check_rules():
    """The rules that this file relies on, on small examples."""
    rules = read_rules("# all\n*\n!src\n!a/b.rs\n**/target\n")
    let_in = {"src/main.rs": True, "a/b.rs": True, "a/c.rs": False, "src/target/x": False, "x": False, "src/x/target": False}
    for path, expected in let_in.items():
        assert is_in_context(path, rules) is expected, path


def main(folder):
    check_rules()
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout
    rules = read_rules((ROOT / ".dockerignore").read_text())
    names = [name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    context = [name for name in names if is_in_context(name, rules)]
    for sources, destination in copy_lines((ROOT / "Dockerfile").read_text()):
        for name, target in copies(context, sources, destination):
            target = folder / target
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)


main(Path(sys.argv[1]))
