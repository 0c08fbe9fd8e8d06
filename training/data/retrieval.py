"""Retrieval from long contexts: planted facts, tables, remembered conversations, quotations; many questions per context.

The context's length is a target in tokens, turned into characters by a fixed ratio; the packer drops what is too long.
A held-out context has held-out facts, held-out phrasings and filler of held-out documents.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import pools
from dialogue import Dialogue, assistant, user
from extraction import STATEMENTS, state
from fields import draw_value, draw_fields
import phrasing
from phrasing import Grammar, Mixed
from pools import Pool

CHARACTERS_PER_TOKEN = 4.5

# kind of value: what is told
_KINDS = {
    "number": "access code, pass key, secret number, PIN, magic number, phone extension, member number, combination, lucky number, door code, alarm code, "
              "badge number, account number, bus number, lottery number, security code, telephone number, ticket number",
    "word": "password, codename, nickname, secret word, signal, call sign, watchword, username, stage name, brand name, passphrase, file name, project name",
    "code": "serial number, ticket, registration, vault code, license plate, order code, tracking code, room number, model number, reference number, flight number",
    "city": "home port, birthplace, hiding place, meeting place, destination, headquarters, home town, place of origin, next stop, winter residence",
    "person": "owner, guardian, builder, contact, inventor, director, best friend, founder, designer, heir, rival, landlord, successor, first captain",
    "date": "opening date, departure date, birthday, delivery date, anniversary, expiry date, founding date, inspection date, deadline",
    "time": "closing time, departure, opening time, lunch break, curfew, arrival time, feeding time", "colour": "color, emblem color, flag color, door color, ink color",
    "food": "favorite food, breakfast, main export, daily special, specialty, usual order", "animal": "mascot, pet, totem, heraldic animal, favorite animal",
    "job": "profession, former job, occupation, dream job, second job", "noun": "symbol, trophy, logo, keepsake, birthday gift, hobby item, first prize",
    "count": "price, weight, age, height, length, capacity, number of rooms, number of visitors, top speed, annual budget, number of pages, score"}
FACTS = Pool("facts", [(kind, what) for kind, names in _KINDS.items() for what in names.split(", ")], 0.15)
TELL = Mixed(Grammar(
    "tell", ["", "By the way, ", "Note that ", "As everyone knows, ", "I heard that ", "In fact, ", "Remember: ", "It seems that ", "Once again, ", "For the record, ", "They say ",
             "Officially, ", "As far as I know, ", "According to the list, ", "You may like to know that ", "It is written that "],
    ["the {what} of {who} is {value}", "{value} is the {what} of {who}", "{who} has {value} as {what}", "{who} has the {what} {value}", "the {what} that {who} has is {value}",
     "{who} got {value} as {what}", "the {what} for {who} is {value}", "{who} goes with {value} for the {what}", "{value} was chosen as the {what} of {who}",
     "{value} serves as {what} of {who}", "the {what} of {who} was given as {value}", "for {who} the {what} reads {value}"],
    [".", ", as you know.", ", they say.", "; do not forget it.", "!", ", which surprised everyone.", ", as before."]), Pool("needle-tell", [
    "The {what} of {who} is {value}.", "{value} is the {what} of {who}.", "Remember that the {what} of {who} is {value}.", "Note: the {what} of {who} is {value}.",
    "As for {who}, the {what} is {value}.", "It is well known that {who} has the {what} {value}.", "One thing to keep in mind: {who} has {value} as its {what}.",
    "For {who}, the {what} was set to {value}.", "The {what} that belongs to {who} is {value}.", "Important: {who}, {what} {value}.",
    "Someone wrote down that the {what} of {who} is {value}.", "By the way, the {what} of {who} is {value}.", "If anyone asks for the {what} of {who}, say {value}.",
    "In the records, {who} is listed with the {what} {value}.", "Here is the {what} of {who}: {value}.", "{who} uses {value} as {what}.",
    "Last week the {what} of {who} became {value}.", "Do not forget the {what} of {who}, which is {value}.", "{who} has {value} as {what}.",
    "They told me that {value} is the {what} of {who}.", "What {who} has as {what} is {value}.", "When it comes to {who}, the {what} is known to be {value}.",
    "The files say that {who} has the {what} {value}.", "According to the register, the {what} of {who} is {value}.", "Concerning {who}: {what} {value}.",
    "We learned today that the {what} of {who} is {value}.", "Everyone agrees that the {what} of {who} must be {value}.", "{who}: the {what} is {value}.",
    "The {what} of {who} has always been {value}.", "Since spring, {value} has been the {what} of {who}.", "It turned out that {who} chose {value} as {what}.",
    "A little known fact: the {what} of {who} is {value}.", "I can confirm that the {what} of {who} is {value}.", "The {what} given for {who} reads {value}.",
    "Let it be noted that {value} serves as the {what} of {who}.", "Under {who} the book lists the {what} {value}.", "Please write down: {what} of {who}, {value}.",
    "My notes on {who} mention {value} as the {what}.", "The special {what} for {who} is {value}.", "You should know that {who} has {value} for its {what}.",
    "Nobody but us knows that the {what} of {who} is {value}.", "The guide says: {what} of {who} = {value}.", "{value}, that is the {what} of {who}."], 0.15))
QUESTIONS = Mixed(Grammar(
    "ask", ["", "Tell me: ", "Say: ", "According to the text, ", "In the text, ", "Quick: ", "I forgot: ", "One question: ", "Look it up: ", "Once more: ", "Now, ", "Please say, ", "Well, "],
    ["what is the {what} of {who}", "which {what} does {who} have", "what {what} has {who}", "what does {who} have as {what}", "what is given as the {what} of {who}",
     "what is the {what} for {who}", "what was said about the {what} of {who}", "what would be the {what} of {who}", "which is the {what} that {who} has"], ["?", "??", " again?", "? Do you know?"]),
    Pool("needle-ask", [
    "What is the {what} of {who}?", "Which {what} does {who} have?", "Tell me the {what} of {who}.", "What {what} belongs to {who}?", "Name the {what} of {who}.",
    "Do you remember the {what} of {who}?", "According to the text, what is the {what} of {who}?", "Give me the {what} of {who}.", "{who}: what is the {what}?",
    "I need the {what} of {who}.", "Find the {what} of {who}.", "What does the text say about the {what} of {who}?", "Please look up the {what} of {who}.",
    "What was the {what} of {who} again?", "Can you tell me the {what} of {who}?", "I am looking for the {what} of {who}.", "Which {what} is given for {who}?",
    "What {what} is named for {who}?", "From the text above, what is the {what} of {who}?", "State the {what} of {who}.", "And the {what} of {who}?",
    "What did the text give as the {what} of {who}?", "What is mentioned as the {what} of {who}?", "I forgot the {what} of {who}. What is it?",
    "Someone asks for the {what} of {who}. What do I say?", "Say the {what} of {who}.", "What's the {what} of {who}?", "Search the text for the {what} of {who}.",
    "The {what} of {who}, please.", "What can you find out about the {what} of {who}?", "Which is the {what} of {who}?", "Do you know what the {what} of {who} is?",
    "Would you tell me what {who} has as {what}?", "For {who}, what is the {what}?"], 0.15))
BRIEF = Mixed(Grammar("brief", ["Answer", "Reply", "Respond", "Give your answer", "Say it", "Please answer"], [" with the value", " with the bare value", " with just that value", " with one value", " with the answer itself", " with the exact words", " with the value from the text", " in one word or number"], [".", " only.", " and nothing else.", ", no sentence.", ", please.", " alone.", ", without more words."]),
              Pool("needle-brief", [
    "Answer with the value only.", "Just the value.", "Only the value, please.", "Reply with nothing else.", "One value, no sentence.", "Give only the value.",
    "Say the value and nothing more.", "Answer briefly, with the value alone.", "No explanation, only the value.", "Reply with the value only.", "Value only.",
    "Nothing but the value, please.", "Write just the value.", "Answer in as few words as possible.", "Keep it to the value itself.", "Respond with the bare value.",
    "I want the value and no sentence.", "Do not write a sentence, just the value.", "The value is enough.", "Short answer: the value."], 0.15))
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


def holder(rng, split):
    kind = rng.randrange(7)
    if kind == 5:
        return f"{rng.choice(('project', 'team', 'room', 'group', 'station', 'number', 'planet', 'agent'))} {rng.choice((pools.code(rng), pools.WORDS.draw(rng, split).capitalize()))}"
    if kind == 6:
        return f"the {pools.WORDS.draw(rng, split)}"
    if kind == 0:
        return "the " + pools.thing(rng, split)
    if kind == 1:
        return pools.person(rng, split)
    if kind == 2:
        return f"the {pools.NOUNS.draw(rng, split)} in {pools.CITIES.draw(rng, split)}"
    if kind == 3:
        return pools.company(rng, split)
    return f"the {pools.ANIMALS.draw(rng, split)} {pools.made_up_word(rng, split).capitalize()}"


def fact(rng, split, like=None):
    """(holder, what, value); `like` gives what is told of the holder."""
    kind, what = like or FACTS.draw(rng, split)
    if not like and rng.random() < 0.25:
        what = pools.WORDS.draw(rng, split)
    if kind == "number":
        value = str(rng.randint(10 ** rng.randint(2, 6), 10 ** 7 - 1))[: rng.randint(3, 7)]
    else:
        value = pools.NOUNS.draw(rng, split) if kind == "noun" else str(draw_value(rng, split, kind))
    return holder(rng, split), (kind, what), value


def distinct_facts(rng, split, n):
    """n facts; some share the holder or the kind with another one, so that both have to be matched."""
    found = {}
    while len(found) < n:
        who, what, value = fact(rng, split)
        if found and rng.random() < 0.35:
            other_who, other_what = rng.choice(list(found))
            who, what, value = (other_who, what, value) if rng.random() < 0.5 else fact(rng, split, other_what)
        found.setdefault((who, what), value)
    return [(who, what[1], value) for (who, what), value in found.items()]


def ask(rng, split, who, what):
    return phrasing.capital(QUESTIONS.draw(rng, split).format(who=who, what=what))


def sentence(rng, split, who, what, value):
    text = TELL.draw(rng, split).format(who=who, what=what, value=value)
    return text if text.startswith(value) else phrasing.capital(text)


def reply(rng, split, question, who, what, value):
    """(question, answer): the bare value when the question asks for it, else a sentence."""
    if split == "held" or rng.random() < 0.6:
        return f"{question} {BRIEF.draw(rng, split)}", value
    return question, f"The {what} of {who} is {value}."


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
    """Facts in prose, then questions about them, turn by turn; a few ask for what the text does not say."""
    n_facts = rng.randint(1, 3) if rng.random() < 0.3 else rng.randint(3, max(4, min(60, n_tokens // 80)))
    found = distinct_facts(rng, split, n_facts)
    size = max(200, (n_tokens - 60 - 65 * n_facts) * CHARACTERS_PER_TOKEN)
    context = plant(rng, filler.paragraphs(rng, split, size), [sentence(rng, split, *item) for item in found])
    rng.shuffle(found)
    turns = [reply(rng, split, ask(rng, split, who, what), who, what, value) for who, what, value in found]
    if rng.random() < 0.25:
        who, (_, what), _ = fact(rng, split)
        if (who, what) not in {(a, b) for a, b, _ in found}:
            turns.insert(rng.randint(0, len(turns)), (ask(rng, split, who, what), UNKNOWN))
    return conversation(rng, split, context, turns)


def conversation(rng, split, context, turns):
    first, answer = turns[0]
    messages = [user(phrasing.layout(rng, split, first=0.05).format(context=context, question=first)), assistant(answer)]
    for question, answer in turns[1:]:
        messages += [user(question), assistant(answer)]
    return Dialogue(messages)


def table(rng, split, n_tokens, _filler):
    """A list of keys and values in one of several layouts; lookups forwards and backwards."""
    n_rows = max(3, min(600, n_tokens // 17))
    make_key = rng.choice((pools.code, lambda r: pools.person(r, split), lambda r: pools.thing(r, split), lambda r: pools.made_up_word(r, split)))
    kind = rng.choice(("person", "city", "code", "count", "word", "date", "colour", "email"))
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
    found = distinct_facts(rng, split, max(2, min(120, n_tokens // 78)))
    messages, known = [], []
    for item in found:
        text = sentence(rng, split, *item)
        if n_tokens > 600 and rng.random() < 0.3:
            text += "\n\n" + filler.paragraph(rng, split)
        messages += [user(TALK.draw(rng, split).format(fact=text)), assistant(rng.choice(ACKNOWLEDGE))]
        known.append(item)
        if rng.random() < 0.6 or item is found[-1]:
            who, what, value = rng.choice(known)
            question, answer = reply(rng, split, ask(rng, split, who, what), who, what, value)
            messages += [user(question), assistant(answer)]
    return Dialogue(messages)


def reading(rng, split, n_tokens, _filler):
    """Records said in sentences, one after the other; questions name the record and the field."""
    n_records = max(2, min(190, n_tokens // 50))
    names = list(dict.fromkeys(holder(rng, split) for _ in range(n_records)))
    records = {name: draw_fields(rng, split, rng.randint(2, 4)) for name in names}
    blocks = []
    for name, fields in records.items():
        said = [state(rng, split, field, STATEMENTS.draw(rng, split)).rstrip(".").lstrip("-* ") for field in fields]
        blocks.append(f"About {name}: {'. '.join(said)}.")
    turns = []
    for name in rng.sample(names, min(len(names), rng.randint(2, max(12, n_tokens // 160)))):
        field = rng.choice(records[name])
        question = ask(rng, split, name, field.label)
        turns.append((f"{question} {BRIEF.draw(rng, split)}", field.text()))
    return conversation(rng, split, "\n".join(blocks), turns)


KINDS = {needles: 45, table: 15, quotation: 15, memory: 12, reading: 13}


def retrieval(rng, split, n_tokens, filler):
    make = rng.choices(list(KINDS), KINDS.values())[0]
    return make(rng, split, n_tokens, filler)


def needle_trial(rng, split, n_tokens, depth, filler, count):
    """One trial of the needle grid: one fact at `depth` (0 to 1) of a context that fills `n_tokens`, three others beside it.

    `count(text)` gives the number of tokens; the context is cut so that prompt and answer stay within n_tokens.
    """
    found = distinct_facts(rng, split, 4)
    (who, what, value), others = found[0], found[1:]
    question, answer = reply(rng, split, ask(rng, split, who, what), who, what, value)
    others = [sentence(rng, split, *item) for item in others]
    layout = phrasing.layout(rng, split, first=0.05)
    needle = sentence(rng, split, who, what, value)
    spare = n_tokens - count("\n\n".join([layout.format(context="", question=question), needle, *others])) - count(answer) - 24
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
    prompt = layout.format(context="\n\n".join(paragraphs), question=question)
    return Dialogue([user(prompt), assistant(answer)], note={"tokens": n_tokens, "depth": depth})
