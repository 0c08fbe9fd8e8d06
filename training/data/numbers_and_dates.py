"""Small arithmetic, unit conversion and dates: exact answers, short, with phrasings of which some are held out."""
import datetime
import re
import sys
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import pools
from dialogue import Dialogue, assistant, user
from pools import Pool, stable_hash


def is_held(*numbers):
    """Whether a problem belongs to the held-out set: decided by its operands, so both phrasings and problems are held out."""
    return stable_hash("/".join(map(str, numbers))) % 20 == 0


def draw_operands(rng, split, make):
    while True:
        operands = make()
        if is_held(*operands) == (split == "held"):
            return operands


def plain(value):
    """A decimal number without exponent and trailing zeros."""
    text = format(Decimal(value).quantize(Decimal("0.000001")).normalize(), "f")
    return "0" if text == "-0" else text


def exchange(question, answer, **more):
    return Dialogue([user(question), assistant(answer)], **more)


# ---- arithmetic ----------------------------------------------------------------------------------------------------------

SUMS = Pool("sums", [
    "What is {a} + {b}?", "{a} + {b}", "{a}+{b}=", "Add {a} and {b}.", "Compute {a} plus {b}.", "How much is {a} plus {b}?",
    "What do {a} and {b} add up to?", "What is the sum of {a} and {b}?", "Calculate {a} + {b}.", "Please add {b} to {a}.",
    "Sum: {a} + {b}", "Tell me {a} plus {b}.", "What does {a} + {b} equal?", "I have {a} and get {b} more. How many in all?",
    "Work out {a} + {b}.", "If I add {a} to {b}, what do I get?"])
DIFFERENCES = Pool("differences", [
    "What is {a} - {b}?", "{a} - {b}", "{a}-{b}=", "Subtract {b} from {a}.", "Compute {a} minus {b}.", "How much is {a} minus {b}?",
    "What is the difference between {a} and {b}?", "Calculate {a} - {b}.", "Take {b} away from {a}.", "What does {a} - {b} equal?",
    "I had {a} and gave away {b}. How many are left?", "What remains of {a} after removing {b}?", "Work out {a} - {b}."])
PRODUCTS = Pool("products", [
    "What is {a} * {b}?", "{a} * {b}", "{a} x {b} =", "Multiply {a} by {b}.", "Compute {a} times {b}.", "How much is {a} times {b}?",
    "What is the product of {a} and {b}?", "Calculate {a} * {b}.", "What does {a} times {b} equal?", "Work out {a} x {b}.",
    "There are {a} boxes with {b} things each. How many things?", "Tell me {a} times {b}."])
QUOTIENTS = Pool("quotients", [
    "What is {a} / {b}?", "{a} / {b}", "Divide {a} by {b}.", "Compute {a} divided by {b}.", "How much is {a} divided by {b}?",
    "How often does {b} go into {a}?", "Calculate {a} / {b}.", "Share {a} equally among {b}. How many does each get?", "Work out {a} : {b}."])
LARGER = Pool("larger", [
    "Which is larger, {a} or {b}?", "Which number is bigger: {a} or {b}?", "Is {a} or {b} the larger number?", "Tell me the greater of {a} and {b}.",
    "Of {a} and {b}, which is more?", "What is the maximum of {a} and {b}?"])
REMAINDERS = Pool("remainders", [
    "What is {a} mod {b}?", "What is the remainder of {a} divided by {b}?", "Compute the remainder when {a} is divided by {b}.", "{a} % {b}",
    "Divide {a} by {b}. What remains?", "Give me {a} modulo {b}."])
PERCENTS = Pool("percents", [
    "What is {b}% of {a}?", "How much is {b} percent of {a}?", "Compute {b}% of {a}.", "Calculate {b} percent of {a}.", "Take {b}% of {a}.",
    "{b}% of {a} is?"])


