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
from fields import Field, draw_fields, draw_value
import phrasing
from phrasing import Grammar, Mixed
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
    "send_email": ("Send an email", {"to": ("email", "address of the recipient"), "subject": ("topic", "subject line")}, [
        "Send an email to {to} with the subject {subject}.", "Write to {to}; the subject is {subject}.", "Mail {to} about {subject}.",
        "Please email {to}, subject: {subject}"], {"id": "code"}),
    "set_timer": ("Start a timer", {"minutes": ("small", "length in minutes")}, [
        "Set a timer for {minutes} minutes.", "Wake me in {minutes} minutes.", "Start a {minutes} minute timer.", "Timer: {minutes} minutes"], {"id": "code"}),
    "set_alarm": ("Set an alarm clock", {"time": ("time", "time as HH:MM")}, [
        "Set an alarm for {time}.", "Wake me up at {time}.", "I want to get up at {time}.", "Alarm at {time}, please."], {"id": "code"}),
    "add_event": ("Add an event to the calendar", {"title": ("occasion", "title of the event"), "date": ("date", "date as YYYY-MM-DD"),
                                                   "time?": ("time", "time as HH:MM")}, [
        "Put {title} into my calendar on {date}.", "Add an event called {title} on {date}.", "I have {title} on {date}. Note it.",
        "Calendar entry: {title}, {date}"], {"id": "code"}),
    "book_table": ("Book a table in a restaurant", {"restaurant": ("name", "name of the restaurant"), "guests": ("small", "number of guests"),
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
    "set_light": ("Set the color of a lamp", {"room": ("room", "name of the room"), "color": ("colour", "name of the color")}, [
        "Make the light in the {room} {color}.", "Set the {room} lamp to {color}.", "I want {color} light in the {room}."], {"state": "state"}),
    "set_temperature": ("Set the heating of a room", {"room": ("room", "name of the room"), "degrees": ("small", "degrees Celsius")}, [
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
    "search_web": ("Search the web", {"query": ("topic", "words to search")}, [
        "Search the web for {query}.", "Look up {query} online.", "Find pages about {query}.", "Google {query}."], {"title": "thing"}),
    "roll_dice": ("Roll dice", {"sides": ("small", "sides of each die"), "count": ("small2", "number of dice")}, [
        "Roll {count} dice with {sides} sides.", "Throw {count} {sides}-sided dice."], {"total": "small"}),
    "buy_ticket": ("Buy tickets for an event", {"event": ("title", "name of the event"), "tickets": ("small2", "number of tickets")}, [
        "Buy {tickets} tickets for {event}.", "I need {tickets} tickets to {event}.", "Get me {tickets} tickets for {event}, please."], {"booking": "code"}),
    "check_stock": ("Check how many pieces are in stock", {"product": ("thing", "name of the product")}, [
        "How many pieces of {product} do we have?", "Is {product} in stock?", "Check the stock of {product}."], {"stock": "count"}),
    "rent_car": ("Rent a car", {"city": ("city", "city of the pickup"), "date": ("date", "first day, YYYY-MM-DD"), "days": ("small", "number of days")}, [
        "Rent a car in {city} from {date} for {days} days.", "I need a car for {days} days in {city}, starting {date}.",
        "Get me a rental car in {city}, {days} days from {date}.", "Car rental: {city}, {date}, {days} days"], {"booking": "code", "price": "price"}),
    "order_food": ("Order food for delivery", {"dish": ("food", "what to order"), "portions": ("small2", "number of portions"), "address": ("city", "where to deliver")}, [
        "Order {portions} portions of {dish} to {address}.", "Bring {portions} times {dish} to {address}.", "I would like {portions} {dish} delivered to {address}.",
        "{dish}, {portions} portions, deliver to {address}."], {"order": "code", "minutes": "small"}),
    "add_contact": ("Add a person to the address book", {"name": ("person", "full name"), "email": ("email", "email address")}, [
        "Add {name} with the address {email} to my contacts.", "Save {name}, {email}, as a contact.", "New contact: {name}, {email}",
        "Put {name} ({email}) into the address book."], {"id": "code"}),
    "find_contact": ("Find a person in the address book", {"name": ("person", "name to look for")}, [
        "Find the contact of {name}.", "What is the address of {name} in my contacts?", "Look up {name} in the address book.", "Do I have {name} in my contacts?"],
        {"email": "email"}),
    "start_workout": ("Start a workout", {"activity": ("sport", "kind of sport"), "minutes": ("small", "length in minutes")}, [
        "Start a {activity} workout of {minutes} minutes.", "I want to do {activity} for {minutes} minutes.", "{minutes} minutes of {activity}, go!",
        "Begin {activity} training, {minutes} minutes."], {"id": "code"}),
    "log_weight": ("Record the body weight", {"kilograms": ("price", "weight in kilograms")}, [
        "I weigh {kilograms} kilograms today.", "Record my weight: {kilograms} kg.", "Log {kilograms} kg.", "My weight is {kilograms} kilos."], {"state": "state"}),
    "lock_door": ("Lock a door", {"door": ("room", "which door")}, [
        "Lock the {door} door.", "Please lock the door of the {door}.", "Make sure the {door} door is locked."], {"state": "state"}),
    "open_blinds": ("Open the blinds of a room", {"room": ("room", "name of the room"), "percent": ("small", "how far, in percent")}, [
        "Open the blinds in the {room} to {percent} percent.", "Raise the {room} blinds to {percent}%.", "I want the blinds of the {room} {percent} percent open."], {"state": "state"}),
    "start_vacuum": ("Send the vacuum robot to a room", {"room": ("room", "name of the room")}, [
        "Vacuum the {room}.", "Clean the {room} with the robot.", "Send the robot into the {room}.", "Start cleaning in the {room}."], {"minutes": "small"}),
    "get_news": ("Get the latest news about a topic", {"topic": ("topic", "what the news should be about")}, [
        "What is new about {topic}?", "Show me news about {topic}.", "Any news on {topic}?", "Latest headlines for {topic}"], {"headline": "thing"}),
    "get_exchange_rate": ("Get the exchange rate of two currencies", {"base": ("currency", "currency code"), "quote": ("currency2", "currency code")}, [
        "What is the rate from {base} to {quote}?", "Exchange rate {base}/{quote}?", "How many {quote} do I get for one {base}?", "Give me the {base} to {quote} rate."],
        {"rate": "price"}),
    "transfer_money": ("Transfer money to a person", {"recipient": ("person", "who gets the money"), "amount": ("price", "amount"), "currency": ("currency", "currency code")}, [
        "Send {amount} {currency} to {recipient}.", "Transfer {amount} {currency} to {recipient}.", "Pay {recipient} {amount} {currency}.",
        "{recipient} should get {amount} {currency} from me."], {"id": "code"}),
    "get_balance": ("Get the balance of an account", {"account": ("code", "number of the account")}, [
        "What is the balance of account {account}?", "How much money is on {account}?", "Show the balance of {account}.", "Balance {account}?"], {"balance": "price"}),
    "create_issue": ("Create an issue in the tracker", {"title": ("phrase", "title of the issue"), "assignee": ("person", "who should work on it")}, [
        'Open an issue "{title}" for {assignee}.', 'Create the issue "{title}" and give it to {assignee}.', '{assignee} should look at "{title}". File an issue.',
        'New issue: "{title}", assignee {assignee}'], {"number": "code"}),
    "close_issue": ("Close an issue in the tracker", {"number": ("code", "number of the issue")}, [
        "Close issue {number}.", "Issue {number} is done, close it.", "Mark {number} as closed.", "We can close {number}."], {"state": "state"}),
    "run_query": ("Run a query on a database", {"database": ("noun", "name of the database"), "table": ("noun", "name of the table"), "limit": ("small", "most rows to return")}, [
        "Show {limit} rows of the table {table} in {database}.", "From the database {database}, read {limit} rows of {table}.",
        "Query {database}: table {table}, at most {limit} rows."], {"rows": "small"}),
    "restart_server": ("Restart a server", {"host": ("host", "name of the server")}, [
        "Restart the server {host}.", "Reboot {host}.", "{host} hangs, restart it.", "Please restart {host}."], {"state": "state"}),
    "get_server_status": ("Get the status of a server", {"host": ("host", "name of the server")}, [
        "Is {host} up?", "What is the status of server {host}?", "How is {host} doing?", "Check whether {host} is running."], {"status": "state"}),
    "copy_file": ("Copy a file", {"source": ("path", "path of the file"), "target": ("path", "path of the copy")}, [
        "Copy {source} to {target}.", "Make a copy of {source} at {target}.", "Duplicate {source} as {target}.", "{source} should be copied to {target}."], {"state": "state"}),
    "rename_file": ("Rename a file", {"path": ("path", "path of the file"), "name": ("file", "new name")}, [
        "Rename {path} to {name}.", "Give {path} the name {name}.", "Change the name of {path} to {name}.", "{path} should be called {name}."], {"state": "state"}),
    "write_file": ("Write a text to a file", {"path": ("path", "path of the file"), "text": ("phrase", "what to write")}, [
        'Write "{text}" to {path}.', 'Save "{text}" in the file {path}.', 'Put the text "{text}" into {path}.', '{path} should contain "{text}".'], {"bytes": "small"}),
    "search_files": ("Search files for a text", {"text": ("phrase", "text to search"), "folder": ("path", "where to search")}, [
        'Search {folder} for "{text}".', 'Find "{text}" in {folder}.', 'Which files in {folder} contain "{text}"?', 'Look for "{text}" under {folder}.'], {"path": "path"}),
    "find_hotel": ("Find hotels in a city", {"city": ("city", "name of the city"), "max_price": ("price", "highest price per night")}, [
        "Find a hotel in {city} for at most {max_price} a night.", "Hotels in {city} under {max_price}?", "Where can I sleep in {city} for up to {max_price}?",
        "Show hotels in {city}, not more than {max_price}."], {"hotel": "thing", "price": "price"}),
    "find_train": ("Find a train connection", {"origin": ("city", "station of departure"), "destination": ("city2", "station of arrival"), "time": ("time", "earliest departure, HH:MM")}, [
        "Which train goes from {origin} to {destination} after {time}?", "Train from {origin} to {destination} at {time}, please.",
        "I want to leave {origin} by train at {time} for {destination}.", "Trains {origin} - {destination}, {time}"], {"train": "code", "departure": "time"}),
    "cancel_booking": ("Cancel a booking", {"booking": ("code", "number of the booking")}, [
        "Cancel the booking {booking}.", "I do not need {booking} any more, cancel it.", "Please cancel {booking}.", "Undo booking {booking}."], {"state": "state"}),
    "rate_movie": ("Rate a movie", {"movie": ("title", "title of the movie"), "stars": ("small2", "number of stars")}, [
        "Give {movie} {stars} stars.", "Rate the movie {movie} with {stars} stars.", "{stars} stars for {movie}.", "I liked {movie}: {stars} stars."], {"state": "state"}),
    "recommend_book": ("Recommend a book", {"topic": ("topic", "what the book is about"), "pages?": ("count", "largest number of pages")}, [
        "Recommend a book about {topic}.", "Which book about {topic} should I read?", "I want to read about {topic}.", "Suggest a book on {topic}."], {"title": "thing"}),
    "add_to_cart": ("Put a product into the shopping cart", {"product": ("thing", "name of the product"), "quantity": ("small2", "how many")}, [
        "Put {quantity} of the {product} into my cart.", "Add {quantity} pieces of {product} to the cart.", "I want to buy {quantity} {product}.", "{quantity} x {product} into the cart, please."],
        {"total": "price"}),
    "add_to_shopping_list": ("Write something on the shopping list", {"item": ("food", "what to buy")}, [
        "Put {item} on the shopping list.", "We need {item}. Write it on the list.", "Add {item} to my shopping list.", "Do not let me forget to buy {item}."], {"count": "small"}),
    "apply_coupon": ("Use a coupon", {"coupon": ("code", "text of the coupon")}, [
        "Use the coupon {coupon}.", "I have the coupon {coupon}.", "Apply {coupon} to my order.", "My voucher is {coupon}."], {"discount": "price"}),
    "schedule_meeting": ("Schedule a meeting with a person", {"person": ("person", "who takes part"), "date": ("date", "date as YYYY-MM-DD"), "time": ("time", "time as HH:MM")}, [
        "Schedule a meeting with {person} on {date} at {time}.", "I want to meet {person} on {date}, {time}.", "Set up a meeting: {person}, {date}, {time}.",
        "Arrange that I talk with {person} on {date} at {time}."], {"id": "code"}),
    "cancel_meeting": ("Cancel the meeting with a person", {"person": ("person", "who takes part"), "date": ("date", "date as YYYY-MM-DD")}, [
        "Cancel my meeting with {person} on {date}.", "I cannot meet {person} on {date}. Cancel it.", "The meeting with {person} on {date} is off."], {"state": "state"}),
    "get_schedule": ("Get all events of a day", {"date": ("date", "date as YYYY-MM-DD")}, [
        "What is on my calendar on {date}?", "Show my events of {date}.", "What do I have to do on {date}?", "My schedule for {date}, please."], {"events": "small"}),
    "set_language": ("Set the language of the interface", {"language": ("language", "name of the language")}, [
        "Switch to {language}.", "Set the language to {language}.", "I want everything in {language}.", "Please use {language} from now on."], {"state": "state"}),
    "detect_language": ("Find out the language of a text", {"text": ("phrase", "text to examine")}, [
        'Which language is "{text}"?', 'In what language is "{text}" written?', 'Detect the language of "{text}".'], {"language": "language"}),
    "count_words": ("Count the words of a text", {"text": ("phrase", "text to count")}, [
        'How many words has "{text}"?', 'Count the words of "{text}".', 'Number of words in "{text}"?', 'Tell me the word count of "{text}".'], {"words": "small"}),
    "resize_image": ("Change the size of an image", {"path": ("path", "path of the image"), "width": ("count", "width in pixels"), "height": ("count", "height in pixels")}, [
        "Resize {path} to {width} by {height}.", "Make {path} {width} pixels wide and {height} high.", "Scale the image {path} to {width}x{height}.",
        "{path} should be {width} by {height} pixels."], {"bytes": "count"}),
    "play_video": ("Play a video", {"title": ("title", "title of the video"), "room?": ("room", "room of the screen")}, [
        "Play the video {title}.", "Show me {title}.", "I want to watch {title}.", "Start the film {title}."], {"minutes": "small"}),
    "charge_car": ("Charge the electric car", {"percent": ("small", "charge to reach, in percent"), "until": ("time", "when it must be done, HH:MM")}, [
        "Charge the car to {percent} percent until {until}.", "By {until} the car needs {percent}% charge.", "Load the car to {percent} percent, ready at {until}."], {"state": "state"}),
    "get_route": ("Get the route between two cities", {"origin": ("city", "where to start"), "destination": ("city2", "where to go"), "mode?": ("mode", "means of transport")}, [
        "How do I get from {origin} to {destination}?", "Show the route from {origin} to {destination}.", "Navigate from {origin} to {destination}.", "Way from {origin} to {destination}?"],
        {"minutes": "count"}),
    "get_traffic": ("Get the traffic of a city", {"city": ("city", "name of the city"), "time": ("time", "time as HH:MM")}, [
        "How is the traffic in {city} at {time}?", "Traffic in {city}, {time}?", "Are the roads of {city} full at {time}?"], {"state": "state"}),
    "find_restaurant": ("Find a restaurant", {"city": ("city", "name of the city"), "food": ("food", "what it should serve")}, [
        "Where can I eat {food} in {city}?", "Find a restaurant with {food} in {city}.", "I am in {city} and want {food}.", "{food} in {city}, please."], {"restaurant": "word"}),
    "get_calories": ("Get the calories of a food", {"food": ("food", "name of the food"), "grams": ("count", "amount in grams")}, [
        "How many calories have {grams} grams of {food}?", "Calories of {grams} g {food}?", "I ate {grams} grams of {food}. How many calories is that?"], {"calories": "count"}),
    "adopt_animal": ("Reserve an animal of the shelter", {"animal": ("animal", "kind of animal"), "name": ("first", "name of the animal")}, [
        "Reserve the {animal} {name} for me.", "I would like to adopt {name}, the {animal}.", "Adopt the {animal} called {name}."], {"id": "code"}),
    "find_job": ("Find open jobs", {"job": ("job", "name of the job"), "city": ("city", "where to work")}, [
        "Find a job as {job} in {city}.", "Who needs a {job} in {city}?", "I am a {job} and look for work in {city}.", "Open positions: {job}, {city}"], {"company": "company"}),
    "get_company_info": ("Get facts about a company", {"company": ("company", "name of the company")}, [
        "Tell me about the company {company}.", "What does {company} do?", "Who leads {company}?", "Show me facts about {company}."], {"city": "city", "employees": "count"}),
    "ban_user": ("Ban a user from the forum", {"user": ("username", "name of the user"), "days": ("small", "length of the ban in days")}, [
        "Ban {user} for {days} days.", "The user {user} must be banned for {days} days.", "{days} days of ban for {user}.", "Lock {user} out for {days} days."], {"state": "state"}),
    "create_user": ("Create a user account", {"username": ("username", "name of the account"), "email": ("email", "email address"), "admin": ("bool", "whether it is an administrator")}, [
        "Create the user {username} with the email {email}, admin: {admin}.", "New account {username}, {email}; administrator {admin}.",
        "Make an account for {email} called {username}. Admin rights: {admin}."], {"id": "code"}),
    "reset_password": ("Reset the password of a user", {"email": ("email", "email address of the user")}, [
        "Reset the password of {email}.", "{email} forgot the password, reset it.", "Send a new password to {email}.", "Password reset for {email}"], {"state": "state"}),
    "check_in": ("Check in for a flight", {"flight": ("code", "number of the flight"), "name": ("person", "name of the passenger")}, [
        "Check {name} in for flight {flight}.", "Check in: {name}, {flight}", "{name} flies with {flight}, do the check-in.", "Please check in {name} on {flight}."], {"seat": "code"}),
    "get_flight_status": ("Get the status of a flight", {"flight": ("code", "number of the flight")}, [
        "Is flight {flight} on time?", "What is the status of flight {flight}?", "When does {flight} land?", "Status of {flight}?"], {"status": "state", "time": "time"}),
    "set_thermostat_mode": ("Switch the thermostat on or off", {"enabled": ("bool", "whether it is on")}, [
        "Thermostat on: {enabled}.", "Set the thermostat, enabled: {enabled}.", "Should the thermostat run? {enabled}."], {"state": "state"}),
    "print_document": ("Print a document", {"path": ("path", "path of the document"), "copies": ("small2", "number of copies")}, [
        "Print {path} {copies} times.", "Print {copies} copies of {path}.", "I need {copies} copies of {path} on paper.", "{path}, {copies} copies, print."], {"job": "code"}),
    "share_document": ("Share a document with a person", {"document": ("title", "name of the document"), "person": ("person", "who may read it")}, [
        "Share {document} with {person}.", "Let {person} read {document}.", "Give {person} access to {document}.", "{person} should see {document}."], {"state": "state"}),
    "water_garden": ("Water a bed of the garden", {"bed": ("food", "what grows there"), "liters": ("small", "amount of water in liters")}, [
        "Give the {bed} {liters} liters of water.", "Water the {bed} with {liters} liters.", "{liters} liters for the {bed}, please."], {"state": "state"}),
    "set_price": ("Set the price of a product", {"product": ("thing", "name of the product"), "price": ("price", "new price")}, [
        "Set the price of {product} to {price}.", "{product} now costs {price}.", "Change the price of {product} to {price}.", "Sell {product} for {price}."], {"state": "state"}),
    "generate_password": ("Make a random password", {"length": ("small", "number of characters")}, [
        "Make a password of {length} characters.", "Generate a password with {length} characters.", "I need a random password, {length} characters long.", "New password, length {length}"],
        {"password": "word"}),
}
NATURAL_NAMES = Pool("natural-tools", NATURAL, 0.2)

# What composed tools are about: entities, and "label:kind" of parameters that fit them.
THEMES = [
    ("order purchase shipment delivery parcel refund return sale invoice quote", """customer:person, product:thing, quantity:count, price:price, order number:code, delivery date:date,
        status:state, carrier:company, address:city, discount:price, express:bool, total:price, supplier:company, tracking number:code, gift:bool, color:colour, weight:count"""),
    ("appointment meeting interview visit lesson exam training course workshop rehearsal", """date:date, start time:time, end time:time, room:code, teacher:person, topic:noun, duration:count,
        participant:person, location:city, organizer:person, online:bool, seats:count, guest:person, language:language, confirmed:bool, comment:phrase"""),
    ("account user profile member customer contact subscription license employee student", """name:person, email:email, username:username, city:city, password:word, role:job, company:company,
        birthday:date, active:bool, plan:word, phone:code, department:noun, age:count, language:language, manager:person, admin:bool, expiry date:date"""),
    ("document report page article folder note letter file contract form", """title:phrase, author:person, pages:count, language:language, folder:noun, tag:word, due date:date,
        reviewer:person, public:bool, version:count, subject:phrase, path:path, recipient:person, reference:code, priority:state"""),
    ("payment transfer donation expense loan budget bill fine fee claim", """amount:price, currency:currency, recipient:person, sender:person, date:date, account:code, reason:phrase, bank:company,
        reference:code, category:noun, approved:bool, due date:date, invoice number:code, payer:person, tax:price"""),
    ("flight trip hotel reservation booking ticket rental tour cruise journey", """origin:city, destination:city, departure date:date, return date:date, passengers:count, passenger:person,
        seat:code, price:price, nights:count, airline:company, departure time:time, breakfast:bool, guests:count, booking code:code, luggage:count, hotel:name"""),
    ("device sensor printer camera server robot lamp door heater machine", """name:host, location:room, temperature:count, level:count, color:colour, serial number:code, mode:word, enabled:bool,
        owner:person, interval:count, start time:time, address:count, status:state, speed:count, room:room, model:name"""),
    ("message email notification reminder alarm post comment chat poll survey", """recipient:person, text:phrase, subject:phrase, date:date, time:time, channel:word, urgent:bool, sender:person,
        email:email, group:noun, priority:state, topic:noun, language:language, anonymous:bool, repeat:count"""),
    ("task project ticket issue sprint plan goal test release request", """title:phrase, assignee:person, deadline:date, priority:state, project:noun, hours:count, status:state, reporter:person,
        version:count, label:word, team:animal, start date:date, points:count, done:bool, estimate:count, client:company"""),
    ("song playlist album movie video photo podcast game book story", """title:title, artist:person, year:year, duration:count, genre:word, rating:count, author:person, director:person,
        price:price, language:language, album:title, tag:word, explicit:bool, publisher:company, volume:count"""),
    ("recipe meal dish menu snack drink dessert breakfast lunch dinner", """name:food, ingredient:food, servings:count, minutes:count, cook:person, calories:count, price:price, vegan:bool, drink:food,
        side dish:food, table:count, day:date, time:time, guests:count, restaurant:name"""),
    ("vehicle car bicycle truck garage route bus train taxi parking", """driver:person, license plate:code, color:colour, destination:city, start:city, speed:count, distance:count, model:name, owner:person,
        departure time:time, passengers:count, fuel:count, electric:bool, stop:city, price:price"""),
    ("house room flat garden pool office shop warehouse desk shelf", """city:city, owner:person, rooms:count, rent:price, tenant:person, floor:count, area:count, color:colour, key number:code, furnished:bool,
        move date:date, deposit:price, agent:person, temperature:count, item:thing"""),
    ("patient pet animal horse dog treatment prescription vaccine checkup clinic", """name:first, owner:person, doctor:person, age:count, weight:count, species:animal, date:date, time:time, medicine:word,
        dose:count, room:code, urgent:bool, birthday:date, phone:code, food:food"""),
    ("team player match tournament race event concert festival league competition", """captain:person, city:city, date:date, score:count, winner:person, tickets:count, price:price, sponsor:company, start time:time,
        coach:person, name:name, rank:count, distance:count, indoor:bool, opponent:city, mascot:animal"""),
]
THEMES = [(entities.split(), [tuple(item.strip().split(":")) for item in labels.split(",")]) for entities, labels in THEMES]
ENTITIES = Pool("entities", sorted({entity for entities, _ in THEMES for entity in entities}), 0.15)
PARAMETERS = Pool("parameters", sorted({label for _, labels in THEMES for label, _ in labels}), 0.12)
BY_ENTITY = {entity: dict(labels) for entities, labels in THEMES for entity in entities}
ACTIONS = Pool("actions", ["create", "get", "delete", "update", "send", "schedule", "cancel", "archive", "export", "approve", "assign", "print", "check", "add",
                           "close", "start", "share", "register", "open", "stop", "find", "copy", "move", "rename", "publish", "hide", "lock", "unlock", "rate", "review",
                           "confirm", "reject", "import", "reset", "pause", "resume", "extend", "change", "list", "show"])
LISTS = {"sport": "tennis football yoga running swimming boxing rowing cycling skating climbing dancing karate judo hiking", "mode": "car train bus bicycle foot ferry plane tram",
         "room": "kitchen bedroom bathroom office garage attic basement hall nursery library studio pantry terrace cellar lobby",
         "occasion": "breakfast lunch dinner training choir rehearsal dentist haircut interview picnic concert seminar wedding party workshop review inspection"}
LISTS = {kind: Pool("argument-" + kind, items, 0.2) for kind, items in LISTS.items()}
EXTRA = {"currency": ["USD", "EUR", "GBP", "JPY", "CHF", "SEK", "CAD", "AUD"], "language": ["French", "German", "Spanish", "Italian", "Japanese", "Dutch"]}
PATH_ENDS = ("txt", "md", "log", "csv", "json", "conf")

REQUESTS = Mixed(Grammar(
    "requests", ["", "Please ", "Can you ", "Could you ", "I want to ", "I need to ", "We have to ", "Help me ", "Would you ", "Now ", "I would like to ", "You can "],
    "{action} ", ["the ", "a ", "this ", "my ", "our ", "one ", "that "], "{entity}", [" with ", ": ", ", ", " using ", " - ", " where "], "{args}", [".", "", ", please.", "!", ". Thanks."]),
    Pool("tool-requests", [
    "{Action} the {entity} with {args}.", "Please {action} a {entity}: {args}.", "{Action} {entity}: {args}", "I want to {action} a {entity} with {args}.",
    "Can you {action} the {entity} with {args}?", "Could you {action} a {entity}? {args}.", "{Action} a {entity} for me, {args}.", "Would you {action} the {entity} ({args})?",
    "We need to {action} a {entity} ({args}).", "I would like to {action} the {entity}, {args}.", "Help me {action} a {entity}: {args}.", "{Action} that {entity}, {args}, please.",
    "Now {action} the {entity}: {args}", "For the {entity}: {action} it with {args}.", "Go ahead and {action} a {entity} with {args}.", "Can you please {action} the {entity} with {args}?"], 0.15))
ARGUMENTS = Mixed(Grammar("arguments", ["{label}", "the {label}", "its {label}"], [" ", ": ", " = ", " is ", " - ", "="], "{value}"),
                  Pool("tool-arguments", ["{label} {value}", "{label}: {value}", "the {label} is {value}", "{label} = {value}", "{value} as the {label}", "the {label} {value}", "{label} set to {value}",
                                    "the {label} should be {value}", "{label} - {value}", "with the {label} {value}", "{label} is {value}"], 0.15))
SYSTEMS = Pool("tool-systems", [
    "You are a helpful assistant with tools.", "Use the functions when they help.", "You are Arc, a small assistant that can call functions.",
    "Call a function when the user asks for what it does. Otherwise answer yourself.", "You work for a company's help desk.", "Answer briefly.",
    "You control a house and a calendar.", "Pick the right function.", "You are an agent. Use your tools."])
DONE = Pool("tool-done", ["Done. {facts}", "It is done. {facts}", "That worked. {facts}", "{facts}"])
FAILED = Pool("tool-failed", ["That did not work: {error}.", "The function reported an error: {error}.", "Sorry, this failed: {error}."])
ERRORS = Pool("tool-errors", ["not found", "permission denied", "service unavailable", "invalid date", "timeout", "unknown id", "quota exceeded", "no connection"])
REFUSALS = Pool("tool-refusals", ["None of my functions can do that.", "I have no function for that."])
UNRELATED = Pool("tool-unrelated", [
    "Paint my fence green.", "Water my plants.", "Wash the car.", "Fold the laundry.", "Cut my hair.", "Open the window behind me.", "Walk the dog.",
    "Fix the roof.", "Bring me a glass of water.", "Peel the oranges.", "Sweep the floor.", "Feed the cat.", "Carry the boxes upstairs.", "Iron my shirt.",
    "Tie my shoes.", "Bake a cake.", "Mow the lawn.", "Clean the windows.", "Scratch my back.", "Polish the silver.", "Change the light bulb.", "Make the bed.",
    "Sharpen my pencils.", "Sew on a button.", "Do the dishes.", "Build a sandcastle with me.", "Hold my umbrella.", "Knit me a sweater."], 0.2)
GREETINGS = {"Hello!": "Hello! What can I do for you?", "Thank you!": "You are welcome.", "Thanks, that is all.": "You are welcome.", "Hi": "Hello! What can I do for you?"}


class Tool:
    """A declared function together with the means to ask for it."""

    def __init__(self, name, description, parameters, required, made_of):
        self.name, self.parameters, self.required = name, parameters, required
        self.made_of = made_of  # action and entity, or the name before it was changed
        properties = {key: {"type": json_type, "description": text} for key, (json_type, text) in parameters.items()}
        self.declaration = {"type": "function", "function": {"name": name, "description": description, "parameters": {
            "type": "object", "properties": properties, "required": required}}}


def argument(rng, split, kind):
    match kind:
        case "small": return rng.randint(1, 60)
        case "small2": return rng.randint(1, 9)
        case "year": return rng.randint(1950, 2029)
        case "city2": return draw_value(rng, split, "city")
        case "noun": return pools.NOUNS.draw(rng, split)
        case "currency" | "currency2": return rng.choice(EXTRA["currency"])
        case "language": return rng.choice(EXTRA["language"])
        case "topic": return draw_value(rng, split, rng.choice(("noun", "food", "animal", "city", "thing", "person")))
        case "name": return rng.choice((pools.FIRST_NAMES, pools.NOUNS, pools.CITIES)).draw(rng, split).capitalize()
        case "username": return f"{pools.FIRST_NAMES.draw(rng, split).lower()}{rng.choice(('', rng.randint(1, 99)))}"
        case "host": return f"{rng.choice(('web', 'db', 'mail', 'app', pools.NOUNS.draw(rng, split)))}{rng.choice(('', '-'))}{rng.randint(1, 99)}"
        case "file": return f"{pools.NOUNS.draw(rng, split)}.{rng.choice(PATH_ENDS)}"
        case "path":
            folders = "/".join(pools.NOUNS.draw(rng, split) for _ in range(rng.randint(1, 2)))
            return f"{rng.choice(('/', '', '/home/'))}{folders}.{rng.choice(PATH_ENDS)}"
    return LISTS[kind].draw(rng, split) if kind in LISTS else draw_value(rng, split, kind)


def json_type(kind):
    return {"count": "integer", "small": "integer", "small2": "integer", "year": "integer", "price": "number", "bool": "boolean"}.get(kind, "string")


def natural_tool(rng, split):
    """(tool, request, arguments, result)"""
    name = first_name = NATURAL_NAMES.draw(rng, split)
    description, parameters, requests, results = NATURAL[name]
    arguments = {key.rstrip("?"): argument(rng, split, kind) for key, (kind, _) in parameters.items()}
    if split == "held":
        requests = [request for request in requests if names_tool(request, name, description)] or requests
    text = rng.choice(requests).format(**{key: say(value) for key, value in arguments.items()})
    for key, (kind, _) in parameters.items():
        if key.endswith("?"):
            if rng.random() < 0.5:
                del arguments[key[:-1]]
            else:
                text += f" {key[:-1].capitalize()}: {arguments[key[:-1]]}."
    text, arguments = spoken(rng, text, arguments)
    keys = {key.rstrip("?"): key.rstrip("?") for key in parameters}
    if split == "train" and rng.random() < 0.4:
        name = renamed(rng, name)
        name = camel(name) if rng.random() < 0.15 else name
        keys = {key: key + rng.choice(KEY_ENDS) if rng.random() < 0.3 else key for key in keys}
    tool = Tool(name, description, {keys[key.rstrip("?")]: (json_type(kind), about) for key, (kind, about) in parameters.items()},
                [keys[key] for key in parameters if not key.endswith("?")], (first_name,))
    arguments = {keys[key]: value for key, value in arguments.items()}
    return tool, text, arguments, {key: argument(rng, split, kind) for key, kind in results.items()}


def names_tool(request, name, description):
    """Whether a request has a word of the tool's name or description, so that one who never saw the tool can choose it."""
    stems = lambda text: {word[:4] for word in re.findall("[a-z]{3,}", text.lower())} - {"the", "for", "and", "what", "you", "with"}
    return bool(stems(re.sub("{.*?}", "", request)) & stems(f"{name.replace('_', ' ')} {description}"))


def spoken(rng, text, arguments):
    """Sometimes the request says a date in words while the call needs it as YYYY-MM-DD."""
    for value in arguments.values():
        if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value) and rng.random() < 0.15:
            text = text.replace(value, pools.spoken_date(value))
    return text, arguments


# Other names for the same: a tool's name and keys are to be read from the list, not made up from the request or remembered.
OTHER_VERBS = {"get": "fetch read load query lookup retrieve", "find": "lookup query locate search_for", "search": "lookup query scan find_all", "set": "change adjust update put",
               "create": "make insert new generate_new", "add": "insert append put attach", "delete": "remove erase drop", "send": "post submit deliver dispatch", "book": "reserve arrange",
               "start": "launch run begin", "stop": "halt end", "cancel": "revoke drop undo", "check": "verify inspect test", "list": "enumerate index all", "show": "display view render",
               "update": "modify edit patch", "open": "unseal enter", "close": "shut finish", "play": "run stream", "rent": "hire lease", "read": "load view cat", "write": "store put dump"}
OTHER_ENDS = ["_tool", "_v2", "_info", "_api", "_now", "_service", "_action", "_fn", "_2", "_request"]
OTHER_HEADS = ["do_", "app_", "my_", "api_", "user_", "run_", "call_", "x_"]
KEY_ENDS = ["_name", "_value", "_arg", "_text", "_in", "_1", "_field", "_param"]


def camel(name):
    head, *rest = name.split("_")
    return head + "".join(map(str.capitalize, rest))


def renamed(rng, name):
    verb, _, rest = name.partition("_")
    draw = rng.random()
    if draw < 0.45 and verb in OTHER_VERBS:
        other = f"{rng.choice(OTHER_VERBS[verb].split())}_{rest}"
    elif draw < 0.75:
        other = name + rng.choice(OTHER_ENDS)
    else:
        other = rng.choice(OTHER_HEADS) + name
    return name if other in NATURAL else other


def function_name(rng, split, action, entity):
    name = f"{action}_{entity}" if rng.random() < 0.85 or split == "held" else f"{entity}_{action}"
    if split == "train" and rng.random() < 0.3:
        name = renamed(rng, name)
    name = camel(name) if rng.random() < 0.15 else name
    return f"{name}_item" if name in NATURAL else name


def themed_fields(rng, split, entity, n):
    """n fields that fit the entity; of a held-out tool's, half have held-out labels where the theme has such."""
    labels = BY_ENTITY[entity]
    known = [label for label in labels if label in PARAMETERS.parts["train"]]
    new = [label for label in labels if label in PARAMETERS.parts["held"]] if split == "held" else []
    chosen = []
    while len(chosen) < n:
        label = rng.choice(new if new and rng.random() < 0.5 else known)
        chosen += [label] if label not in chosen else []
    return [Field(labels[label], label, argument(rng, split, labels[label])) for label in chosen]


def composed_tool(rng, split, action=None, entity=None):
    """(tool, request, arguments, result) of an action on an entity, with typed parameters that fit it; a part of training's have any."""
    odd = split == "train" and rng.random() < 0.3
    if not entity:
        entity = (pools.made_up_word, pools.NOUNS.draw)[rng.randrange(2)](rng, split) if odd and rng.random() < 0.5 else ENTITIES.draw(rng, split)
    action = action or ACTIONS.draw(rng, "train" if split == "held" and rng.random() < 0.7 else split)
    n = rng.choice((1, 1, 2, 2, 3, 3, 4))
    fields = draw_fields(rng, split, n) if odd or entity not in BY_ENTITY else themed_fields(rng, split, entity, n)
    required = [field.key for field in fields[: rng.randint(1, len(fields))]]
    said = fields if rng.random() < 0.8 else [field for field in fields if field.key in required]
    parameters = {field.key: (json_type(field.kind), f"{field.label} of the {entity}") for field in fields}
    tool = Tool(function_name(rng, split, action, entity), with_article(f"{action.capitalize()} a {entity}"), parameters, required, (action, entity))
    form = ARGUMENTS.draw(rng, split)
    args = [form.format(label=field.label, value=field.text()) for field in (said if rng.random() < 0.5 else rng.sample(said, len(said)))]
    text = phrasing.capital(REQUESTS.draw(rng, split).format(action=action, Action=action.capitalize(), entity=entity, args="{args}"))
    text = with_article(text).replace("{args}", ", ".join(args[:-1]) + " and " + args[-1] if len(args) > 1 else args[0])
    arguments = {field.key: field.value for field in fields if field in said}
    text, arguments = spoken(rng, text, arguments)
    result = {field.key: field.value for field in draw_fields(rng, split, rng.randint(1, 3))}
    return tool, text, arguments, result


def with_article(text):
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)


def any_tool(rng, split):
    return natural_tool(rng, split) if rng.random() < 0.5 else composed_tool(rng, split)


def same_name(tool):
    """Equal for exportContract, contract_export and do_export_contract, which one list must not hold together."""
    return "".join(sorted("".join(tool.made_of).lower().replace("_", "")))


def different_tools(rng, split, n):
    found = {}
    while len(found) < n:
        made = any_tool(rng, split)
        found.setdefault(same_name(made[0]), made)
    return list(found.values())


def tool_list(rng, split, chosen):
    """The chosen tools among others: some share the action or the entity with a chosen one."""
    tools = {same_name(tool): tool for tool in chosen}
    for _ in range(rng.choice((0, 1, 2, 3, 4, 5))):
        tool = any_tool(rng, split)[0]
        made_of = rng.choice(chosen).made_of
        if len(made_of) == 2 and rng.random() < 0.4:
            action, entity = made_of
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
    chosen = different_tools(rng, split, 2 if rng.random() < 0.08 else 1)
    tools = tool_list(rng, split, [tool for tool, *_ in chosen])
    if rng.random() < 0.06:
        question, answer = rng.choice([(UNRELATED.draw(rng, split), REFUSALS.draw(rng, "train")), *GREETINGS.items()])
        return Dialogue(with_system(rng, split, [user(question), assistant(answer)]), tools=tools)
    answer = calls(*[call(tool.name, ordered(tool, arguments)) for tool, _, arguments, _ in chosen])
    text = chosen[0][1] if len(chosen) == 1 else f"{chosen[0][1]} {rng.choice(('And', 'Also:', 'Then:'))} {chosen[1][1]}"
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
    chosen = different_tools(rng, split, rng.randint(2, 6))
    messages = []
    for tool, *rest in chosen:
        if rng.random() < 0.15:
            question, answer = rng.choice(list(GREETINGS.items()))
            messages += [user(question), assistant(answer)]
        messages += exchange(rng, split, tool, *rest)[0]
    return Dialogue(with_system(rng, split, messages), tools=tool_list(rng, split, [tool for tool, *_ in chosen]), check="contains")
