"""Function calls with tools that come once only, for the second stage of training: names, keys and requests are made of hundreds of verbs, any nouns
and typed parameters, so that a call is copied from the list of tools and not remembered. See wide.py."""
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import pools
import tools
import wide
from dialogue import Dialogue, assistant, call, calls, tool_result, user
from fields import LABELS, draw_value
from phrasing import capital

VERBS = """accept activate adjust admit allow analyze announce answer arrange attach avoid block borrow bring build buy calculate carry catch choose claim clean clear collect combine compare complete compress
compute connect convert cook correct count cover cut decide decorate deliver deny deploy describe design destroy display divide download draw drive drop edit empty enable encrypt enter erase estimate examine exchange
explain fetch fill filter fix fold follow forward freeze grant group guess hang heat hire hold identify insert inspect install invite invoice join keep launch learn lend lift light limit link load log lower mail
make manage mark match measure merge mix monitor mount mute name notify observe offer order organize own pack paint park pay pick plan plant plot post predict prepare press produce protect prove pull punish purge push
quote raise reach read record recover reduce refill refresh refuse release reload remove render repair repeat replace report request rescue reserve restore retry return reveal roll rotate save scan score search select
sell separate serve shift ship shrink shuffle sign simulate skip solve sort spend split stack stamp store submit subscribe subtract summarize supply support suspend swap switch tag take teach tell test tie touch trace
track trade train transform transport trim turn type unpack update upload use validate verify visit wake walk wash watch weigh wrap write zoom""".split()
HELD_NAMES = tools.NATURAL_NAMES.parts["held"]
HELD_WORDS = {word for name in HELD_NAMES for word in name.split("_")} | set(tools.ENTITIES.parts["held"]) | set(tools.ACTIONS.parts["held"])
KNOWN_WORDS = {word for name in tools.NATURAL_NAMES.parts["train"] for word in name.split("_")} | set(tools.ACTIONS.parts["train"])
VERBS = [verb for verb in dict.fromkeys([*VERBS, *tools.ACTIONS.parts["train"]]) if verb not in HELD_WORDS or verb in KNOWN_WORDS]
HELD_KEYS = wide.HELD_LABELS | set(tools.PARAMETERS.parts["held"])

# How a request says a value by its kind; {l} is the parameter's label. The first list needs no label, as no other parameter is of that kind.
BARE = {
    "person": ["for {v}", "to {v}", "with {v}", "by {v}", "from {v}", "{v}", "of {v}", "({v})", "about {v}", "as {v}"], "city": ["in {v}", "to {v}", "from {v}", "near {v}", "at {v}", "of {v}", "around {v}", "{v}"],
    "date": ["on {v}", "until {v}", "by {v}", "from {v} on", "{v}", "for {v}", "before {v}", "starting {v}"], "time": ["at {v}", "after {v}", "before {v}", "{v}", "until {v}", "not before {v}", "for {v}"],
    "company": ["at {v}", "for {v}", "from {v}", "with {v}", "{v}", "of {v}", "via {v}"], "email": ["to {v}", "{v}", "for {v}", "at {v}", "({v})", "of {v}"], "code": ["{v}", "number {v}", "no. {v}", "#{v}", "under {v}", "with {v}"],
    "small": ["{v} times", "for {v} {u}", "{v} {u}", "up to {v}", "at most {v} {u}", "x {v}", "with {v} {u}", "of {v} {u}", "{v}", "to {v}", "by {v}"],
    "count": ["{v} {u}", "for {v} {u}", "of {v} {u}", "at most {v} {u}", "no more than {v}", "to {v}", "{v}"], "price": ["for {v} euros", "{v}", "up to {v}", "at {v}", "under {v}", "of {v} dollars", "not over {v}"],
    "noun": ["{v}", "the {v}", "of {v}", "in the {v}", "from the {v}", "for the {v}", "with {v}", "in {v}", "about {v}", "on the {v}"], "thing": ["{v}", "the {v}", "for the {v}", "of the {v}", "with a {v}", "about {v}"],
    "food": ["{v}", "with {v}", "of {v}", "for {v}", "some {v}"], "animal": ["the {v}", "a {v}", "of the {v}", "for the {v}", "{v}"], "colour": ["in {v}", "{v}", "to {v}", "as {v}", "with {v}"],
    "room": ["in the {v}", "of the {v}", "for the {v}", "the {v}", "{v}", "from the {v}"], "name": ["{v}", "at {v}", "called {v}", "in {v}", "of {v}", "for {v}"], "title": ["{v}", "called {v}", "of {v}", "for {v}", '"{v}"'],
    "phrase": ['"{v}"', 'with the text "{v}"', 'called "{v}"', 'saying "{v}"', ': "{v}"', 'about "{v}"', 'of "{v}"'], "path": ["{v}", "in {v}", "from {v}", "of {v}", "at {v}", "under {v}"],
    "job": ["as a {v}", "{v}", "for a {v}", "of the {v}"], "language": ["in {v}", "to {v}", "into {v}", "{v}", "from {v}"], "first": ["{v}", "for {v}", "of {v}", "called {v}", "to {v}"], "username": ["{v}", "of {v}", "for {v}", "as {v}", "to {v}"],
    "host": ["{v}", "on {v}", "of {v}", "at {v}", "from {v}"], "state": ["as {v}", "{v}", "to {v}", "that is {v}"], "topic": ["about {v}", "on {v}", "for {v}", "of {v}", "{v}"], "currency": ["in {v}", "to {v}", "{v}"], "sport": ["{v}", "for {v}", "of {v}"]}
