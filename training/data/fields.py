"""Typed values with names: what records, tools and tables are made of. A field has a key, a label in words, a JSON type and a value."""
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import pools
from pools import Pool

# Labels by kind of value. Held-out labels never occur as a key in training.
LABELS = {
    "person": Pool("label-person", ["name", "customer", "owner", "author", "manager", "contact", "patient", "driver", "guest", "teacher", "sender", "recipient", "client",
                                    "employee", "student", "buyer", "seller", "assignee", "reviewer", "speaker", "host", "captain", "editor", "tenant", "witness",
                                    "candidate", "member", "organizer", "doctor", "supervisor", "architect", "director", "contact person", "team lead", "customer name"]),
    "city": Pool("label-city", ["city", "origin", "destination", "location", "birthplace", "venue", "home town", "delivery city", "office", "branch", "pickup point", "place",
                                "departure city", "arrival city", "home port", "headquarters", "store"]),
    "company": Pool("label-company", ["company", "supplier", "employer", "vendor", "carrier", "publisher", "brand", "sponsor", "manufacturer", "agency", "airline", "insurer"]),
    "thing": Pool("label-thing", ["product", "item", "article", "device", "exhibit", "asset", "prize", "gift", "part", "model", "object", "product name"]),
    "count": Pool("label-count", ["quantity", "count", "age", "seats", "pages", "rooms", "floor", "guests", "weight", "height", "score", "level", "units", "copies", "distance",
                                  "duration", "capacity", "tickets", "members", "stock", "points", "speed", "nights", "number of people", "width", "length", "boxes", "hours"]),
    "price": Pool("label-price", ["price", "amount", "total", "fee", "cost", "balance", "rating", "discount", "rent", "salary", "tax", "deposit", "budget", "unit price",
                                  "total amount", "shipping cost"]),
    "date": Pool("label-date", ["date", "due date", "start date", "end date", "birthday", "delivery date", "check-in", "check-out", "deadline", "release date", "expiry date",
                                "order date", "hiring date", "arrival date", "payment date", "invoice date"]),
    "time": Pool("label-time", ["time", "start time", "end time", "departure time", "arrival time", "opening time", "closing time", "check-in time", "boarding time"]),
    "email": Pool("label-email", ["email", "contact email", "email address", "reply address", "sender email", "customer email", "work email"]),
    "code": Pool("label-code", ["id", "order number", "ticket number", "serial number", "reference", "invoice number", "room", "tracking code", "license", "flight number",
                                "account", "batch", "locker", "booking code", "customer number", "order id", "gate", "tracking number", "case number"]),
    "colour": Pool("label-colour", ["color", "cover color", "team color", "background", "paint color"]),
    "job": Pool("label-job", ["job", "occupation", "profession", "role", "position", "trade", "job title"]),
    "food": Pool("label-food", ["ingredient", "dish", "main product", "favorite food", "crop", "meal", "dessert", "main course"]),
    "animal": Pool("label-animal", ["animal", "pet", "mascot", "species", "favorite animal"]),
    "state": Pool("label-state", ["status", "state", "priority", "condition", "stage", "order status", "payment status"]),
    "bool": Pool("label-bool", ["active", "paid", "confirmed", "urgent", "available", "public", "verified", "fragile", "express", "insured"]),
    "phrase": Pool("label-phrase", ["title", "subject", "note", "comment", "message", "description", "summary", "remark", "headline", "reason", "text", "topic", "purpose"]),
    "word": Pool("label-word", ["password", "nickname", "codename", "keyword", "username", "tag", "channel", "callsign", "user", "label", "category"]),
}
STATES = Pool("states", """open closed pending shipped delivered cancelled approved rejected waiting new done low medium high blocked archived draft ready paid active
expired damaged returned urgent normal planned finished running stopped free full late early""", 0.15)
JSON_TYPES = {"count": "integer", "price": "number", "bool": "boolean"}


@dataclass
class Field:
    kind: str
    label: str
    value: object

    @property
    def key(self):
        return self.label.replace(" ", "_").replace("-", "_")

    @property
    def json_type(self):
        return JSON_TYPES.get(self.kind, "string")

    def text(self):
        """The value as a sentence says it."""
        if self.kind == "phrase":
            return f'"{self.value}"'
        return ("yes" if self.value else "no") if self.kind == "bool" else str(self.value)


def draw_value(rng, split, kind):
    match kind:
        case "person": return pools.person(rng, split)
        case "first": return pools.FIRST_NAMES.draw(rng, split)
        case "city": return pools.CITIES.draw(rng, split)
        case "company": return pools.company(rng, split)
        case "thing": return pools.thing(rng, split)
        case "title": return pools.title(rng, split)
        case "count": return rng.choice((rng.randint(1, 20), rng.randint(1, 120), rng.randint(1, 120), rng.randint(100, 5000)))
        case "price": return rng.choice((rng.randint(1, 999), rng.randint(1, 199) + rng.randint(1, 99) / 100, rng.randint(1, 99) / 10))
        case "money": return rng.choice((rng.randint(2, 99) * 100, rng.randint(100, 9999), rng.randint(3, 80) * 50))
        case "date": return pools.iso_date(rng)
        case "time": return pools.clock(rng)
        case "email": return pools.email(rng, pools.person(rng, split))
        case "code": return pools.code(rng, 0.1 if split == "train" else 0.0)
        case "colour": return pools.COLOURS.draw(rng, split)
        case "job": return pools.JOBS.draw(rng, split)
        case "food": return pools.FOODS.draw(rng, split)
        case "animal": return pools.ANIMALS.draw(rng, split)
        case "noun": return pools.NOUNS.draw(rng, split)
        case "state": return STATES.draw(rng, split)
        case "bool": return rng.random() < 0.5
        case "phrase": return pools.SPANS.draw(rng, split, rng.randint(2, 5)) if split == "train" and rng.random() < 0.2 else pools.phrase(rng, split)
        case "word": return word_value(rng, split)
    raise ValueError(kind)


def word_value(rng, split):
    """A name as people give to accounts, passwords and machines."""
    draw, noun = rng.random(), pools.NOUNS.draw(rng, split)
    if split == "train" and draw < 0.25:
        return rng.choice((pools.made_up_word, pools.WORDS.draw, pools.TERMS.draw))(rng, split)
    return rng.choice((noun, noun.capitalize(), f"{noun}{rng.randint(1, 99)}", pools.FIRST_NAMES.draw(rng, split).lower(), pools.ANIMALS.draw(rng, split)))


def draw_field(rng, split, kind=None):
    """Every tenth field of training has any word as its label."""
    kind = kind or rng.choice(list(LABELS))
    label = LABELS[kind].draw(rng, split)
    if split == "train" and rng.random() < 0.1:
        label = pools.WORDS.draw(rng, split) if rng.random() < 0.5 else f"{pools.WORDS.draw(rng, split)} {label.split()[-1]}"
    return Field(kind, label, draw_value(rng, split, kind))


def draw_fields(rng, split, n):
    """n fields with different keys; for the held-out split, half of the labels are held-out ones."""
    found = {}
    while len(found) < n:
        field = draw_field(rng, split)
        if split == "held" and rng.random() < 0.5:
            field = Field(field.kind, LABELS[field.kind].draw(rng, "train"), field.value)
        found.setdefault(field.key, field)
    return list(found.values())


def listed(words, last="and"):
    words = list(words)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"
