"""Word pools and the rule that splits every pool into a training part and a held-out part.

An item belongs to the held-out part by a hash of the pool's name and the item, so the split never depends on order, seed or
Python version. Every generator draws values, entities and phrasings through Pool, which makes held-out sets disjoint by
construction: an item drawn with split "held" can never be drawn with split "train".
"""
import hashlib
import math
import re

SPLITS = ("train", "held")


def stable_hash(text):
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


class Pool:
    """Items split once into `train` and `held`; at least one item is held out."""

    def __init__(self, name, items, held_share=0.12):
        items = items.split() if isinstance(items, str) else list(items)
        assert len(items) == len(set(items)), f"pool {name} repeats an item"
        assert len(items) > 1, f"pool {name} is too small to split"
        ordered = sorted(items, key=lambda item: stable_hash(f"{name}/{item}"))
        n_held = max(1, math.floor(len(items) * held_share))
        self.name = name
        self.parts = {"held": ordered[:n_held], "train": ordered[n_held:]}

    def draw(self, rng, split):
        return rng.choice(self.parts[split])

    def sample(self, rng, split, n):
        part = self.parts[split]
        return rng.sample(part, min(n, len(part)))


class Words:
    """An open vocabulary of thousands of words, which only copying can follow; `fill` gives them once."""

    def __init__(self, name):
        self.name, self.parts = name, {split: [] for split in SPLITS}

    def fill(self, words, elsewhere=()):
        """`elsewhere`: words in lower case that another pool holds out; they are held out here too."""
        self.parts = {split: [] for split in SPLITS}
        for word in words:
            held = word.lower() in elsewhere or stable_hash(f"{self.name}/{word}") % 8 == 0
            self.parts["held" if held else "train"].append(word)

    def draw(self, rng, split):
        return rng.choice(self.parts[split]) if self.parts[split] else made_up_word(rng, split)


WORDS = Words("word")  # of the dictionary
TERMS = Words("term")  # of documents: names, abbreviations, identifiers


class Spans:
    """Runs of words from documents of one split."""

    def __init__(self):
        self.parts = {}

    def draw(self, rng, split, n_words):
        if not self.parts:
            return " ".join(WORDS.draw(rng, split) for _ in range(n_words))
        text = rng.choice(self.parts[split])
        at = rng.randrange(max(1, len(text) - 12 * n_words))
        words = [word for word in text[at : at + 12 * n_words + 20].split()[1:-1] if re.fullmatch(r"[A-Za-z][A-Za-z'-]*[,;]?|[0-9]+", word)]
        return " ".join(words[:n_words]).rstrip(",;'-") or WORDS.draw(rng, split)


SPANS = Spans()


class OpenPool(Pool):
    """A list, and beside it thousands of words of the same kind from WordNet (`fill`), which every second draw takes: what stands in a text is to
    be read, not guessed from a list. Every tenth value of training is any word at all; held-out sets have none of these."""

    ALL = []

    def __init__(self, name, items, held_share=0.12, odd_share=0.1):
        super().__init__(name, items, held_share)
        self.more, self.odd_share, self.titled = Words(name + "-more"), odd_share, self.parts["train"][0][0].isupper()
        self.ALL.append(self)

    def fill(self, words):
        listed = {item for part in self.parts.values() for item in part}
        self.more.fill(sorted(set(words) - listed))

    def draw(self, rng, split):
        draw = rng.random()
        if split == "train" and draw < self.odd_share:
            word = WORDS.draw(rng, split) if rng.random() < 0.7 else made_up_word(rng, split)
            return word.capitalize() if self.titled else word
        return self.more.draw(rng, split) if draw > 0.55 and self.more.parts[split] else super().draw(rng, split)

    def sample(self, rng, split, n):
        found = {}
        while len(found) < n:
            found[self.draw(rng, split)] = True
        return list(found)


def held_words():
    """In lower case, what the open pools hold out."""
    return {word.lower() for pool in OpenPool.ALL for word in (*pool.parts["held"], *pool.more.parts["held"])}