def arithmetic(rng, split):
    kind = rng.choices(("sum", "difference", "product", "quotient", "larger", "remainder", "percent", "list"), (30, 20, 20, 10, 6, 5, 5, 8))[0]
    top = rng.choice((20, 100, 100, 1000))
    if kind == "sum":
        a, b = draw_operands(rng, split, lambda: (rng.randint(0, top), rng.randint(0, top)))
        return exchange(SUMS.draw(rng, split).format(a=a, b=b), rng_form(rng, split, a + b))
    if kind == "difference":
        a, b = draw_operands(rng, split, lambda: tuple(sorted((rng.randint(0, top), rng.randint(0, top)), reverse=True)))
        return exchange(DIFFERENCES.draw(rng, split).format(a=a, b=b), rng_form(rng, split, a - b))
    if kind == "product":
        a, b = draw_operands(rng, split, lambda: rng.choice(((rng.randint(0, 12), rng.randint(0, 12)), (rng.randint(2, 99), rng.randint(2, 9)))))
        return exchange(PRODUCTS.draw(rng, split).format(a=a, b=b), rng_form(rng, split, a * b))
    if kind == "quotient":
        quotient, b = draw_operands(rng, split, lambda: (rng.randint(1, 30), rng.randint(2, 12)))
        return exchange(QUOTIENTS.draw(rng, split).format(a=quotient * b, b=b), rng_form(rng, split, quotient))
    if kind == "larger":
        a, b = draw_operands(rng, split, lambda: tuple(rng.sample(range(0, top * 10), 2)))
        return exchange(LARGER.draw(rng, split).format(a=a, b=b), rng_form(rng, split, max(a, b)))
    if kind == "remainder":
        a, b = draw_operands(rng, split, lambda: (rng.randint(1, 99), rng.randint(2, 12)))
        return exchange(REMAINDERS.draw(rng, split).format(a=a, b=b), rng_form(rng, split, a % b))
    if kind == "percent":
        a, b = draw_operands(rng, split, lambda: (rng.randint(1, 40) * 10, rng.choice((1, 5, 10, 20, 25, 50, 75))))
        return exchange(PERCENTS.draw(rng, split).format(a=a, b=b), rng_form(rng, split, plain(Decimal(a) * b / 100)))
    numbers = draw_operands(rng, split, lambda: tuple(rng.sample(range(1, 100), rng.randint(3, 5))))
    return list_question(rng, split, numbers)


LISTS = Pool("lists", [
    "What is the {what} of {list}?", "Find the {what}: {list}", "Give me the {what} of these numbers: {list}.", "Which is the {what} of {list}?",
    "{list}: what is the {what}?", "Tell me the {what} of the numbers {list}."])


def list_question(rng, split, numbers):
    what = rng.choice(("largest", "smallest", "count", "sum"))
    answer = {"largest": max, "smallest": min, "count": len, "sum": sum}[what](numbers)
    name = {"largest": "largest number", "smallest": "smallest number", "count": "count", "sum": "sum"}[what]
    return exchange(LISTS.draw(rng, split).format(what=name, list=", ".join(map(str, numbers))), rng_form(rng, split, answer))


def rng_form(rng, split, value):
    """The answer's form: held-out sets want the number alone, which is also the most frequent form in training."""
    return str(value) if split == "held" or rng.random() < 0.9 else f"The answer is {value}."


# ---- units ---------------------------------------------------------------------------------------------------------------

UNITS = {  # kind: {unit name: (symbol, size in the base unit)}
    "length": {"millimeters": ("mm", "0.001"), "centimeters": ("cm", "0.01"), "meters": ("m", "1"), "kilometers": ("km", "1000")},
    "mass": {"milligrams": ("mg", "0.001"), "grams": ("g", "1"), "kilograms": ("kg", "1000"), "tonnes": ("t", "1000000")},
    "volume": {"milliliters": ("ml", "0.001"), "centiliters": ("cl", "0.01"), "liters": ("l", "1")},
    "time": {"seconds": ("s", "1"), "minutes": ("min", "60"), "hours": ("h", "3600"), "days": ("d", "86400"), "weeks": ("weeks", "604800")},
    "data": {"bytes": ("B", "1"), "kilobytes": ("kB", "1000"), "megabytes": ("MB", "1000000"), "gigabytes": ("GB", "1000000000")},
    "imperial": {"inches": ("in", "1"), "feet": ("ft", "12"), "yards": ("yd", "36")},
}
CONVERSIONS = Pool("conversions", [
    "How many {to} are {x} {frm}?", "Convert {x} {frm} to {to}.", "What is {x} {frm} in {to}?", "{x} {frm} in {to}", "How many {to} are in {x} {frm}?",
    "Express {x} {frm} in {to}.", "Please convert {x} {frm} into {to}.", "Turn {x} {frm} into {to}.", "{x} {frm} is how many {to}?",
    "Change {x} {frm} to {to}.", "I have {x} {frm}. How much is that in {to}?", "Give {x} {frm} in {to}."])
