"""The held-out sets: dialogues whose facts, phrasings, values and filler training never saw, and how an answer is judged."""
import json
import random
import re

import dialogue
import retrieval

TASKS = ("arc", "calls", "answers", "extraction", "copying", "arithmetic", "conversion", "dates", "definition", "chat")
DEPTHS = [i / 9 for i in range(10)]
LENGTHS = [1024 * i for i in range(1, 9)]


def task_set(sources, task, n):
    """n dialogues of a task; of the questions about Arc, each held-out one once."""
    if task == "arc":
        return [dialogue.Dialogue([dialogue.user(item["ask"]), dialogue.assistant(", ".join(item["must"]))], check="contains", must=item["must"])
                for item in sources.arc.heldout]
    rng = random.Random(f"held-out/{task}")
    return [sources.exchange(task, rng, "held") for _ in range(n)]


def needle_set(sources, count, lengths=LENGTHS, depths=DEPTHS, tries=20):
    """The needle grid; `count(text)` gives the number of tokens."""
    rng = random.Random("held-out/needle")
    return [retrieval.needle_trial(rng, "held", n_tokens, depth, sources.filler, count) for n_tokens in lengths for depth in depths for _ in range(tries)]


def calls_in(text):
    """The calls of an answer as (name, arguments); None when a call is not valid JSON."""
    found = []
    for body in re.findall(r"<tool_call>\n?(.*?)\n?</tool_call>", text, re.DOTALL):
        try:
            call = json.loads(body)
            found.append((call["name"], call["arguments"]))
        except (ValueError, KeyError, TypeError):
            return None
    return found


def is_right(made, text):
    """Whether an answer passes the dialogue's check."""
    expected = dialogue.answer_text(made.messages[-1])
    if made.check == "exact":
        return text.strip() == expected
    if made.check == "contains":
        return all(part in text for part in made.must)
    if made.check == "call":
        return calls_in(text) == calls_in(expected) and re.sub(r"<tool_call>.*?</tool_call>", "", text, flags=re.DOTALL).strip() == ""
    try:
        return json.loads(text) == json.loads(expected)
    except ValueError:
        return False


def as_line(made, task):
    """One line of JSON, the form in which other programs read the sets."""
    return json.dumps({"task": task, "messages": made.messages[:-1], "tools": made.tools, "check": made.check, "must": made.must,
                       "expected": dialogue.answer_text(made.messages[-1]), **made.note}, ensure_ascii=False)


def from_line(line):
    """(task, dialogue) of a line that `as_line` wrote; calls of the expected answer stand in its text."""
    data = json.loads(line)
    task, expected = data.pop("task"), dialogue.assistant(data.pop("expected"))
    messages, tools, check, must = (data.pop(key) for key in ("messages", "tools", "check", "must"))
    return task, dialogue.Dialogue([*messages, expected], tools, check, must, note=data)