FIRST_NAMES = OpenPool("first", """
Ada Adam Agnes Alan Albert Alice Amara Amir Ana Andre Anita Anna Anton Aria Arthur Astrid Ben Bianca Boris Bruno Carla Carlos Cecilia Chen
Clara Daniel Daria David Diego Dina Edgar Elena Elias Elif Ella Emil Emma Eric Esther Eva Fatima Felix Fiona Frank Freya George Grace Greta
Hana Hannah Hassan Helen Henry Hugo Ida Igor Ines Ingrid Iris Isaac Ivan Jack Jakob Jane Jasmin Joan Jonas Jorge Judith Julia Kai Karin Karl
Kenji Klara Lara Laura Lea Leo Lena Liam Lila Linda Lucas Lucia Luis Lydia Magnus Maja Marco Maria Marta Martin Mateo Maya Mei Mia Milan Mina
Mira Mona Nadia Nina Noah Nora Olga Oliver Omar Oscar Otto Paul Paula Pedro Petra Piotr Priya Quentin Rafael Rania Ravi Robin Rosa Ruth Samir
Sara Sasha Simon Sofia Stefan Sven Tara Theo Thomas Tina Tom Ulla Uma Vera Victor Viktor Walter Wanda Wei Xenia Yara Yuki Yusuf Zara Zoe""")

LAST_NAMES = OpenPool("last", """
Abbott Adler Ahmed Alvarez Baker Barnes Becker Bennett Berg Bishop Blake Brandt Brooks Burke Carter Chen Clark Cole Costa Cruz Dahl Davis
Diaz Dietrich Dubois Eklund Ellis Engel Evans Farrell Fischer Fletcher Foster Fuchs Garcia Gibson Gomez Graham Grant Haas Hansen Harper Hart
Hoffman Holm Hughes Ito Jansen Jensen Kaya Keller Khan Kim Klein Koch Kumar Lang Larsen Lehmann Lindgren Lopez Lund Maier Marsh Martinez Mason
Meyer Mills Moreno Morgan Murphy Nakamura Nguyen Novak Ortiz Osman Owens Park Patel Perez Petrov Porter Quinn Ramos Reed Reyes Rossi Roth Russo
Sato Schmidt Silva Singh Soto Stein Stone Suzuki Tanaka Torres Turner Vargas Vogel Wagner Walsh Weber West Wolf Wong Yilmaz Young Zhang
Ziegler""")

CITIES = OpenPool("city", """
Aarhus Accra Amsterdam Ankara Athens Austin Baku Bangkok Barcelona Basel Beirut Belgrade Bergen Berlin Bern Bogota Boston Bremen Brisbane Brno
Bruges Brussels Bucharest Budapest Cairo Calgary Cardiff Casablanca Chicago Cologne Copenhagen Cork Dakar Dallas Delhi Denver Dresden Dublin
Edinburgh Florence Geneva Genoa Ghent Glasgow Graz Hamburg Hanoi Havana Helsinki Houston Istanbul Jakarta Kyoto Lagos Leeds Leipzig Lima Lisbon
Liverpool Ljubljana London Lyon Madrid Malmo Manila Marseille Melbourne Miami Milan Montreal Munich Nairobi Naples Nice Odense Osaka Oslo Oxford
Paris Perth Porto Prague Quito Riga Rome Rotterdam Salzburg Seattle Seoul Seville Sofia Stockholm Sydney Tallinn Tampere Tokyo Toronto Trieste
Tunis Turin Uppsala Utrecht Valencia Vancouver Venice Vienna Vilnius Warsaw Wellington York Zagreb Zurich""")

