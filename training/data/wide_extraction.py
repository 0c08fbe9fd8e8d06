"""JSON extraction in wide wording, for the second stage of training: see wide.py."""
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import extraction
import phrasing
import pools
import tools
import wide
from dialogue import Dialogue, assistant, system, to_json, user
from fields import LABELS, Field, draw_fields, draw_value, listed
from phrasing import capital
from records import RECORDS

VERBS = """return give write output make find get list pull show provide produce build fill deliver gather fetch take read print prepare supply compose put state report render
emit construct assemble generate name determine identify look_up pick select copy note record retrieve express encode serialize""".split()
OBJECTS = [" the fields {k}", " the keys {k}", " {k}, and nothing else,", " these values: {k}", " these keys: {k}", " the following: {k}", " only {k}", " just {k}", " what is said of {k}", " the values for {k}", " the entries {k}",
           " a record with {k}", " an object with the keys {k}", " one object with {k}", " an object that has {k}", " the data ({k})", " the attributes {k}", " the properties {k}", " the information on {k}", " all of {k}",
           " {k} from this", " {k} of the text", " what the text says about {k}", " the parts {k}", " the details {k}", " the members {k}", " my fields {k}", " each of {k}"]
ENDS = [" as JSON.", " in JSON.", " as a JSON object.", " in the form of JSON.", " (JSON).", " - JSON only.", " in JSON form.", ", as JSON, please.", " and use JSON.", " and write JSON.", " as one object in JSON.", ". Format: JSON.",
        ". Reply in JSON.", ". The answer must be JSON.", ". Only JSON counts.", ". I want JSON.", ". JSON!", " in JSON notation.", " and answer in JSON.", ". No text besides the JSON.", " as plain JSON.", ". A JSON object, please.",
        " as a JSON dictionary.", " in a JSON object.", ", all in JSON.", ". Write it in JSON."]
WHOLE = ["{k}: JSON.", "JSON: {k}", "JSON object: {k}.", "Keys {k}, in JSON.", "The keys are {k}. Answer with JSON.", "I want to know {k}. JSON, please.", "What do you find for {k}? JSON.", "How does the text give {k}? Answer in JSON.",
         "Which values have {k}? Reply with JSON.", "The text as JSON, keys {k}.", "Make JSON of it: {k}.", "Text to JSON, with {k}.", "My program reads JSON with {k}.", "The object has the keys {k}. Fill it, in JSON.",
         "I have a table with the columns {k}. Give the row as JSON.", "A parser expects JSON with {k}.", "Schema: {k}. Output: JSON.", "Columns: {k}. JSON.", "Tell me {k} in JSON.", "Can I have {k} in JSON?", "May I see {k} as JSON?",
         "JSON of {k}?", "Convert it. Wanted are {k}, as JSON.", "In JSON: {k}.", "As JSON I need {k}.", "With the keys {k}, make a JSON object.", "For {k}, write what the text says as JSON.", "Do you see {k}? Put it in JSON.",
         "Required: {k} (JSON).", "We store {k} as JSON. Please do it for this text.", "JSON, keys in this order: {k}.", "Give me JSON. It should have {k}.", "Take {k}. Make JSON.", "Use {k} as keys of a JSON object.", "{k} - in JSON.",
         "One JSON object. Keys: {k}.", "Which {k}? JSON.", "Answer in JSON, with {k}.", "Summarize in JSON with {k}.", "This as JSON ({k})!", "Object keys = {k}; format = JSON.", "{w}: {k}. JSON."]
POLITE = ["", "", "", "", "Please ", "Could you ", "Can you please ", "I want you to ", "You should ", "Kindly ", "Would you ", "Let us ", "Try to ", "Now please ", "We need you to ", "It would help to ", "Your task is to ", "You must ", "Then "]
MANY = [" Answer with a list of objects.", " Make a list.", " One object for each.", " There are several; give a list.", " As a list, please.", " Use a JSON list.", " An array of objects.", " Each entry is an object of a list.",
        " List all entries.", " For every entry one object.", " All of them in one list.", " The result is a list."]


def keys_said(rng, keys):
    match rng.randrange(12):
        case 0 | 1 | 2: return listed(keys)
        case 3 | 4: return ", ".join(keys)
        case 5: return ", ".join(f'"{key}"' for key in keys)
        case 6: return listed([f'"{key}"' for key in keys])
        case 7: return listed([f"`{key}`" for key in keys])
        case 8: return ", ".join(f"'{key}'" for key in keys)
        case 9: return "[" + ", ".join(keys) + "]"
        case 10: return rng.choice((" / ", "; ", " + ", " | ", ",")).join(keys)
    return "(" + ", ".join(keys) + ")"


