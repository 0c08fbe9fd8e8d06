"""Copying and repeating: the exercises from which a small model learns to look back and copy exactly."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import pools
from dialogue import Dialogue, assistant, user
from phrasing import Grammar, Mixed
from pools import Pool

SAY = ["Repeat", "Copy", "Say", "Write", "Echo", "Reproduce", "Type", "Print", "Output", "Give back", "Return", "Recite", "Please repeat", "Please copy", "Now write",
       "Read back", "Send back", "Write out", "State", "Render", "Can you repeat", "I want you to copy"]
MANNER = ["", " exactly", " word for word", " without changes", " again", " as it is", " unchanged", " once more", " verbatim", " to me", ", please", " in full"]
REPEAT = Mixed(
    Grammar("repeat", SAY, [" this", " the following", " the following text", " these words", " this text", " what follows", " the text below", " this line", " after me",
                            " exactly this", " the words below", " this passage", " everything after this"], MANNER,
            [": {x}", ":\n{x}", ":\n\n{x}", ". {x}", ": \"{x}\"", "\n{x}", ":\n```\n{x}\n```", " - {x}", " > {x}", ":\n---\n{x}"]),
    Grammar("repeat-above", ["{x}\n\n", "{x}\n", "\"{x}\"\n", "{x}\n---\n", "```\n{x}\n```\n"], SAY,
            [" the text above", " the above", " what I just wrote", " these words", " that", " the text before this line", " all of that"], MANNER, [".", "", "!"]))
TWICE = Pool("twice", ["Write this {n} times: {x}", "Repeat {n} times: {x}", "Say this {n} times: {x}", "Print the following {n} times: {x}",
                       "Give me this {n} times: {x}"])
CONTINUE = Pool("continue", ["Continue the pattern: {x}", "What comes next? {x}", "Continue: {x}", "Which item comes next in this sequence? {x}",
                             "Name the next element: {x}", "The sequence is {x}. What follows?", "Go on with this: {x}", "Extend: {x}", "How does this go on? {x}", "Next item? {x}", "Predict the next one: {x}", "{x} ... and then?"])
NTH = Pool("nth", ["What is the {n} item of this list? {x}", "Give me the {n} item: {x}", "Name the {n} entry of {x}", "From this list, what is the {n} item? {x}",
                   "Which item is the {n} in this list: {x}", "{x}\nWhich one is the {n}?", "Item number {n} of: {x}", "Pick the {n} item: {x}", "List: {x}\nThe {n} item, please.", "I need the {n} of these: {x}", "{x} - what is the {n} one?"])
AFTER = Pool("after", ["In this list, what comes after {a}? {x}", "Which item follows {a}? {x}", "{x}\nWhat stands right after {a}?", "Find the item after {a}: {x}", "{x}\nName the item after {a}.", "What is next to {a} on the right? {x}", "List: {x}\nWhat follows {a}?", "The item behind {a} in {x}?", "Which one comes directly after {a}? {x}"])
BEFORE = Pool("before", ["In this list, what comes before {a}? {x}", "Which item precedes {a}? {x}", "{x}\nWhat stands right before {a}?", "{x}\nName the item before {a}.", "What is next to {a} on the left? {x}", "List: {x}\nWhat precedes {a}?", "Which one comes directly before {a}? {x}"])
REVERSE = Pool("reverse", ["Reverse this list: {x}", "Write this list backwards: {x}", "Give the items in reverse order: {x}", "Turn this list around: {x}", "Backwards, please: {x}", "Start from the end: {x}", "Flip the order: {x}", "Reverse the order of {x}", "List these from last to first: {x}"])
SORT = Pool("sort", ["Sort these numbers: {x}", "Put these numbers in ascending order: {x}", "Arrange from small to large: {x}", "Order these numbers: {x}", "Ascending order, please: {x}", "Smallest first: {x}", "Sort {x}", "Write these from the smallest to the largest: {x}"])
SPELL = Pool("spell", ["Spell the word {a}.", "Spell {a} letter by letter.", "How do you spell {a}?", "Write {a} one letter at a time.", "Letter by letter: {a}", "Which letters has {a}?", "Split {a} into letters.", "Please spell out {a}."])
UPPER = Pool("upper", ["Write {a} in capital letters.", "Put {a} into upper case.", "Convert to upper case: {a}", "Make this all capitals: {a}", "Capitals: {a}", "{a} in upper case, please.", "Shout {a}.", "Make {a} upper case."])
MISSING = Pool("missing", ["Is {a} in this list? {x}", "Does this list contain {a}? {x}", "{x}\nIs {a} among these?", "Check whether {a} is in the list: {x}", "{x} - is {a} there?", "Look for {a} in {x}. Is it there?", "Does {a} occur here? {x}", "Among these, is there {a}? {x}"])
ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth last".split()


def random_items(rng, split, n):
    """n different items of one kind."""
    make = rng.choices(ITEMS, (4, 3, 2, 2, 3, 2, 1, 1, 1))[0]
    found = {}
    while len(found) < n:
        found[make(rng, split)] = True
    return list(found)


ITEMS = (pools.WORDS.draw, pools.made_up_word, pools.TERMS.draw, lambda rng, split: pools.code(rng), lambda rng, split: str(rng.randint(10, 10 ** rng.randint(3, 6))),
         lambda rng, split: pools.WORDS.draw(rng, split).capitalize(), pools.CITIES.draw, pools.FIRST_NAMES.draw, pools.NOUNS.draw)


def random_text(rng, split, n_words):
    """Words of all kinds in a row: nothing but copying predicts it."""
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
    items = random_items(rng, split, rng.randint(4, 10))
    joined = rng.choice((", ", " ", "; ", "\n")).join(items)
    index = rng.randrange(1, len(items) - 1)
    if kind == "continue":
        period = items[: rng.randint(2, 4)]
        shown = (period * 4)[: len(period) * 2 + rng.randint(0, len(period) - 1)]
        return Dialogue([user(CONTINUE.draw(rng, split).format(x=" ".join(shown))), assistant(period[len(shown) % len(period)])])
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
    word = rng.choice((pools.NOUNS.draw(rng, split), pools.made_up_word(rng, split)))
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
