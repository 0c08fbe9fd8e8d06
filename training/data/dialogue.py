"""Dialogues, and how they become text: the same rendering as chat_template.jinja, cut into parts that are learned or only read."""
import json
from dataclasses import dataclass, field

END_OF_TEXT, IM_START, IM_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
TOOL_TAGS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
SPECIAL_TOKENS = (END_OF_TEXT, IM_START, IM_END)

TOOLS_HEAD = "# Tools\n\nYou may call these functions:\n<tools>\n"
TOOLS_TAIL = (
    "\n</tools>\n\nTo call a function, answer with its name and arguments as JSON:\n"
    '<tool_call>\n{"name": "NAME", "arguments": {}}\n</tool_call>'
)


@dataclass
class Dialogue:
    """Messages in OpenAI's form. In a held-out set the last message is the expected answer, judged by `check`."""

    messages: list
    tools: list = field(default_factory=list)
    check: str = "exact"  # exact: the whole text; contains: every text of `must`; json: equal values; call: equal calls
    must: list = field(default_factory=list)
    note: dict = field(default_factory=dict)  # what a table is grouped by, such as length and depth


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def system(text):
    return {"role": "system", "content": text}


def call(name, arguments):
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def calls(*tool_calls):
    return {"role": "assistant", "content": "", "tool_calls": list(tool_calls)}


def tool_result(value):
    return {"role": "tool", "content": value if isinstance(value, str) else to_json(value)}


def to_json(value):
    return json.dumps(value, ensure_ascii=False)


def answer_text(message):
    """What the model writes for an assistant message, its calls included."""
    parts = [message["content"]] if message["content"] else []
    for tool_call in message.get("tool_calls", ()):
        function = tool_call["function"]
        parts.append(f'<tool_call>\n{{"name": "{function["name"]}", "arguments": {to_json(function["arguments"])}}}\n</tool_call>')
    return "\n".join(parts)


def segments(messages, tools=()):
    """Yields (text, learned): joined they are the rendered conversation; learned parts are the assistant's words and their end."""
    messages = list(messages)
    if tools:
        head = messages.pop(0)["content"] + "\n\n" if messages[0]["role"] == "system" else ""
        lines = "\n".join(to_json(tool) for tool in tools)
        yield f"{IM_START}system\n{head}{TOOLS_HEAD}{lines}{TOOLS_TAIL}{IM_END}\n", False
    previous = None
    for i, message in enumerate(messages):
        role = message["role"]
        if role == "assistant":
            yield f"{IM_START}assistant\n", False
            yield answer_text(message) + IM_END, True
            yield "\n", False
        elif role == "tool":
            opening = "" if previous == "tool" else f"{IM_START}user"
            last = i + 1 == len(messages) or messages[i + 1]["role"] != "tool"
            yield f"{opening}\n<tool_response>\n{message['content']}\n</tool_response>{IM_END + chr(10) if last else ''}", False
        else:
            yield f"{IM_START}{role}\n{message['content']}{IM_END}\n", False
        previous = role


def prompt_text(dialogue):
    """The rendered conversation up to where the last answer begins."""
    body = "".join(text for text, _ in segments(dialogue.messages[:-1], dialogue.tools))
    return body + f"{IM_START}assistant\n"