def ask(rng, keys):
    draw = rng.random()
    if draw < 0.2:
        return extraction.ask_for(rng, "train", keys)
    if draw < 0.5:
        form = rng.choice(WHOLE)
    else:
        verb = rng.choice(VERBS).replace("_", " ") if rng.random() < 0.8 else wide.word(rng)
        form = capital(rng.choice(POLITE) + verb) + rng.choice(OBJECTS) + rng.choice(ENDS)
    if draw > 0.95:
        form = rng.choice(("JSON like {s}, please.", "Fill this in: {s}", "Answer in this form: {s}", "Complete {s}.", "The JSON looks like this: {s}", "Template: {s}")).replace(
            "{s}", "{" + ", ".join(f'"{key}": ...' for key in keys) + "}")
    return wide.filled(rng, form, k=keys_said(rng, keys))


# ---- texts ------------------------------------------------------------------------------------------------------------------

BEFORE = ["", "", "- ", "* ", "+ ", "# ", "> ", "{i}. ", "({i}) ", "[{i}] ", "o ", ". ", "~ ", "** ", "Field: ", "the "]
BETWEEN = [": ", ": ", ": ", ":", " : ", " = ", "=", " -> ", " => ", " is ", " | ", "\t", ":\t", ", ", " .. ", " ...... ", " :: ", " == ", ";", " / ", "> ", ": \"{v}\"", " ({v})", " [{v}]", ": '{v}'", " <{v}>", "={v};", " of {v}", "\n  ", ":\n"]
AFTER = ["", "", "", "", "", ";", ",", ".", " |", " *"]
JOINERS = ["\n", "\n", "\n", "\n\n", ", ", "; ", " | ", ". ", " / ", "  ", "\t", " -- ", ",\n", " * ", " and "]
STATED = ["The {l} is {v}.", "{L}: {v}.", "The {l} equals {v}.", "{v} is the {l}.", "As for the {l}, it is {v}.", "There is the {l} {v}.", "We have {v} as {l}.", "It comes with {l} {v}.", "The {l} reads {v}.", "{L} is set to {v}.", "Its {l}: {v}.",
          "{v} ({l}).", "For the {l} we have {v}.", "The {l} became {v}.", "Under {l} it says {v}.", "{v} was entered as the {l}.", "The {l} stays {v}.", "They gave the {l} as {v}.", "The {l} of it is {v}.", "The {l} will be {v}.", "A {l} of {v}.",
          "With {v} as the {l}.", "The {l} has been {v}.", "{L} {v}.", "The {l} must be {v}.", "Regarding the {l}: {v}.", "{L}, {v}.", "The {l} was found to be {v}.", "The {l} (here {v}) is known.", "One reads {v} for the {l}.", "Our {l} is {v}."]
# How a text says a value by what it is, without its label and with it.
BARE = {
    "person": ["by {v}", "from {v}", "with {v}", "for {v}", "thanks to {v}", "{v}", "we met {v}", "{v} was there", "to {v}", "asked {v}", "signed {v}", "{v} knows", "({v})"],
    "city": ["in {v}", "near {v}", "from {v}", "at {v}", "to {v}", "over {v}", "{v}", "({v})", "outside {v}", "not far from {v}", "on the way to {v}"],
    "company": ["at {v}", "for {v}", "with {v}", "{v}", "paid by {v}", "via {v}", "from {v}", "({v})"],
    "date": ["on {v}", "{v}", "since {v}", "until {v}", "by {v}", "before {v}", "after {v}", "({v})", "as of {v}"],
    "time": ["at {v}", "{v}", "around {v}", "before {v}", "after {v}", "at {v} sharp", "({v})", "not later than {v}"],
    "price": ["for {v} euros", "{v} dollars", "at {v}", "it costs {v}", "costing {v}", "worth {v}", "{v} in all", "at most {v}"],
    "count": ["{v} times", "{v} in all", "x {v}", "{v} of them", "{v} pieces", "about {v}"],
    "code": ["number {v}", "({v})", "no. {v}", "{v}", "under {v}", "see {v}", "#{v}", "marked {v}"],
    "email": ["write to {v}", "{v}", "<{v}>", "({v})", "mail {v}", "reach us at {v}"],
    "phrase": ["{v}", "it says {v}", "with the words {v}", "called {v}", "under {v}"],
    "thing": ["the {v}", "a {v}", "{v}", "one {v}", "this {v}", "about the {v}", "of the {v}"],
    "colour": ["in {v}", "all {v}", "painted {v}", "{v}"],
    "state": ["now {v}", "it is {v}", "still {v}", "{v}"],
    "job": ["as a {v}", "a {v}", "the {v}", "{v}"],
    "food": ["with {v}", "some {v}", "{v}", "of {v}"],
    "animal": ["a {v}", "the {v}", "with a {v}"],
}
NAMED = ["{l} {v}", "{l}: {v}", "{v} as {l}", "{v} ({l})", "the {l} {v}", "the {l} is {v}", "{v} is the {l}", "with {l} {v}", "a {l} of {v}", "its {l} is {v}", "whose {l} is {v}", "{l} = {v}", "by {l} {v}", "from the {l} {v}", "for the {l} {v}", "at {l} {v}",
         "the {l}, {v}", "{v}, the {l}", "{l} ({v})", "{v} for the {l}", "to the {l} {v}", "has the {l} {v}"]
