#!/usr/bin/env python3
"""Expected renderings of chat templates, from transformers' own renderer.

    make_template_golden.py [--templates FOLDER]

Writes into tests/goldens/templates:
  snippets.json       small templates (tools/template_snippets.py) with what they give: a text, or an error
  conversations.json  the conversations that real templates are rendered with
  real.json           per real template of FOLDER and conversation: length and hash of the rendering, or of the error's
                      text (the templates are other people's and are not part of the project)
  unicode.json        hashes of Python's case mappings and character classes over all code points
"""
import argparse
import datetime
import json
import pathlib
import unicodedata

import jinja2
from transformers.utils import chat_template_utils

from template_snippets import CONTEXT, SNIPPETS

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests/goldens/templates"
SPECIAL_TOKENS = {"bos_token": "<BOS>", "eos_token": "<EOS>", "unk_token": "<UNK>", "pad_token": "<PAD>"}


class PinnedDatetime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 6, 13, 4, 56)


def fnv1a(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def render(template, messages, tools, documents, add_generation_prompt, extra):
    """{"text"}, {"raised"} for raise_exception, or {"error"} for anything else that Python raises."""
    try:
        rendered, _ = chat_template_utils.render_jinja_template(
            conversations=[messages],
            tools=tools,
            documents=documents,
            chat_template=template,
            add_generation_prompt=add_generation_prompt,
            **{**SPECIAL_TOKENS, **extra},
        )
        return {"text": rendered[0]}
    except jinja2.exceptions.TemplateError as e:
        kind = "raised" if type(e) is jinja2.exceptions.TemplateError else "error"
        return {kind: str(e)}
    except Exception as e:  # whatever a template makes Python raise
        return {"error": f"{type(e).__name__}: {e}"}


def make_snippets():
    out = []
    for name, template, *rest in SNIPPETS:
        result = render(template, [], None, None, False, {**CONTEXT, **(rest[0] if rest else {})})
        case = {"name": name, "template": template}
        if rest:
            case["variables"] = rest[0]
        out.append({**case, **result})
    return {"variables": CONTEXT, "snippets": out}


def function(name, description, properties, required):
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


TOOLS = [
    function(
        "get_weather",
        "Weather at a place & time; says \"sunny\" <or> 'rain'.",
        {
            "city": {"type": "string", "description": "Name, e.g. Zürich"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
            "days": {"type": ["integer", "null"], "minimum": 1, "maximum": 7.5},
        },
        ["city"],
    ),
    function(
        "book",
        "Books a table.\nSecond line.",
        {
            "where": {
                "type": "object",
                "description": "The place",
                "properties": {"name": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}}},
                "required": ["name"],
            },
            "guests": {"type": "array", "items": {"type": "object", "properties": {"age": {"type": "number"}}}},
            "terrace": {"type": "boolean", "description": "Outside?"},
        },
        ["where", "guests"],
    ),
]
NO_PARAMETERS = [{"type": "function", "function": {"name": "now", "description": "The time", "parameters": {}}}]


def call(name, arguments, id="call00001"):
    """As OpenAI clients send it: the arguments are JSON text."""
    text = json.dumps(arguments, ensure_ascii=False)
    return {"id": id, "type": "function", "function": {"name": name, "arguments": text}}


def user(content):
    return {"role": "user", "content": content}


