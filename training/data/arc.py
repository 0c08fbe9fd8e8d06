"""Questions and answers about Arc, made from arc_facts.toml: facts with written-out questions, and tables of flags, commands, routes, errors,
terms whose questions come from phrasings here. The held-out questions stand in the file's [[heldout]] and appear nowhere else."""
import sys
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import pools
from dialogue import Dialogue, assistant, user

FLAG_DOES = ["What does {name} do?", "What is {name} for?", "Explain the flag {name}.", "What is the meaning of {name}?", "What happens when I give {name}?",
             "When do I use {name}?", "{name}?", "Describe {name}.", "What is the option {name}?", "What does the option {name} of arc do?"]
FLAG_HOW = ["How do I {want}?", "How can I {want}?", "Which flag do I use to {want}?", "I want to {want}.", "What must I type to {want}?", "How to {want}?",
            "Is there a flag to {want}?", "Which option lets me {want}?", "Can I {want}?", "I need to {want}. How?"]
FLAG_DEFAULT = ["What is the default of {name}?", "Which default does {name} have?", "What value has {name} if I do not give it?", "{name}: default?",
                "What is {name} set to by default?", "Default value of {name}?"]
NO_FLAG = ["What does {name} do?", "What is {name} for?", "Explain the flag {name}.", "What is the default of {name}?", "{name}?", "When do I use {name}?"]
COMMAND_DOES = ["What does {name} do?", "What is {name} for?", "Explain {name}.", "When do I use {name}?", "What happens when I type {name}?", "Describe the command {name}."]
COMMAND_HOW = ["How do I {want}?", "How can I {want}?", "Which command do I use to {want}?", "I want to {want}.", "Which command can {want}?", "How to {want}?",
               "Can I {want} with Arc?", "What do I type to {want}?"]
ROUTE_DOES = ["What does {name} do?", "What is the route {name} for?", "What does {name} answer?", "Explain {name}.", "When do I call {name}?"]
ROUTE_HOW = ["How do I {want} over HTTP?", "Which route do I call to {want}?", "Which endpoint can {want}?", "How does a client {want}?", "Over HTTP, how can I {want}?"]
ERROR_WHY = ["Why do I get {name}?", "What does {name} mean?", "I see {name}. What now?", "Arc says {name}. Why?", "How do I fix {name}?", "What causes {name}?",
             "I got {name}. What can I do?", "Help: {name}", "What is the remedy for {name}?"]
TERM_WHAT = ["What is {name}?", "What does {name} mean?", "Explain {name}.", "What is meant by {name}?", "Tell me about {name}.", "Define {name}.", "{name}?",
             "What is {name} in Arc?", "Can you explain {name}?", "How would you explain {name}?"]
OPENERS = ["In Arc, ", "With Arc, ", "About Arc: ", "A question about Arc: ", "I use Arc. ", "I am new here. ", "Please tell me: ", "Quick question: ", "Hi! ", "Arc: ",
           "Hello, ", "One question: ", "Sorry, ", "I wonder: ", "For my work with Arc: ", "Hey, ", "I want to know: ", "Excuse me, ", "So, ", "Dear Arc, "]
CLOSERS = [" Thanks.", " Thank you!", " Please answer briefly.", " I am new to Arc.", " I could not find it.", " Please explain.", " I use Arc.", " Be brief."]
REWORDED = [  # how a question begins, and other ways to say the same; {x} is the rest without its last mark
    ("How do I ", ["How can I {x}?", "How would I {x}?", "How does one {x}?", "What do I do to {x}?", "What is the way to {x}?", "Could you tell me how to {x}?",
                   "I would like to {x}. How?", "Please explain how to {x}.", "Show me how to {x}.", "What must I do to {x}?", "Is there a way to {x}?",
                   "How should I {x}?", "How is it possible to {x}?", "I do not know how to {x}."]),
    ("How can I ", ["How do I {x}?", "How could I {x}?", "How might I {x}?", "In which way can I {x}?", "Tell me how I can {x}."]),
    ("What is ", ["What's {x}?", "Could you tell me what {x} is?", "Do you know what {x} is?", "Say what {x} is.", "I would like to know what {x} is.",
                  "Can you say what {x} is?", "Please say what {x} is.", "What exactly is {x}?", "What might {x} be?", "What actually is {x}?"]),
    ("What are ", ["Which are {x}?", "Tell me {x}.", "Name {x}.", "Can you name {x}?", "I need {x}."]),
    ("What does ", ["What exactly does {x}?", "Could you say what {x}?", "Tell me what {x}."]),
    ("Which ", ["What {x}?", "Could you tell me which {x}?", "Do you know which {x}?", "Say which {x}."]),
    ("Does Arc ", ["Can Arc {x}?", "Is Arc able to {x}?", "Will Arc {x}?", "I wonder whether Arc can {x}.", "Do you know if Arc can {x}?", "Could Arc {x}?"]),
    ("Can Arc ", ["Is Arc able to {x}?", "Does Arc {x}?", "Could Arc {x}?", "Is it possible that Arc can {x}?", "May I expect Arc to {x}?"]),
    ("Can I ", ["Could I {x}?", "Am I able to {x}?", "Is it possible to {x}?", "May I {x}?", "Would it work to {x}?"]),
    ("Where ", ["Do you know where {x}?", "Tell me where {x}.", "Could you say where {x}?"]),
    ("Is ", ["Tell me: is {x}?", "Do you know: is {x}?", "Really, is {x}?"]),
    ("Do I ", ["Must I {x}?", "Will I {x}?", "Should I {x}?", "Tell me, do I {x}?"]),
]


