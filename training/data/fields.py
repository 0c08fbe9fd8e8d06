"""Typed values with names: what records, tools and tables are made of. A field has a key, a label in words, a JSON type and a value."""
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import pools
from pools import Pool

# Labels by kind of value. Held-out labels never occur as a key in training.
LABELS = {
    "person": Pool("label-person", ["name", "customer", "owner", "author", "manager", "contact", "patient", "driver", "guest", "teacher", "sender",
                                    "recipient", "client", "employee", "student", "buyer", "seller", "assignee", "reviewer", "speaker", "host",
                                    "captain", "editor", "tenant", "witness", "candidate", "member", "organizer"]),
    "city": Pool("label-city", ["city", "origin", "destination", "location", "birthplace", "venue city", "home town", "delivery city", "departure",
                                "arrival", "office", "branch", "pickup point"]),
    "company": Pool("label-company", ["company", "supplier", "employer", "vendor", "carrier", "publisher", "brand", "sponsor", "manufacturer", "agency"]),
    "thing": Pool("label-thing", ["product", "item", "article", "project", "device", "exhibit", "asset", "prize", "gift", "part", "model"]),
    "count": Pool("label-count", ["quantity", "count", "age", "seats", "pages", "rooms", "floor", "guests", "weight", "height", "score", "level", "units",
                                  "copies", "distance", "duration", "capacity", "tickets", "members", "stock", "points", "year built", "speed", "budget"]),
    "price": Pool("label-price", ["price", "amount", "total", "fee", "cost", "balance", "rating", "discount", "rent", "salary", "tax", "deposit"]),
    "date": Pool("label-date", ["date", "due date", "start date", "end date", "birthday", "delivery date", "check-in", "check-out", "deadline",
                                "release date", "expiry date", "order date", "hiring date"]),
    "time": Pool("label-time", ["time", "start time", "end time", "departure time", "arrival time", "opening time", "closing time", "alarm"]),
    "email": Pool("label-email", ["email", "contact email", "address", "reply address", "sender email"]),
    "code": Pool("label-code", ["id", "order number", "ticket number", "serial number", "reference", "invoice number", "room", "tracking code", "license",
                                "flight number", "account", "batch", "locker", "booking code"]),
    "colour": Pool("label-colour", ["color", "paint", "cover color", "team color", "background"]),
    "job": Pool("label-job", ["job", "occupation", "profession", "role", "position", "trade"]),
    "food": Pool("label-food", ["ingredient", "dish", "main product", "favorite food", "crop"]),
    "animal": Pool("label-animal", ["animal", "pet", "mascot", "species", "symbol"]),
    "state": Pool("label-state", ["status", "state", "priority", "condition", "stage"]),
    "bool": Pool("label-bool", ["active", "paid", "confirmed", "urgent", "available", "public", "verified", "fragile"]),
    "phrase": Pool("label-phrase", ["title", "subject", "note", "comment", "message", "description", "summary", "remark", "headline", "reason", "text"]),
    "word": Pool("label-word", ["password", "nickname", "codename", "keyword", "signal", "username", "tag", "channel", "magic word", "callsign"]),
}
STATES = pools.OpenPool("states", "open closed pending shipped delivered cancelled approved rejected waiting new done low medium high blocked archived draft ready")
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
        case "city": return pools.CITIES.draw(rng, split)
        case "company": return pools.company(rng, split)
        case "thing": return pools.thing(rng, split)
        case "count": return rng.choice((rng.randint(1, 20), rng.randint(1, 120), rng.randint(100, 3000), rng.randint(1000, 999999)))
        case "price": return rng.choice((rng.randint(1, 999), rng.randint(1, 999) + rng.randint(1, 99) / 100, rng.randint(1, 99) / 10))
        case "date": return pools.iso_date(rng)
        case "time": return pools.clock(rng)
        case "email": return pools.email(rng, pools.person(rng, split))
        case "code": return pools.code(rng)
        case "colour": return pools.COLOURS.draw(rng, split)
        case "job": return pools.JOBS.draw(rng, split)
        case "food": return pools.FOODS.draw(rng, split)
        case "animal": return pools.ANIMALS.draw(rng, split)
        case "state": return STATES.draw(rng, split)
        case "bool": return rng.random() < 0.5
        case "phrase": return pools.SPANS.draw(rng, split, rng.randint(2, 7))
        case "word": return rng.choice((pools.made_up_word, pools.made_up_word, pools.WORDS.draw, pools.TERMS.draw))(rng, split)
    raise ValueError(kind)


def typed_label(rng, split, kind):
    """A label that tells what kind of value it names."""
    return pools.NOUNS_OF[kind].draw(rng, split) if kind in pools.NOUNS_OF and rng.random() < 0.5 else LABELS[kind].draw(rng, split)


def draw_field(rng, split, kind=None):
    kind = kind or rng.choice(list(LABELS))
    label = typed_label(rng, split, kind)
    if rng.random() < 0.3:
        label = pools.WORDS.draw(rng, split) if rng.random() < 0.6 else f"{pools.WORDS.draw(rng, split)} {label.split()[-1]}"
    return Field(kind, label, draw_value(rng, split, kind))


def draw_fields(rng, split, n):
    """n fields with different keys; for the held-out split, half of the labels are held-out ones."""
    found = {}
    while len(found) < n:
        field = draw_field(rng, split if split == "train" or rng.random() < 0.5 else "train")
        field.value = draw_value(rng, split, field.kind)
        found.setdefault(field.key, field)
    return list(found.values())


def listed(words, last="and"):
    words = list(words)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"
