"""Copying and repeating: the exercises from which a small model learns to look back and copy exactly."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import pools
from dialogue import Dialogue, assistant, user
from phrasing import Grammar, Mixed
from pools import Pool

SAY = ["Repeat", "Copy", "Say", "Write", "Echo", "Type", "Print", "Output", "Return", "Please repeat", "Please copy", "Write out", "Can you repeat", "Please write", "Reproduce"]
MANNER = ["", " exactly", " word for word", " without changes", " again", " unchanged", " once more", " verbatim", " to me", " as it is"]
REPEAT = Mixed(
    Grammar("repeat", SAY, [" this", " the following", " the following text", " these words", " this text", " the text below", " this line", " this sentence", " the words below"], MANNER,
            [": {x}", ":\n{x}", ":\n\n{x}", ': "{x}"', "\n{x}", ":\n```\n{x}\n```", " - {x}"]),
    Grammar("repeat-above", ["{x}\n\n", "{x}\n", '"{x}"\n', "{x}\n---\n", "```\n{x}\n```\n"], SAY, [" the text above", " the above", " these words", " the words above", " that text"], MANNER, [".", ""]))
TWICE = Grammar("twice", ["Write", "Repeat", "Say", "Print", "Type", "Please write", "Please repeat", "Output", "Copy", "Give me"], [" this", " the following", " these words", " the text", ""], " {n} times",
                [": {x}", ":\n{x}", ", each on its own line: {x}", ', one per line: {x}', ': "{x}"', ":\n\n{x}"])


class Asked:
    """A question about a list, laid out with the list; a held-out one has a held-out question or a held-out layout."""

    LAYOUTS = Pool("list-layouts", ["{q} {x}", "{q}\n{x}", "{q}\n\n{x}", "{x}\n{q}", "{x}\n\n{q}", "List: {x}\n{q}", "{q} List: {x}", "Here is a list: {x}\n{q}", "{q}\nList: {x}", "{x}. {q}",
                                    "Given the list {x}: {q}", "Items: {x}\n{q}", "Look at this list: {x}\n{q}", "{q} The list: {x}"], 0.15)

    def __init__(self, name, questions):
        self.questions = Pool(name, questions, 0.15)

    def draw(self, rng, split):
        part = rng.randrange(2) if split == "held" else -1
        layout, question = self.LAYOUTS.draw(rng, "held" if part == 0 else "train"), self.questions.draw(rng, "held" if part == 1 else "train")
        return layout.replace("{q}", question)


CONTINUE = Asked("continue", [
    "Continue the pattern.", "What comes next in this pattern?", "How does this pattern go on?", "Which word comes next?", "What comes next?", "Continue.", "Give the next item of the pattern.",
    "Which item comes next?", "Name the next item.", "What is the next item?", "Continue this sequence.", "What is next in the sequence?", "Say what comes next.", "Give me the next one."])
NTH = Asked("nth", [
    "What is the {n} item?", "Give me the {n} item.", "Name the {n} entry.", "What is the {n} item of the list?", "Which item is the {n}?", "Which one is the {n}?", "Pick the {n} item.",
    "The {n} item, please.", "Which item is the {n} in this list?", "Tell me the {n} item.", "What is the {n} one?", "Say the {n} word.", "I need the {n} item.", "What is the {n} entry?", "Find the {n} item."])
AFTER = Asked("after", [
    "What comes after {a}?", "Which item follows {a}?", "What comes right after {a}?", "Find the item after {a}.", "Name the item after {a}.", "What follows {a}?", "Which one comes directly after {a}?",
    "What stands right after {a}?", "Which item comes after {a}?", "Give me the item after {a}.", "Tell me what comes after {a}.", "What is the item after {a}?", "Say what follows {a}."])
BEFORE = Asked("before", [
    "What comes before {a}?", "Which item precedes {a}?", "What comes right before {a}?", "Find the item before {a}.", "Name the item before {a}.", "What stands before {a}?",
    "Which one comes directly before {a}?", "Which item comes before {a}?", "Give me the item before {a}.", "Tell me what comes before {a}.", "What is the item before {a}?", "Say what stands before {a}."])
REVERSE = Asked("reverse", [
    "Reverse this list.", "Write this list backwards.", "Give the items in reverse order.", "Reverse the list.", "Put the list in reverse order.", "List these in reverse order.", "Reverse the order.",
    "Write the items backwards.", "Please reverse the items.", "Turn the list backwards.", "Write the list in reverse.", "Reverse the items."])
SORT = Asked("sort", [
    "Sort these numbers.", "Put these numbers in ascending order.", "Sort the numbers from small to large.", "Order these numbers.", "Sort in ascending order.", "Write these numbers in ascending order.",
    "Sort this list of numbers.", "Sort from the smallest to the largest.", "Please sort the numbers.", "Arrange the numbers in ascending order.", "Give the numbers sorted.", "Order them from small to large."])
MISSING = Asked("missing", [
    "Is {a} in this list?", "Does this list contain {a}?", "Is {a} among these?", "Check whether {a} is in the list.", "Is {a} there?", "Is {a} in the list?", "Does the list contain {a}?",
    "Does {a} occur in the list?", "Is there {a} in this list?", "Can you find {a} in the list?", "Tell me whether {a} is in the list.", "Is {a} one of these?"])
SPELL = Pool("spell", [
    "Spell the word {a}.", "Spell {a} letter by letter.", "How do you spell {a}?", "Spell {a}.", "Spell out {a}.", "Write {a} letter by letter.", "Please spell out {a}.", "Can you spell {a}?",
    "Please spell {a}.", "How is {a} spelled?", "Split {a} into its letters.", "Give the letters of {a}.", "Which letters are in {a}?", "Spell this word: {a}", "Write the letters of {a}."], 0.15)
UPPER = Pool("upper", [
    "Write {a} in capital letters.", "Put {a} into upper case.", "Convert to upper case: {a}", "Write {a} in upper case.", "Convert {a} to capital letters.", "{a} in upper case, please.",
    "{a} in capital letters, please.", "Make {a} upper case.", "Turn {a} into upper case.", "Write this in capital letters: {a}", "Upper case: {a}", "Convert {a} to upper case.", "Change {a} to capitals."], 0.15)
ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth last".split()


ITEMS = (pools.WORDS.draw, pools.NOUNS.draw, pools.CITIES.draw, pools.FIRST_NAMES.draw, pools.FOODS.draw, pools.ANIMALS.draw, lambda rng, split: str(rng.randint(10, 10 ** rng.randint(2, 5))),
         lambda rng, split: pools.code(rng), pools.person, pools.made_up_word, pools.TERMS.draw, lambda rng, split: pools.WORDS.draw(rng, split).capitalize())
SHARES = {"train": (5, 4, 3, 3, 2, 2, 3, 2, 2, 3, 2, 2), "held": (4, 5, 4, 4, 3, 3, 3, 2, 2, 0, 0, 0)}  # the last three train copying what has no sense


def random_items(rng, split, n):
    """n different items of one kind; of two where a kind has too few."""
    found, tries = {}, 0
    while len(found) < n:
        if tries % (8 * n) == 0:
            make = rng.choices(ITEMS, SHARES[split])[0]
        found[make(rng, split)] = True
        tries += 1
    return list(found)


def random_text(rng, split, n_words):
    """A run of words from a document, or words of all kinds in a row, which nothing but copying predicts."""
    if rng.random() < (0.4 if split == "train" else 0.7):
        return pools.SPANS.draw(rng, split, n_words)
    words = []
    while len(words) < n_words:
        words += random_items(rng, split, rng.randint(1, 5)) if rng.random() < 0.75 else pools.SPANS.draw(rng, split, rng.randint(3, 8)).split()
        words.append(rng.choice(("and", "of", "the", "with", "near", "under", "for", "is", "was", "or")))
    return " ".join(words[:n_words])


def copying(rng, split):
    kind = rng.choices(("repeat", "twice", "continue", "nth", "after", "before", "reverse", "sort", "spell", "upper", "missing"),
                       (30, 6, 10, 10, 12, 6, 6, 5, 5, 4, 6))[0]
    if kind == "repeat":
        text = random_text(rng, split, rng.choice((3, 5, 8, 12, 20, 40)))
        return Dialogue([user(REPEAT.draw(rng, split).format(x=text)), assistant(text)])
    if kind == "twice":
        n, text = rng.randint(2, 4), random_text(rng, split, rng.randint(1, 4))
        return Dialogue([user(TWICE.draw(rng, split).format(x=text, n=n)), assistant("\n".join([text] * n))])
    items = random_items(rng, split, rng.randint(3, 6) if kind in ("reverse", "nth") else rng.randint(4, 9))
    joined = rng.choice((", ", ", ", "; ", "\n", " | ") if any(" " in item for item in items) else (", ", ", ", " ", "; ", "\n")).join(items)
    index = rng.randrange(1, len(items) - 1)
    if kind == "continue":
        period = items[: rng.randint(2, 4)]
        shown = (period * 4)[: len(period) * 2 + rng.randint(0, len(period) - 1)]
        return Dialogue([user(CONTINUE.draw(rng, split).format(x=rng.choice((" ", ", ")).join(shown))), assistant(period[len(shown) % len(period)])])
    if kind == "nth":
        name = rng.choice(ORDINALS[: len(items)] + ["last"])
        answer = items[-1] if name == "last" else items[ORDINALS.index(name)]
        return Dialogue([user(NTH.draw(rng, split).format(n=name, x=joined)), assistant(answer)])
    if kind == "after":
        return Dialogue([user(AFTER.draw(rng, split).format(a=items[index], x=joined)), assistant(items[index + 1])])
    if kind == "before":
        return Dialogue([user(BEFORE.draw(rng, split).format(a=items[index], x=joined)), assistant(items[index - 1])])
    if kind == "reverse":
        return Dialogue([user(REVERSE.draw(rng, split).format(x=", ".join(items))), assistant(", ".join(reversed(items)))])
    if kind == "sort":
        numbers = rng.sample(range(1, 100), rng.randint(3, 6))
        return Dialogue([user(SORT.draw(rng, split).format(x=", ".join(map(str, numbers)))), assistant(", ".join(map(str, sorted(numbers))))])
    word = (pools.WORDS if split == "train" and rng.random() < 0.6 else pools.NOUNS).draw(rng, split)
    if kind == "spell":
        return Dialogue([user(SPELL.draw(rng, split).format(a=word)), assistant("-".join(word))])
    if kind == "upper":
        return Dialogue([user(UPPER.draw(rng, split).format(a=word)), assistant(word.upper())])
    inside = rng.random() < 0.5
    item = rng.choice(items) if inside else random_items(rng, split, 1)[0]
    return Dialogue([user(MISSING.draw(rng, split).format(a=item, x=joined)), assistant("Yes." if item in items else "No.")])


LAYOUTS = (  # before all items, before each, after each but the last, after all
    ("", "", " ", ""), ("", "", ", ", ""), ("", "", "\n", ""), ("", "", "; ", ""), ("", "- ", "\n", ""), ('["', "", '", "', '"]'), ("", '"', '" ', '"'), ("(", "", ") (", ")"),
    ("", "* ", "\n", ""), ("", "", " | ", ""), ("", "", " and ", "."), ("", "", "/", ""), ("'", "", "', '", "'"), ("<", "", "> <", ">"), ("", "", "_", ""), ("", "", " = ", ""))
PAIRS = (  # before the key, between key and value, after the value
    ("", ": ", "\n"), ("", " = ", "\n"), ("", " is ", ". "), ("", ",", "\n"), ("- ", ": ", "\n"), ('"', '": "', '", '), ('{"', '": "', '"}\n'), ("", " -> ", "; "), ("(", " ", ") "),
    ("the ", " has ", ", "), ("[", "] ", "\n"), ("<", ">", "</>\n"), ("", "=", " "))


def laid_out(layout, items):
    opening, before, between, closing = layout
    return opening + between.join(before + item for item in items) + closing


def stretch(rng, split, n_tokens):
    """Plain text, no dialogue, which trains looking back directly; parts (text, whether it is learned).

    Random items, then the same once or twice more, every other time in another layout; or pairs, then the pairs again in any order.
    """
    if rng.random() < 0.5:
        items = mixed_items(rng, split, max(4, n_tokens // 10))
        first, *others = rng.sample(LAYOUTS, 3) if rng.random() < 0.6 else [rng.choice(LAYOUTS)] * 3
        gap = rng.choice(("\n", "\n\n", "\n---\n"))
        return [(laid_out(first, items) + gap, False), *((laid_out(other, items) + gap, True) for other in others[: rng.randint(1, 2)])]
    n = max(3, n_tokens // 24)
    keys, values = (mixed_items(rng, split, n) for _ in range(2))
    pairs = list(zip(keys, values))
    (a, b, c), (d, e, f) = rng.choices(PAIRS, k=2) if rng.random() < 0.6 else [rng.choice(PAIRS)] * 2
    parts = [("".join(a + key + b + value + c for key, value in pairs) + "\n", False)]
    for key, value in rng.sample(pairs, n):
        parts += [(d + key + e, False), (value, True), (f, False)]
    return cut_before_spaces(parts)


def cut_before_spaces(parts):
    """The same text and marks, but no part ends in a space: the tokenizer cuts a space together with what follows it."""
    moved, cut = "", []
    for text, learned in parts:
        text = moved + text
        bare = text.rstrip(" ")
        moved = text[len(bare) :]
        cut.append((bare, learned))
    return [*((text, learned) for text, learned in cut if text), *([(moved, False)] if moved else [])]


def mixed_items(rng, split, n):
    """n different items, of one kind or of several."""
    found = {}
    while len(found) < n:
        found.update(dict.fromkeys(random_items(rng, split, rng.choice((1, 3, n)))))
    return list(found)[:n]
