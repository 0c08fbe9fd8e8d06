"""Retrieval from long contexts: planted facts, tables, remembered conversations, quotations; many questions per context.

The context's length is a target in tokens, turned into characters by a fixed ratio; the packer drops what is too long.
A held-out context has held-out facts, held-out phrasings and filler of held-out documents.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import pools
from dialogue import Dialogue, assistant, user
import facts
from extraction import STATEMENTS, state
from fields import draw_value, draw_fields
import phrasing
from pools import Pool

CHARACTERS_PER_TOKEN = 4.5
UNKNOWN = "The text does not say."


class Filler:
    """Paragraphs of prose from documents of one split."""

    def __init__(self, documents):
        self.parts = {split: [text.split("\n\n") for text in texts] for split, texts in documents.items()}

    def paragraph(self, rng, split):
        return rng.choice(rng.choice(self.parts[split]))

    def paragraphs(self, rng, split, n_characters):
        n_characters, found, size = int(n_characters), [], 0
        while size < n_characters:
            document = rng.choice(self.parts[split])
            start = rng.randrange(len(document))
            for paragraph in document[start : start + rng.randint(1, 8)]:
                found.append(paragraph[: max(0, n_characters - size)] if size + len(paragraph) > n_characters + 400 else paragraph)
                size += len(paragraph) + 2
                if size >= n_characters:
                    break
        return found


def plant(rng, paragraphs, sentences):
    """Each sentence goes somewhere into the paragraphs: as a paragraph of its own, or inside one."""
    paragraphs = list(paragraphs)
    for text in sentences:
        at = rng.randrange(len(paragraphs) + 1)
        if at < len(paragraphs) and rng.random() < 0.5:
            cuts = [i + 2 for i in range(len(paragraphs[at]) - 2) if paragraphs[at][i : i + 2] == ". "] or [0]
            cut = rng.choice(cuts)
            paragraphs[at] = f"{paragraphs[at][:cut]}{text} {paragraphs[at][cut:]}".strip()
        else:
            paragraphs.insert(at, text)
    return "\n\n".join(paragraphs)


def needles(rng, split, n_tokens, filler):
    """Facts in prose, then questions about them, turn by turn, some twice; a few ask for what the text does not say."""
    draw, most = rng.random(), max(4, min(60, n_tokens // 70))
    n_facts = rng.randint(1, 3) if draw < 0.25 else rng.randint(3, most) if draw < 0.6 else rng.randint(2 * most // 3, most)
    found = facts.distinct_facts(rng, split, n_facts)
    size = max(200, (n_tokens - 60 - 72 * n_facts) * CHARACTERS_PER_TOKEN)
    context = plant(rng, filler.paragraphs(rng, split, size), [facts.sentence(rng, split, *item) for item in found])
    rng.shuffle(found)
    turns = [(facts.ask(rng, split, who, what), value) for who, what, value in [*found, *rng.sample(found, n_facts // 3)]]
    if rng.random() < 0.08:
        who, (_, what, _), _ = facts.fact(rng, split)
        if who not in {who for who, _, _ in found}:
            turns.insert(rng.randint(0, len(turns)), (facts.ask(rng, split, who, what), UNKNOWN))
    return conversation(rng, split, context, turns)


def conversation(rng, split, context, turns):
    first, answer = turns[0]
    messages = [user(phrasing.layout(rng, split, both=0.02, first=0.03).format(context=context, question=first)), assistant(answer)]
    for question, answer in turns[1:]:
        messages += [user(question), assistant(answer)]
    return Dialogue(messages)


def table(rng, split, n_tokens, _filler):
    """A list of keys and values in one of several layouts; lookups forwards and backwards."""
    n_rows = max(3, min(600, n_tokens // 17))
    make_key = rng.choice((pools.code, lambda r: pools.person(r, split), lambda r: pools.thing(r, split), lambda r: pools.CITIES.draw(r, split), lambda r: pools.NOUNS.draw(r, split)))
    kind = rng.choice(("person", "city", "code", "count", "count", "word", "date", "time", "colour", "job", "company", "state"))
    rows = list(dict.fromkeys(make_key(rng) for _ in range(n_rows)))
    rows = {key: str(draw_value(rng, split, kind)) for key in rows}
    form = rng.choice(("{k}: {v}", "{k} = {v}", "{k},{v}", "- {k}: {v}", "| {k} | {v} |", "{k} -> {v}", "{k}\t{v}"))
    context = "\n".join(form.format(k=key, v=value) for key, value in rows.items())
    turns = []
    for key in rng.sample(list(rows), min(len(rows), rng.randint(2, max(16, n_tokens // 160)))):
        value = rows[key]
        backwards = list(rows.values()).count(value) == 1 and rng.random() < 0.3
        turns.append((BACKWARD.draw(rng, split).format(v=value), key) if backwards else (FORWARD.draw(rng, split).format(k=key), value))
    return conversation(rng, split, context, turns)


FORWARD = Pool("table-forward", ["What stands next to {k}?", "Look up {k}.", "{k}?", "What is the value of {k}?", "Which value has {k}?", "Find {k} in the list.",
                                 "What does the list say for {k}?", "Give me the entry of {k}.", "What is listed for {k}?", "And {k}?", "Value for {k}?",
                                 "What is written after {k}?", "Tell me what belongs to {k}.", "Search for {k}."])
BACKWARD = Pool("table-backward", ["Which entry has {v}?", "Who or what has the value {v}?", "To which key does {v} belong?", "Find the entry with {v}.",
                                   "Which one is listed with {v}?", "Where does {v} stand?", "What has {v} next to it?", "Look for {v}: whose is it?"])
QUOTE = Pool("quote", ['Quote the sentence that begins with "{start}".', 'Continue from the text: "{start}"', 'Which sentence starts with "{start}"?',
                       'How does the sentence "{start} ..." go on?', 'Repeat the sentence of the text that begins "{start}".',
                       'Copy the sentence beginning with the words "{start}".'])
FOLLOWS = Pool("follows", ['Which words come right after "{start}"?', 'What follows "{start}" in the text?', 'The text says "{start}". What comes next?'])


def quotation(rng, split, n_tokens, filler):
    """Sentences of the text are asked for by their first words: copying at every distance, from natural text."""
    paragraphs = filler.paragraphs(rng, split, max(300, (n_tokens - 80) * 0.87 * CHARACTERS_PER_TOKEN))
    context = "\n\n".join(paragraphs)
    sentences = [text.strip() for paragraph in paragraphs for text in paragraph.split(". ")]
    sentences = [text for text in dict.fromkeys(sentences) if 8 <= len(text.split()) <= 40]
    turns = []
    for text in rng.sample(sentences, min(len(sentences), 1 + n_tokens // 300)):
        words = text.split()
        start = " ".join(words[: rng.randint(3, 5)])
        if context.count(start) != 1:
            continue
        if rng.random() < 0.6:
            turns.append((QUOTE.draw(rng, split).format(start=start), text.rstrip(".") + "."))
        else:
            turns.append((FOLLOWS.draw(rng, split).format(start=start), " ".join(words[len(start.split()) : len(start.split()) + 5])))
    return conversation(rng, split, context, turns) if turns else needles(rng, split, n_tokens, filler)


ACKNOWLEDGE = ["I will remember that.", "Noted.", "Understood.", "All right.", "Okay."]
TALK = Pool("memory-talk", ["Please remember: {fact}", "{fact}", "Keep this in mind: {fact}", "I tell you something. {fact}", "For later: {fact}", "Just so you know, {fact}",
                            "Remember this. {fact}", "Note this: {fact}", "Here is a fact: {fact}", "{fact} Keep it in mind."])


def memory(rng, split, n_tokens, filler):
    """Facts told turn by turn, with copied text between them, asked for later in the same conversation."""
    found = facts.distinct_facts(rng, split, max(2, min(120, n_tokens // 78)))
    messages, known = [], []
    for item in found:
        text = facts.sentence(rng, split, *item)
        if n_tokens > 600 and rng.random() < 0.3:
            text += "\n\n" + filler.paragraph(rng, split)
        messages += [user(TALK.draw(rng, split).format(fact=text)), assistant(rng.choice(ACKNOWLEDGE))]
        known.append(item)
        if rng.random() < 0.6 or item is found[-1]:
            who, what, value = rng.choice(known)
            messages += [user(facts.ask(rng, split, who, what)), assistant(value)]
    return Dialogue(messages)


def reading(rng, split, n_tokens, _filler):
    """Records said in sentences, one after the other; questions name the record and the field."""
    n_records = max(2, min(190, n_tokens // 50))
    kind = rng.choice(list(facts.ATTRIBUTES))
    names = list(dict.fromkeys(facts.holder(rng, split, kind) for _ in range(n_records)))
    records = {name: draw_fields(rng, split, rng.randint(2, 4)) for name in names}
    blocks = []
    for name, fields in records.items():
        said = [state(rng, split, field, STATEMENTS.draw(rng, split)).rstrip(".").lstrip("-* ") for field in fields]
        blocks.append(rng.choice(("About {n}: {s}.", "{n}. {s}.", "{n}\n{s}\n", "## {n}\n{s}\n", "{n}: {s}")).format(n=facts.capital(name), s=". ".join(said)))
    turns = []
    for name in rng.sample(names, min(len(names), rng.randint(2, max(12, n_tokens // 160)))):
        field = rng.choice(records[name])
        turns.append((facts.ask(rng, split, name, field.label), field.text()))
    return conversation(rng, split, "\n".join(blocks), turns)


KINDS = {needles: 58, table: 11, quotation: 7, memory: 12, reading: 12}


def retrieval(rng, split, n_tokens, filler):
    make = rng.choices(list(KINDS), KINDS.values())[0]
    return make(rng, split, n_tokens, filler)


TURN_TOKENS = 12  # of a turn: what the template puts around a question and before its answer, and the answer's end


def needle_trial(rng, split, n_tokens, depth, filler, count):
    """One trial of the needle grid: one fact at `depth` (0 to 1) of a context that fills `n_tokens`, three others beside it.

    `count(text)` gives the number of tokens; the context is cut so that prompt and answer stay within n_tokens.
    """
    found = facts.distinct_facts(rng, split, 4)
    (who, what, value), others = found[0], [facts.sentence(rng, split, *item) for item in found[1:]]
    question = facts.ask(rng, split, who, what)
    layout = phrasing.layout(rng, split, both=0, first=0)
    needle = facts.sentence(rng, split, who, what, value)
    spare = n_tokens - count("\n\n".join([layout.format(context="", question=question), needle, *others])) - count(value) - 24
    paragraphs, used = [], 0
    while used < spare:
        paragraph = filler.paragraph(rng, split)
        words, need = paragraph, count(paragraph + "\n\n")
        if used + need > spare:
            pieces = paragraph.split(" ")
            words = " ".join(pieces[: int(len(pieces) * (spare - used) / need)])
            used = spare
        paragraphs += [words] if words else []
        used += need
    for text in others:
        paragraphs.insert(rng.randrange(len(paragraphs) + 1), text)
    paragraphs.insert(round(depth * len(paragraphs)), needle)
    facts_told = {needle, *others}
    while True:
        prompt = layout.format(context="\n\n".join(paragraphs), question=question)
        if count(prompt) + count(value) + TURN_TOKENS <= n_tokens:
            return Dialogue([user(prompt), assistant(value)], note={"tokens": n_tokens, "depth": depth})
        longest = max((i for i, text in enumerate(paragraphs) if text not in facts_told), key=lambda i: len(paragraphs[i]))
        paragraphs[longest] = paragraphs[longest].rpartition(" ")[0]