TEMPERATURES = Pool("temperatures", [
    "Convert {x} degrees {frm} to {to}.", "What is {x} degrees {frm} in {to}?", "How many degrees {to} are {x} degrees {frm}?",
    "{x} {frm} in {to}?", "Express {x} degrees {frm} in {to}."])


def conversion(rng, split):
    if rng.random() < 0.08:
        (celsius,) = draw_operands(rng, split, lambda: (rng.randrange(-40, 101, 5),))
        fahrenheit = celsius * 9 // 5 + 32
        ends = [("Celsius", "Fahrenheit", celsius, fahrenheit), ("Fahrenheit", "Celsius", fahrenheit, celsius)]
        source, target, x, answer = rng.choice(ends)
        return exchange(TEMPERATURES.draw(rng, split).format(x=x, frm=source, to=target), f"{answer} degrees {target}")
    kind = rng.choice(list(UNITS))
    source, target = rng.sample(list(UNITS[kind]), 2)

    def make():
        small = rng.choice((rng.randint(1, 12), rng.randint(1, 60), rng.randint(1, 20) * 10, rng.randint(1, 99) * 100))
        return Decimal(small) / rng.choice((1, 1, 1, 2, 10)), source, target

    while True:
        x, *_ = draw_operands(rng, split, make)
        size = [Decimal(UNITS[kind][name][1]) for name in (source, target)]
        if size[0] < size[1]:  # towards the larger unit: start from a whole number of it
            x = x * size[1] / size[0]
        answer = x * size[0] / size[1]
        if answer == round(answer, 4) and len(plain(answer)) < 12 and len(plain(x)) < 12:
            break
    symbol = rng.random() < 0.25
    names = [UNITS[kind][name][0] if symbol else name for name in (source, target)]
    return exchange(CONVERSIONS.draw(rng, split).format(x=plain(x), frm=names[0], to=names[1]), f"{plain(answer)} {names[1]}")


# ---- dates ---------------------------------------------------------------------------------------------------------------

DAY_AFTER = Pool("day-after", [
    "What date is {n} days after {d}?", "Which date comes {n} days after {d}?", "Add {n} days to {d}.", "{d} plus {n} days is which date?",
    "What is the date {n} days from {d}?", "Starting on {d}, what is the date after {n} days?"])
DAY_BEFORE = Pool("day-before", [
    "What date is {n} days before {d}?", "Which date was {n} days before {d}?", "Go back {n} days from {d}.", "{d} minus {n} days is which date?",
    "Subtract {n} days from {d}."])
WEEKDAY_LATER = Pool("weekday-later", [
    "Today is {w}. Which weekday is it in {n} days?", "If today is {w}, what day is it {n} days from now?", "What weekday comes {n} days after {w}?",
    "It is {w}. What day of the week will it be in {n} days?", "{n} days after {w} is which weekday?"])
TO_ISO = Pool("to-iso", [
    "Write {d} in ISO format.", "What is {d} as YYYY-MM-DD?", "Convert {d} to an ISO date.", "Give {d} as an ISO date.", "Format {d} as YYYY-MM-DD.",
    "{d} in the form YYYY-MM-DD"])
FROM_ISO = Pool("from-iso", [
    "Write {d} with the month's name.", "Spell out the date {d}.", "What date is {d} in words?", "Write {d} as day, month and year.",
    "Say the date {d} with the month in words."])
