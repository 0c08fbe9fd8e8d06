"""JSON extraction: a text, the keys that are wanted, one JSON object (or a list of them) as the answer; absent keys become null."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import pools
from dialogue import Dialogue, assistant, system, to_json, user
from fields import Field, draw_field, draw_fields, draw_value, listed, typed_label
import phrasing
from phrasing import Grammar, Mixed
from pools import Pool

# Natural records: fields by name and kind, and texts that say them.
RECORDS = {
    "person": ({"name": "person", "age": "age", "job": "job", "city": "city"}, [
        "{name} is {age} years old and works as a {job} in {city}.", "Our neighbour {name}, a {job} from {city}, just turned {age}.",
        "In {city} lives a {job} called {name}. Age: {age}.", "At {age}, {name} moved to {city} and became a {job}.",
        "My name is {name}. I am {age}, I live in {city}, and I earn my living as a {job}."]),
    "order": ({"customer": "person", "product": "thing", "quantity": "count", "price": "price"}, [
        "{customer} ordered {quantity} pieces of the {product} at {price} euros each.", "Order from {customer}: {quantity} x {product}, {price} per piece.",
        "We sold {quantity} units of our {product} to {customer}; each costs {price}.", "{customer} would like {quantity} of the {product}. The price is {price}."]),
    "meeting": ({"topic": "thing", "date": "date", "time": "time", "room": "code"}, [
        "The meeting about the {topic} takes place on {date} at {time} in room {room}.", "Please come to room {room} on {date}, {time}. We talk about the {topic}.",
        "On {date} at {time} we discuss the {topic}; the room is {room}.", "Reminder: {topic}, {date}, {time}, room {room}."]),
    "flight": ({"flight": "code", "origin": "city", "destination": "city2", "departure": "time"}, [
        "Flight {flight} from {origin} to {destination} leaves at {departure}.", "{flight} departs {origin} at {departure} and goes to {destination}.",
        "At {departure} the plane {flight} takes off in {origin}. It lands in {destination}.", "From {origin} you fly with {flight} to {destination}; departure is {departure}."]),
    "invoice": ({"number": "code", "company": "company", "amount": "price", "due": "date"}, [
        "Invoice {number} of {company} over {amount} dollars is due on {due}.", "{company} sent invoice {number}. Please pay {amount} by {due}.",
        "By {due} we must pay {amount} to {company} (invoice {number}).", "The bill {number} from {company} amounts to {amount}, payable until {due}."]),
    "book": ({"title": "thing", "author": "person", "pages": "count", "year": "year"}, [
        "The {title} is a book of {pages} pages that {author} wrote in {year}.", "{author} published The {title} in {year}; it has {pages} pages.",
        "In {year} appeared The {title} by {author}, {pages} pages long."]),
    "house": ({"city": "city", "rooms": "small", "rent": "price", "owner": "person"}, [
        "For rent in {city}: {rooms} rooms, {rent} per month, owner {owner}.", "{owner} lets a flat with {rooms} rooms in {city} for {rent}.",
        "A place in {city} with {rooms} rooms costs {rent}. Ask {owner}."]),
    "contact": ({"name": "person", "email": "email", "company": "company", "role": "job"}, [
        "{name} works at {company} as a {role}; write to {email}.", "Contact for {company}: {name}, {role}, {email}.",
        "You reach {name}, the {role} of {company}, at {email}.", "Send it to {email}. That is {name} of {company}, a {role}."]),
    "animal": ({"name": "word", "animal": "animal", "age": "small", "owner": "person"}, [
        "{owner} has a {animal} named {name}, {age} years old.", "The {animal} {name} is {age} and belongs to {owner}.",
        "{name} is the {age}-year-old {animal} of {owner}."]),
    "delivery": ({"parcel": "code", "carrier": "company", "destination": "city", "status": "state"}, [
        "Parcel {parcel} travels with {carrier} to {destination}. Its status is {status}.", "{carrier} brings {parcel} to {destination}; status: {status}.",
        "The status of {parcel}, on its way to {destination} with {carrier}, is {status}."]),
    "recipe": ({"dish": "food", "minutes": "small", "servings": "small2", "cook": "person"}, [
        "{cook} makes {dish} for {servings} people in {minutes} minutes.", "With {minutes} minutes of time, {cook} cooks {dish}; it serves {servings}.",
        "{dish}, a dish by {cook}: {minutes} minutes, {servings} servings."]),
    "car": ({"model": "word", "color": "colour", "plate": "code", "driver": "person"}, [
        "A {color} {model} with the plate {plate} is driven by {driver}.", "{driver} drives the {color} {model}, plate {plate}.",
        "The plate of the {color} {model} is {plate}. At the wheel sits {driver}."]),
    "payment": ({"sender": "person", "recipient": "person", "amount": "price", "date": "date"}, [
        "{sender} paid {amount} to {recipient} on {date}.", "On {date}, {recipient} received {amount} from {sender}.",
        "{amount} went from {sender} to {recipient}; the transfer was made on {date}."]),
    "student": ({"student": "person", "school": "city", "grade": "small", "subject": "word"}, [
        "{student} from the school in {school} got grade {grade} in {subject}.", "In {subject}, {student} ({school}) reached a {grade}.",
        "The grade of {student} of {school} in {subject} is {grade}."]),
    "flight": ({"airline": "company", "flight": "code", "from": "city", "to": "city2", "departure": "time"}, [
        "{airline} flight {flight} leaves {from} for {to} at {departure}.", "At {departure}, flight {flight} of {airline} takes off from {from} to {to}.",
        "Your flight {flight} ({airline}) goes from {from} to {to}. Departure: {departure}.", "From {from} to {to} with {airline}: {flight}, {departure}."]),
    "job_offer": ({"company": "company", "position": "job", "city": "city", "salary": "price"}, [
        "{company} is looking for a {position} in {city}; the salary is {salary}.", "Wanted: {position} at {company}, {city}, {salary} a month.",
        "A {position} can start at {company} in {city} for {salary}.", "In {city}, {company} pays a {position} {salary}."]),
    "patient": ({"patient": "person", "doctor": "person", "date": "date", "room": "code"}, [
        "{patient} sees doctor {doctor} on {date} in room {room}.", "Appointment of {patient}: {date}, room {room}, with {doctor}.",
        "On {date} doctor {doctor} receives {patient} in room {room}.", "Room {room}, {date}: {doctor} examines {patient}."]),
    "film": ({"film": "thing", "director": "person", "year": "year", "minutes": "count"}, [
        "The film {film} was made by {director} in {year} and runs {minutes} minutes.", "{director} directed {film} ({year}, {minutes} minutes).",
        "In {year}, {director} finished {film}; it takes {minutes} minutes.", "{film}: a film of {minutes} minutes by {director}, {year}."]),
    "sensor": ({"sensor": "code", "place": "city", "temperature": "small", "time": "time"}, [
        "Sensor {sensor} in {place} measured {temperature} degrees at {time}.", "At {time} the sensor {sensor} at {place} showed {temperature} degrees.",
        "{temperature} degrees were read from {sensor} in {place} at {time}.", "{place}, {time}: {sensor} reports {temperature} degrees."]),
    "ship": ({"ship": "word", "captain": "person", "port": "city", "crew": "small"}, [
        "The ship {ship} under captain {captain} lies in {port} with a crew of {crew}.", "Captain {captain} sails the {ship} with {crew} sailors out of {port}.",
        "In the port of {port} we saw the {ship}; {crew} people work for captain {captain}.", "{captain} commands the {ship}. Port: {port}. Crew: {crew}."]),
    "match": ({"home": "city", "guest": "city2", "home_goals": "small", "guest_goals": "small2"}, [
        "{home} played against {guest}; the score was {home_goals} to {guest_goals}.", "The match {home} against {guest} ended {home_goals}:{guest_goals}.",
        "{home} scored {home_goals} and {guest} scored {guest_goals}.", "Result: {home} {home_goals}, {guest} {guest_goals}."]),
    "invoice": ({"number": "code", "customer": "company", "total": "price", "due": "date"}, [
        "Invoice {number} for {customer} over {total} is due on {due}.", "{customer} must pay {total} by {due} (invoice {number}).",
        "We sent invoice {number} to {customer}: {total}, payable until {due}.", "Due {due}: {total} from {customer}, number {number}."]),
    "course": ({"course": "thing", "teacher": "person", "start": "date", "seats": "small"}, [
        "The course {course} with {teacher} starts on {start} and has {seats} seats.", "{teacher} teaches {course} from {start}; {seats} seats are free.",
        "From {start}: {course}, {seats} seats, teacher {teacher}.", "There are {seats} seats in the course {course} that {teacher} begins on {start}."]),
    "repair": ({"device": "thing", "customer": "person", "fault": "word", "cost": "price"}, [
        "{customer} brought the {device}; the fault is {fault} and the repair costs {cost}.", "Repair of the {device} for {customer}: fault {fault}, {cost}.",
        "For {cost} we repair the {device} of {customer}. Fault: {fault}.", "The {device} that belongs to {customer} has the fault {fault}; cost {cost}."]),
    "painting": ({"painting": "thing", "painter": "person", "museum": "city", "year": "year"}, [
        "{painter} painted the {painting} in {year}; it hangs in {museum}.", "The museum of {museum} owns the {painting}, painted by {painter} in {year}.",
        "In {museum} hangs the {painting} ({painter}, {year}).", "Painted in {year} by {painter}, the {painting} is now in {museum}."]),
    "server": ({"host": "word", "address": "code", "owner": "person", "status": "state"}, [
        "The server {host} ({address}) belongs to {owner} and is {status}.", "{owner} runs {host}, address {address}; status {status}.",
        "Status of {host}: {status}. Owner: {owner}. Address: {address}.", "Host {host} has the address {address}, is {status} and is looked after by {owner}."]),
    "donation": ({"donor": "person", "amount": "price", "purpose": "thing", "date": "date"}, [
        "{donor} gave {amount} for the {purpose} on {date}.", "On {date} we received {amount} from {donor} for the {purpose}.",
        "A donation of {amount} by {donor} on {date} goes to the {purpose}.", "For the {purpose}: {amount}, {donor}, {date}."]),
    "visitor": ({"visitor": "person", "host": "person", "badge": "code", "arrival": "time"}, [
        "{visitor} visits {host}, arrived at {arrival} and wears badge {badge}.", "At {arrival} badge {badge} was given to {visitor}, a guest of {host}.",
        "{host} expects {visitor} at {arrival}; the badge is {badge}.", "Badge {badge}: {visitor}, to see {host}, {arrival}."]),
    "garden": ({"plant": "food", "row": "small", "planted": "date", "gardener": "person"}, [
        "{gardener} planted {plant} in row {row} on {planted}.", "In row {row} grow {plant}, planted by {gardener} on {planted}.",
        "On {planted}, {gardener} put {plant} into row {row}.", "Row {row}: {plant}, {planted}, {gardener}."]),
    "vote": ({"proposal": "thing", "yes": "count", "no": "count", "chair": "person"}, [
        "The proposal {proposal} got {yes} votes for and {no} against; {chair} was in the chair.", "{chair} counted {yes} yes and {no} no for the {proposal}.",
        "Under {chair}, {yes} people voted for the {proposal} and {no} against it.", "{proposal}: yes {yes}, no {no}. Chair: {chair}."]),
}
RECORD_NAMES = Pool("records", RECORDS, 0.2)
TEXTS = {name: Pool("text-" + name, texts) for name, (_, texts) in RECORDS.items()}

ASK = Mixed(Pool("extract-ask", [
    "Extract {keys} as JSON.", "Return a JSON object with the keys {keys}.", "Give me {keys} as a JSON object.", "Extract the fields {keys} from this text as JSON.",
    "Read the text and output JSON with {keys}.", "Make a JSON object from this text. Keys: {keys}.", "Find {keys} in the text. Answer in JSON.",
    "Which {keys} does the text name? Reply with JSON only.", "Please turn the text into JSON with the fields {keys}.", "JSON with {keys}, please.",
    "Pull {keys} out of the text and write them as JSON.", "Convert to JSON ({keys}).", "Write JSON with {keys}.", "I need {keys} from this text in JSON form.",
    "From the text, create a JSON object with {keys}.", "Parse the text into JSON with these keys: {keys}.", "List {keys} as a JSON object.",
    "Output only JSON: {keys}.", "Fill in this JSON object from the text: {keys}.", "What are {keys}? Use JSON.", "Summarize the text as JSON. Fields: {keys}.",
    "Get {keys} and format the result as JSON.", "Represent the text as JSON with {keys}.", "Collect {keys} in one JSON object."], 0.15), Grammar(
    "extract", ["Extract", "Return", "Give me", "Write", "Output", "Produce", "Make", "Create", "Build", "Find", "Pull out", "Collect", "Get", "List", "Report", "Read off",
                "Determine", "Identify", "Note", "Put together", "Show", "Please extract", "I need", "Deliver", "Gather", "Name"],
    [" {keys}", " the fields {keys}", " the keys {keys}", " these values: {keys}", " the following: {keys}", " only {keys}", " values for {keys}", " the entries {keys}",
     " the attributes {keys}", " {keys} from this", " the data for {keys}"],
    [" as JSON.", " as a JSON object.", " in JSON.", " in JSON form.", " as one JSON object.", " and answer in JSON.", ", using JSON.", ", formatted as JSON.", " and reply with JSON only.",
     " as valid JSON.", "; JSON, please.", " (JSON)."]))
SYSTEMS = Pool("extract-system", ["You extract data. Answer with JSON only.", "Reply with one JSON object and nothing else.", "You turn text into JSON.",
                                  "You are an information extraction service. Output JSON.", "Output valid JSON. Use null for what is missing.",
                                  "Answer only with JSON.", "You read texts and return structured data.", "You are a parser. No comments, just JSON."])
NOISE = Pool("extract-noise", [
    "The weather was fine.", "Nobody was surprised.", "This was announced yesterday.", "More details will follow.", "Please keep this for your records.",
    "Thank you for your patience.", "The office is closed on Sundays.", "We look forward to hearing from you.", "That is all we know so far.",
    "It had been planned for a long time.", "Everyone agreed.", "Please do not reply to this message.", "The rest of the report is missing."])
STATEMENTS = Mixed(Grammar("statement", ["{label}", "{Label}", "the {label}", "The {label}", "- {label}", "its {label}", "field {label}", "{label} (given)"],
                           [": ", " is ", " = ", " - ", " -> ", " was ", ": is ", " | ", " equals ", " reads ", ", "], "{value}"), Pool("extract-statement", [
    "The {label} is {value}.", "{Label}: {value}", "Its {label} is {value}.", "As {label} we noted {value}.", "The {label} was given as {value}.",
    "{value} is the {label}.", "For the {label}, the form says {value}.", "Under {label} you find {value}.", "{Label} = {value}", "- {label}: {value}",
    "We know that the {label} is {value}.", "The {label}: {value}.", "It has the {label} {value}.", "The form gives {value} as the {label}.",
    "{value} was entered as {label}.", "Please note the {label}, {value}.", "On the label stands: {label} {value}.", "{label}={value}", "* {Label}: {value}",
    "We wrote {value} in the field {label}.", "Then there is the {label}, which is {value}."], 0.15))


def record_value(rng, split, kind):
    special = {"age": lambda: rng.randint(5, 95), "year": lambda: rng.randint(1900, 2030), "small": lambda: rng.randint(1, 20),
               "small2": lambda: rng.randint(1, 12), "city2": lambda: pools.CITIES.draw(rng, split)}
    return special[kind]() if kind in special else draw_value(rng, split, kind)


def natural(rng, split, name):
    """(values by key, text) of one record of a kind."""
    kinds, texts = RECORDS[name]
    text = rng.choice(texts) if name in RECORD_NAMES.parts["held"] else TEXTS[name].draw(rng, split)
    values = {key: record_value(rng, split, kind) for key, kind in kinds.items()}
    said = dict(values)
    for key, kind in kinds.items():
        if kind == "date" and rng.random() < 0.3:
            said[key] = pools.spoken_date(values[key])
    return values, text.format(**said)


def generic(rng, split):
    """A record of random fields, each said by a sentence or a line."""
    fields = draw_fields(rng, split, rng.randint(2, 6))
    form = STATEMENTS.draw(rng, split) if rng.random() < 0.4 else None
    lines = [state(rng, split, field, form) for field in fields]
    joiner = "\n" if lines[0].startswith(("-", "*")) or not lines[0].endswith(".") else " "
    return {field.key: field.value for field in fields}, joiner.join(lines)


# Kinds that a reader tells apart without a label: how a sentence says such a value, alone or with its label. One of each group in a record.
SAID = {
    "person": ["{v}", "by {v}", "from {v}", "with {v}", "for {v}", "thanks to {v}", "{v} was there", "we met {v}", "{l} {v}", "{v} as {l}", "{v} ({l})", "the {l} {v}", "{v} is the {l}"],
    "city": ["in {v}", "near {v}", "from {v}", "at {v}", "to {v}", "{v}", "not far from {v}", "the {l} in {v}", "{l} {v}", "{v} ({l})"],
    "company": ["at {v}", "for {v}", "with {v}", "{v}", "paid by {v}", "{v} as {l}", "{l} {v}", "{v} ({l})"],
    "date": ["on {v}", "{v}", "since {v}", "until {v}", "by {v}", "from {v} on", "({v})", "{l} {v}", "{l}: {v}"],
    "time": ["at {v}", "{v}", "around {v}", "from {v} on", "at {v} sharp", "{l} {v}", "{l}: {v}"],
    "price": ["for {v} euros", "{v} dollars", "at {v}", "it costs {v}", "{l} {v}", "{l}: {v}", "a {l} of {v}"],
    "count": ["{v} times", "{v} in all", "{v} {l}", "{l} {v}", "{l}: {v}", "a {l} of {v}", "with {v} {l}"],
    "code": ["number {v}", "({v})", "no. {v}", "{v}", "under {v}", "see {v}", "{l} {v}", "{l}: {v}", "its {l} is {v}"],
    "email": ["write to {v}", "{v}", "<{v}>", "({v})", "mail {v}", "{l} {v}", "{l}: {v}"],
    "phrase": ['{v}', 'it says {v}', 'under the words {v}', 'with {v} on it', '{l} {v}', '{l}: {v}'],
    "thing": ["the {v}", "a {v}", "{v}", "one {v}", "this {v}", "about the {v}", "{l} {v}", "{l}: {v}", "{v} as {l}"],
    "colour": ["in {v}", "all {v}", "painted {v}", "{v}", "{l} {v}", "{l}: {v}"],
    "state": ["now {v}", "it is {v}", "still {v}", "{l} {v}", "{l}: {v}", "its {l} is {v}"],
}
SAID = {kind: Pool("said-" + kind, forms) for kind, forms in SAID.items()}
VERBS = Pool("verbs", """ordered bought sold found lost sent received moved built repaired wanted opened closed planned visited left wrote drew cleaned carried brought took
kept needed called met saw joined started finished changed checked delivered returned rented showed counted tested""", 0.15)
ALIKE = [{"price", "count"}, {"thing", "colour", "state"}, {"person", "company"}]  # of such kinds a record has one, as no reader could tell them apart


def composed(rng, split):
    """A record whose text says values by what they are: the key must be matched with the kind of the value. Labels are training's."""
    kinds = []
    for kind in rng.sample(list(SAID), len(SAID)):
        if not any(kind in group and group & set(kinds) for group in ALIKE):
            kinds.append(kind)
    fields = {}
    for kind in kinds[: rng.randint(2, 5)]:
        field = Field(kind, typed_label(rng, "train", kind), draw_value(rng, split, kind))
        fields.setdefault(field.key, field)
    said = []
    for field in fields.values():
        text = pools.spoken_date(field.value) if field.kind == "date" and rng.random() < 0.3 else field.text()
        said.append(SAID[field.kind].draw(rng, split).format(v=text, l=field.label))
    if rng.random() < 0.4:
        said[0] = f"{said[0]} {VERBS.draw(rng, split)}"
    text = rng.choice((", ", ", ", " ", "; ", ". ", "\n", " - ", " and ")).join(said)
    return {field.key: field.value for field in fields.values()}, text + rng.choice((".", "", "."))