class Facts:
    def __init__(self, path):
        data = tomllib.loads(Path(path).read_text())
        self.heldout = data["heldout"]
        self.pairs = []  # (questions, answers)
        for fact in data["fact"]:
            self.pairs.append((fact["ask"], fact["answers"]))
        for flag in data["flag"]:
            default = f" The default is {flag['default']}." if "default" in flag else ""
            self.add(FLAG_DOES, flag, f"{flag['name']} {flag['does']}.{default}")
            self.add(FLAG_HOW, flag, f"Use {flag['name']}: it {flag['does']}.")
            if default:
                self.add(FLAG_DEFAULT, flag, f"The default of {flag['name']} is {flag['default']}.")
        for command in data["command"]:
            self.add(COMMAND_DOES, command, f"{command['name']} {command['does']}.")
            self.add(COMMAND_HOW, command, f"Use {command['name']}: it {command['does']}.")
        for route in data["route"]:
            self.add(ROUTE_DOES, route, f"{route['name']} {route['does']}.")
            self.add(ROUTE_HOW, route, f"Call {route['name']}.")
        for error in data["error"]:
            self.add(ERROR_WHY, error, f"{error['cause']} {error['remedy']}")
        for term in data["term"]:
            self.add(TERM_WHAT, term, term["meaning"])
        self.questions = {normal(question) for questions, _ in self.pairs for question in questions}
        self.held_questions = {normal(item["ask"]) for item in self.heldout}
        clash = [item["ask"] for item in self.heldout if normal(item["ask"]) in self.questions]
        assert not clash, f"held-out questions that training asks too: {clash}"

    def add(self, phrasings, entry, answer):
        wants = entry.get("want", [""])
        questions = [phrase.format(name=entry["name"], want=want) for phrase in phrasings for want in (wants if "{want}" in phrase else wants[:1])]
        if questions and not ("{want}" in phrasings[0] and "want" not in entry):
            self.pairs.append((questions + (entry.get("ask", []) if phrasings in (FLAG_DOES, COMMAND_DOES, ROUTE_DOES, ERROR_WHY, TERM_WHAT) else []), [answer]))


def normal(text):
    return "".join(c for c in text.lower() if c.isalnum())


def reworded(rng, text):
    for opening, forms in REWORDED:
        if text.startswith(opening):
            return rng.choice(forms).format(x=text[len(opening):].rstrip("?.!"))
    return text


def worn(rng, text):
    """A question as people type it: in other words, with an opening, in lower case, without its last mark."""
    if rng.random() < 0.4 and "{" not in text:
        text = reworded(rng, text)
    if rng.random() < 0.2:
        opener = rng.choice(OPENERS)
        text = opener + (text[0].lower() + text[1:] if opener.endswith(", ") and not text.startswith(("I ", "Arc")) else text)
    if rng.random() < 0.08 and text[-1] in "?.!":
        text += rng.choice(CLOSERS)
    if rng.random() < 0.15:
        text = text.lower()
    if rng.random() < 0.15:
        text = text.rstrip("?.!")
    return text


def question(rng, split, facts):
    if split == "held":
        item = rng.choice(facts.heldout)
        return Dialogue([user(item["ask"]), assistant(item["must"][0])], check="contains", must=item["must"])
    if rng.random() < 0.04:
        name = "--" + "-".join(pools.made_up_word(rng, split) for _ in range(rng.randint(1, 2)))
        return Dialogue([user(worn(rng, rng.choice(NO_FLAG).format(name=name))), assistant(f"Arc has no flag {name}. See arc --help.")])
    questions, answers = rng.choice(facts.pairs)
    asked = rng.choice(questions)
    text = worn(rng, asked)
    return Dialogue([user(asked if any(held in normal(text) for held in facts.held_questions) else text), assistant(rng.choice(answers))])