NOUNS = OpenPool("noun", """
anchor antenna apple archive arrow atlas badge bakery balloon bank barn barrel basket battery beacon bell bench bicycle blanket boat book boot
bottle box bracelet bridge brush bucket button cabin cabinet cable camera canal candle canoe cap carpet cart castle cathedral cellar chair
chapel chest chimney clinic clock cloud coat coin compass computer copper cottage couch crate crown cup curtain dam deck desk diamond diary dock
door dome drawer drum elevator engine envelope factory farm fence ferry field filter flag flask flute forge fork fountain furnace gallery garage
garden gate glacier glass globe glove guitar hammer harbor harp hat helmet hill hotel house inn island jacket jar journal kettle key kitchen kite
knife ladder lake lamp lantern laptop ledger lens letter library lighthouse locker loom machine mailbox mansion map market mask mast medal mill
mine mirror monastery motor mountain mug museum necklace needle notebook oak office orchard organ oven paddle painting palace parcel park passage
pavilion pencil piano pier pillow pipe plate pocket pond portrait pot printer pump pyramid quarry quilt radio railway reservoir ribbon ring river
robot rocket roof rope rudder ruler sail satchel saw scarf school scissors screen shed shelf shield ship shop shrine shuttle silo sofa spoon
stable stadium statue stove studio suitcase summit sword table tavern telescope temple tent theater ticket tower tractor train tray trumpet
tunnel turbine umbrella valley van vault vase village vineyard violin wagon wallet warehouse watch well wheel whistle windmill window workshop
yacht""")

ADJECTIVES = OpenPool("adjective", """
amber ancient azure big bitter blue bold brass bright broken bronze brown busy calm cheap clean clever cold copper crimson crooked curved damp
dark deep distant double dry dusty eastern elegant empty faded famous fancy fast flat foggy forgotten fragile fresh frozen gentle giant golden
gray green grey hollow humble icy iron ivory jade large lazy lonely long lost loud lucky marble mellow misty modern narrow new noisy northern odd
old orange pale patient plain polished private proud purple quick quiet rapid rare red remote restless rough round royal rusty sandy scarlet
secret shallow sharp shiny short silent silver simple slender slow small smooth soft southern square steep stone striped strong sunny sweet tall
tidy tiny turquoise upper vast velvet violet warm western white wide wild windy wooden yellow young""")

ANIMALS = OpenPool("animal", """
badger bear beaver bee bison camel cat cheetah cow crab crane crow deer dog dolphin donkey dove duck eagle eel elephant falcon ferret finch fox
frog goat goose gorilla hamster hare hawk hedgehog heron horse hyena jaguar kangaroo koala lion lizard llama lobster lynx magpie mole monkey moose
mouse newt octopus otter owl ox panda parrot penguin pigeon pony rabbit raven salmon seal shark sheep snail sparrow spider squid stork swan tiger
toad tortoise trout turkey turtle walrus weasel whale wolf wombat zebra""")

FOODS = OpenPool("food", """
almonds apples apricots bananas beans berries biscuits bread broccoli butter cabbage cakes carrots cheese cherries chocolate coffee cookies corn
cucumbers dates eggs figs flour garlic ginger grapes honey jam lemons lentils lettuce mangoes milk mushrooms mustard noodles nuts oats olives
onions oranges pasta peaches peanuts pears peas pepper pickles plums potatoes pumpkins raisins rice salt sausages soup spinach sugar tea tomatoes
walnuts yogurt""")

JOBS = OpenPool("job", """
accountant actor architect artist astronomer baker barber biologist bookseller builder butcher captain carpenter chemist chef clerk coach dentist
designer doctor driver editor electrician engineer farmer firefighter fisher florist gardener geologist guide historian jeweler journalist judge
lawyer librarian locksmith mechanic miner musician nurse optician painter photographer pilot plumber potter programmer sailor scientist sculptor
singer surgeon surveyor tailor teacher translator vet waiter weaver welder writer""")

COLOURS = Pool("colour", "black blue brown crimson cyan gold gray green indigo ivory magenta maroon navy orange pink purple red silver teal white yellow")
MONTHS = "January February March April May June July August September October November December".split()
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()

_ONSETS = "b br c ch cl d dr f fl g gl gr h j k kr l m n p pl qu r s sh sk sl st t th tr v w y z".split()
_RIMES = "a ab ad al an ar as ax e ed el em en er es eth i id il im in ir is ith o ob od ol om on or os u ul um un ur us yl yn".split()