def system(content):
    return {"role": "system", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def tool(content, **more):
    return {"role": "tool", "content": content, **more}


WEATHER = call("get_weather", {"city": "Zürich", "days": 3, "unit": "celsius"})
BOOKING = call("book", {"where": {"name": "L'Œuf <&>", "tags": ["a", "b"]}, "guests": [{"age": 4.5}], "terrace": True}, "call00002")
PARTS = [{"type": "text", "text": "What is "}, {"type": "text", "text": "this?"}]
IMAGE = [{"type": "image"}, {"type": "text", "text": "Describe it."}]
STEPS = [user("Weather in Zürich, then book."), assistant("", tool_calls=[WEATHER]),
         tool("{\"sky\": \"blue\"}", name="get_weather", tool_call_id="call00001")]

# name, messages, and what else the template is given
CONVERSATIONS = [
    ("plain", [user("Hello, who are you?")], {}),
    ("system", [system("Be brief."), user("Hi")], {}),
    ("developer", [{"role": "developer", "content": "Be kind."}, user("Hi")], {}),
    ("multi_turn", [user("One"), assistant("Two"), user("Three"), assistant("Four"), user("Five")], {}),
    ("system_multi_turn", [system("S"), user("One"), assistant("Two"), user("Three")], {}),
    ("assistant_last", [user("Hello"), assistant("I am")], {}),
    ("empty_contents", [system(""), user(""), assistant(""), user("")], {}),
    ("none_content", [user("x"), assistant(None), user("y")], {}),
    ("missing_content", [user("x"), {"role": "assistant"}, user("y")], {}),
    ("white_space", [system("  s \n"), user("\n\n  a  b\t\n"), assistant("  c\n"), user(" d ")], {}),
    ("unicode", [system("Ünïcödé 🦀"), user("日本語 עברית \u2028 e\u0301 <|im_end|>"), assistant("ﬁn ẞ"), user("😀")], {}),
    ("parts", [user(PARTS)], {}),
    ("parts_system", [system([{"type": "text", "text": "Be brief."}]), user(PARTS), assistant([{"type": "text", "text": "A"}]), user("B")], {}),
    ("image", [user(IMAGE)], {}),
    ("two_users", [user("a"), user("b")], {}),
    ("assistant_first", [assistant("a"), user("b")], {}),
    ("unknown_role", [user("a"), {"role": "critic", "content": "b"}], {}),
    ("no_messages", [], {}),
    ("only_system", [system("S")], {}),
    ("late_system", [user("a"), system("S"), user("b")], {}),
    ("tools", [user("Weather?")], {"tools": TOOLS}),
    ("tools_system", [system("Use tools."), user("Weather?")], {"tools": TOOLS}),
    ("tools_empty", [user("Weather?")], {"tools": []}),
    ("tools_without_parameters", [user("Time?")], {"tools": NO_PARAMETERS}),
    ("tool_call", STEPS[:2], {"tools": TOOLS}),
    ("tool_call_with_text", [user("q"), assistant("Let me see.", tool_calls=[WEATHER])], {"tools": TOOLS}),
    ("tool_call_no_content", [user("q"), {"role": "assistant", "tool_calls": [WEATHER]}], {"tools": TOOLS}),
    ("tool_call_none_content", [user("q"), assistant(None, tool_calls=[WEATHER]), tool("r", tool_call_id="call00001")], {"tools": TOOLS}),
    ("tool_result", STEPS, {"tools": TOOLS}),
    ("tool_result_then_answer", [*STEPS, assistant("It is blue."), user("Thanks")], {"tools": TOOLS}),
    ("tool_result_without_tools", [*STEPS, assistant("It is blue."), user("Thanks")], {}),
    ("parallel_calls", [user("q"), assistant("", tool_calls=[WEATHER, BOOKING]), tool("r1", name="get_weather", tool_call_id="call00001"),
                        tool("r2", name="book", tool_call_id="call00002"), assistant("done"), user("more")], {"tools": TOOLS}),
    ("two_steps", [*STEPS, assistant("Now the table.", tool_calls=[BOOKING]), tool("ok <&> \"q\"", name="book", tool_call_id="call00002")], {"tools": TOOLS}),
    ("tool_result_parts", [*STEPS[:2], tool([{"type": "text", "text": "blue"}], name="get_weather", tool_call_id="call00001")], {"tools": TOOLS}),
    ("tool_call_no_arguments", [user("q"), assistant("", tool_calls=[call("now", {})]), tool("12:00", name="now", tool_call_id="call00001")], {"tools": NO_PARAMETERS}),
    ("thinking_field", [user("a"), assistant("b", reasoning_content="because"), user("c"), assistant("d", reasoning_content=" why\n")], {}),
    ("thinking_tags", [user("a"), assistant("<think>\nbecause\n</think>\n\nb"), user("c"), assistant("<think>x</think>d")], {}),
    ("thinking_tool", [user("a"), assistant("", reasoning_content="look up", tool_calls=[WEATHER]), tool("blue", name="get_weather", tool_call_id="call00001")], {"tools": TOOLS}),
    ("thinking_key", [user("a"), assistant("b", thinking="hm"), user("c")], {}),
    ("thinking_parts", [user("a"), assistant([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "b"}]), user("c")], {}),
    ("enable_thinking_on", [user("a")], {"extra": {"enable_thinking": True}}),
    ("enable_thinking_off", [user("a"), assistant("b"), user("c")], {"extra": {"enable_thinking": False}}),
    ("thinking_variable", [system("S"), user("a")], {"extra": {"thinking": True}}),
    ("no_think_switch", [user("a /no_think")], {}),
    ("reasoning_effort", [user("a")], {"extra": {"reasoning_effort": "high"}}),
    ("date_string", [system("S"), user("a")], {"extra": {"date_string": "01 Jan 2025"}}),
    ("model_identity", [user("a")], {"extra": {"model_identity": "You are X.", "builtin_tools": ["browser", "python"]}}),
    ("tools_in_user_message_off", [system("S"), user("a")], {"tools": TOOLS, "extra": {"tools_in_user_message": False}}),
    ("xml_tools", [user("a")], {"extra": {"xml_tools": TOOLS, "python_tools": TOOLS}}),
    ("documents", [user("a")], {"documents": [{"title": "T", "text": "Text <1>", "doc_id": 1}, {"title": "U", "text": "Other"}]}),
    ("controls", [user("a")], {"extra": {"controls": {"length": "long", "originality": "abstractive"}, "citations": True}}),
]


