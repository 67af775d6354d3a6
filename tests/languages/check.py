#!/usr/bin/env python3
"""Holds ten languages against what is promised of them: cut, embedded or said that not, found by words.

    tests/languages/check.py HOWDAH CORPUS

Prints one line for each language and ends with 1 where something is not as it should be.
"""
import json
import pathlib
import random
import subprocess
import sys
import unicodedata

UNSPACED = ("zh", "ja", "th")
PROBES = 20
MOST_CHARACTERS = 8_000


def run(howdah, *arguments):
    done = subprocess.run([howdah, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"languages: `howdah {' '.join(arguments)}` failed: {done.stderr[-800:]}")
    return json.loads(done.stdout)


def found(howdah, language, words, text):
    answer = run(howdah, "search", text, "--collection", language, "--mode", "text", "--words", words,
                 "--limit", "1000", "-o", "json")
    return answer


def probe(rng, language, text):
    """A part of a text that a person may look for."""
    if language in UNSPACED:
        part = lambda at: text[at:at + 4]
        letter = lambda c: not c.isascii() and (c.isalpha() or unicodedata.category(c) == "Mn")
        letters = [at for at in range(len(text) - 4) if all(map(letter, part(at)))]
        at = rng.choice([at for at in letters if unicodedata.category(text[at]) != "Mn"])
        return part(at)
    words = [word.strip(".,;:!?()\"'«»„“”।،؛؟") for word in text.split()]
    # Long ones first: the most frequent words of a language are left out of its index, and are short.
    for least in (9, 6, 2):
        if long := [word for word in words if len(word) >= least and word.isalpha()]:
            return rng.choice(long)
    return rng.choice(words)


def main():
    howdah, corpus = sys.argv[1], pathlib.Path(sys.argv[2])
    failed = False
    rng = random.Random(7)
    print(f"{'language':<9}{'bytes':>9}{'chunks':>8}{'longest':>9}{'composed':>10}{'decomposed':>12}  known to the model")
    for directory in sorted(corpus.iterdir()):
        language = directory.name
        files = sorted(directory.glob("*.txt"))
        size = sum(file.stat().st_size for file in files)
        report = run(howdah, "ingest", language, str(directory), "-o", "json")
        again = run(howdah, "ingest", language, str(directory), "-o", "json")
        unknown = [note for note in report.get("notes", []) if "does not know" in note]
        texts = [unicodedata.normalize("NFC", file.read_text(encoding="utf-8")) for file in files]
        longest, composed, decomposed = 0, 0, 0
        for number in range(PROBES):
            word = probe(rng, language, rng.choice(texts))
            answers = [found(howdah, language, "all", unicodedata.normalize(form, word)) for form in ("NFC", "NFD")]
            holds = [[hit["id"] for hit in answer["results"]] for answer in answers]
            contents = [unicodedata.normalize("NFC", hit["content"]) for hit in answers[0]["results"]]
            longest = max([longest, *map(len, contents)])
            if any(word.lower() in content.lower() for content in contents):
                composed += 1
            else:
                print(f"languages: {language}: `{word}` is not found", file=sys.stderr)
            decomposed += holds[0] == holds[1] and bool(holds[0])
        chunks = report["rows_written"]
        said = "; ".join(note.split(":")[0].replace("the model does not know ", "not known: ") for note in unknown) or "yes"
        print(f"{language:<9}{size:>9}{chunks:>8}{longest:>9}{composed:>7}/{PROBES}{decomposed:>9}/{PROBES}  {said}")
        fine = (composed >= PROBES - 1 and decomposed >= PROBES - 1 and chunks > len(files)
                and longest <= MOST_CHARACTERS and again["rows_written"] == 0)
        failed |= not fine
    sys.exit(1 if failed else 0)


main()
