"""Function calls for given tool lists, and answers from tool results.

Tools come from two sources: natural ones written out below, and composed ones (an action on an entity with typed parameters, in
part with made-up names). Tool names, entities, labels and phrasings are split into training and held-out parts.
"""
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import pools
from dialogue import Dialogue, assistant, call, calls, system, tool_result, user
from fields import draw_fields, draw_value
from pools import Pool

# name: (description, {parameter: (kind, description)}, requests, answers). A parameter whose name ends in ? is optional.
NATURAL = {
    "get_weather": ("Get the current weather of a city", {"city": ("city", "name of the city")}, [
        "What is the weather in {city}?", "How is the weather in {city} today?", "Is it raining in {city}?", "Weather for {city}, please.",
        "Do I need an umbrella in {city}?"], {"temperature": "count", "condition": "state"}),
    "get_forecast": ("Get the weather forecast for some days", {"city": ("city", "name of the city"), "days": ("small", "number of days")}, [
        "Give me the forecast for {city} for the next {days} days.", "What will the weather be in {city} over {days} days?",
        "{days}-day forecast for {city}, please.", "Show a forecast of {days} days for {city}."], {"summary": "state"}),
    "get_local_time": ("Get the local time of a city", {"city": ("city", "name of the city")}, [
        "What time is it in {city}?", "Tell me the local time in {city}.", "How late is it in {city} now?", "Current time in {city}?"], {"time": "time"}),
    "convert_currency": ("Convert an amount of money", {"amount": ("price", "amount to convert"), "source": ("currency", "currency code"),
                                                        "target": ("currency2", "currency code")}, [
        "Convert {amount} {source} to {target}.", "How much is {amount} {source} in {target}?", "What are {amount} {source} worth in {target}?",
        "Change {amount} {source} into {target}."], {"result": "price"}),
    "send_email": ("Send an email", {"to": ("email", "address of the recipient"), "subject": ("thing", "subject line")}, [
        "Send an email to {to} with the subject {subject}.", "Write to {to}; the subject is {subject}.", "Mail {to} about {subject}.",
        "Please email {to}, subject: {subject}"], {"id": "code"}),
    "set_timer": ("Start a timer", {"minutes": ("small", "length in minutes")}, [
        "Set a timer for {minutes} minutes.", "Wake me in {minutes} minutes.", "Start a {minutes} minute timer.", "Timer: {minutes} minutes"], {"id": "code"}),
    "set_alarm": ("Set an alarm clock", {"time": ("time", "time as HH:MM")}, [
        "Set an alarm for {time}.", "Wake me up at {time}.", "I want to get up at {time}.", "Alarm at {time}, please."], {"id": "code"}),
    "add_event": ("Add an event to the calendar", {"title": ("thing", "title of the event"), "date": ("date", "date as YYYY-MM-DD"),
                                                   "time?": ("time", "time as HH:MM")}, [
        "Put {title} into my calendar on {date}.", "Add an event called {title} on {date}.", "I have {title} on {date}. Note it.",
        "Calendar entry: {title}, {date}"], {"id": "code"}),
    "book_table": ("Book a table in a restaurant", {"restaurant": ("word", "name of the restaurant"), "guests": ("small", "number of guests"),
                                                    "time": ("time", "time as HH:MM")}, [
        "Book a table for {guests} at {restaurant} at {time}.", "Reserve {restaurant} for {guests} people, {time}.",
        "We are {guests} and want to eat at {restaurant} at {time}.", "Table at {restaurant}, {time}, {guests} guests."], {"booking": "code"}),
    "search_flights": ("Search flights between two cities", {"origin": ("city", "city of departure"), "destination": ("city2", "city of arrival"),
                                                             "date": ("date", "date as YYYY-MM-DD")}, [
        "Find flights from {origin} to {destination} on {date}.", "I want to fly from {origin} to {destination} on {date}.",
        "Which flights go from {origin} to {destination} on {date}?", "Flights {origin} to {destination}, {date}"], {"flight": "code", "price": "price"}),
    "book_hotel": ("Book a hotel room", {"city": ("city", "name of the city"), "check_in": ("date", "date as YYYY-MM-DD"), "nights": ("small", "number of nights")}, [
        "Book a hotel in {city} from {check_in} for {nights} nights.", "I need a room in {city} for {nights} nights starting {check_in}.",
        "Hotel in {city}, {nights} nights, arriving {check_in}."], {"booking": "code"}),
    "play_music": ("Play music of an artist", {"artist": ("person", "name of the artist")}, [
        "Play something by {artist}.", "Put on music of {artist}.", "I want to hear {artist}.", "Play {artist}, please."], {"track": "thing"}),
    "set_volume": ("Set the loudness", {"level": ("small", "level from 0 to 100")}, [
        "Set the volume to {level}.", "Volume {level}, please.", "Turn the sound to {level}.", "Make it as loud as {level}."], {"level": "small"}),
    "set_light": ("Set the color of a lamp", {"room": ("noun", "name of the room"), "color": ("colour", "name of the color")}, [
        "Make the light in the {room} {color}.", "Set the {room} lamp to {color}.", "I want {color} light in the {room}."], {"state": "state"}),
    "set_temperature": ("Set the heating of a room", {"room": ("noun", "name of the room"), "degrees": ("small", "degrees Celsius")}, [
        "Heat the {room} to {degrees} degrees.", "Set the {room} to {degrees} degrees.", "I want {degrees} degrees in the {room}."], {"state": "state"}),
    "get_stock_price": ("Get the price of a company's stock", {"company": ("company", "name of the company")}, [
        "What is the stock price of {company}?", "How much is a share of {company}?", "Stock of {company}?", "At what price does {company} trade?"], {"price": "price"}),
    "track_parcel": ("Find out where a parcel is", {"number": ("code", "tracking number")}, [
        "Where is my parcel {number}?", "Track {number}.", "What is the status of parcel {number}?", "Has {number} been delivered?"],
        {"status": "state", "location": "city"}),
    "translate": ("Translate a text", {"text": ("phrase", "text to translate"), "language": ("language", "language of the result")}, [
        'Translate "{text}" into {language}.', 'How do you say "{text}" in {language}?', 'What is "{text}" in {language}?', '"{text}" in {language}, please.'],
        {"translation": "word"}),
    "define_word": ("Look up a word in a dictionary", {"word": ("noun", "word to look up")}, [
        "Look up {word} in the dictionary.", "Find the dictionary entry of {word}.", "Use the dictionary: what does {word} mean?"], {"definition": "thing"}),
    "create_reminder": ("Remind the user of something", {"text": ("phrase", "what to remember"), "date": ("date", "date as YYYY-MM-DD")}, [
        'Remind me of "{text}" on {date}.', 'On {date} I must not forget "{text}".', 'Create a reminder "{text}" for {date}.'], {"id": "code"}),
    "add_note": ("Save a note", {"text": ("phrase", "text of the note")}, [
        'Note "{text}".', 'Save the note "{text}".', 'Write down "{text}".', 'Take a note: "{text}"'], {"id": "code"}),
    "call_contact": ("Call a person by phone", {"name": ("person", "name of the person")}, [
        "Call {name}.", "Phone {name}, please.", "I want to talk to {name} on the phone.", "Dial {name}."], {"state": "state"}),
    "send_message": ("Send a text message", {"name": ("person", "name of the recipient"), "text": ("phrase", "text of the message")}, [
        'Tell {name} "{text}".', 'Send {name} the message "{text}".', 'Text {name}: "{text}"', 'Write "{text}" to {name}.'], {"state": "state"}),
    "get_distance": ("Get the distance between two cities", {"origin": ("city", "first city"), "destination": ("city2", "second city")}, [
        "How far is it from {origin} to {destination}?", "Distance between {origin} and {destination}?", "How many kilometers lie between {origin} and {destination}?"],
        {"kilometers": "count"}),
    "find_recipe": ("Find a recipe", {"ingredient": ("food", "main ingredient"), "minutes?": ("small", "longest cooking time")}, [
        "Find a recipe with {ingredient}.", "What can I cook with {ingredient}?", "A dish with {ingredient}, please."], {"dish": "thing"}),
    "read_file": ("Read a file", {"path": ("path", "path of the file")}, [
        "Show me the file {path}.", "What is in {path}?", "Read {path}.", "Open {path}."], {"content": "thing"}),
    "delete_file": ("Delete a file", {"path": ("path", "path of the file")}, [
        "Delete {path}.", "Remove the file {path}.", "Get rid of {path}."], {"state": "state"}),
    "list_files": ("List the files of a folder", {"folder": ("path", "path of the folder")}, [
        "Which files are in {folder}?", "List the folder {folder}.", "What does the folder {folder} hold?"], {"count": "small"}),
    "search_web": ("Search the web", {"query": ("thing", "words to search")}, [
        "Search the web for {query}.", "Look up {query} online.", "Find pages about {query}.", "Google {query}."], {"title": "thing"}),
    "roll_dice": ("Roll dice", {"sides": ("small", "sides of each die"), "count": ("small2", "number of dice")}, [
        "Roll {count} dice with {sides} sides.", "Throw {count} {sides}-sided dice."], {"total": "small"}),
    "buy_ticket": ("Buy tickets for an event", {"event": ("thing", "name of the event"), "tickets": ("small2", "number of tickets")}, [
        "Buy {tickets} tickets for {event}.", "I need {tickets} tickets to {event}.", "Get me {tickets} tickets for {event}, please."], {"booking": "code"}),
    "check_stock": ("Check how many pieces are in stock", {"product": ("thing", "name of the product")}, [
        "How many pieces of {product} do we have?", "Is {product} in stock?", "Check the stock of {product}."], {"stock": "count"}),
}
NATURAL_NAMES = Pool("natural-tools", NATURAL, 0.2)

