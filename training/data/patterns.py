"""Copying and repeating: the exercises from which a small model learns to look back and copy exactly."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import pools
from dialogue import Dialogue, assistant, user
from pools import Pool

REPEAT = Pool("repeat", [
    "Repeat this exactly: {x}", "Repeat after me: {x}", "Copy this text: {x}", "Say exactly this: {x}", "Write this again: {x}", "Echo: {x}",
    "Please repeat the following text.\n\n{x}", "Copy the following, word for word.\n\n{x}", "{x}\n\nRepeat the text above.",
    "{x}\n\nCopy the text above exactly.", "Reproduce this text without changes:\n{x}", "Type this again without any change: {x}"])
TWICE = Pool("twice", ["Write this {n} times: {x}", "Repeat {n} times: {x}", "Say this {n} times: {x}", "Print the following {n} times: {x}",
                       "Give me this {n} times: {x}"])
CONTINUE = Pool("continue", ["Continue the pattern: {x}", "What comes next? {x}", "Continue: {x}", "Which item comes next in this sequence? {x}",
                             "Name the next element: {x}", "The sequence is {x}. What follows?"])
NTH = Pool("nth", ["What is the {n} item of this list? {x}", "Give me the {n} item: {x}", "Name the {n} entry of {x}", "From this list, what is the {n} item? {x}",
                   "Which item is the {n} in this list: {x}"])
AFTER = Pool("after", ["In this list, what comes after {a}? {x}", "Which item follows {a}? {x}", "{x}\nWhat stands right after {a}?", "Find the item after {a}: {x}"])
BEFORE = Pool("before", ["In this list, what comes before {a}? {x}", "Which item precedes {a}? {x}", "{x}\nWhat stands right before {a}?"])
REVERSE = Pool("reverse", ["Reverse this list: {x}", "Write this list backwards: {x}", "Give the items in reverse order: {x}", "Turn this list around: {x}"])
SORT = Pool("sort", ["Sort these numbers: {x}", "Put these numbers in ascending order: {x}", "Arrange from small to large: {x}", "Order these numbers: {x}"])
SPELL = Pool("spell", ["Spell the word {a}.", "Spell {a} letter by letter.", "How do you spell {a}?", "Write {a} one letter at a time."])
UPPER = Pool("upper", ["Write {a} in capital letters.", "Put {a} into upper case.", "Convert to upper case: {a}", "Make this all capitals: {a}"])
MISSING = Pool("missing", ["Is {a} in this list? {x}", "Does this list contain {a}? {x}", "{x}\nIs {a} among these?", "Check whether {a} is in the list: {x}"])
ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth last".split()


def random_items(rng, split, n):
    kind = rng.randrange(6)
    if kind == 0:
        return pools.NOUNS.sample(rng, split, n)
    if kind == 1:
        return pools.CITIES.sample(rng, split, n)
    if kind == 2:
        return [str(number) for number in rng.sample(range(10, 1000), n)]
    if kind == 3:
        return list(dict.fromkeys(pools.made_up_word(rng, split) for _ in range(n)))
    if kind == 4:
        return list(dict.fromkeys(pools.code(rng) for _ in range(n)))
    return pools.FIRST_NAMES.sample(rng, split, n)


def random_text(rng, split, n_words):
    """Words of all kinds in a row: nothing but copying predicts it."""
    words = []
    while len(words) < n_words:
        words += random_items(rng, split, min(rng.randint(1, 5), 8))
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


def repeated_stretch(rng, split, n_words):
    """Plain text, no dialogue: a random stretch, then the same again once or twice, which trains induction directly."""
    stretch = random_text(rng, split, max(4, n_words // rng.randint(2, 4)))
    return rng.choice(("\n", " ", "\n\n")).join([stretch] * rng.randint(2, 3))