NAMED = ["{l} {v}", "{l}: {v}", "the {l} is {v}", "with {l} {v}", "{v} as {l}", "{v} as the {l}", "its {l} is {v}", "{l} {v}", "the {l} {v}", "{l}={v}", "the {l}: {v}", "{l} ({v})", "{v} ({l})", "for {l} {v}", "a {l} of {v}", "at {l} {v}", "on {l} {v}",
         "{l} is {v}", "the {l} should become {v}", "{l} set to {v}", "and {v} for the {l}", "take {v} for the {l}", "use the {l} {v}", "whose {l} is {v}"]
PAIRS = {"city": [("origin", "from {v}"), ("goal", "to {v}"), ("first", "between {v}"), ("second", "and {v}"), ("start", "starting in {v}"), ("end", "ending in {v}")],
         "date": [("from_date", "from {v}"), ("to_date", "to {v}"), ("first_day", "starting {v}"), ("last_day", "ending {v}")], "time": [("start", "from {v}"), ("end", "to {v}"), ("opening", "after {v}"), ("closing", "before {v}")],
         "person": [("sender", "from {v}"), ("receiver", "to {v}"), ("giver", "by {v}"), ("taker", "for {v}")], "path": [("source", "from {v}"), ("target", "to {v}"), ("input", "{v}"), ("output", "to {v}")],
         "small": [("minimum", "from {v}"), ("maximum", "up to {v}"), ("least", "at least {v}"), ("most", "at most {v}"), ("width", "{v} wide"), ("height", "{v} high"), ("rows", "{v} rows"), ("columns", "{v} columns")],
         "currency": [("source", "from {v}"), ("target", "to {v}"), ("base", "{v}"), ("other", "in {v}")], "noun": [("item", "{v}"), ("box", "into the {v}"), ("object", "the {v}"), ("place", "on the {v}")]}
UNITS = "minutes hours days weeks nights pieces rows pages points percent degrees meters liters grams copies people seats steps words items lines guests persons entries".split()
# {V} verb, {n} noun, {f} what is said of the parameters. Both words, only the noun, only the verb: others of the list then lack that word.
BOTH = ["{V} the {n} {f}.", "{V} {n} {f}.", "{v} {n} {f}", "Please {v} the {n} {f}.", "Can you {v} the {n} {f}?", "I want to {v} the {n} {f}.", "Could you {v} a {n} {f}?", "{f}: {v} the {n}.", "I would like you to {v} the {n}, {f}.",
        "{V} my {n}: {f}.", "Let us {v} the {n} {f}.", "It is time to {v} the {n}: {f}.", "We should {v} {n}, {f}.", "Next, {v} the {n} {f}.", "Help me to {v} this {n}, {f}.", "The {n} needs you to {v} it: {f}.", "{f}. {V} {n}.",
        "How can I {v} the {n}? {f}.", "{V} one more {n} {f}.", "The {n}: {v} it, {f}.", "Do {v} the {n} {f}, please.", "Will you {v} our {n} {f}?", "You may {v} the {n} {f}.", "It would be good to {v} the {n} {f}.", "{V} the {n}! {f}."]
