"""JSON extraction: a text, the keys that are wanted, one JSON object (or a list of them) as the answer; absent keys become null."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import pools
from dialogue import Dialogue, assistant, system, to_json, user
from fields import LABELS, Field, draw_field, draw_fields, draw_value, listed
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
    "meeting": ({"topic": "noun", "date": "date", "time": "time", "room": "room"}, [
        "The meeting about the {topic} takes place on {date} at {time} in room {room}.", "Please come to room {room} on {date}, {time}. We talk about the {topic}.",
        "On {date} at {time} we discuss the {topic}; the room is {room}.", "Reminder: {topic}, {date}, {time}, room {room}."]),
    "book": ({"title": "title", "author": "person", "pages": "count", "year": "year"}, [
        "{title} is a book of {pages} pages that {author} wrote in {year}.", "{author} published {title} in {year}; it has {pages} pages.",
        "In {year} appeared {title} by {author}, {pages} pages long."]),
    "house": ({"city": "city", "rooms": "small", "rent": "money", "owner": "person"}, [
        "For rent in {city}: {rooms} rooms, {rent} per month, owner {owner}.", "{owner} lets a flat with {rooms} rooms in {city} for {rent}.",
        "A place in {city} with {rooms} rooms costs {rent}. Ask {owner}."]),
    "contact": ({"name": "person", "email": "email", "company": "company", "role": "job"}, [
        "{name} works at {company} as a {role}; write to {email}.", "Contact for {company}: {name}, {role}, {email}.",
        "You reach {name}, the {role} of {company}, at {email}.", "Send it to {email}. That is {name} of {company}, a {role}."]),
    "animal": ({"name": "first", "animal": "animal", "age": "small", "owner": "person"}, [
        "{owner} has a {animal} named {name}, {age} years old.", "The {animal} {name} is {age} and belongs to {owner}.",
        "{name} is the {age}-year-old {animal} of {owner}."]),
    "delivery": ({"parcel": "code", "carrier": "company", "destination": "city", "status": "state"}, [
        "Parcel {parcel} travels with {carrier} to {destination}. Its status is {status}.", "{carrier} brings {parcel} to {destination}; status: {status}.",
        "The status of {parcel}, on its way to {destination} with {carrier}, is {status}."]),
    "recipe": ({"dish": "food", "minutes": "small", "servings": "small2", "cook": "person"}, [
        "{cook} makes {dish} for {servings} people in {minutes} minutes.", "With {minutes} minutes of time, {cook} cooks {dish}; it serves {servings}.",
        "{dish}, a dish by {cook}: {minutes} minutes, {servings} servings."]),
    "car": ({"model": "name", "color": "colour", "plate": "code", "driver": "person"}, [
        "A {color} {model} with the plate {plate} is driven by {driver}.", "{driver} drives the {color} {model}, plate {plate}.",
        "The plate of the {color} {model} is {plate}. At the wheel sits {driver}."]),
    "payment": ({"sender": "person", "recipient": "person", "amount": "money", "date": "date"}, [
        "{sender} paid {amount} to {recipient} on {date}.", "On {date}, {recipient} received {amount} from {sender}.",
        "{amount} went from {sender} to {recipient}; the transfer was made on {date}."]),
    "student": ({"student": "person", "school": "city", "grade": "small2", "subject": "subject"}, [
        "{student} from the school in {school} got grade {grade} in {subject}.", "In {subject}, {student} ({school}) reached a {grade}.",
        "The grade of {student} of {school} in {subject} is {grade}."]),
    "flight": ({"airline": "company", "flight": "code", "from": "city", "to": "city2", "departure": "time"}, [
        "{airline} flight {flight} leaves {from} for {to} at {departure}.", "At {departure}, flight {flight} of {airline} takes off from {from} to {to}.",
        "Your flight {flight} ({airline}) goes from {from} to {to}. Departure: {departure}.", "From {from} to {to} with {airline}: {flight}, {departure}."]),
    "job_offer": ({"company": "company", "position": "job", "city": "city", "salary": "money"}, [
        "{company} is looking for a {position} in {city}; the salary is {salary}.", "Wanted: {position} at {company}, {city}, {salary} a month.",
        "A {position} can start at {company} in {city} for {salary}.", "In {city}, {company} pays a {position} {salary}."]),
    "patient": ({"patient": "person", "doctor": "person", "date": "date", "room": "room"}, [
        "{patient} sees doctor {doctor} on {date} in room {room}.", "Appointment of {patient}: {date}, room {room}, with {doctor}.",
        "On {date} doctor {doctor} receives {patient} in room {room}.", "Room {room}, {date}: {doctor} examines {patient}."]),
    "film": ({"film": "title", "director": "person", "year": "year", "minutes": "count"}, [
        "The film {film} was made by {director} in {year} and runs {minutes} minutes.", "{director} directed {film} ({year}, {minutes} minutes).",
        "In {year}, {director} finished {film}; it takes {minutes} minutes.", "{film}: a film of {minutes} minutes by {director}, {year}."]),
    "sensor": ({"sensor": "code", "place": "city", "temperature": "small", "time": "time"}, [
        "Sensor {sensor} in {place} measured {temperature} degrees at {time}.", "At {time} the sensor {sensor} at {place} showed {temperature} degrees.",
        "{temperature} degrees were read from {sensor} in {place} at {time}.", "{place}, {time}: {sensor} reports {temperature} degrees."]),
    "ship": ({"ship": "name", "captain": "person", "port": "city", "crew": "small"}, [
        "The ship {ship} under captain {captain} lies in {port} with a crew of {crew}.", "Captain {captain} sails the {ship} with {crew} sailors out of {port}.",
        "In the port of {port} we saw the {ship}; {crew} people work for captain {captain}.", "{captain} commands the {ship}. Port: {port}. Crew: {crew}."]),
    "match": ({"home": "city", "guest": "city2", "home_goals": "small2", "guest_goals": "small2"}, [
        "{home} played against {guest}; the score was {home_goals} to {guest_goals}.", "The match {home} against {guest} ended {home_goals}:{guest_goals}.",
        "{home} scored {home_goals} and {guest} scored {guest_goals}.", "Result: {home} {home_goals}, {guest} {guest_goals}."]),
    "invoice": ({"number": "code", "customer": "company", "total": "price", "due": "date"}, [
        "Invoice {number} for {customer} over {total} is due on {due}.", "{customer} must pay {total} by {due} (invoice {number}).",
        "We sent invoice {number} to {customer}: {total}, payable until {due}.", "Due {due}: {total} from {customer}, number {number}."]),
    "course": ({"course": "subject", "teacher": "person", "start": "date", "seats": "small"}, [
        "The course {course} with {teacher} starts on {start} and has {seats} seats.", "{teacher} teaches {course} from {start}; {seats} seats are free.",
        "From {start}: {course}, {seats} seats, teacher {teacher}.", "There are {seats} seats in the course {course} that {teacher} begins on {start}."]),
    "repair": ({"device": "noun", "customer": "person", "fault": "fault", "cost": "price"}, [
        "{customer} brought the {device}; the fault is {fault} and the repair costs {cost}.", "Repair of the {device} for {customer}: fault {fault}, {cost}.",
        "For {cost} we repair the {device} of {customer}. Fault: {fault}.", "The {device} that belongs to {customer} has the fault {fault}; cost {cost}."]),
    "painting": ({"painting": "title", "painter": "person", "museum": "city", "year": "year"}, [
        "{painter} painted {painting} in {year}; it hangs in {museum}.", "The museum of {museum} owns {painting}, painted by {painter} in {year}.",
        "In {museum} hangs {painting} ({painter}, {year}).", "Painted in {year} by {painter}, {painting} is now in {museum}."]),
    "server": ({"host": "word", "address": "code", "owner": "person", "status": "state"}, [
        "The server {host} ({address}) belongs to {owner} and is {status}.", "{owner} runs {host}, address {address}; status {status}.",
        "Status of {host}: {status}. Owner: {owner}. Address: {address}.", "Host {host} has the address {address}, is {status} and is looked after by {owner}."]),
    "donation": ({"donor": "person", "amount": "money", "purpose": "place", "date": "date"}, [
        "{donor} gave {amount} for the {purpose} on {date}.", "On {date} we received {amount} from {donor} for the {purpose}.",
        "A donation of {amount} by {donor} on {date} goes to the {purpose}.", "For the {purpose}: {amount}, {donor}, {date}."]),
    "visitor": ({"visitor": "person", "host": "person", "badge": "code", "arrival": "time"}, [
        "{visitor} visits {host}, arrived at {arrival} and wears badge {badge}.", "At {arrival} badge {badge} was given to {visitor}, a guest of {host}.",
        "{host} expects {visitor} at {arrival}; the badge is {badge}.", "Badge {badge}: {visitor}, to see {host}, {arrival}."]),
    "garden": ({"plant": "food", "row": "small", "planted": "date", "gardener": "person"}, [
        "{gardener} planted {plant} in row {row} on {planted}.", "In row {row} grow {plant}, planted by {gardener} on {planted}.",
        "On {planted}, {gardener} put {plant} into row {row}.", "Row {row}: {plant}, {planted}, {gardener}."]),
    "vote": ({"proposal": "noun", "yes": "small", "no": "small2", "chair": "person"}, [
        "The proposal {proposal} got {yes} votes for and {no} against; {chair} was in the chair.", "{chair} counted {yes} yes and {no} no for the {proposal}.",
        "Under {chair}, {yes} people voted for the {proposal} and {no} against it.", "{proposal}: yes {yes}, no {no}. Chair: {chair}."]),
    "appointment": ({"doctor": "person", "date": "date", "time": "time", "reason": "fault"}, [
        "You have an appointment with {doctor} on {date} at {time} because of the {reason}.", "{doctor} will see you on {date} at {time}. Reason: {reason}.",
        "On {date}, {time}, you visit {doctor} about your {reason}.", "Appointment: {date}, {time}, doctor {doctor}, reason {reason}.",
        "Please come to {doctor} at {time} on {date}; the reason is the {reason}."]),
    "hotel_booking": ({"guest": "person", "hotel": "name", "check_in": "date", "nights": "small2"}, [
        "{guest} stays at the hotel {hotel} for {nights} nights; check-in is on {check_in}.", "The hotel {hotel} expects the guest {guest} on {check_in} for {nights} nights.",
        "Hotel {hotel}: guest {guest}, check-in {check_in}, {nights} nights.", "We booked {nights} nights at the hotel {hotel} for {guest}, with check-in on {check_in}.",
        "From {check_in}, {guest} has a room for {nights} nights at the {hotel} hotel."]),
    "train": ({"train": "code", "from": "city", "to": "city2", "platform": "small"}, [
        "The train {train} from {from} to {to} leaves from platform {platform}.", "Platform {platform}: train {train} to {to}, coming from {from}.",
        "Train {train} goes from {from} to {to}. Platform: {platform}.", "On platform {platform} you find train {train}, which goes to {to} from {from}."]),
    "product": ({"product": "noun", "color": "colour", "price": "price", "stock": "count"}, [
        "The {product} in {color} costs {price} and we have {stock} in stock.", "{product}, color {color}, price {price}, stock {stock}.",
        "We have {stock} of the {color} {product} in stock at a price of {price}.", "Our {product} comes in {color}. The price is {price}; {stock} are in stock."]),
    "employee": ({"employee": "person", "department": "department", "salary": "money", "start_date": "date"}, [
        "{employee} works in {department} since {start_date} and earns {salary}.", "The employee {employee} starts in {department} on {start_date} with a salary of {salary}.",
        "New employee: {employee}, department {department}, salary {salary}, start date {start_date}.", "On {start_date}, {employee} joined the {department} department for {salary} a month."]),
    "event": ({"event": "event", "city": "city", "date": "date", "tickets": "count"}, [
        "The {event} in {city} is on {date}; there are {tickets} tickets.", "{tickets} tickets were sold for the {event} on {date} in {city}.",
        "On {date}, {city} holds a {event} with {tickets} tickets.", "Event: {event}, {city}, {date}, {tickets} tickets."]),
    "shipment": ({"sender": "person", "recipient": "person", "weight": "small", "destination": "city"}, [
        "{sender} sends a parcel of {weight} kg to {recipient} in {destination}.", "The parcel for {recipient} in {destination} weighs {weight} kg. Sender: {sender}.",
        "Sender {sender}, recipient {recipient}, destination {destination}, weight {weight} kg.", "A shipment with a weight of {weight} kg from {sender} goes to {recipient}, {destination}."]),
    "task": ({"task": "phrase", "assignee": "person", "priority": "level", "deadline": "date"}, [
        'The task "{task}" has {priority} priority and is assigned to {assignee}; the deadline is {deadline}.', '{assignee} should finish the task "{task}" by the deadline {deadline}. Priority: {priority}.',
        'Task: {task}. Assignee: {assignee}. Priority: {priority}. Deadline: {deadline}.', 'With {priority} priority, {assignee} is the assignee of "{task}", deadline {deadline}.']),
    "review": ({"reviewer": "person", "product": "noun", "stars": "small2", "date": "date"}, [
        "{reviewer} gave the {product} {stars} stars on {date}.", "On {date}, the reviewer {reviewer} rated the product {product} with {stars} stars.",
        "Review of the {product} by {reviewer}, {date}: {stars} stars.", "{stars} stars for the {product}, says {reviewer} ({date})."]),
    "loan": ({"book": "title", "borrower": "person", "due_date": "date", "library": "city"}, [
        "{borrower} borrowed the book {book} from the library in {library}; it is due on {due_date}.", "The book {book} is lent to {borrower} until {due_date} by the library of {library}.",
        "Borrower {borrower}, book {book}, library {library}, due date {due_date}.", "Library of {library}: {borrower} must return {book} by {due_date}."]),
    "race": ({"runner": "person", "distance": "small", "rank": "small2", "city": "city"}, [
        "{runner} ran {distance} kilometers in {city} and finished with rank {rank}.", "At the race in {city} over a distance of {distance} kilometers, {runner} took rank {rank}.",
        "Runner {runner}, city {city}, distance {distance}, rank {rank}.", "Rank {rank} went to {runner} in {city} after {distance} kilometers."]),
    "account": ({"username": "username", "email": "email", "country": "country", "plan": "plan"}, [
        "The user {username} from {country} uses the {plan} plan; the email is {email}.", "Account {username}: email {email}, country {country}, plan {plan}.",
        "{username} ({email}) signed up in {country} for the {plan} plan.", "A new account with the username {username} and the email {email} has the {plan} plan. Country: {country}."]),
    "weather": ({"city": "city", "temperature": "small", "condition": "condition", "wind": "small2"}, [
        "In {city} it is {condition} with {temperature} degrees and a wind of {wind} km/h.", "Weather in {city}: {condition}, temperature {temperature}, wind {wind}.",
        "{city} has a temperature of {temperature} degrees, wind of {wind} km/h; the condition is {condition}.", "It is {condition} in {city}; the temperature is {temperature} degrees and the wind {wind} km/h."]),
    "rental": ({"customer": "person", "car": "name", "days": "small2", "city": "city"}, [
        "{customer} rents the car {car} for {days} days in {city}.", "The car {car} is rented to the customer {customer} for {days} days. City: {city}.",
        "Customer {customer}, car {car}, {days} days, {city}.", "In {city}, {customer} picked up the rental car {car} for {days} days."]),
    "complaint": ({"customer": "person", "product": "noun", "problem": "fault", "order": "code"}, [
        "The customer {customer} complains about the product {product} of order {order}: {problem}.", "Order {order}: the {product} has a problem ({problem}), says {customer}.",
        "{customer} reports a {problem} with the {product} from order {order}.", "Complaint by {customer}, order {order}, product {product}, problem {problem}."]),
    "lesson": ({"teacher": "person", "student": "person", "subject": "subject", "time": "time"}, [
        "{teacher} teaches {subject} to {student} at {time}.", "The student {student} has a {subject} lesson with {teacher} at {time}.",
        "At {time}, {student} learns {subject} from {teacher}.", "Teacher {teacher}, student {student}, subject {subject}, time {time}."]),
    "expense": ({"employee": "person", "category": "category", "amount": "price", "date": "date"}, [
        "{employee} spent {amount} on {category} on {date}.", "Expense of {amount} for {category} by the employee {employee}, {date}.",
        "On {date}, {employee} paid {amount} for {category}.", "Employee: {employee}, category: {category}, amount: {amount}, date: {date}."]),
    "table_booking": ({"restaurant": "name", "guests": "small2", "time": "time", "name": "person"}, [
        "A table for {guests} guests at the restaurant {restaurant} is booked at {time} under the name {name}.", "{name} booked a table at {restaurant} for {guests} people at {time}.",
        "Restaurant {restaurant}, {guests} guests, {time}, name {name}.", "At {time}, {guests} guests come to {restaurant}; the name is {name}."]),
    "tour": ({"guide": "person", "place": "city", "price": "money", "duration": "small2"}, [
        "The guide {guide} shows you {place} in {duration} hours for {price} euros.", "Tour of {place} with {guide}: {duration} hours, {price} euros.",
        "A tour of {place} lasts {duration} hours and costs {price} euros; your guide is {guide}.", "{guide} is the guide of the tour in {place}. Duration: {duration} hours. Price: {price} euros."]),
}
LISTS = {
    "fault": "noise leak crack fever cough headache delay rust scratch burn bruise allergy dent stain hole smell flicker pain", "level": "low medium high normal urgent",
    "department": "sales marketing finance support research logistics design security accounting production", "event": "concert festival fair race exhibition marathon circus auction parade",
    "condition": "sunny cloudy rainy windy foggy snowy stormy clear dry humid", "plan": "free basic premium family student business standard",
    "country": "France Germany Spain Italy Japan Norway Poland Greece Turkey Brazil Canada Mexico Chile Kenya Egypt India Ireland Portugal Sweden Austria",
    "category": "travel food books hotels fuel tools software training parking furniture paper", "place": "library school hospital museum theater church zoo choir orchestra village",
    "subject": "history physics biology music geography chemistry art Latin mathematics literature drawing economics cooking chess dance yoga pottery Spanish French"}
LISTS = {kind: Pool("record-" + kind, items, 0.15) for kind, items in LISTS.items()}
RECORD_NAMES = Pool("records", RECORDS, 0.2)
TEXTS = {name: Pool("text-" + name, texts) for name, (_, texts) in RECORDS.items()}

ASK = Mixed(Pool("extract-ask", [
    "Extract {keys} as JSON.", "Return a JSON object with the keys {keys}.", "Give me {keys} as a JSON object.", "Extract the fields {keys} from this text as JSON.",
    "Read the text and output JSON with {keys}.", "Make a JSON object from this text. Keys: {keys}.", "Find {keys} in the text. Answer in JSON.", "JSON with {keys}, please.",
    "Please turn the text into JSON with the fields {keys}.", "Pull {keys} out of the text and write them as JSON.", "Convert to JSON ({keys}).", "Write JSON with {keys}.",
    "I need {keys} from this text in JSON form.", "From the text, create a JSON object with {keys}.", "Parse the text into JSON with these keys: {keys}.", "List {keys} as a JSON object.",
    "Output only JSON: {keys}.", "What are {keys}? Use JSON.", "Get {keys} and format the result as JSON.", "Represent the text as JSON with {keys}.", "Collect {keys} in one JSON object.",
    "Turn this into JSON. Keys: {keys}.", "Answer with a JSON object that has the keys {keys}.", "Extract this information as JSON: {keys}.", "Fields: {keys}. Format: JSON."], 0.15), Grammar(
    "extract", ["Extract", "Return", "Give me", "Write", "Output", "Make", "Create", "Find", "Get", "List", "Please extract", "I need", "Please return", "Can you extract"],
    [" {keys}", " the fields {keys}", " the keys {keys}", " these fields: {keys}", " the following fields: {keys}", " only {keys}", " the values of {keys}", " {keys} from the text"],
    [" as JSON.", " as a JSON object.", " in JSON.", " in JSON format.", " as one JSON object.", ", formatted as JSON.", " and reply with JSON only.", " as valid JSON."]))
SYSTEMS = Pool("extract-system", ["You extract data. Answer with JSON only.", "Reply with one JSON object and nothing else.", "You turn text into JSON.",
                                  "You are an information extraction service. Output JSON.", "Output valid JSON. Use null for what is missing.",
                                  "Answer only with JSON.", "You read texts and return structured data.", "You are a parser. No comments, just JSON."])
NOISE = Pool("extract-noise", [
    "The weather was fine.", "Nobody was surprised.", "This was announced yesterday.", "More details will follow.", "Please keep this for your records.",
    "Thank you for your patience.", "The office is closed on Sundays.", "We look forward to hearing from you.", "That is all we know so far.",
    "It had been planned for a long time.", "Everyone agreed.", "Best regards", "Thank you!", "Please let us know if anything is wrong.", "Have a nice day.", "We hope this helps.",
    "Please check the data below.", "The old entry can be deleted.", "There were no questions.", "Greetings from the team", "This entry is new.", "Call us at any time.", "Please do not reply to this message.", "The rest of the report is missing."])
STATEMENTS = Pool("extract-statement", [
    "The {label} is {value}.", "{Label}: {value}", "Its {label} is {value}.", "The {label} was given as {value}.", "{value} is the {label}.", "{Label} = {value}", "- {label}: {value}",
    "{label}: {value}", "We know that the {label} is {value}.", "The {label}: {value}.", "It has the {label} {value}.", "* {Label}: {value}", "{label} is {value}.", "{Label} is {value}.",
    "- {Label}: {value}", "{Label} - {value}", "The form says that the {label} is {value}.", "{label} = {value}", "Please note the {label}: {value}.", "As {label} we noted {value}.",
    "And the {label} is {value}.", "{Label}:\t{value}", "**{Label}:** {value}", "{Label} was {value}.", "The {label} should be {value}."], 0.15)
LINES = Pool("extract-lines", ["{Label}: {value}", "{label}: {value}", "- {Label}: {value}", "{Label} = {value}", "* {label}: {value}", "{LABEL}: {value}", "{Label} - {value}", "{label}={value}",
                               "{Label}:\n{value}", "| {Label} | {value} |", "- {label} = {value}", "**{Label}**: {value}", "{Label} : {value}"], 0.15)
ROWS = Pool("extract-rows", ["{label}: {value}", "{label} {value}", "{label} = {value}", "the {label} is {value}", "{label} is {value}", "{Label}: {value}", "{label} - {value}", "{label} ({value})"], 0.15)
HEADS = Pool("extract-heads", ["New entry:", "Form received:", "Dear team,", "Hello,", "Here is what we know.", "Summary of the request:", "Details:", "Hi all,", "Please see below.", "Registration form",
                               "Order form", "Good morning,", "Information:", "As discussed:", "Data sheet", "The details are as follows:"], 0.15)


def record_value(rng, split, kind):
    match kind:
        case "age": return rng.randint(5, 95)
        case "year": return rng.randint(1900, 2030)
        case "small": return rng.randint(1, 60)
        case "small2": return rng.randint(1, 12)
        case "city2": return pools.CITIES.draw(rng, split)
        case "room": return rng.choice((f"{rng.choice('ABCDEF')}{rng.randint(1, 99)}", f"{rng.randint(1, 9)}.{rng.randint(1, 30):02d}", f"{rng.choice('ABCDEF')}-{rng.randint(100, 599)}"))
        case "name": return rng.choice((pools.FIRST_NAMES.draw, pools.NOUNS.draw, pools.CITIES.draw))(rng, split).capitalize()
        case "username": return f"{pools.FIRST_NAMES.draw(rng, split).lower()}{rng.choice(('', rng.randint(1, 99)))}"
    return LISTS[kind].draw(rng, split) if kind in LISTS else draw_value(rng, split, kind)


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
    """A record of random fields with their labels: lines of a form, a row, or sentences."""
    fields = draw_fields(rng, split, rng.randint(2, 6))
    draw = rng.random()
    if draw < 0.45:
        form, joiner = LINES.draw(rng, split), "\n"
    elif draw < 0.6:
        form, joiner = ROWS.draw(rng, split), rng.choice((", ", "; ", " | ", ". "))
    else:
        form, joiner = STATEMENTS.draw(rng, split) if split == "held" or rng.random() < 0.7 else None, " "
    lines = [state(rng, split, field, form) for field in fields]
    text = joiner.join(lines) if joiner != " " or all(line.endswith(".") for line in lines) else "\n".join(lines)
    if rng.random() < 0.3:
        text = f"{HEADS.draw(rng, split)}\n{text}"
    return {field.key: field.value for field in fields}, text


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
        field = Field(kind, LABELS[kind].draw(rng, "train"), draw_value(rng, split, kind))
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
    return form.format(label=field.label, Label=field.label.capitalize(), LABEL=field.label.upper(), value=field.text())


def with_noise(rng, split, text):
    for noise in NOISE.sample(rng, split, rng.choice((0, 0, 0, 1, 1, 2))):
        text = f"{noise} {text}" if rng.random() < 0.5 else f"{text} {noise}"
    return text


def ask_for(rng, split, keys):
    style = rng.randrange(4)
    named = listed(keys) if style < 2 else ", ".join(keys) if style == 2 else ", ".join(f'"{key}"' for key in keys)
    return ASK.draw(rng, split).format(keys=named)


def extraction(rng, split):
    record = RECORD_NAMES.draw(rng, rng.choice(("train", "held")) if split == "held" else "train")
    draw = rng.random()
    if draw < 0.07:
        return list_extraction(rng, split, record)
    composed_share = 0.08 if split == "train" else 0.0  # a reader of such a text guesses; held-out ones can be told
    values, text = composed(rng, split) if draw < 0.07 + composed_share else natural(rng, split, record) if draw < 0.5 else generic(rng, split)
    keys = list(values)
    if rng.random() < 0.4:
        keys = rng.sample(keys, rng.randint(1, len(keys)))
    if rng.random() < 0.08:
        extra = draw_field(rng, split).key
        if extra not in values:
            keys.insert(rng.randint(0, len(keys)), extra)
    ask = ask_for(rng, split, keys)
    question = phrasing.layout(rng, split, 0.03, 0.4).format(question=ask, context=with_noise(rng, split, text))
    messages = [user(question), assistant(to_json({key: values.get(key) for key in keys}))]
    if rng.random() < 0.3:
        messages.insert(0, system(SYSTEMS.draw(rng, split)))
    return Dialogue(messages, check="json")


def list_extraction(rng, split, record):
    made = [natural(rng, split, record) for _ in range(rng.randint(2, 3))]
    ask = ask_for(rng, split, list(made[0][0])) + rng.choice((" Answer with a list.", " One object per entry, in a list."))
    question = phrasing.layout(rng, split, 0.03, 0.4).format(question=ask, context=rng.choice((" ", "\n")).join(text for _, text in made))
    return Dialogue([user(question), assistant(to_json([values for values, _ in made]))], check="json")