LEAP = Pool("leap", ["Is {y} a leap year?", "Was {y} a leap year?", "Does {y} have a 29 February?", "Does February have 29 days in {y}?",
                     "Tell me whether {y} is a leap year."])
MONTH_LENGTH = Pool("month-length", ["How many days does {m} have?", "How many days are in {m}?", "What is the number of days in {m}?", "{m} has how many days?"])
MONTH_NUMBER = Pool("month-number", ["Which number is the month {m}?", "What is the number of the month {m}?", "{m} is month number what?",
                                     "As a number, which month is {m}?"])
NEXT_MONTH = Pool("next-month", ["Which month comes after {m}?", "What month follows {m}?", "Name the month after {m}.", "After {m} comes which month?"])
SPAN = Pool("span", ["How many days are between {a} and {b}?", "How many days is it from {a} to {b}?", "Count the days from {a} to {b}.",
                     "What is the number of days from {a} until {b}?"])
WEEKDAY_OF = Pool("weekday-of", ["{a} is a {w}. Which weekday is {b}?", "If {a} is a {w}, what weekday is {b}?", "Given that {a} is a {w}, name the weekday of {b}."])


def random_day(rng, split):
    (ordinal,) = draw_operands(rng, split, lambda: (rng.randint(datetime.date(1950, 1, 1).toordinal(), datetime.date(2049, 12, 31).toordinal()),))
    return datetime.date.fromordinal(ordinal)


def dates(rng, split):
    made = date_question(rng, split)
    made.messages[0]["content"] = re.sub(r"\b1 days\b", "1 day", made.messages[0]["content"])
    return made


def date_question(rng, split):
    kind = rng.choice(("after", "after", "before", "weekday", "weekday", "iso", "iso", "spoken", "leap", "length", "number", "next", "span", "of"))
    day = random_day(rng, split)
    n = rng.choice((1, 2, 3, 5, 7, 10, 14, rng.randint(1, 30)))
    if kind == "after":
        return exchange(DAY_AFTER.draw(rng, split).format(n=n, d=day), str(day + datetime.timedelta(n)))
    if kind == "before":
        return exchange(DAY_BEFORE.draw(rng, split).format(n=n, d=day), str(day - datetime.timedelta(n)))
    if kind == "weekday":
        start = rng.randrange(7)
        return exchange(WEEKDAY_LATER.draw(rng, split).format(w=pools.WEEKDAYS[start], n=n), pools.WEEKDAYS[(start + n) % 7])
    spoken = pools.spoken_date(str(day))
    if kind == "iso":
        month_first = f"{pools.MONTHS[day.month - 1]} {day.day}, {day.year}"
        return exchange(TO_ISO.draw(rng, split).format(d=rng.choice((spoken, month_first))), str(day))
    if kind == "spoken":
        return exchange(FROM_ISO.draw(rng, split).format(d=day), spoken)
    if kind == "leap":
        (year,) = draw_operands(rng, split, lambda: (rng.randint(1900, 2099),))
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        return exchange(LEAP.draw(rng, split).format(y=year), "Yes." if leap else "No.")
    month = rng.randrange(12)
    if kind == "length":
        days = "28, or 29 in a leap year." if month == 1 else str((31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[month])
        return exchange(MONTH_LENGTH.draw(rng, split).format(m=pools.MONTHS[month]), days)
    if kind == "number":
        return exchange(MONTH_NUMBER.draw(rng, split).format(m=pools.MONTHS[month]), str(month + 1))
    if kind == "next":
        return exchange(NEXT_MONTH.draw(rng, split).format(m=pools.MONTHS[month]), pools.MONTHS[(month + 1) % 12])
    later = day + datetime.timedelta(rng.randint(1, 40))
    if kind == "span":
        return exchange(SPAN.draw(rng, split).format(a=day, b=later), str((later - day).days))
    question = WEEKDAY_OF.draw(rng, split).format(a=day, b=later, w=pools.WEEKDAYS[day.weekday()])
    return exchange(question, pools.WEEKDAYS[later.weekday()])
