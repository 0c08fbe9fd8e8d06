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
        self.parts = [part if isinstance(part, str) else Pool(f"{name}-{i}", part, 0.15) for i, part in enumerate(parts)]
        self.choices = [i for i, part in enumerate(self.parts) if not isinstance(part, str)]

    def draw(self, rng, split):
        held = rng.choice(self.choices) if split == "held" else -1
        return "".join(part if isinstance(part, str) else part.draw(rng, "held" if i == held else "train") for i, part in enumerate(self.parts))


class Mixed:
    """Now this source of phrases, now that."""

    def __init__(self, *sources):
        self.sources = sources

    def draw(self, rng, split):
        return rng.choice(self.sources).draw(rng, split)


def capital(text):
    return text[:1].upper() + text[1:]


OPENERS = Pool("openers", [
    "Quick question: ", "Hi! ", "Hello. ", "OK. ", "Next: ", "One more: ", "Question: ", "Here is a task. ", "Now this: ", "I need help. ", "Hey, listen. ", "Help me. ",
    "Thanks. ", "Good. ", "All right. ", "Another one. ", "Please. ", "Let us go on. ", "I have a question. ", "So. ", "Well, ", "Right. ", "First: ", "Then: ",
    "Something else: ", "Do this: ", "Assistant, ", "Be careful. ", "Think first. ", "My question: ", "Could you help? ", "Listen: ", "A small task: ", "Go on: ",
    "Good morning. ", "Good evening. ", "Excuse me. ", "I am curious. ", "Job for you: ", "Request: "], 0.15)


def opened(rng, split, text, share=0.25):
    """The text, sometimes behind a few words that mean nothing."""
    return OPENERS.draw(rng, split) + text if rng.random() < share else text


NAMES = Pool("text-names", """text document message input note report page passage article content context source material mail letter record data log entry
description file excerpt paragraph transcript story notice reading memo post snippet chapter piece summary statement dossier minutes""", 0.15)
ASK_NAMES = Pool("ask-names", "question task request query instruction order job todo prompt ask assignment goal wanted problem", 0.15)
FRAMES = Pool("frames", [
    "{t}", "{t}\n", "\"{t}\"", "```\n{t}\n```", "---\n{t}\n---", "<{n}>\n{t}\n</{n}>", "<{n}>{t}</{n}>", "[{n}]\n{t}\n[/{n}]", "{N}:\n{t}", "{N}: {t}", "{N}:\n\n{t}",
    "Here is the {n}:\n{t}", "Here is a {n}.\n\n{t}", "The {n} follows.\n\n{t}", "Read this {n}.\n\n{t}", "{t}\n\nThat was the {n}.", "# {N}\n\n{t}", "{N}\n{t}",
    "BEGIN\n{t}\nEND", "Below is a {n}.\n\n{t}", "***\n{t}\n***", "I got this {n}:\n\n{t}", "({n}) {t}", "{t}\n\n(end of the {n})", "== {n} ==\n{t}", "Given this {n}: {t}",
    "Use the {n} below.\n\n{t}", "Look at the {n}:\n{t}", "{N} -\n{t}"], 0.15)
ASKED = Pool("asked", ["{q}", "{q} ", "{A}: {q}", "{A}:\n{q}", "{A} - {q}", "Now the {a}: {q}", "# {A}\n{q}", "<{a}>{q}</{a}>", "My {a}: {q}", "({a}) {q}", "> {q}",
                       "Answer this: {q}", "**{A}** {q}"], 0.15)
BREAKS = ["\n\n", "\n\n", "\n\n", "\n", "\n\n---\n\n", "\n\n\n"]


def layout(rng, split, both=0.1, first=0.3):
    """A template of {context} and {question}: the question after the text, before it (share `first`), or on both sides (share `both`)."""
    part = rng.randrange(2) if split == "held" else -1
    frame, asked = FRAMES.draw(rng, "held" if part == 0 else "train"), ASKED.draw(rng, "held" if part == 1 else "train")
    name = pools.WORDS.draw(rng, split) if rng.random() < 0.2 else NAMES.draw(rng, split)
    ask_name = pools.WORDS.draw(rng, split) if rng.random() < 0.2 else ASK_NAMES.draw(rng, split)
    text = frame.replace("{n}", name).replace("{N}", capital(name)).replace("{t}", "{context}")
    question = asked.replace("{a}", ask_name).replace("{A}", capital(ask_name)).replace("{q}", "{question}").rstrip()
    between, draw = rng.choice(BREAKS), rng.random()
    if draw < both:
        return question + between + text + between + question
    return question + between + text if draw < both + first else text + between + question