ALIKE = [{"price", "count"}, {"thing", "colour", "state", "job", "food", "animal"}, {"person", "company"}]


def group(kind):
    return next((i for i, kinds in enumerate(ALIKE) if kind in kinds), kind)


def field(rng, kind, odd=0.35):
    """Labels are any word now and then: they are to be read, not known."""
    label = LABELS[kind].draw(rng, "train")
    if rng.random() < odd:
        label = rng.choice((wide.word(rng), f"{wide.word(rng)} {label.split()[-1]}", f"{wide.word(rng)} {wide.word(rng)}"))
    return Field(kind, label if label not in wide.HELD_LABELS else "item", draw_value(rng, "train", kind))


def wide_fields(rng, n):
    found = {}
    while len(found) < n:
        made = field(rng, rng.choice(list(LABELS)))
        found.setdefault(made.key, made)
    return list(found.values())


def said(rng, made):
    return pools.spoken_date(made.value) if made.kind == "date" and rng.random() < 0.25 else made.text()


def form(rng):
    """A form: one line or piece per field, all in one layout."""
    fields = wide_fields(rng, rng.randint(2, 7))
    before, between, after, joiner = (rng.choice(parts) for parts in (BEFORE, BETWEEN, AFTER, JOINERS))
    between = between if "{v}" in between else between + "{v}"
    case = rng.choice((str, str, capital, capital, str.upper, str.title))
    label = (lambda made: made.key) if rng.random() < 0.15 else (lambda made: made.label)
    lines = [before.format(i=i + 1) + case(label(made)) + between.format(v=made.text()) + after for i, made in enumerate(fields)]
    text = joiner.join(lines)
    if rng.random() < 0.4:
        text = f"{head(rng)}\n{text}"
    return {made.key: made.value for made in fields}, text


def head(rng):
    return rng.choice((wide.prose(rng, 6), capital(wide.word(rng)), f"{capital(wide.word(rng))} {wide.word(rng)}:", f"New {wide.word(rng)}", f"About the {wide.word(rng)}:", extraction.HEADS.draw(rng, "train")))


def stated(rng):
    """Every field in a sentence of its own, in one wording or in several."""
    fields = wide_fields(rng, rng.randint(1, 6))
    one = rng.choice(STATED) if rng.random() < 0.5 else None
    lines = [capital((one or rng.choice(STATED)).replace("{l}", made.label).replace("{L}", capital(made.label)).replace("{v}", said(rng, made))) for made in fields]
    return {made.key: made.value for made in fields}, rng.choice((" ", " ", "\n")).join(lines)


def composed(rng):
    """Fields said by what they are or with their label, in pieces between any words; of kinds that look alike, at most one lacks its label."""
    fields = {}
    for _ in range(rng.randint(2, 6)):
        kind = rng.choice(list(BARE))
        made = field(rng, kind)
        fields.setdefault(made.key, made)
    bare, pieces = set(), []
    for made in fields.values():
        known = made.label in LABELS[made.kind].parts["train"]
        alone = known and group(made.kind) not in bare and rng.random() < 0.65
        bare |= {group(made.kind)} if alone else set()
        pieces.append(rng.choice(BARE[made.kind] if alone else NAMED).replace("{l}", made.label).replace("{v}", said(rng, made)))
    if rng.random() < 0.5:
        rng.shuffle(pieces)
    for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
        pieces.insert(rng.randint(0, len(pieces)), rng.choice(("the {w}", "{w}", "and so on", "without {w}", "as usual", "we think", "a {w} {w}", "it was {w}", "then", "again", "of course", "with the {w}", "they say")).replace("{w}", wide.word(rng)))
    text = rng.choice((", ", ", ", " ", " ", "; ", ". ", "\n", " - ", " and ", " | ")).join(pieces)
    return {made.key: made.value for made in fields.values()}, capital(text) + rng.choice((".", "", "."))


