"""Fetches freely licensed English text and WordNet from Debian packages and cleans it.

    python training/data/corpus.py --cache DIR --out DIR

Needs apt-get and dpkg-deb. Writes text.jsonl.xz (documents), wordnet.json.xz (glosses) and
sources.json (package, version, licence, size). Nothing of it belongs into the repository.
"""
import argparse
import gzip
import html.parser
import json
import lzma
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from pools import stable_hash

# package: (licence, paths inside it that hold prose, share of its documents that is kept). Permissive licences and public domain only.
PACKAGES = {
    "perl-doc": ("Artistic (or GPL-1+)", "usr/share/perl/**/*.pod", 1.0),
    "postgresql-doc-15": ("PostgreSQL", "usr/share/doc/**/*.html", 1.0),
    "sqlite3-doc": ("public domain", "usr/share/doc/**/*.html", 1.0),
    "python3.11-doc": ("PSF-2 and permissive", "usr/share/doc/python3.11/html/**/*.html", 1.0),
    "python-django-doc": ("BSD-3-Clause", "usr/share/doc/**/*.html", 1.0),
    "python-sqlalchemy-doc": ("MIT", "usr/share/doc/**/*.html", 1.0),
    "python-sklearn-doc": ("BSD-3-Clause", "usr/share/doc/**/*.html", 1.0),
    "python-scipy-doc": ("BSD-3-Clause", "usr/share/doc/**/*.html", 1.0),
    "python-astropy-doc": ("BSD-3-Clause", "usr/share/doc/**/*.html", 1.0),
    "sphinx-doc": ("BSD-2-Clause", "usr/share/doc/**/*.html", 1.0),
    "twisted-doc": ("MIT", "usr/share/doc/**/*.html", 1.0),
    "apache2-doc": ("Apache-2.0", "usr/share/doc/apache2-doc/manual/en/**/*.html", 1.0),
    "nova-doc": ("Apache-2.0", "usr/share/doc/**/*.html", 1.0),
    "neutron-doc": ("Apache-2.0", "usr/share/doc/**/*.html", 1.0),
    "keystone-doc": ("Apache-2.0", "usr/share/doc/**/*.html", 1.0),
    "cinder-doc": ("Apache-2.0", "usr/share/doc/**/*.html", 1.0),
    "glance-doc": ("Apache-2.0", "usr/share/doc/**/*.html", 1.0),
    "swift-doc": ("Apache-2.0", "usr/share/doc/**/*.html", 1.0),
    "erlang-doc": ("Apache-2.0", "usr/share/doc/**/*.html", 1.0),
    "llvm-14-doc": ("Apache-2.0 with LLVM exception", "usr/share/doc/llvm-14-doc/html/*.html", 1.0),
    "varnish-doc": ("BSD-2-Clause", "usr/share/doc/**/*.html", 1.0),
    "cmake-doc": ("BSD-3-Clause", "usr/share/doc/cmake*/html/**/*.html", 1.0),
    "nodejs-doc": ("MIT", "usr/share/doc/nodejs/api/*.html", 1.0),
    "rust-doc": ("MIT or Apache-2.0", "usr/share/doc/rust-doc/html/*book*/**/*.html", 1.0),
    "zsh-doc": ("MIT-like (zsh)", "usr/share/doc/**/*.html", 1.0),
    "dict-jargon": ("public domain", "usr/share/dictd/jargon.dict.dz", 1.0),
    "dict-devil": ("public domain", "usr/share/dictd/devil*.dict.dz", 1.0),
    "wordnet-base": ("WordNet 3.0", "", 0.0),
    "wordnet-sense-index": ("WordNet 3.0", "", 0.0),
}
BLOCKS = {"p", "li", "dd", "dt", "h1", "h2", "h3", "h4", "td", "title", "note", "item", "section", "div", "blockquote", "pre", "br", "tr"}
SKIPPED = {"script", "style", "pre", "nav", "table", "head", "code-block", "info", "footer"}


