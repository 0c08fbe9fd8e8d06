"""Wide wording, for the second stage of training only: requests, frames and sentences put together from so many parts, random words and pieces
of documents that no wording comes often. What the held-out sets hold out is held out here too."""
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import facts
import phrasing
import pools
from dialogue import Dialogue, assistant, user
from fields import LABELS
from phrasing import capital
import retrieval

HELD_LABELS = {label for pool in LABELS.values() for label in pool.parts["held"]} | set(facts.LABELS.parts["held"])
NOT_A_WORD = HELD_LABELS | set(phrasing.NAMES.parts["held"]) | {"task", "question"}  # the last two introduce held-out questions


def prose(rng, most=16):
    """A few words of a document in a row, as a sentence."""
    text = pools.SPANS.draw(rng, "train", rng.randint(3, most))
    return capital(text) + rng.choice((".", ".", ".", "!", "?", ":"))


def word(rng):
    """Any word that is not a held-out label or name of a text."""
    while True:
        found = rng.choice((pools.NOUNS, pools.NOUNS, pools.WORDS, pools.ADJECTIVES)).draw(rng, "train") if rng.random() < 0.9 else pools.made_up_word(rng, "train")
        if found.lower() not in NOT_A_WORD:
            return found


# ---- frames around a text and its question ----------------------------------------------------------------------------------

NAMES = [*phrasing.NAMES.parts["train"], *"mail post input data content snippet paragraph extract log comment draft chapter source sheet transcript reply memo script".split()]
FRAMES = ["<{n}>\n{t}\n</{n}>", "[{n}]\n{t}\n[/{n}]", "[{N}] {t}", "=== {N} ===\n{t}", "== {n}\n{t}\n==", "***\n{t}\n***", "~~~\n{t}\n~~~", "{\n{t}\n}", "({t})", "<<<{t}>>>", "| {t}",
          "{N} begins:\n{t}\n{N} ends.", "The {n} says:\n{t}", "This {n} came in today:\n{t}", "{N} no. 1:\n\n{t}", "My {n}:\n\n{t}", "> {t}", "* {t}", "Start of {n}\n{t}\nEnd of {n}",
          "'{t}'", "\"{t}\"", "'''\n{t}\n'''", "We have the following {n}: {t}", "See the {n} here.\n{t}", "Someone wrote this {n}:\n{t}", "## {N}\n{t}", "<!-- {n} -->\n{t}", "{N} >> {t}",
          "Consider the {n}: {t}", "Take this {n}.\n\n{t}", "There is a {n}:\n\n{t}", "From my {n}: {t}", "The {n} is as follows.\n\n{t}", "Attached {n}:\n{t}", "--- {n} ---\n{t}\n--- end ---"]
ASKED = ["Request: {q}", "What I want: {q}", "Instruction: {q}", "To do: {q}", "{W}: {q}", "[{q}]", "# {q}", "{q} Thank you.", "Now: {q}", "So: {q}", "Your turn. {q}", "User: {q}", "Prompt: {q}",
         "Here is what I ask: {q}", "Job: {q}", "My wish:\n{q}", "{q} Thanks!", "The exercise: {q}", "For you to do: {q}", ">>> {q}", "Problem: {q}", "{q} Please.", "(1) {q}", "** {q} **", "Order: {q}",
         "Then this: {q}", "Query: {q}", "{W} - {q}", "With this {w} in mind: {q}", "Goal: {q}"]
BREAKS = ["\n\n", "\n\n", "\n", "\n\n\n", "\n---\n", "\n\n***\n\n", " ", "\n\n====\n\n", "\n.\n"]


def filled(rng, form, **parts):
    """A form with its capital parts filled in too; {w} and {W} are any word."""
    noun = word(rng)
    for name, text in {"w": noun, "W": capital(noun), **parts}.items():
        form = form.replace("{" + name + "}", text)
    return form