ENTITIES = Pool("entities", """account album appointment article booking budget campaign channel claim comment contract course customer dataset
deployment device document donation employee exam exhibition experiment folder invoice job lease lesson license loan mailbox meal meeting member
menu order patient payment permit playlist policy poll prescription product project quote refund rental repair report reservation review room route
sample schedule server shift shipment subscription survey task team ticket tournament trip vehicle visit voucher warehouse workout""", 0.2)
ACTIONS = Pool("actions", ["create", "get", "delete", "update", "send", "schedule", "cancel", "archive", "export", "approve", "assign", "print", "check", "add",
                           "close", "start", "share", "register"])
EXTRA = {"currency": ["USD", "EUR", "GBP", "JPY", "CHF", "SEK", "CAD", "AUD"], "language": ["French", "German", "Spanish", "Italian", "Japanese", "Dutch"]}
PATH_ENDS = ("txt", "md", "log", "csv", "json", "conf")

REQUESTS = Pool("tool-requests", [
    "{Action} the {entity} with {args}.", "Please {action} a {entity}: {args}.", "{Action} {entity}: {args}", "I want to {action} a {entity} with {args}.",
    "Can you {action} the {entity} with {args}?", "Could you {action} a {entity}? {args}.", "{Action} a {entity} for me, {args}.",
    "We need to {action} a {entity} ({args}).", "Time to {action} the {entity}; {args}."])