class Paragraphs(html.parser.HTMLParser):
    """Collects the text of block elements; code listings, tables and navigation are left out."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.done, self.parts, self.skip = [], [], 0

    def flush(self):
        text = " ".join("".join(self.parts).split())
        self.parts = []
        if text:
            self.done.append(text)

    def handle_starttag(self, tag, attrs):
        if tag in BLOCKS:
            self.flush()
        if tag in SKIPPED:
            self.skip += 1

    def handle_endtag(self, tag):
        if tag in SKIPPED:
            self.skip = max(0, self.skip - 1)
        if tag in BLOCKS:
            self.flush()

    def handle_data(self, data):
        if not self.skip:
            self.parts.append(data)


def html_paragraphs(text):
    parser = Paragraphs()
    parser.feed(text)
    parser.flush()
    return parser.done


def plain_paragraphs(text):
    """Paragraphs of plain text, POD or AsciiDoc: indented listings and markup lines are dropped."""
    text = re.sub(r"[A-Z]<+\s*([^<>]*?)\s*>+", r"\1", text)  # POD's C<code>
    found = []
    for block in re.split(r"\n\s*\n", text):
        lines = [line for line in block.split("\n") if not re.match(r"^(=\w+|----|====|\.\.\.\.|\[.*\]$|\+$)", line)]
        found.append(" ".join(" ".join(lines).split()))
    return found


def dict_paragraphs(path):
    text = gzip.decompress(path.read_bytes()).decode(errors="replace")
    return [" ".join(block.split()) for block in re.split(r"\n(?=\S)", text)]


def file_paragraphs(path):
    name = path.name
    if name.endswith(".dict.dz"):
        return dict_paragraphs(path)
    text = path.read_bytes()
    text = (gzip.decompress(text) if name.endswith(".gz") else text).decode(errors="replace")
    return html_paragraphs(text) if re.search(r"\.(html?|page)(\.gz)?$", name) else plain_paragraphs(text)


_TYPOGRAPHY = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": " - ", "\u2026": "...",
                             "\u00a0": " ", "\u2010": "-", "\u2011": "-", "\u00b6": "", "\u2212": "-", "\u00ad": ""})


def is_prose(text):
    """Whole sentences, mostly lower-case words, hardly any symbols; nothing that looks like a special token."""
    if not 60 <= len(text) <= 3000 or text[-1] not in ".!?:" or "<|" in text or "|>" in text:
        return False
    letters = sum(c.isalpha() for c in text)
    odd = sum(not (c.isalnum() or c in " .,;:'\"()-!?/") for c in text)
    ascii_only = sum(ord(c) < 128 for c in text) / len(text)
    return letters / len(text) > 0.7 and odd / len(text) < 0.035 and ascii_only > 0.98 and " the " in f" {text.lower()} "


def documents(package, folder):
    """Runs of prose paragraphs of one file, 400 to 6000 characters; a paragraph seen before is dropped."""
    licence, pattern, share = PACKAGES[package]
    for path in sorted(folder.glob(pattern)):
        if not path.is_file() or path.is_symlink():
            continue
        run, size = [], 0
        for paragraph in [*file_paragraphs(path), None]:
            if paragraph is not None:
                paragraph = " ".join(paragraph.translate(_TYPOGRAPHY).split())
                key = stable_hash(paragraph)
                if not is_prose(paragraph) or key in documents.seen:
                    continue
                documents.seen.add(key)
                run.append(paragraph)
                size += len(paragraph)
            if run and (paragraph is None or size > 4000):
                text = "\n\n".join(run)
                if len(text) >= 400 and stable_hash(text) % 1000 < share * 1000:
                    yield {"source": package, "text": text}
                run, size = [], 0


documents.seen = set()


def wordnet(folder):
    """{synsets: {id: [words, gloss, hypernym ids]}, frequent: [[lemma, part, synset id, count]]} of noun, verb, adjective, adverb."""
    root, senses = (next(folder.glob(f"{package}/usr/share/wordnet")) for package in ("wordnet-base", "wordnet-sense-index"))
    synsets = {}
    for part, letter in (("noun", "n"), ("verb", "v"), ("adj", "a"), ("adv", "r")):
        for line in (root / f"data.{part}").read_text().split("\n"):
            if not line or line.startswith(" "):
                continue
            data, gloss = line.split(" | ", 1)
            fields = data.split()
            n_words = int(fields[3], 16)
            words = [re.sub(r"\(.*\)", "", fields[4 + 2 * i]).replace("_", " ") for i in range(n_words)]
            pointers = fields[5 + 2 * n_words:]
            parents = [letter + pointers[4 * i + 1] for i in range(int(fields[4 + 2 * n_words])) if pointers[4 * i] == "@"]
            synsets[letter + fields[0]] = [words, gloss.strip(), parents]
    frequent = []
    letters = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}
    for line in (senses / "index.sense").read_text().split("\n"):
        if not line:
            continue
        key, offset, sense, count = line.split()
        if sense == "1":
            lemma, rest = key.split("%")
            frequent.append([lemma.replace("_", " "), letters[rest[0]], letters[rest[0]] + offset, int(count)])
    frequent.sort(key=lambda item: (-item[3], item[0]))
    return {"synsets": synsets, "frequent": frequent}


def fetch(cache):
    """Downloads what is missing into `cache`; returns {package: (deb path, version)}."""
    debs = cache / "debs"
    debs.mkdir(parents=True, exist_ok=True)
    missing = [package for package in PACKAGES if not list(debs.glob(f"{package}_*.deb"))]
    if missing:
        subprocess.run(["apt-get", "download", *missing], cwd=debs, check=True)
    found = {}
    for package in PACKAGES:
        deb = sorted(debs.glob(f"{package}_*.deb"))[-1]
        version = subprocess.run(["dpkg-deb", "-f", deb, "Version"], capture_output=True, text=True, check=True).stdout.strip()
        target = cache / "unpacked" / package
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            subprocess.run(["dpkg-deb", "-x", deb, target], check=True)
        found[package] = (target, version)
    return found


def write_xz(path, text):
    path.write_bytes(lzma.compress(text.encode(), preset=6))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    lines, sources = [], []
    for package, (folder, version) in fetch(options.cache).items():
        made = documents(package, folder) if PACKAGES[package][1] else ()
        made = [json.dumps(document, ensure_ascii=False) for document in made]
        lines += made
        sources.append({"package": package, "version": version, "licence": PACKAGES[package][0], "documents": len(made),
                        "characters": sum(map(len, made))})
        print(f"{package:22} {version:28} {len(made):6} documents {sources[-1]['characters'] / 1e6:7.2f} M characters", flush=True)
    write_xz(options.out / "text.jsonl.xz", "\n".join(sorted(lines, key=stable_hash)))
    write_xz(options.out / "wordnet.json.xz", json.dumps(wordnet(options.cache / "unpacked")))
    (options.out / "sources.json").write_text(json.dumps(sources, indent=1) + "\n")


if __name__ == "__main__":
    main()
