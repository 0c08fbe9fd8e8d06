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
OPENERS = ["In Arc, ", "With Arc, ", "About Arc: ", "A question about Arc: ", "I use Arc. ", "I am new here. ", "Please tell me: ", "Quick question: ", "Hi! ", "Arc: "]


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
        clash = [item["ask"] for item in self.heldout if normal(item["ask"]) in self.questions]
        assert not clash, f"held-out questions that training asks too: {clash}"

    def add(self, phrasings, entry, answer):
        wants = entry.get("want", [""])
        questions = [phrase.format(name=entry["name"], want=want) for phrase in phrasings for want in (wants if "{want}" in phrase else wants[:1])]
        if questions and not ("{want}" in phrasings[0] and "want" not in entry):
            self.pairs.append((questions + (entry.get("ask", []) if phrasings in (FLAG_DOES, COMMAND_DOES, ROUTE_DOES, ERROR_WHY, TERM_WHAT) else []), [answer]))


def normal(text):
    return "".join(c for c in text.lower() if c.isalnum())


def worn(rng, text):
    """A question as people type it: with an opening, in lower case, without its last mark."""
    if rng.random() < 0.2:
        opener = rng.choice(OPENERS)
        text = opener + (text[0].lower() + text[1:] if opener.endswith(", ") and not text.startswith(("I ", "Arc")) else text)
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
    return Dialogue([user(worn(rng, rng.choice(questions))), assistant(rng.choice(answers))])
