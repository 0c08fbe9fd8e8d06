"""Phrases built from parts, so that a generator says the same in thousands of ways. A model that saw each wording a thousand times learns
the wordings; one that saw each a few times learns what they mean."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import pools
from pools import Pool


class Grammar:
    """One phrase of each part in a row; a part is a list, or a text that is always there. A held-out phrase has one held-out part, any of them."""

    def __init__(self, name, *parts):
        self.parts = [part if isinstance(part, str) else Pool(f"{name}-{i}", part, 0.2) for i, part in enumerate(parts)]
        self.choices = [i for i, part in enumerate(self.parts) if not isinstance(part, str)]

    def draw(self, rng, split):
        held = rng.choice(self.choices) if split == "held" else -1
        return "".join(part if isinstance(part, str) else part.draw(rng, "held" if i == held else "train") for i, part in enumerate(self.parts))


class Mixed:
    """Now this source of phrases, now that; what one of the lists holds out, no other source may say in training, nor the other way round."""

    def __init__(self, *sources):
        self.sources = sources

    def draw(self, rng, split):
        other = "train" if split == "held" else "held"
        while True:
            phrase = rng.choice(self.sources).draw(rng, split)
            if not any(phrase in source.parts[other] for source in self.sources if isinstance(source, Pool)):
                return phrase


def capital(text):
    return text[:1].upper() + text[1:]


OPENERS = Pool("openers", [
    "Quick question: ", "Hi! ", "Hello. ", "One more: ", "Here is a task. ", "I need help. ", "I have a question. ", "Could you help me? ", "A small task: ", "Good morning. ",
    "Excuse me. ", "Please help me. ", "Hey! ", "Hi Arc, ", "My next question: ", "Another question: ", "OK, now this: ", "Next task: ", "Can you help? ", "Something else: "], 0.15)


def opened(rng, split, text, share=0.12):
    """The text, sometimes behind a few words that mean nothing."""
    return OPENERS.draw(rng, split) + text if rng.random() < share else text


NAMES = Pool("text-names", "text document message note report page passage article email letter record entry description file excerpt story notice post", 0.15)
FRAMES = Pool("frames", [
    "\"{t}\"", "```\n{t}\n```", "---\n{t}\n---", "<{n}>\n{t}\n</{n}>", "{N}:\n{t}", "{N}: {t}", "{N}:\n\n{t}", "Here is the {n}:\n{t}", "Here is a {n}.\n\n{t}",
    "Read this {n}.\n\n{t}", "# {N}\n\n{t}", "Below is a {n}.\n\n{t}", "I got this {n}:\n\n{t}", "Use the {n} below.\n\n{t}", "Look at the {n}:\n{t}", "Given this {n}:\n\n{t}",
    "Context:\n{t}", "\"\"\"\n{t}\n\"\"\"", "This is the {n}:\n\n{t}", "Please read the {n} below.\n\n{t}"], 0.15)
ASKED = Pool("asked", ["Question: {q}", "Question:\n{q}", "Task: {q}", "Now the question: {q}", "My question: {q}", "Answer this: {q}", "Q: {q}", "**Question:** {q}",
                       "Please answer: {q}", "Now answer this: {q}"], 0.2)
BREAKS = ["\n\n", "\n\n", "\n\n", "\n", "\n\n---\n\n"]


def layout(rng, split, both=0.1, first=0.3):
    """A template of {context} and {question}: the question after the text, before it (share `first`), or on both sides (share `both`).

    In half of the templates the text, and in half the question, stands bare; in a held-out one, either has a held-out frame."""
    part = rng.randrange(2) if split == "held" else -1
    frame = FRAMES.draw(rng, "held") if part == 0 else FRAMES.draw(rng, "train") if rng.random() < 0.5 else "{t}"
    asked = ASKED.draw(rng, "held") if part == 1 else ASKED.draw(rng, "train") if rng.random() < 0.5 else "{q}"
    name = NAMES.draw(rng, split)
    text = frame.replace("{n}", name).replace("{N}", capital(name)).replace("{t}", "{context}")
    question = asked.replace("{q}", "{question}").rstrip()
    between, draw = rng.choice(BREAKS), rng.random()
    if draw < both:
        return question + between + text + between + question
    return question + between + text if draw < both + first else text + between + question