def make_conversations():
    return [{"name": name, "messages": messages, **more} for name, messages, more in CONVERSATIONS]


def with_objects(messages):
    """What a server does first: arguments that are JSON text become objects."""
    messages = json.loads(json.dumps(messages))
    for message in messages:
        for tool_call in message.get("tool_calls", []):
            tool_call["function"]["arguments"] = json.loads(tool_call["function"]["arguments"])
    return messages


def make_real(folder):
    out = {}
    for path in sorted(folder.glob("*.jinja")):
        cases = {}
        template = path.read_text()
        for name, messages, more in CONVERSATIONS:
            for prompt in (False, True):
                result = render(template, with_objects(messages), more.get("tools"), more.get("documents"), prompt, more.get("extra", {}))
                (kind, text), = result.items()
                key = name + ("+prompt" if prompt else "")
                cases[key] = "error" if kind == "error" else f"{kind} {len(text.encode())} {fnv1a(text)}"
        out[path.name] = {"template": fnv1a(template), "cases": cases}
    return out


def make_unicode():
    code_points = [chr(c) for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
    classes = ["isalpha", "isdecimal", "isdigit", "isnumeric", "isprintable", "islower", "isupper", "isspace"]
    mappings = ["upper", "lower", "title"]
    # A capital sigma after the character, which shows whether it is cased or case-ignorable.
    out = {"sigma": fnv1a("".join(("a" + c + "\u03a3" + c + "1" + c + "\u03a3").lower() for c in code_points))}
    for name in classes:
        out[name] = fnv1a("".join("1" if getattr(c, name)() else "0" for c in code_points))
    for name in mappings:
        out[name] = fnv1a("".join(getattr(c, name)() for c in code_points))
    return {"version": unicodedata.unidata_version, **out}


def write(name, data):
    (OUT / name).write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--templates", type=pathlib.Path, help="folder with real *.jinja files")
    args = parser.parse_args()
    chat_template_utils.datetime = PinnedDatetime
    OUT.mkdir(parents=True, exist_ok=True)
    write("snippets.json", make_snippets())
    write("conversations.json", make_conversations())
    write("unicode.json", make_unicode())
    if args.templates:
        write("real.json", make_real(args.templates))


if __name__ == "__main__":
    main()