OLD = {name: (extraction.RECORDS[name][0], extraction.TEXTS[name].parts["train"]) for name in extraction.RECORD_NAMES.parts["train"]}
assert not OLD.keys() & RECORDS.keys()
ALL = OLD | RECORDS


def natural(rng, name, reworded=0.5):
    """(values by key, text) of a record; with share `reworded`, other words stand for the keys that the text says: they are to be read."""
    kinds, texts = ALL[name]
    text, keys = rng.choice(texts), {key: key for key in kinds}
    if rng.random() < reworded:
        for key in kinds:
            said = re.compile(rf"(?<![\w{{]){key.replace('_', ' ')}(?![\w}}])", re.IGNORECASE)
            other = wide.word(rng) if rng.random() < 0.8 else f"{wide.word(rng)} {wide.word(rng)}"
            if key not in ("from", "to") and said.search(text) and other.replace(" ", "_") not in keys.values():
                text = said.sub(lambda found: capital(other) if found[0][0].isupper() else other, text)
                keys[key] = other.replace(" ", "_")
    values = {key: rng.choice(pools.MONTHS) if kind == "month" else extraction.record_value(rng, "train", kind) for key, kind in kinds.items()}
    shown = {key: pools.spoken_date(value) if kinds[key] == "date" and rng.random() < 0.25 else tools.say(value) for key, value in values.items()}
    return {keys[key]: value for key, value in values.items()}, text.format(**shown)


def any_name(rng):
    return rng.choice(list(RECORDS if rng.random() < 0.6 else OLD))


def renamed(rng, values, text):
    """A key in other clothes where the text says its word, so that keys are read and not remembered."""
    keys = {}
    for key in values:
        other = rng.choice((f"the_{key}", f"{key}_name", f"{key}_value", key.upper(), capital(key), f"{key}_1", f"my_{key}", f"{key}s", f"{key}_field", key.replace("_", "-"))) if rng.random() < 0.2 else key
        keys[key] = other
    return {keys[key]: value for key, value in values.items()}, text


def noisy(rng, text):
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
        noise = wide.prose(rng) if rng.random() < 0.4 else extraction.NOISE.draw(rng, "train")
        text = rng.choice((f"{noise} {text}", f"{text} {noise}", f"{text}\n{noise}", f"{noise}\n{text}"))
    return text


def wanted(rng, values, all_kinds):
    """The keys that are asked for, in any order; now and then one that the text does not have."""
    keys = list(values)
    if rng.random() < 0.55:
        keys = rng.sample(keys, rng.randint(1, len(keys)))
    if rng.random() < 0.12:
        extra = field(rng, rng.choice(all_kinds)).key
        if extra not in values:
            keys.insert(rng.randint(0, len(keys)), extra)
    return keys


def dialogue(rng):
    """A text and one to three requests about it."""
    draw = rng.random()
    if draw < 0.08:
        return several(rng)
    if draw < 0.54:
        values, text = natural(rng, any_name(rng))
    else:
        values, text = (form if draw < 0.72 else stated if draw < 0.84 else composed)(rng)
    if rng.random() < 0.15:
        values, text = renamed(rng, values, text)
    turns = []
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3))):
        keys = wanted(rng, values, list(LABELS))
        turns.append((ask(rng, keys), to_json({key: values.get(key) for key in keys})))
    return in_dialogue(rng, noisy(rng, text), turns)


def in_dialogue(rng, text, turns):
    messages = []
    for i, (question, answer) in enumerate(turns):
        if i == 0:
            question = wide.layout(rng, text, question) if rng.random() < 0.75 else phrasing.layout(rng, "train", 0.03, 0.4).format(question=question, context=text)
        messages += [user(question), assistant(answer)]
    if rng.random() < 0.25:
        messages.insert(0, system(extraction.SYSTEMS.draw(rng, "train") if rng.random() < 0.6 else wide.prose(rng)))
    return Dialogue(messages, check="json")


def several(rng):
    """Several records of one kind, one object for each."""
    name = any_name(rng)
    made = [natural(rng, name, reworded=0.0) for _ in range(rng.randint(2, 4))]
    keys = list(made[0][0])
    keys = keys if rng.random() < 0.7 else rng.sample(keys, rng.randint(2, len(keys)))
    question = ask(rng, keys) + (rng.choice(MANY) if rng.random() < 0.7 else rng.choice((" Answer with a list.", " One object per entry, in a list.")))
    return in_dialogue(rng, rng.choice((" ", "\n", "\n\n", "\n- ")).join(text for _, text in made), [(question, to_json([{key: values[key] for key in keys} for values, _ in made]))])