ARGUMENTS = Pool("tool-arguments", ["{label} {value}", "{label}: {value}", "the {label} is {value}", "{label} = {value}", "{value} as the {label}",
                                    "its {label} should be {value}", "{label} set to {value}"])
SYSTEMS = Pool("tool-systems", [
    "You are a helpful assistant with tools.", "Use the functions when they help.", "You are Arc, a small assistant that can call functions.",
    "Call a function when the user asks for what it does. Otherwise answer yourself.", "You work for a company's help desk.", "Answer briefly."])
DONE = Pool("tool-done", ["Done. {facts}", "It is done. {facts}", "That worked. {facts}", "{facts}"])
FAILED = Pool("tool-failed", ["That did not work: {error}.", "The function reported an error: {error}.", "Sorry, this failed: {error}."])
ERRORS = Pool("tool-errors", ["not found", "permission denied", "service unavailable", "invalid date", "timeout", "unknown id", "quota exceeded", "no connection"])
REFUSALS = Pool("tool-refusals", ["None of my functions can do that.", "I have no function for that."])
UNRELATED = Pool("tool-unrelated", [
    "Paint my fence green.", "Water my plants.", "Wash the car.", "Fold the laundry.", "Cut my hair.", "Open the window behind me.", "Walk the dog.",
    "Fix the roof.", "Bring me a glass of water.", "Peel the oranges.", "Sweep the floor.", "Feed the cat.", "Carry the boxes upstairs.", "Iron my shirt."])
