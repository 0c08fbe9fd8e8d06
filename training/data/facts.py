"""Facts: a person, place or thing, something that is told of it, and a value of fitting kind; and the ways to say them and to ask for them.

A held-out fact has a held-out holder and value; what it tells is a held-out label in every second fact. Its statement and its question are
held-out phrases. Every tenth fact of training tells any word of anything, so that labels are read and not guessed.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import pools
from fields import draw_value
from phrasing import Grammar, capital
from pools import Pool

PLACES = Pool("places", """library museum hotel school bakery station theater clinic factory restaurant garden lighthouse castle hospital market office
warehouse stadium cinema harbor airport gym pharmacy bookshop cafe zoo tower chapel observatory farm mill laboratory workshop gallery""")
EVENTS = Pool("events", """festival concert marathon conference tournament wedding exhibition workshop fair parade auction race lecture meeting seminar picnic
opening party championship ceremony rehearsal""")
SHIPS = Pool("vessels", "ship ferry boat yacht steamer train tram bus balloon submarine", 0.15)
MACHINES = Pool("machines", "server printer sensor robot drone camera router machine satellite telescope generator elevator", 0.15)
PAPERS = Pool("papers", "order invoice parcel ticket contract case account policy booking request report", 0.15)

# what is told of a holder: "label:kind" of value
ATTRIBUTES = {
    "person": """favorite food:food, favorite color:colour, favorite animal:animal, birthday:day, home town:city, phone extension:number, locker number:number, job:job,
        first job:job, employer:company, badge number:number, lucky number:small, hobby:hobby, instrument:instrument, native language:language, best friend:person,
        roommate:first, dentist:person, seat number:small, employee number:number, nickname:word, favorite city:city, pet:animal, favorite subject:subject,
        monthly salary:money, shoe size:small, user name:word, doctor:person, birthplace:city, favorite drink:drink, favorite sport:sport, lunch order:food, age:small,
        day off:weekday, parking space:number, membership number:number, graduation year:year, height:cm, neighbor:person, second name:first""",
    "place": """opening time:time, closing time:time, architect:person, manager:person, door code:number, wifi password:word, entry fee:money, capacity:few,
        phone number:number, founding year:year, founder:person, number of rooms:small, closing day:weekday, mascot:animal, owner:person, daily special:food,
        number of employees:few, guard:person, safe combination:number, alarm code:number, lunch break:time, number of visitors:few, sponsor:company, roof color:colour""",
    "company": """founder:person, headquarters:city, number of employees:few, director:person, founding year:year, mascot:animal, main product:noun, phone number:number,
        account manager:person, customer number:number, annual budget:money, biggest customer:company, tax number:code, opening time:time, logo color:colour, rival:company,
        lawyer:person, vault code:number""",
    "project": """manager:person, deadline:day, budget:money, password:word, client:company, start date:day, codename:word, team size:small, status:state, office:city,
        sponsor:company, access code:code, next meeting:weekday, test date:day, lead engineer:person, version number:number, room number:number""",
    "thing": """owner:person, price:money, weight:kg, serial number:code, color:colour, hiding place:noun, maker:company, length:cm, age:small, place of origin:city,
        inventory number:number, previous owner:person, insurance value:money, restorer:person, designer:person, shelf number:number, symbol:animal, year of purchase:year""",
    "animal": """age:small, owner:person, favorite food:food, birthday:day, weight:kg, vet:person, birthplace:city, chip number:number, favorite toy:noun, keeper:first,
        feeding time:time, best friend:animal, stall number:small, collar color:colour, registration number:code""",
    "vessel": """captain:person, destination:city, departure time:time, home port:city, number of passengers:few, top speed:speed, arrival time:time, call sign:code,
        next stop:city, cargo:food, builder:company, launch year:year, crew size:small, flag color:colour, radio channel:small, owner:company, cook:first""",
    "event": """start date:day, start time:time, organizer:person, ticket price:money, winner:person, number of guests:few, sponsor:company, opening act:person,
        host city:city, first prize:noun, main dish:food, guest speaker:person, motto:word, end date:day, dress color:colour, contact number:number, judge:person""",
    "city": """mayor:person, population:number, main export:food, founding year:year, heraldic animal:animal, twin city:city, postal code:number, largest employer:company,
        market day:weekday, tram color:colour, police chief:person, area code:number, patron:first, bus fare:money, specialty:food""",
    "paper": """customer:person, total:money, delivery date:day, status:state, destination:city, reference number:code, weight:kg, carrier:company, due date:day,
        discount:small, contact person:person, payment date:day, security code:number, sender:person, number of items:small, approval code:code""",
    "book": """author:person, number of pages:few, publisher:company, publication year:year, price:money, translator:person, main character:first, shelf number:number,
        cover color:colour, first edition:year, setting:city, library code:code, editor:person""",
    "machine": """address:number, operator:person, status:state, temperature:small, serial number:code, maker:company, location:city, installation date:day, password:word,
        inspection date:day, power:few, version number:number, backup time:time, battery level:small, technician:person, port:number""",
    "room": """door code:number, capacity:small, wall color:colour, temperature:small, tenant:person, key number:number, floor:small, wifi password:word, area:few,
        cleaning day:weekday, projector code:code, phone extension:number""",
}
ATTRIBUTES = {holder: [tuple(item.strip().split(":")) for item in text.split(",")] for holder, text in ATTRIBUTES.items()}
LABELS = Pool("fact-labels", sorted({label for attributes in ATTRIBUTES.values() for label, _ in attributes}), 0.15)
BY_LABEL = {split: [(holder, label, kind) for holder, attributes in ATTRIBUTES.items() for label, kind in attributes if label in LABELS.parts[split]]
            for split in pools.SPLITS}
LISTS = {
    "hobby": "fishing chess painting hiking sailing knitting cooking dancing swimming climbing photography gardening reading pottery archery skating cycling singing",
    "instrument": "piano violin guitar flute harp cello trumpet drums clarinet accordion organ banjo saxophone trombone oboe",
    "language": "English French German Spanish Italian Japanese Dutch Polish Turkish Greek Korean Swedish Finnish Portuguese Arabic Hindi Czech Danish Hungarian",
    "subject": "history physics biology music geography chemistry art latin math literature sports economics",
    "drink": "coffee tea milk water cocoa lemonade juice beer wine cider soda", "sport": "tennis football basketball rowing golf hockey boxing fencing judo volleyball skiing running"}
LISTS = {kind: Pool("value-" + kind, items, 0.15) for kind, items in LISTS.items()}

TELL = Grammar("fact-tell", ["", "By the way, ", "Note that ", "Remember that ", "Please note: ", "As you may know, ", "For the record, ", "In fact, ", "Today I learned that ",
                                    "According to the records, ", "It is known that ", "They told me that ", "The report says that ", "As of this year, ", "Important: ",
                                    "One more thing: ", "I can confirm that ", "Keep in mind that "],
               ["the {what} of {who} is {value}.", "{value} is the {what} of {who}.", "{whose} {what} is {value}.", "the {what} for {who} is {value}.",
                "{who} has {value} as the {what}.", "for {who}, the {what} is {value}.", "the {what} of {who} was set to {value}.", "the {what} of {who} has always been {value}.",
                "{who} has the {what} {value}.", "{value} was listed as the {what} of {who}.", "the {what} of {who} will be {value}.", "the {what} of {who} turned out to be {value}.",
                "{whose} {what} was given as {value}.", "as for {who}, the {what} is {value}.", "the {what} of {who} remains {value}."])
PLAIN = Pool("fact-tell-plain", ["The {what} of {who} is {value}.", "{Whose} {what} is {value}.", "{value} is the {what} of {who}.", "{Who} has the {what} {value}.",
                                 "The {what} for {who} is {value}.", "{Who}: {what} {value}.", "The {what} of {who}: {value}.", "{Who} ({what}: {value})"], 0.15)
ASK = Grammar("fact-ask", ["", "Please tell me: ", "According to the text, ", "Based on the text above, ", "Quick question: ", "In the text, ", "Tell me, ", "From the text: ",
                           "I would like to know: ", "Do you know: ", "Question: ", "One question: "],
              ["what is the {what} of {who}?", "what is {whose} {what}?", "what was the {what} of {who}?", "which {what} does {who} have?", "what {what} does {who} have?",
               "what is the {what} for {who}?", "what's the {what} of {who}?", "what does the text say about the {what} of {who}?", "what is given as the {what} of {who}?",
               "which {what} is named for {who}?", "what's {whose} {what}?", "what is mentioned as the {what} of {who}?", "for {who}, what is the {what}?"])
REQUEST = Pool("fact-request", [
    "Tell me the {what} of {who}.", "Give me the {what} of {who}.", "Find the {what} of {who}.", "I need the {what} of {who}.", "Can you tell me the {what} of {who}?",
    "Please find {whose} {what}.", "Do you know the {what} of {who}?", "Look up the {what} of {who}.", "{Who}: what is the {what}?", "Name the {what} of {who}.",
    "Can you find {whose} {what}?", "I am looking for the {what} of {who}.", "Please give me {whose} {what}.", "State the {what} of {who}.", "Could you look up {whose} {what}?",
    "Tell me {whose} {what}.", "The {what} of {who}?", "What is it that the text gives as the {what} of {who}?", "I forgot {whose} {what}. What is it?", "And the {what} of {who}?",
    "What do you know about the {what} of {who}?", "Say the {what} of {who}.", "Please tell me {whose} {what}.", "Could you tell me the {what} of {who}?"], 0.15)
BRIEF = Pool("fact-brief", [
    "Answer with the value only.", "Just the value.", "Only the value, please.", "Give only the value.", "Answer briefly.", "Answer in as few words as possible.", "Short answer, please.",
    "Reply with the value only.", "Reply with just the value.", "Only give the answer.", "No explanation, please.", "Just the answer, please.", "No full sentence.", "Be brief.",
    "Answer with just the value.", "Only answer with the value.", "Please answer with the value alone.", "Reply with the answer only.", "Give the answer without a sentence.",
    "Write only the answer."], 0.15)

# Some things are also said and asked without their label; in training only.
OWN_WAYS = {
    "opening time": ("{Who} opens at {value}.", "When does {who} open?"), "closing time": ("{Who} closes at {value}.", "When does {who} close?"),
    "author": ("{Who} was written by {value}.", "Who wrote {who}?"), "founder": ("{Who} was founded by {value}.", "Who founded {who}?"),
    "architect": ("{value} designed {who}.", "Who designed {who}?"), "owner": ("{Who} belongs to {value}.", "Who owns {who}?"), "price": ("{Who} costs {value}.", "How much does {who} cost?"),
    "weight": ("{Who} weighs {value}.", "How much does {who} weigh?"), "captain": ("{value} is in command of {who}.", "Who commands {who}?"),
    "destination": ("{Who} is on the way to {value}.", "Where does {who} go?"), "home town": ("{Who} lives in {value}.", "Where does {who} live?"),
    "birthplace": ("{Who} was born in {value}.", "Where was {who} born?"), "headquarters": ("{Who} has its main office in {value}.", "Where is {who} based?"),
    "departure time": ("{Who} leaves at {value}.", "When does {who} leave?"), "arrival time": ("{Who} arrives at {value}.", "When does {who} arrive?"),
    "job": ("{Who} works as a {value}.", "What does {who} do for a living?"), "employer": ("{Who} works for {value}.", "Who does {who} work for?"),
    "deadline": ("{Who} must be finished by {value}.", "When must {who} be finished?"), "instrument": ("{Who} plays the {value}.", "What does {who} play?"),
    "population": ("{Who} has {value} inhabitants.", "How many people live in {who}?"), "number of rooms": ("{Who} has {value} rooms.", "How many rooms does {who} have?"),
    "number of pages": ("{Who} has {value} pages.", "How many pages does {who} have?"), "winner": ("{value} won {who}.", "Who won {who}?"),
    "capacity": ("{Who} has room for {value} people.", "How many people fit into {who}?"), "manager": ("{value} runs {who}.", "Who runs {who}?"),
    "color": ("{Who} is painted {value}.", "What color is {who}?"), "maker": ("{Who} was made by {value}.", "Who made {who}?"), "mayor": ("{value} governs {who}.", "Who governs {who}?"),
    "native language": ("{Who} grew up speaking {value}.", "What did {who} speak as a child?"), "hobby": ("In the evening {who} likes {value}.", "What does {who} like to do?"),
    "number of employees": ("{Who} employs {value} people.", "How many people does {who} employ?"), "age": ("{Who} is {value} years old.", "How old is {who}?"),
    "publisher": ("{Who} was published by {value}.", "Who published {who}?"), "organizer": ("{value} organizes {who}.", "Who organizes {who}?")}


def draw_of(rng, split, kind):
    """The value as a text says it."""
    match kind:
        case "number": return str(rng.randint(10 ** rng.randint(2, 4), 10 ** rng.randint(5, 6)))[: rng.randint(3, 5)]
        case "few": return str(rng.randint(20, 10 ** rng.randint(2, 4)))
        case "small": return str(rng.randint(2, 99))
        case "year": return str(rng.randint(1850, 2029))
        case "money": return f"{rng.choice((rng.randint(2, 99), rng.randint(100, 9999)))} {rng.choice(('euros', 'dollars'))}"
        case "kg": return f"{rng.randint(2, 900)} {rng.choice(('kilograms', 'pounds', 'kg'))}"
        case "cm": return f"{rng.randint(20, 300)} {rng.choice(('centimeters', 'inches', 'cm'))}"
        case "speed": return f"{rng.randint(8, 300)} {rng.choice(('knots', 'kilometers per hour', 'km/h'))}"
        case "day": return rng.choice((pools.iso_date(rng), pools.spoken_date(pools.iso_date(rng)), f"{rng.choice(pools.MONTHS)} {rng.randint(1, 28)}"))
        case "weekday": return rng.choice(pools.WEEKDAYS)
    return LISTS[kind].draw(rng, split) if kind in LISTS else str(draw_value(rng, split, kind))


def holder(rng, split, kind):
    name, noun = pools.FIRST_NAMES.draw, pools.NOUNS.draw
    match kind:
        case "person": return pools.person(rng, split) if rng.random() < 0.75 else f"{rng.choice(('Mr.', 'Mrs.', 'Dr.', 'Professor'))} {pools.LAST_NAMES.draw(rng, split)}"
        case "place":
            place = PLACES.draw(rng, "train")
            return rng.choice((f"the {place} in {pools.CITIES.draw(rng, split)}", f"the {noun(rng, split).capitalize()} {place.capitalize()}",
                               f"the {place} of {pools.CITIES.draw(rng, split)}", f"the {pools.LAST_NAMES.draw(rng, split)} {place.capitalize()}"))
        case "company": return pools.company(rng, split)
        case "project": return rng.choice((f"project {noun(rng, split).capitalize()}", f"the {noun(rng, split).capitalize()} project", f"team {pools.ANIMALS.draw(rng, split).capitalize()}"))
        case "thing": return f"the {pools.thing(rng, split)}"
        case "animal": return f"the {pools.ANIMALS.draw(rng, split)} {name(rng, split)}"
        case "vessel": return f"the {SHIPS.draw(rng, 'train')} {rng.choice((name, noun, pools.CITIES.draw))(rng, split).capitalize()}"
        case "event":
            event = EVENTS.draw(rng, "train")
            return rng.choice((f"the {pools.CITIES.draw(rng, split)} {event}", f"the {noun(rng, split)} {event}", f"the {event} in {pools.CITIES.draw(rng, split)}"))
        case "city": return pools.CITIES.draw(rng, split)
        case "paper": return f"{PAPERS.draw(rng, 'train')} {rng.choice((pools.code(rng), str(rng.randint(100, 99999))))}"
        case "book": return f'"{pools.title(rng, split)}"' if rng.random() < 0.6 else f'the book "{pools.title(rng, split)}"'
        case "machine": return f"{rng.choice(('the ', ''))}{MACHINES.draw(rng, 'train')} {rng.choice((pools.code(rng), str(rng.randint(2, 99)), name(rng, split)))}"
        case "room": return rng.choice((f"room {rng.randint(2, 599)}", f"the {pools.ADJECTIVES.draw(rng, split)} room", f"room {pools.CITIES.draw(rng, split)}"))
    raise ValueError(kind)


def fact(rng, split, what=None):
    """(holder, (class, label, kind), value); `what` gives what is told."""
    if not what:
        what = rng.choice(BY_LABEL["train" if split == "held" and rng.random() < 0.5 else split])
        if split == "train" and rng.random() < 0.1:
            what = (what[0], rng.choice((pools.WORDS, pools.NOUNS)).draw(rng, split) + rng.choice(("", "", " number", " name")), rng.choice(("word", "number", "noun", "code")))
    return holder(rng, split, what[0]), what, draw_of(rng, split, what[2])


def distinct_facts(rng, split, n):
    """n times (holder, label, value); every third shares the holder or the label with another one, so that both have to be matched."""
    found = {}
    while len(found) < n:
        who, what, value = fact(rng, split)
        if found and rng.random() < 0.35:
            other_who, other_what = rng.choice(list(found))
            if rng.random() < 0.5:
                who, what, value = fact(rng, split, other_what)
            else:
                same = [item for item in BY_LABEL[split] if item[0] == other_what[0]]
                if same:
                    who, what, value = other_who, *fact(rng, split, rng.choice(same))[1:]
        if not any(who == other and what[1] == label for other, (_, label, _) in found):
            found[who, what] = value
    return [(who, what[1], value) for (who, what), value in found.items()]


def worded(form, who, what, value=""):
    text = form.format(who=who, what=what, value=value, whose=genitive(who), Who=capital(who), Whose=capital(genitive(who))).strip()
    return text if text.startswith(value or " ") else capital(text)


def genitive(who):
    return f"{who}'" if who.endswith("s") else f"{who}'s"


def sentence(rng, split, who, what, value):
    own = OWN_WAYS.get(what)
    if split == "train" and own and rng.random() < 0.25:
        return worded(own[0], who, what, value)
    return worded((PLAIN if rng.random() < 0.35 else TELL).draw(rng, split), who, what, value)


def ask(rng, split, who, what, brief=0.5):
    """A question; with share `brief` it also says that the bare value is wanted, which is the answer in any case."""
    own = OWN_WAYS.get(what)
    if split == "train" and own and rng.random() < 0.2:
        question = worded(own[1], who, what)
    else:
        question = worded((REQUEST if rng.random() < 0.4 else ASK).draw(rng, split), who, what)
    return f"{question} {BRIEF.draw(rng, split)}" if rng.random() < brief else question