def layout(rng, context, question, first=0.35):
    """Text and question in frames; sometimes a sentence that has nothing to do with either stands before, between or behind them."""
    name = rng.choice(NAMES) if rng.random() < 0.7 else word(rng)
    text = context if rng.random() < 0.4 else filled(rng, rng.choice(FRAMES), n=name, N=capital(name), t=context)
    question = question if rng.random() < 0.5 else filled(rng, rng.choice(ASKED), q=question)
    parts = [question, text] if rng.random() < first else [text, question]
    if rng.random() < 0.03:
        parts = [question, text, question]
    if rng.random() < 0.2:
        parts.insert(rng.randint(0, len(parts) - 1), greeting(rng))
    return rng.choice(BREAKS).join(parts)


OPENERS = ["I need some help.", "Help!", "Hello Arc.", "Arc,", "Hi.", "I am back.", "Look at this.", "Good afternoon.", "Listen:", "Please.", "I have work for you.", "It is urgent.", "Take your time.",
           "This is important.", "Thanks in advance.", "I am not sure about this.", "Are you there?", "Sorry to bother you.", "Let us begin.", "Now something else.", "Well,", "So,", "Okay."]


def greeting(rng):
    return rng.choice((rng.choice(OPENERS), rng.choice(OPENERS), rng.choice(phrasing.OPENERS.parts["train"]).strip(), prose(rng), prose(rng, 8)))


def opened(rng, text, share=0.2):
    return f"{greeting(rng)} {text}" if rng.random() < share else text


# ---- facts ------------------------------------------------------------------------------------------------------------------

HEADS = ["I heard that", "we know that", "everybody knows that", "I read that", "the sign says that", "my friend wrote that", "it turned out that", "the list shows that", "since last week",
         "according to {p}", "{p} says that", "{p} told us that", "as {p} wrote,", "I can tell you that", "we can say that", "I am sure that", "it is true that", "you should know that", "do not forget that", "officially,",
         "as a matter of fact,", "in the end,", "from today,", "in truth,", "for your information,", "as always,", "nowadays,", "in this case,", "it is written that", "I found out that", "we were told that",
         "the letter says that", "at present,", "as far as I know,", "I noticed that", "they say that", "let me add that", "I must say that", "it seems that", "as was announced,", "this year,", "once more:",
         "in short,", "I promise that", "nobody doubts that", "I can see that", "I assure you that", "{w}:", "in the {w},", "because of the {w},", "after the {w},", "I can prove that", "of course,"]
BODIES = ["the {what} of {who} is {value}", "the {what} of {who} became {value}", "the {what} of {who} stays {value}", "the {what} of {who} equals {value}", "the {what} of {who} is now {value}",
          "the {what} of {who} is still {value}", "the {what} of {who} has become {value}", "the {what} of {who} is said to be {value}", "{value} became the {what} of {who}", "{value} is now the {what} of {who}",
          "{value} was chosen as the {what} of {who}", "{value} was named as the {what} of {who}", "{value} is given as the {what} of {who}", "{value} was written down as the {what} of {who}",
          "{value} serves as the {what} of {who}", "{whose} {what} is {value}", "{whose} {what} is now {value}", "{whose} {what} became {value}", "{whose} {what} is known to be {value}", "{whose} {what} reads {value}",
          "{who} got {value} as the {what}", "{who} has {value} for the {what}", "{who} comes with the {what} {value}", "{who} keeps {value} as the {what}", "with {who} the {what} is {value}",
          "at {who} the {what} is {value}", "in the case of {who}, the {what} is {value}", "when it comes to {who}, the {what} is {value}", "the {what} that belongs to {who} is {value}",
          "the {what} which {who} has is {value}", "the {what} of {who}, which is {value}, did not change", "the {what} ({who}) is {value}", "{who}, whose {what} is {value}, was there",
          "the {what} of {who} had to be {value}", "the {what} of {who} may be {value}", "the {what} of {who} was found to be {value}", "the {what} of {who} has long been {value}", "the {what} of {who} continues to be {value}",
          "the {what} noted for {who} is {value}", "the {what} listed under {who} is {value}", "they entered {value} as the {what} of {who}", "one gave {value} as the {what} of {who}", "{who}: {what} {value}",
          "{what} of {who}: {value}", "{who} - {what}: {value}", "[{who}] {what} = {value}", "{who} has as its {what} {value}", "{value} has been the {what} of {who}"]
