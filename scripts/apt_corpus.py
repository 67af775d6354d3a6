#!/usr/bin/env python3
"""Turns the package lists of a Debian machine into JSON Lines for `howdah ingest`.

    scripts/apt_corpus.py > packages.jsonl
    scripts/apt_corpus.py --limit 5000 --include-from tests/corpus/questions.tsv > packages.jsonl

One record a package: id and title are its name, content is its synopsis and its description, `section` is a field of its
own, and priority, version, architecture, installed size (KiB), homepage and tags go to the metadata. Long descriptions
are in the translation lists, where the machine has fetched them (`Acquire::Languages`); without them the synopsis has to do.

Standard library only; the same input gives the same output, byte for byte. `--limit` keeps the packages whose hashed names
come first, so that a subset is a fair sample, and those that must be in it.
"""

import argparse
import glob
import hashlib
import json
import subprocess
import sys

HELPER = "/usr/lib/apt/apt-helper"


def stanzas(lines):
    """The stanzas of a deb822 file, each as a dictionary; continuation lines keep their breaks."""
    stanza, key = {}, None
    for line in lines:
        line = line.rstrip("\n")
        if not line.strip():
            if stanza:
                yield stanza
            stanza, key = {}, None
        elif line[0] in " \t":
            if key is not None:
                stanza[key] += "\n" + line[1:]
        else:
            key, _, value = line.partition(":")
            stanza[key] = value.strip()
    if stanza:
        yield stanza


def prose(description):
    """Synopsis and paragraphs of a description: its lone dots are empty lines, its indented lines stay."""
    synopsis, _, rest = description.partition("\n")
    lines = ["" if line.strip() == "." else line for line in rest.split("\n")]
    return (synopsis.strip() + "\n\n" + "\n".join(lines).strip()).strip()


def translations():
    """Long English descriptions by name and hash of the synopsis' description, from the lists that are there."""
    found = {}
    for path in sorted(glob.glob("/var/lib/apt/lists/*Translation-en*")):
        text = subprocess.run([HELPER, "cat-file", path], stdout=subprocess.PIPE, check=False).stdout
        for stanza in stanzas(text.decode("utf-8", "replace").split("\n")):
            if "Description-en" in stanza:
                found[stanza.get("Package"), stanza.get("Description-md5")] = stanza["Description-en"]
    return found


def record(stanza, long):
    """The record of a package."""
    name = stanza["Package"]
    description = long.get((name, stanza.get("Description-md5"))) or stanza.get("Description", "")
    metadata = {
        "priority": stanza.get("Priority"),
        "version": stanza.get("Version"),
        "architecture": stanza.get("Architecture"),
        "homepage": stanza.get("Homepage"),
    }
    if stanza.get("Installed-Size", "").isdigit():
        metadata["installed_size"] = int(stanza["Installed-Size"])
    tags = [tag.strip() for tag in stanza.get("Tag", "").replace("\n", " ").split(",")]
    metadata["tags"] = [tag for tag in tags if tag]
    return {
        "id": name,
        "title": name,
        "content": prose(description) or name,
        "section": stanza.get("Section"),
        "metadata": {key: value for key, value in metadata.items() if value not in (None, [])},
    }


def wanted(records, limit, must):
    """The records of a subset, in the order they came."""
    missing = must - records.keys()
    if missing:
        sys.exit("not in the package lists: " + ", ".join(sorted(missing)))
    if limit is None or limit >= len(records):
        return records.values()
    others = sorted(records.keys() - must, key=lambda name: hashlib.sha256(name.encode()).digest())
    keep = must | set(others[: max(0, limit - len(must))])
    return [value for name, value in records.items() if name in keep]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, help="so many packages, always the same ones")
    parser.add_argument("--include", default="", help="packages that must be among them, with commas")
    parser.add_argument("--include-from", metavar="FILE", help="file whose last tab-separated column names more")
    parser.add_argument("--input", metavar="FILE", help="package lists; `-` is standard input; apt-cache dumpavail when absent")
    arguments = parser.parse_args()
    must = {name for name in arguments.include.split(",") if name}
    if arguments.include_from:
        with open(arguments.include_from, encoding="utf-8") as file:
            must |= {line.rstrip("\n").split("\t")[-1] for line in file if "\t" in line and not line.startswith("#")}
    if arguments.input == "-":
        text = sys.stdin.buffer.read()
    elif arguments.input:
        with open(arguments.input, "rb") as file:
            text = file.read()
    else:
        text = subprocess.run(["apt-cache", "dumpavail"], stdout=subprocess.PIPE, check=True).stdout
    long = translations()
    records = {}
    for stanza in stanzas(text.decode("utf-8", "replace").split("\n")):
        if "Package" in stanza and stanza["Package"] not in records:
            records[stanza["Package"]] = record(stanza, long)
    for value in wanted(records, arguments.limit, must):
        sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