GREETINGS = {"Hello!": "Hello! What can I do for you?", "Thank you!": "You are welcome.", "Thanks, that is all.": "You are welcome.", "Hi": "Hello! What can I do for you?"}


class Tool:
    """A declared function together with the means to ask for it."""

    def __init__(self, name, description, parameters, required):
        self.name, self.parameters, self.required = name, parameters, required
        properties = {key: {"type": json_type, "description": text} for key, (json_type, text) in parameters.items()}
        self.declaration = {"type": "function", "function": {"name": name, "description": description, "parameters": {
            "type": "object", "properties": properties, "required": required}}}


def argument(rng, split, kind):
    match kind:
        case "small": return rng.randint(1, 60)
        case "small2": return rng.randint(1, 9)
        case "city2": return draw_value(rng, split, "city")
        case "noun": return pools.NOUNS.draw(rng, split)
        case "currency" | "currency2": return rng.choice(EXTRA["currency"])
        case "language": return rng.choice(EXTRA["language"])
        case "phrase": return " ".join(rng.choice((pools.NOUNS, pools.ADJECTIVES, pools.FOODS)).draw(rng, split) for _ in range(rng.randint(1, 4)))
        case "path":
            folders = "/".join(pools.NOUNS.draw(rng, split) for _ in range(rng.randint(1, 3)))
            return f"{rng.choice(('/', '', '/home/'))}{folders}.{rng.choice(PATH_ENDS)}"
    return draw_value(rng, split, kind)


def json_type(kind):
    return {"count": "integer", "small": "integer", "small2": "integer", "price": "number", "bool": "boolean"}.get(kind, "string")


def natural_tool(rng, split):
    """(tool, request, arguments, result)"""
    name = NATURAL_NAMES.draw(rng, split)
    description, parameters, requests, results = NATURAL[name]
    arguments = {key.rstrip("?"): argument(rng, split, kind) for key, (kind, _) in parameters.items()}
    text = rng.choice(requests).format(**arguments)
    for key, (kind, _) in parameters.items():
        if key.endswith("?"):
            if rng.random() < 0.5:
                del arguments[key[:-1]]
            else:
                text += f" {key[:-1].capitalize()}: {arguments[key[:-1]]}."
    text, arguments = spoken(rng, text, arguments)
    tool = Tool(name, description, {key.rstrip("?"): (json_type(kind), about) for key, (kind, about) in parameters.items()},
                [key for key in parameters if not key.endswith("?")])
    return tool, text, arguments, {key: argument(rng, split, kind) for key, kind in results.items()}


def spoken(rng, text, arguments):
    """Sometimes the request says a date in words while the call needs it as YYYY-MM-DD."""
    for value in arguments.values():
        if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value) and rng.random() < 0.25:
            text = text.replace(value, pools.spoken_date(value))
    return text, arguments


def function_name(rng, action, entity):
    return rng.choice((f"{action}_{entity}", f"{action}_{entity}", f"{action}{entity.capitalize()}", f"{entity}_{action}"))


def composed_tool(rng, split, action=None, entity=None):
    """(tool, request, arguments, result) of an action on an entity, with random typed parameters."""
    entity = entity or (pools.made_up_word(rng, split) if rng.random() < 0.2 else ENTITIES.draw(rng, split))
    action = action or ACTIONS.draw(rng, "train" if split == "held" and rng.random() < 0.7 else split)
    fields = draw_fields(rng, split, rng.randint(1, 4))
    required = [field.key for field in fields[: rng.randint(1, len(fields))]]
    said = fields if rng.random() < 0.7 else [field for field in fields if field.key in required]
    parameters = {field.key: (field.json_type, f"{field.label} of the {entity}") for field in fields}
    tool = Tool(function_name(rng, action, entity), f"{action.capitalize()} a {entity}", parameters, required)
    form = ARGUMENTS.draw(rng, split)
    args = [form.format(label=field.label, value=field.text()) for field in rng.sample(said, len(said))]
    text = REQUESTS.draw(rng, split).format(action=action, Action=action.capitalize(), entity=entity,
                                            args=", ".join(args[:-1]) + " and " + args[-1] if len(args) > 1 else args[0])
    arguments = {field.key: field.value for field in fields if field in said}
    text, arguments = spoken(rng, text, arguments)
    result = {field.key: field.value for field in draw_fields(rng, split, rng.randint(1, 3))}
    return tool, text, arguments, result


