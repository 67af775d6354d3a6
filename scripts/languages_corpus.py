#!/usr/bin/env python3
"""Text in ten languages out of Debian's packages: help pages and message catalogues.

    scripts/languages_corpus.py UNPACKED OUT BYTES

UNPACKED holds the unpacked packages, OUT gets one directory for each language with text files of some 8 KB, at most BYTES
of them for each language. Only what is really in the language is taken: untranslated pages and messages are left out.
"""
import gettext
import pathlib
import re
import sys
import unicodedata
import xml.etree.ElementTree as xml

# Language, its help pages, its message catalogues, the script that most letters of a paragraph have to be in.
LANGUAGES = {
    "de": ("de", None, "LATIN"),
    "es": ("es", None, "LATIN"),
    "ru": ("ru", None, "CYRILLIC"),
    "ar": (None, "ar", "ARABIC"),
    "hi": (None, "hi", "DEVANAGARI"),
    "el": ("el", None, "GREEK"),
    "ko": ("ko", None, "HANGUL"),
    "ja": ("ja", None, ("HIRAGANA", "KATAKANA", "CJK")),
    "zh": ("zh_CN", None, "CJK"),
    "th": (None, "th", "THAI"),
}
PAGE = "{http://projectmallard.org/1.0/}"


def mostly(text, scripts):
    letters = [c for c in text if c.isalpha()]
    return len(letters) > 20 and sum(unicodedata.name(c, "").startswith(scripts) for c in letters) > 0.6 * len(letters)


def pages(root, code):
    english = root / "usr/share/help/C/gnome-help"
    for path in sorted((root / f"usr/share/help/{code}/gnome-help").glob("*.page")):
        same = english / path.name
        original = set(paragraphs(same)) if same.exists() else set()
        yield from (text for text in paragraphs(path) if text not in original)


def paragraphs(path):
    try:
        tree = xml.parse(path)
    except xml.ParseError:
        return
    for element in tree.iter():
        if element.tag in (PAGE + "p", PAGE + "title"):
            yield re.sub(r"\s+", " ", "".join(element.itertext())).strip()


def messages(root, code):
    for path in sorted(root.glob(f"usr/share/locale/{code}/LC_MESSAGES/*.mo")):
        with open(path, "rb") as file:
            catalogue = gettext.GNUTranslations(file)
        for key, value in catalogue._catalog.items():
            if key and isinstance(value, str):
                yield re.sub(r"\s+", " ", value).strip()


def main():
    root, out, most = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
    for language, (help_code, message_code, scripts) in LANGUAGES.items():
        source = pages(root, help_code) if help_code else messages(root, message_code)
        directory = out / language
        directory.mkdir(parents=True, exist_ok=True)
        # Thai and Chinese are written without spaces, and so are their paragraphs joined.
        joint = "" if language in ("th", "zh", "ja") else " "
        total, number, part, seen = 0, 0, [], set()
        for text in source:
            if text in seen or not mostly(text, scripts):
                continue
            seen.add(text)
            part.append(text)
            if sum(len(one.encode()) for one in part) >= 8_000:
                body = joint.join(part) + "\n"
                (directory / f"{number:03}.txt").write_text(body, encoding="utf-8")
                total, number, part = total + len(body.encode()), number + 1, []
                if total >= most:
                    break
        print(f"{language}\t{number}\t{total}")


main()