def state(rng, split, field: Field, form=None):
    form = form or STATEMENTS.draw(rng, split)
    return form.format(label=field.label, Label=field.label.capitalize(), value=field.text())


def with_noise(rng, split, text):
    for _ in range(rng.choice((0, 0, 1, 2))):
        noise = NOISE.draw(rng, split)
        text = f"{noise} {text}" if rng.random() < 0.5 else f"{text} {noise}"
    return text


def ask_for(rng, split, keys):
    style = rng.randrange(4)
    named = listed(keys) if style < 2 else ", ".join(keys) if style == 2 else ", ".join(f'"{key}"' for key in keys)
    return ASK.draw(rng, split).format(keys=named)


def extraction(rng, split):
    record = RECORD_NAMES.draw(rng, rng.choice(("train", "held")) if split == "held" else "train")
    if rng.random() < 0.12:
        return list_extraction(rng, split, record)
    draw = rng.random()
    values, text = natural(rng, split, record) if draw < 0.45 else composed(rng, split) if draw < 0.65 else generic(rng, split)
    keys = list(values)
    if rng.random() < 0.4:
        keys = rng.sample(keys, rng.randint(1, len(keys)))
    if rng.random() < 0.12:
        extra = draw_field(rng, split).key
        if extra not in values:
            keys.insert(rng.randint(0, len(keys)), extra)
    ask = ask_for(rng, split, keys)
    question = phrasing.layout(rng, split, 0.03, 0.5).format(question=ask, context=with_noise(rng, split, text))
    messages = [user(question), assistant(to_json({key: values.get(key) for key in keys}))]
    if rng.random() < 0.3:
        messages.insert(0, system(SYSTEMS.draw(rng, split)))
    return Dialogue(messages, check="json")


def list_extraction(rng, split, record):
    made = [natural(rng, split, record) for _ in range(rng.randint(2, 3))]
    ask = ask_for(rng, split, list(made[0][0])) + rng.choice((" Answer with a list.", " One object per entry, in a list."))
    question = phrasing.layout(rng, split, 0.03, 0.5).format(question=ask, context=" ".join(text for _, text in made))
    return Dialogue([user(question), assistant(to_json([values for values, _ in made]))], check="json")