def any_tool(rng, split):
    return natural_tool(rng, split) if rng.random() < 0.35 else composed_tool(rng, split)


def same_name(tool):
    """Equal for exportContract, export_contract and contract_export, which one list must not hold together."""
    return "".join(sorted(tool.name.lower().replace("_", "")))


def tool_list(rng, split, chosen):
    """The chosen tools among others: some share the action or the entity with a chosen one."""
    tools = {same_name(tool): tool for tool in chosen}
    for _ in range(rng.choice((0, 1, 2, 3, 4, 5))):
        tool = any_tool(rng, split)[0]
        match = re.fullmatch(r"([a-z]+)_([a-z]+)", rng.choice(chosen).name)
        if match and rng.random() < 0.4:
            action, entity = match.groups()
            same = {"action": action} if rng.random() < 0.5 else {"entity": entity}
            tool = composed_tool(rng, split, **same)[0]
        tools.setdefault(same_name(tool), tool)
    tools = list(tools.values())
    rng.shuffle(tools)
    return [tool.declaration for tool in tools]


def say(value):
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def facts(result):
    return " ".join(f"The {key.replace('_', ' ')} is {say(value)}." for key, value in result.items())


def with_system(rng, split, messages):
    return [system(SYSTEMS.draw(rng, split)), *messages] if rng.random() < 0.5 else messages


def function_calls(rng, split):
    """The last message is a call, or the words that stand where no function fits."""
    chosen = [any_tool(rng, split)]
    if rng.random() < 0.12:
        chosen.append(any_tool(rng, split))
    tools = tool_list(rng, split, [tool for tool, *_ in chosen])
    if rng.random() < 0.1:
        question, answer = rng.choice([(UNRELATED.draw(rng, split), REFUSALS.draw(rng, "train")), *GREETINGS.items()])
        return Dialogue(with_system(rng, split, [user(question), assistant(answer)]), tools=tools)
    answer = calls(*[call(tool.name, ordered(tool, arguments)) for tool, _, arguments, _ in chosen])
    text = chosen[0][1] if len(chosen) == 1 else f"{chosen[0][1]} {rng.choice(('And', 'Also:', 'Then'))} {chosen[1][1]}"
    return Dialogue(with_system(rng, split, [user(text), answer]), tools=tools, check="call")


def ordered(tool, arguments):
    return {key: arguments[key] for key in tool.parameters if key in arguments}


def exchange(rng, split, tool, text, arguments, result):
    """Request, call, result, answer, and what the answer must hold: all of the result, one asked-for value, or the error."""
    messages = [user(text), calls(call(tool.name, ordered(tool, arguments)))]
    draw = rng.random()
    if draw < 0.15:
        error = ERRORS.draw(rng, split)
        return messages + [tool_result({"error": error}), assistant(FAILED.draw(rng, "train").format(error=error))], [error]
    if draw < 0.5:
        key = rng.choice(list(result))
        messages[0] = user(f"{text} {rng.choice(('Tell me only the', 'I only need the', 'What is its'))} {key.replace('_', ' ')}.")
        return messages + [tool_result(result), assistant(facts({key: result[key]}))], [say(result[key])]
    messages += [tool_result(result), assistant(DONE.draw(rng, "train").format(facts=facts(result)))]
    return messages, [say(value) for value in result.values()]


def tool_answers(rng, split):
    """One exchange; judged by its answer."""
    tool, *rest = any_tool(rng, split)
    messages, must = exchange(rng, split, tool, *rest)
    return Dialogue(with_system(rng, split, messages), tools=tool_list(rng, split, [tool]), check="contains", must=must)


def tool_session(rng, split):
    """Several exchanges over one tool list, small talk between them: more calls learned per declared tool."""
    chosen = [any_tool(rng, split) for _ in range(rng.randint(2, 4))]
    messages = []
    for tool, *rest in chosen:
        if rng.random() < 0.15:
            question, answer = rng.choice(list(GREETINGS.items()))
            messages += [user(question), assistant(answer)]
        messages += exchange(rng, split, tool, *rest)[0]
    return Dialogue(with_system(rng, split, messages), tools=tool_list(rng, split, [tool for tool, *_ in chosen]), check="contains")
