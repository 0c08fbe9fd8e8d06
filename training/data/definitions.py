"""Word definitions, kinds, synonyms from WordNet, for the words that its sense-tagged texts use most."""
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from dialogue import Dialogue, assistant, user
import pools
from pools import Pool, stable_hash

DEFINE = Pool("define", [
    "What does {w} mean?", "Define {w}.", "What is the meaning of {w}?", "Explain the word {w}.", "What does the word \"{w}\" mean?", "Give a definition of {w}.",
    "{w}: meaning?", "Tell me what {w} means.", "How is {w} defined?", "What is meant by {w}?", "Definition of {w}", "Can you define {w}?",
    "I do not know the word {w}. What does it mean?", "In a dictionary, what stands under {w}?"])
KIND = Pool("kind", ["What kind of thing is a {w}?", "A {w} is a kind of what?", "To which class of things does a {w} belong?", "What sort of thing is a {w}?",
                     "Name a more general word for {w}."])
IS_A = Pool("is-a", ["Is a {w} a kind of {k}?", "Is {w} a kind of {k}?", "Would you call a {w} a kind of {k}?", "Does a {w} count as a kind of {k}?"])
SAME = Pool("same", ["Name a synonym of {w}.", "What is another word for {w}?", "Which word means the same as {w}?", "Give a synonym for {w}.",
                     "Find a word with the same meaning as {w}."])
MEANT = Pool("meant", ["Which word is meant: {g}?", "What word has the definition \"{g}\"?", "Find the word for this: {g}.", "Name the word that means: {g}."])
CLASSES = {pools.NOUNS: "artifact", pools.FOODS: "food", pools.ANIMALS: "animal", pools.JOBS: "worker"}  # pool: WordNet's word for what it holds
NAMES = {"n": "noun", "v": "verb", "a": "adjective", "r": "adverb"}
PART = Pool("part", ["Which part of speech is {w}?", "Is {w} a noun, a verb, an adjective or an adverb?", "What kind of word is {w}?"])


class Dictionary:
    """The most frequent lemmas with their first sense."""

    def __init__(self, wordnet, n_words=6000):
        self.synsets = wordnet["synsets"]
        self.words = sorted({lemma for lemma, *_ in wordnet["frequent"][:40000] if re.fullmatch("[a-z]{3,12}", lemma)})
        self.tagged = sorted({lemma for lemma, part, _, count in wordnet["frequent"] if part == "n" and count > 0 and re.fullmatch("[a-z]{3,10}", lemma)})
        self.first_noun_sense = {lemma: synset for lemma, part, synset, _ in wordnet["frequent"] if part == "n"}
        seen, self.entries = set(), []
        for lemma, part, synset, count in wordnet["frequent"]:
            gloss = self.synsets[synset][1].split(";")[0].split(" (")[0].strip()
            if lemma in seen or not lemma.replace(" ", "").isalpha() or not 8 <= len(gloss) <= 110 or "<|" in gloss:
                continue
            seen.add(lemma)
            self.entries.append((lemma, part, synset, gloss))
            if len(self.entries) == n_words:
                break
        self.nouns = [entry for entry in self.entries if entry[1] == "n" and self.synsets[entry[2]][2]]
        self.with_synonym = [entry for entry in self.entries if len(self.synsets[entry[2]][0]) > 1]

    def names(self):
        """Words for the open pools: names of persons and cities, nouns by what they are."""
        first, last, cities = set(), set(), set()
        for key, (lemmas, gloss, parents) in self.synsets.items():
            if key[0] != "n" or parents:
                continue  # a single person or place is an instance and has no class above it
            if re.search(r"\(.*\b1[4-9]\d\d", gloss):
                for lemma in lemmas:
                    if re.fullmatch(r"[A-Z][a-z]{2,9}( [A-Z][a-z]{2,9}){1,2}", lemma):
                        first.add(lemma.split()[0])
                        last.add(lemma.split()[-1])
            elif re.match(r"((a|an|the) )?((\w|-)+ ){0,4}(city|town|port|capital|resort)\b", gloss) and re.fullmatch(r"[A-Z][a-z]{2,10}", lemmas[0]):
                cities.add(lemmas[0])
        return {pools.FIRST_NAMES: first, pools.LAST_NAMES: last, pools.CITIES: cities} | {pool: self.nouns_of(what) for pool, what in CLASSES.items()}

    def nouns_of(self, what):
        """The nouns of WordNet's tagged texts whose first sense is, at any distance, the first sense of `what`."""
        known = {self.first_noun_sense[what]: True}

        def inside(synset):
            if synset not in known:
                known[synset] = False  # ends circles
                known[synset] = any(inside(parent) for parent in self.synsets[synset][2])
            return known[synset]

        return [lemma for lemma in self.tagged if inside(self.first_noun_sense[lemma])]

    def parent(self, entry):
        return self.synsets[self.synsets[entry[2]][2][0]][0][0]


def definition(rng, split, dictionary):
    """Definitions ask for words that training has too (they must be learned by heart): held out are the phrasings, and for
    synonyms, kinds and parts of speech the words."""
    kind = rng.choices(("define", "kind", "is_a", "same", "meant", "part"), (60, 10, 8, 8, 8, 6))[0]
    if kind == "define":
        # The head of the list is drawn more often: small models learn a core vocabulary first.
        lemma, _, _, gloss = dictionary.entries[int(len(dictionary.entries) * rng.random() ** 1.5)]
        return Dialogue([user(DEFINE.draw(rng, split).format(w=lemma)), assistant(gloss[0].upper() + gloss[1:] + ".")])
    source = {"kind": dictionary.nouns, "is_a": dictionary.nouns, "same": dictionary.with_synonym}.get(kind, dictionary.entries)
    entry = rng.choice(source)
    while (stable_hash(kind + entry[0]) % 20 == 0) != (split == "held"):
        entry = rng.choice(source)
    lemma, part, synset, gloss = entry
    if kind == "kind":
        return Dialogue([user(KIND.draw(rng, split).format(w=lemma)), assistant(f"A kind of {dictionary.parent(entry)}.")])
    if kind == "is_a":
        true = rng.random() < 0.5
        other = dictionary.parent(entry if true else rng.choice(dictionary.nouns))
        answer = "Yes." if other == dictionary.parent(entry) else "No."
        return Dialogue([user(IS_A.draw(rng, split).format(w=lemma, k=other)), assistant(answer)])
    if kind == "same":
        other = next((word for word in dictionary.synsets[synset][0] if word.lower() != lemma), None)
        return Dialogue([user(SAME.draw(rng, split).format(w=lemma)), assistant((other or lemma).capitalize() + ".")])
    if kind == "meant":
        return Dialogue([user(MEANT.draw(rng, split).format(g=gloss)), assistant(lemma.capitalize() + ".")])
    return Dialogue([user(PART.draw(rng, split).format(w=lemma)), assistant(f"{NAMES[part].capitalize()}.")])