def made_up_word(rng, split):
    """A word that no dictionary has: syllables, pieces of words, or letters; held out by its hash."""
    while True:
        kind = rng.random()
        if kind < 0.4 or not WORDS.parts["train"]:
            word = "".join(rng.choice(_ONSETS) + rng.choice(_RIMES) for _ in range(rng.randint(2, 3)))
        elif kind < 0.85:
            word = "".join(piece(rng) for _ in range(rng.randint(2, 3)))
        else:
            word = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 7)))
        if (stable_hash("made/" + word) % 8 == 0) == (split == "held"):
            return word


def piece(rng):
    word = WORDS.draw(rng, "train")
    at = rng.randrange(max(1, len(word) - 2))
    return word[at : at + rng.randint(2, 5)]


def code(rng, odd_share=0.0):
    """An identifier such as KX-482; random, so training and held-out sets practically never share one."""
    letters = "".join(rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(rng.randint(1, 3)))
    digits, more = ("".join(rng.choice("0123456789") for _ in range(rng.randint(2, 4))) for _ in range(2))
    if rng.random() < odd_share:
        return rng.choice((digits + letters, f"{digits}-{more}", f"{letters}-{digits}-{more}", f"{digits}.{letters}", f"{letters}/{digits}", f"{digits}:{letters}",
                           f"{letters.lower()}_{digits}"))
    return rng.choice((f"{letters}-{digits}", f"{letters}-{digits}", f"{letters}{digits}", f"{letters.lower()}{digits}"))


def person(rng, split):
    return f"{FIRST_NAMES.draw(rng, split)} {LAST_NAMES.draw(rng, split)}"


def thing(rng, split):
    return f"{ADJECTIVES.draw(rng, split)} {NOUNS.draw(rng, split)}"


COMPANY_ENDS = Pool("company-ends", "Systems Works Group Labs Trading Foods Energy Logistics Press Partners Software Motors Insurance Bank Travel Media Textiles Engineering")


def company(rng, split):
    head = (LAST_NAMES if rng.random() < 0.6 else CITIES).draw(rng, split)
    return f"{head} {COMPANY_ENDS.draw(rng, 'train')}"


def title(rng, split):
    """Of a book or a film."""
    adjective, noun = (pool.draw(rng, split).capitalize() for pool in (ADJECTIVES, NOUNS))
    return rng.choice((f"The {adjective} {noun}", f"The {noun} of {CITIES.draw(rng, split)}", f"{adjective} {noun}"))


VERBS = Pool("phrase-verbs", """buy sell fix clean find bring check paint move order return repair pack print send take replace book
wash open close sign copy measure lend borrow describe draw collect""")


def phrase(rng, split):
    """A few words as in a note or a message."""
    verb, noun = VERBS.draw(rng, "train"), NOUNS.draw(rng, split)
    return rng.choice((f"{verb} the {noun}", f"{verb} the {ADJECTIVES.draw(rng, split)} {noun}", f"{verb} {FOODS.draw(rng, split)}", f"call {FIRST_NAMES.draw(rng, split)}",
                       f"meet {FIRST_NAMES.draw(rng, split)} in {CITIES.draw(rng, split)}", f"the {noun} is {ADJECTIVES.draw(rng, split)}", f"new {noun} for {FIRST_NAMES.draw(rng, split)}",
                       f"{verb} the {noun} for {FIRST_NAMES.draw(rng, split)}", f"{noun} and {NOUNS.draw(rng, split)}", f"{FOODS.draw(rng, split)} for {rng.choice(WEEKDAYS)}"))


def iso_date(rng):
    return f"{rng.randint(1990, 2039)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"


def spoken_date(iso):
    year, month, day = iso.split("-")
    return f"{int(day)} {MONTHS[int(month) - 1]} {year}"


def clock(rng):
    return f"{rng.randint(0, 23):02d}:{rng.choice((0, 5, 10, 15, 20, 30, 40, 45, 50)):02d}"


def email(rng, name):
    first, last = name.lower().split(" ", 1)
    host = rng.choice(("example.com", "example.org", "mail.example", "post.example", "office.example"))
    return f"{rng.choice((f'{first}.{last}', f'{first[0]}{last}', f'{first}{rng.randint(1, 99)}'))}@{host}"
