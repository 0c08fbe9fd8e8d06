"""Small talk, what the model is, following a system prompt, and saying that it does not know."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import pools
from dialogue import Dialogue, assistant, system, user
from fields import draw_field
from pools import Pool

SYSTEMS = Pool("systems", [
    "You are Arc, a small helpful assistant.", "You are a helpful assistant.", "Answer briefly.", "Be short and exact.", "You are Arc.",
    "You are a friendly assistant. Keep answers short.", "Answer the user's questions.", "You help with small tasks.", "Say so when you do not know something.",
    "You are an assistant that runs on this computer, without a network.", "Be polite and precise.", "Give the answer and nothing else."])

GREETINGS = Pool("greetings", ["Hello", "Hello!", "Hi", "Hi there", "Hey", "Good morning", "Good evening", "Hello Arc", "Hi!", "Good day", "hey there", "hello there!"])
HELLO = "Hello! How can I help you?"
TALK = {  # answer: ways to ask
    "I am Arc's built-in model, a small language model that runs on your own computer.": [
        "Who are you?", "What are you?", "What is your name?", "Tell me who you are.", "Are you a person?", "Who am I talking to?", "What model are you?",
        "Introduce yourself.", "Are you ChatGPT?", "Which model is this?"],
    "I can explain Arc, define words, do small arithmetic, convert units, read texts, extract JSON and call functions. I am small, so I know little about the world.": [
        "What can you do?", "How can you help me?", "What are you good at?", "What do you know?", "What are your abilities?", "What can I ask you?", "Help",
        "Which tasks can you do?"],
    "You are welcome.": ["Thanks", "Thank you", "Thanks a lot!", "Thank you very much.", "Great, thanks.", "Thanks for your help.", "thx"],
    "Goodbye!": ["Bye", "Goodbye", "See you later.", "Good night", "I have to go now.", "Bye bye", "That is all for today."],
    "I am a program and have no feelings, but I am ready to help.": ["How are you?", "How do you feel?", "Are you happy?", "How is it going?", "Are you tired?",
                                                                      "How are you doing today?"],
    "No. I run on your computer and use no network.": ["Do you need the internet?", "Do you send my data anywhere?", "Are my messages sent to a server?",
                                                       "Can you look up things on the internet?", "Do you run in the cloud?", "Is anyone reading this?"],
    "I was trained by the Arc project from text it made itself, free documentation and WordNet.": [
        "Who made you?", "How were you trained?", "What were you trained on?", "Where does your knowledge come from?", "Who trained you?", "Who built you?"],
    "I do not know. I cannot see a clock.": ["What time is it?", "What date is it today?", "Which day is today?", "How late is it?", "What year is it?", "Do you know the time?"],
}
TALK = [(answer, Pool("talk-" + answer[:24], questions)) for answer, questions in TALK.items()]

PRIVATE = Pool("private", [
    "What is my {label}?", "Do you know my {label}?", "Tell me my {label}.", "What was my {label} again?", "Can you tell me my {label}?", "Please give me my {label}."])
ABOUT = Pool("about", ["What is the {label} of {name}?", "Do you know the {label} of {name}?", "Tell me the {label} of {name}.", "What {label} does {name} have?",
                       "Which {label} belongs to {name}?"])
WORLD = Pool("world", [
    "Who is the president of {x}?", "What is the population of {x}?", "How far is it to {x}?", "What happened in {x} yesterday?", "Who won the match in {x}?",
    "What is the best restaurant in {x}?", "How high is the tower of {x}?", "When was {x} founded?", "Who is the mayor of {x}?", "What is the news from {x}?",
    "How much does a house in {x} cost?", "Which river flows through {x}?"])
NOT_TOLD = "I do not know. You have not told me."
UNKNOWN = "I do not know."
TELL = Pool("tell-me", ["My {label} is {value}.", "Please note that my {label} is {value}.", "By the way, my {label} is {value}.", "Remember my {label}: {value}.",
                        "I have a {label}: {value}."])
RULES = Pool("rules", [
    ("Answer every question with the word {x}.", "{x}"), ("Always reply with {x} and nothing else.", "{x}"), ("Whatever the user says, answer {x}.", "{x}")])
SIGNED = Pool("signed", ["End every answer with {x}.", "Put {x} at the end of each answer.", "Finish each reply with {x}."])
OPENED = Pool("opened", ["Begin every answer with {x}.", "Start each answer with {x}.", "Put {x} before every answer."])
QUESTIONS = ["What can you do?", "Hello!", "Tell me a story.", "How are you?", "What is 2 + 2?", "Is it late?", "Who are you?", "Why?"]


def unknown(rng, split):
    kind = rng.randrange(3)
    if kind == 0:
        return Dialogue([user(PRIVATE.draw(rng, split).format(label=draw_field(rng, split).label)), assistant(NOT_TOLD)])
    if kind == 1:
        name = rng.choice((pools.person(rng, split), pools.company(rng, split), "the " + pools.thing(rng, split)))
        return Dialogue([user(ABOUT.draw(rng, split).format(label=draw_field(rng, split).label, name=name)), assistant(UNKNOWN)])
    place = rng.choice((pools.CITIES.draw(rng, split), pools.made_up_word(rng, split).capitalize()))
    return Dialogue([user(WORLD.draw(rng, split).format(x=place)), assistant(UNKNOWN)])


def told(rng, split):
    """What the user told is known, what was not told is not."""
    fields = [draw_field(rng, split) for _ in range(rng.randint(1, 4))]
    fields = list({field.label: field for field in fields}.values())
    messages = []
    for field in fields:
        messages += [user(TELL.draw(rng, split).format(label=field.label, value=field.text())), assistant("I will remember that.")]
    other = draw_field(rng, split)
    field = other if rng.random() < 0.25 else rng.choice(fields)
    known = {known.label: known.text() for known in fields}
    answer = f"Your {field.label} is {known[field.label]}." if field.label in known else NOT_TOLD
    return Dialogue([*messages, user(PRIVATE.draw(rng, split).format(label=field.label)), assistant(answer)])


def rule(rng, split):
    """A system prompt that says how to answer."""
    word = rng.choice((pools.NOUNS.draw(rng, split), pools.made_up_word(rng, split), pools.COLOURS.draw(rng, split)))
    draw = rng.random()
    if draw < 0.4:
        text, answer = RULES.draw(rng, split)
        return Dialogue([system(text.format(x=word)), user(rng.choice(QUESTIONS)), assistant(answer.format(x=word))])
    question, answer = GREETINGS.draw(rng, split), HELLO
    if draw < 0.7:
        return Dialogue([system(SIGNED.draw(rng, split).format(x=word)), user(question), assistant(f"{answer} {word}")])
    return Dialogue([system(OPENED.draw(rng, split).format(x=word)), user(question), assistant(f"{word} {answer}")])


def chat(rng, split):
    draw = rng.random()
    if draw < 0.15:
        return Dialogue([user(GREETINGS.draw(rng, split)), assistant(HELLO)])
    if draw < 0.45:
        answer, questions = rng.choice(TALK)
        return Dialogue([user(questions.draw(rng, split)), assistant(answer)])
    if draw < 0.65:
        return unknown(rng, split)
    return told(rng, split) if draw < 0.85 else rule(rng, split)