NOUN = ["{N} {f}, please.", "{N} {f}?", "I want {n} {f}.", "I need the {n} {f}.", "What is the {n} {f}?", "How is the {n} {f}?", "Which {n} {f}?", "Is there a {n} {f}?", "{f}: {n}.", "{f} {n}", "The {n} {f}, please.", "Show me the {n} {f}.",
        "What about {n} {f}?", "My {n} {f}?", "Tell me the {n} {f}.", "Do we have {n} {f}?", "Where is the {n} {f}?", "{N}: {f}", "How many {n} {f}?", "I think of {n} {f}.", "There should be {n} {f}.", "{f}, and it is about {n}.", "Make the {n} {f}.",
        "Let me have {n} {f}.", "Something with {n} {f}.", "I miss the {n} {f}.", "Who has the {n} {f}?", "In what {n} is it {f}?", "Does the {n} work {f}?", "I did {n} {f}. What now?", "New {n} {f}.", "See that the {n} is {f}."]
VERB = ["{V} {f}.", "Please {v} {f}.", "{v} {f}", "I want to {v} {f}.", "Can you {v} {f}?", "{f}, {v} it.", "Will you {v} {f}, please?", "You should {v} {f}.", "{V} it {f}.", "I must {v} {f}.", "{V}: {f}", "{V} this for me {f}.", "{f}. {V} that.",
        "Let us {v} {f}.", "{V}, please: {f}", "Would you {v} {f}?", "What happens if we {v} {f}?", "Do not forget to {v} {f}."]
BEFORE = ["I want {x} {n} {f}.", "{x} {n} {f}", "{x} {n} {f}, please.", "Make the {n} {x} {f}.", "The {n} must be {x}, {f}.", "Set the {n} to {x} {f}.", "{X} for the {n} {f}.", "{V} {x} {n} {f}.", "Please {v} the {x} {n} {f}.", "I need {x} {n} {f}.",
          "How about {x} {n} {f}?", "{V} the {n} {x}: {f}.", "I have {x} {n} {f}.", "My {n} is {x}, {f}.", "Can the {n} be {x} {f}?", "We got {x} {n} {f}. {V} it.", "Do you know {x}? I mean the {n} {f}.", "{X}, the {n} {f}.", "Give the {n} {x} {f}.",
          "{f}, {x} {n}.", "{x}: {n} {f}.", "{X} should be the {n} {f}."]
BEFORE_KINDS = ("colour", "small", "count", "food", "thing", "title", "name", "person", "city", "code", "noun", "animal", "room", "state", "language", "company")
ABOUT = ["{V} a {n}", "{V}s a {n}", "{V} one {n} of the user", "This function can {v} a {n}", "Use it to {v} a {n}", "{V} {n}", "Tool to {v} the {n}", "Can {v} any {n}", "{V} the given {n} and report the result", "{N}: {v} it", "{V} a {n} by its data",
         "Lets the user {v} a {n}", "For users who want to {v} a {n}", "{V} a {n} in the system"]
KEY_ABOUT = ["{l} of the {n}", "the {l}", "{l}", "which {l}", "{l} to use", "{l} for the {n}", "{L}, {t}", "{l} ({t})", "the {l} that is meant", "what {l} it has", "{l} as given by the user"]
HEADS = ["", "", "", "", "", "", "", "do_", "app_", "my_", "api_", "sys_", "tool_", "v1_", "user_"]
ENDS = ["", "", "", "", "", "", "", "_tool", "_v2", "_info", "_now", "_item", "_data", "_service", "_3", "_by_id"]


def noun(rng):
    while True:
        found = rng.choice((pools.NOUNS, pools.NOUNS, pools.WORDS, pools.FOODS, pools.ANIMALS)).draw(rng, "train") if rng.random() < 0.45 else rng.choice(tools.ENTITIES.parts["train"])
        if found.isalpha() and found not in HELD_WORDS:
            return found


def label(rng, kind, odd=False):
    """One that training has, or the kind's own name; an odd one is any word."""
    while True:
        if odd:
            found = rng.choice((wide.word(rng), f"{wide.word(rng)} {rng.choice(('name', 'value', 'number', 'id', 'list', 'type'))}", f"{rng.choice(('new', 'max', 'first', 'main', 'old', 'target'))} {wide.word(rng)}"))
        elif kind in LABELS and rng.random() < 0.65:
            found = LABELS[kind].draw(rng, "train")
        elif kind in ("small", "count", "price"):
            found = rng.choice(UNITS)
        else:
            found = {"colour": "color", "first": "name", "phrase": "text", "code": "number", "thing": "object", "email": "address"}.get(kind, kind)
        if found not in HELD_KEYS:
            return found
        odd = True  # a kind whose own name is held out