QUESTIONS = ["what is the {what} of {who}?", "what is {whose} {what}?", "which is the {what} of {who}?", "what would be the {what} of {who}?", "tell me what the {what} of {who} is.", "what could the {what} of {who} be?",
             "{whose} {what}?", "{who}: {what}?", "{what} of {who}?", "the {what} of {who} is what?", "say what {whose} {what} is.", "find out the {what} of {who}.", "I want the {what} of {who}.", "show me the {what} of {who}.",
             "what has {who} as the {what}?", "what did they give as the {what} of {who}?", "can you see what the {what} of {who} is?", "do you see {whose} {what}?", "what is written about the {what} of {who}?",
             "what do we learn about the {what} of {who}?", "let me know the {what} of {who}.", "remind me of the {what} of {who}.", "what is it, the {what} of {who}?", "where the text names the {what} of {who}, what is it?",
             "check the {what} of {who}.", "read out {whose} {what}.", "could you find the {what} of {who}?", "would you tell me {whose} {what}?", "may I have the {what} of {who}?", "I must know {whose} {what}.",
             "in the text there is the {what} of {who}. What is it?", "which value is given for the {what} of {who}?", "how is the {what} of {who} given?", "about {who}: what is the {what}?", "concerning {who}, which {what} is named?",
             "the text mentions the {what} of {who}; what is it?", "help me find {whose} {what}.", "now the {what} of {who}.", "please look for the {what} of {who}.", "what {what} is there for {who}?", "what {what} belongs to {who}?"]
LEADS = ["", "", "", "", "from what you read, ", "going by the text, ", "by the text, ", "in what I gave you, ", "please say, ", "do tell, ", "so, ", "now, ", "as you read above, ", "here, ", "let me ask: ", "I wonder: ",
         "a question: ", "next, ", "then, ", "my question is this: ", "{w}: ", "please, ", "okay, ", "if you read it all, ", "just this: ", "look again: ", "think: "]
TAILS = ["Value only.", "Only the value.", "Nothing else.", "One value, please.", "Do not explain.", "No sentence.", "Without explanation.", "No more than the value.", "In short.", "Keep it short.", "As short as you can.",
         "A bare answer.", "No comments.", "Only what was asked.", "Just that.", "Plain answer.", "No extra words.", "Say only that.", "Write the value and nothing more.", "Reply in a few words.", "No talk, please.",
         "No reasons, please.", "Not a whole sentence.", "Answer exactly.", "Copy the value.", "Exactly as the text has it."]
UNITS = "kilograms grams tons pounds euros dollars francs crowns meters inches feet miles kilometers liters gallons hours minutes days weeks months years degrees percent watts volts points pages steps votes rooms seats knots".split()


def fact(rng):
    """(holder, label, value); a fifth of the labels is any word, a fifth of the values a number with a unit, or a few words."""
    who, (holder, what, kind), value = facts.fact(rng, "train")
    if rng.random() < 0.2:
        what = rng.choice((word(rng), f"{word(rng)} {word(rng)}", f"{what} of the {word(rng)}", f"{rng.choice(('first', 'last', 'new', 'old', 'second', 'main', 'favorite', 'next'))} {word(rng)}"))
    draw = rng.random()
    if draw < 0.15:
        value = f"{rng.choice((rng.randint(2, 999), rng.randint(1000, 90000), rng.randint(10, 99) / 10))} {rng.choice(UNITS)}"
    elif draw < 0.2:
        value = " ".join(word(rng) for _ in range(rng.randint(1, 3)))
    return who, what, value