def parameters(rng):
    """[(key, label, kind, value, how the request says it)], keys different; of two alike, both are said with their label or as a pair."""
    found, used, odd_and_bare = {}, set(), False
    if rng.random() < 0.2:
        kind = rng.choice(list(PAIRS))
        at = 2 * rng.randrange(len(PAIRS[kind]) // 2)
        for name, form in PAIRS[kind][at : at + 2]:
            value = tools.argument(rng, "train", kind)
            found[name] = (name.replace("_", " "), kind, value, form.replace("{v}", spoken(rng, kind, value)))
        used.add(kind)
    n = rng.choice((1, 1, 2, 2, 3, 3, 4))
    while len(found) < n:
        kind = rng.choice(list(BARE))
        odd = rng.random() < 0.2
        name = label(rng, kind, odd)
        key = name.replace(" ", "_").replace("-", "_")
        if key in found or (kind in ("small", "count", "price") and used & {"small", "count", "price"} and rng.random() < 0.7):
            continue
        value = tools.argument(rng, "train", kind)
        alone = rng.random() < 0.55 and not used & alike(kind) and not (odd and odd_and_bare)
        odd_and_bare |= alone and odd
        used |= alike(kind)
        unit = name if name.endswith("s") else rng.choice(UNITS)
        form = rng.choice(BARE[kind] if alone else NAMED).replace("{l}", name).replace("{u}", unit)
        found[key] = (name, kind, value, form.replace("{v}", spoken(rng, kind, value)))
    return [(key, *rest) for key, rest in found.items()]


SAME = [{"small", "count", "price"}, {"noun", "thing", "food", "animal", "topic", "room", "colour", "job", "state", "sport"}, {"person", "first", "name", "company", "username"}, {"city", "name"}, {"phrase", "title"}, {"code", "host", "path"}]


def alike(kind):
    return {kind}.union(*(kinds for kinds in SAME if kind in kinds))


def spoken(rng, kind, value):
    return pools.spoken_date(value) if kind == "date" and rng.random() < 0.15 else tools.say(value)


def tool_name(rng, verb, thing):
    draw = rng.random()
    if draw < 0.1:
        name = rng.choice((thing, verb, f"{thing}_{wide.word(rng)}", f"{wide.word(rng)}_{thing}", f"{verb}_{wide.word(rng)}"))
    else:
        name = f"{verb}_{thing}" if draw < 0.85 else f"{thing}_{verb}"
    name = rng.choice(HEADS) + (f"{name}s" if rng.random() < 0.12 else name) + rng.choice(ENDS)
    name = tools.camel(name) if rng.random() < 0.18 else name
    return f"{name}_it" if name in tools.NATURAL else name


def wide_tool(rng, verb=None, thing=None):
    """(tool, request, arguments, result), and which of verb and noun the request says."""
    verb, thing = verb or rng.choice(VERBS), thing or noun(rng)
    made = parameters(rng)
    said = rng.choices(("both", "noun", "verb"), (50, 35, 15))[0]
    name = tool_name(rng, verb, thing)
    about = rng.choice(ABOUT).replace("{v}", verb).replace("{V}", capital(verb)).replace("{n}", thing).replace("{N}", capital(thing))
    declared = {key: (tools.json_type(kind), rng.choice(KEY_ABOUT).replace("{l}", text).replace("{L}", capital(text)).replace("{n}", thing).replace("{t}", "as YYYY-MM-DD" if kind == "date" else "as HH:MM" if kind == "time" else kind))
                for key, text, kind, _, _ in made}
    left_out = rng.choice(made)[0] if len(made) > 1 and rng.random() < 0.15 else None
    required = [key for key in declared if key != left_out and (rng.random() < 0.75 or len(made) == 1)]
    tool = tools.Tool(name, tools.with_article(about), declared, required, (verb, thing))
    pieces = [form for key, _, _, _, form in made if key != left_out]
    if rng.random() < 0.4:
        rng.shuffle(pieces)
    text, before = rng.choice({"both": BOTH, "noun": NOUN, "verb": VERB}[said]), ""
    if said != "verb" and len(pieces) > 1 and rng.random() < 0.3:
        first = next(((form, tools.say(value)) for _, _, kind, value, form in made if form in pieces and kind in BEFORE_KINDS and form.startswith(tools.say(value))), None)
        if first:
            pieces.remove(first[0])
            text, before = rng.choice([form for form in BEFORE if said == "both" or "{V}" not in form and "{v}" not in form]), first[0]
    joined = rng.choice((" ", ", ", " ", ", ", "; ", " and ")).join(pieces)
    asked = f"{thing}s" if rng.random() < 0.1 else thing
    for mark, replacement in {"v": verb, "V": capital(verb), "n": asked, "N": capital(asked), "x": before, "X": capital(before)}.items():
        text = text.replace("{" + mark + "}", replacement)
    text = capital(text.replace("{f}", joined)) if rng.random() < 0.9 else text.replace("{f}", joined)
    result = {label(rng, kind).replace(" ", "_").replace("-", "_"): tools.argument(rng, "train", kind) for kind in rng.choices(list(BARE), k=rng.randint(1, 3))}
    return tool, tools.with_article(text), {key: value for key, _, _, value, _ in made if key != left_out}, result, said


def any_wide(rng):
    """(tool, request, arguments, result), and what the request says of it: a wide tool, or one of the first stage under another name."""
    if rng.random() < 0.7:
        return wide_tool(rng)
    return *tools.any_tool(rng, "train"), "both"


def chosen_tools(rng, n):
    found, words = {}, set()
    while len(found) < n:
        made = any_wide(rng)
        mine = set(made[0].made_of)
        if not mine & words:
            found[tools.same_name(made[0])] = made
            words |= mine
    return list(found.values())


def with_others(rng, chosen):
    """Declarations of the chosen tools among up to six others, half of them near ones, none of which the request could mean."""
    listed = {made[0].name: made[0] for made in chosen}
    said = {tools.same_name(made[0]): made[4] for made in chosen}
    own = {word for made in chosen for word in made[0].made_of}
    for _ in range(rng.choice((0, 1, 2, 3, 4, 5, 6))):
        near = rng.choice(chosen)[0]
        if len(near.made_of) == 2 and rng.random() < 0.5:
            verb, thing = near.made_of
            kind = said[tools.same_name(near)]
            # With both words said, one may be shared; else only the word that was not said.
            same = {"verb": verb} if kind == "noun" or kind == "both" and rng.random() < 0.5 else {"thing": thing}
            other = wide_tool(rng, **same)[0]
            if own & (set(other.made_of) - set(same.values())):
                continue
        else:
            other = any_wide(rng)[0]
            if own & set(other.made_of) or len(other.made_of) == 1 and own & set(other.made_of[0].split("_")):
                continue
        listed.setdefault(other.name, other)
    order = list(listed.values())
    rng.shuffle(order)
    return [tool.declaration for tool in order]


def refusal(rng, declared):
    """A request that no declared tool fits, and the words that say so."""
    said = json.dumps(declared).lower()
    while True:
        tool, text, *_ = wide_tool(rng)
        if not any(word in said for word in tool.made_of):
            text = text if rng.random() < 0.6 else tools.UNRELATED.draw(rng, "train")
            return [user(wide.opened(rng, text)), assistant(tools.REFUSALS.draw(rng, "train"))]


def function_calls(rng):
    """Requests over one list of tools, each answered by its call and by what the result says; some ask for what no tool can do."""
    chosen = chosen_tools(rng, rng.choice((1, 2, 2, 3, 3, 4, 5)))
    declared = with_others(rng, chosen)
    messages = refusal(rng, declared) if rng.random() < 0.06 else []
    while chosen:
        tool, text, arguments, result, _ = chosen.pop()
        text = wide.opened(rng, text)
        if chosen and rng.random() < 0.12:
            other, more, others, second, _ = chosen.pop()
            messages += [user(f"{text} {rng.choice(('And', 'Also:', 'Then', 'After that:', 'Besides,', 'Second:', 'Next:', '2.'))} {more}"),
                         calls(call(tool.name, tools.ordered(tool, arguments)), call(other.name, tools.ordered(other, others)))]
            messages += [tool_result(result), tool_result(second), assistant(f"{tools.facts(result)} {tools.facts(second)}")] if chosen else []
        else:
            messages += tools.exchange(rng, "train", tool, text, arguments, result)[0]
    return Dialogue(tools.with_system(rng, "train", messages), tools=declared, check="call")