def distinct_facts(rng, n):
    """As in facts.py: a good part shares the holder or the label with others."""
    found = {}
    while len(found) < n:
        who, what, value = fact(rng)
        if found and rng.random() < 0.45:
            other_who, other_what = rng.choice(list(found))
            who, what = (who, other_what) if rng.random() < 0.5 else (other_who, what)
        found.setdefault((who, what), value)
    return [(*key, value) for key, value in found.items()]


HELD_STATEMENTS = [*facts.PLAIN.parts["held"], *facts.TELL.parts[1].parts["held"]]


def tell(rng, who, what, value):
    held = {facts.worded(form, who, what, value) for form in HELD_STATEMENTS}
    while (text := any_statement(rng, who, what, value)) in held:
        pass
    return text


def any_statement(rng, who, what, value):
    if rng.random() < 0.25:
        return facts.sentence(rng, "train", who, what, value)
    text = facts.worded(rng.choice(BODIES), who, what, value)
    if rng.random() < 0.4:
        return text + "."
    head = filled(rng, rng.choice(HEADS), p=pools.person(rng, "train"))
    name_first = text.startswith((value, capital(who))) and not who.startswith("the ")
    return capital(f"{head} {text if name_first else text[:1].lower() + text[1:]}") + rng.choice((".", ".", ".", "!", ""))


def ask(rng, who, what):
    if rng.random() < 0.25:
        return facts.ask(rng, "train", who, what)
    form = rng.choice(QUESTIONS)
    lead = filled(rng, rng.choice(LEADS)) if form[0] != "{" else ""
    text = form.format(who=who, what=what, whose=facts.genitive(who))
    text = capital(lead + text) if lead or not text.startswith(who) else text
    return f"{text} {rng.choice(TAILS)}" if rng.random() < 0.5 else text


def needles(rng, n_tokens, filler):
    """As retrieval.needles, worded widely, with more facts that look like the asked ones."""
    most = max(4, min(70, n_tokens // 70))
    draw = rng.random()
    n_facts = rng.randint(1, 4) if draw < 0.35 else rng.randint(3, most) if draw < 0.6 else rng.randint(2 * most // 3, most)
    found = distinct_facts(rng, n_facts)
    size = max(200, (n_tokens - 60 - 76 * n_facts) * retrieval.CHARACTERS_PER_TOKEN)
    context = retrieval.plant(rng, filler.paragraphs(rng, "train", size), [tell(rng, *item) for item in found])
    turns = [(ask(rng, who, what), value) for who, what, value in rng.sample(found, n_facts) + rng.sample(found, n_facts // 3)]
    if rng.random() < 0.04:
        who, what, _ = fact(rng)
        if who not in context:
            turns.insert(rng.randint(0, len(turns)), (ask(rng, who, what), retrieval.UNKNOWN))
    (first, answer), *others = turns
    messages = [user(layout(rng, context, first, 0.03)), assistant(answer)]
    for question, answer in others:
        messages += [user(opened(rng, question, 0.05)), assistant(answer)]
    return Dialogue(messages)


# ---- words in other letters -------------------------------------------------------------------------------------------------

CASES = (lambda words: " ".join(words), lambda words: capital(" ".join(words)), lambda words: " ".join(map(capital, words)), lambda words: " ".join(words).upper(),
         lambda words: "_".join(words), lambda words: "-".join(words), lambda words: words[0] + "".join(map(capital, words[1:])), lambda words: "_".join(words).upper())


def cases(rng, n_tokens):
    """Plain text, no dialogue: words, then the same in other letters, so that a key is found where the text writes it otherwise. Parts (text,
    whether it is learned)."""
    some_words = lambda: [rng.choice((pools.WORDS, pools.WORDS, pools.NOUNS, pools.ADJECTIVES)).draw(rng, "train").lower() for _ in range(rng.choice((1, 1, 1, 2, 2, 3)))]
    items = [some_words() for _ in range(max(3, n_tokens // 10))]
    first, second = rng.sample(CASES, 2)
    between = rng.choice(("\n", ", ", "; ", " | "))
    return [(between.join(map(first, items)) + "\n\n", False), (between.join(map(second, items)) + "\n", True)]
