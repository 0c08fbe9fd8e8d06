"""More kinds of records for the second stage of training: fields by name and kind, and texts that say them. None is in a held-out set."""

RECORDS = {
    "sale": ({"seller": "person", "buyer": "person", "item": "thing", "price": "price"}, [
        "{seller} sold the {item} to {buyer} for {price}.", "{buyer} bought the {item} from {seller}; it cost {price} euros.", "For {price} dollars, {buyer} got the {item} that {seller} had offered.",
        "The {item} went from {seller} to {buyer} at a price of {price}.", "Buyer {buyer} paid {price} to seller {seller}. It is about a {item}."]),
    "letter": ({"from": "person", "to": "person", "subject": "phrase", "date": "date"}, [
        'On {date} {from} wrote to {to} about "{subject}".', 'From: {from}. To: {to}. Subject: "{subject}". Date: {date}.', '{to} got a letter from {from} with the subject "{subject}", dated {date}.',
        '{from} sent {to} a letter on {date}; it is called "{subject}".', '"{subject}" is what {from} wrote to {to} ({date}).']),
    "lease": ({"landlord": "person", "tenant": "person", "rent": "money", "start": "date"}, [
        "{landlord} lets the flat to {tenant} for {rent} from {start}.", "From {start}, {tenant} pays {rent} to the landlord {landlord}.", "The tenant {tenant} moves in on {start}. Rent {rent}, landlord {landlord}.",
        "{tenant} rents from {landlord}, {rent} a month, beginning {start}.", "Starting {start}: {rent} from {tenant} to {landlord}."]),
    "bus": ({"line": "code", "start": "city", "end": "city2", "stops": "small"}, [
        "The bus {line} runs from {start} to {end} with {stops} stops.", "Line {line}: {start} to {end}, {stops} stops.", "Between {start} and {end} the bus {line} stops {stops} times.",
        "Take the {line} in {start}; after {stops} stops you are in {end}.", "{line} starts in {start}, ends in {end} and has {stops} stops."]),
    "interview": ({"candidate": "person", "position": "job", "interviewer": "person", "time": "time"}, [
        "{interviewer} talks with {candidate} about the position of {position} at {time}.", "At {time}, {candidate}, who wants to be a {position}, meets {interviewer}.", "Candidate {candidate} ({position}) sees interviewer {interviewer}, {time}.",
        "The interview of {candidate} for {position} is at {time}; {interviewer} leads it.", "{candidate} applies as a {position}. Interview at {time} with {interviewer}."]),
    "call": ({"caller": "person", "callee": "person", "minutes": "small", "time": "time"}, [
        "{caller} called {callee} at {time} and talked for {minutes} minutes.", "At {time} {callee} took a call from {caller} that lasted {minutes} minutes.", "Call by {caller} to {callee}, {time}, {minutes} min.",
        "{minutes} minutes on the phone: {caller} rang {callee} at {time}.", "The caller {caller} reached {callee} at {time}. Length: {minutes} minutes."]),
    "parcel": ({"tracking": "code", "sender": "company", "receiver": "person", "weight": "small"}, [
        "Parcel {tracking} from {sender} for {receiver} weighs {weight} kilos.", "{receiver} waits for {tracking}, {weight} kg, sent by {sender}.", "{sender} shipped {weight} kg to {receiver} under {tracking}.",
        "With the tracking {tracking} a parcel of {weight} kg goes from {sender} to {receiver}.", "{tracking}: {sender} to {receiver}, {weight} kg."]),
    "farm": ({"farmer": "person", "crop": "food", "area": "count", "village": "city"}, [
        "{farmer} grows {crop} on {area} hectares near {village}.", "Near {village}, {farmer} has {area} hectares of {crop}.", "{area} hectares of {crop} belong to {farmer} of {village}.",
        "The farmer {farmer} in {village} plants {crop}; the area is {area} hectares.", "{village}: {farmer}, {crop}, {area} ha."]),
    "song": ({"song": "title", "singer": "person", "seconds": "count", "album": "title"}, [
        "{singer} sings {song} on the album {album}; it lasts {seconds} seconds.", "{song} ({seconds} seconds) is by {singer}, from {album}.", "On {album} you hear {singer} with {song}, {seconds} seconds long.",
        "The song {song} of the album {album} takes {seconds} seconds; the singer is {singer}.", "Singer: {singer}. Song: {song}. Album: {album}. Seconds: {seconds}."]),
    "tree": ({"tree": "noun", "height": "small", "age": "age", "park": "city"}, [
        "In the park of {park} stands a {tree} of {height} meters that is {age} years old.", "The {tree} in {park} is {height} meters high and {age} years old.", "{age} years old and {height} meters tall: the {tree} of {park}.",
        "{park} has a {tree}; age {age}, height {height}.", "At {age} years, the {tree} in {park} has a height of {height} meters."]),
    "theft": ({"owner": "person", "item": "thing", "place": "city", "value": "money"}, [
        "The {item} of {owner} was stolen in {place}; it was worth {value}.", "In {place} someone took a {item} worth {value} from {owner}.", "{owner} misses the {item} ({value}) since the visit to {place}.",
        "Stolen: {item}, owner {owner}, value {value}, place {place}.", "Worth {value}, the {item} that belonged to {owner} vanished in {place}."]),
    "exam": ({"pupil": "person", "subject": "subject", "points": "small", "examiner": "person"}, [
        "{examiner} gave {pupil} {points} points in {subject}.", "In the {subject} exam, {pupil} earned {points} points from {examiner}.", "{pupil} took {subject} with {examiner} and got {points} points.",
        "{subject}: {pupil} {points} points, examiner {examiner}.", "The examiner {examiner} writes that the pupil {pupil} has {points} points in {subject}."]),
    "concert": ({"band": "name", "city": "city", "date": "date", "price": "price"}, [
        "The band {band} plays in {city} on {date}; a seat costs {price}.", "On {date} you can hear {band} in {city} for {price} euros.", "{city}, {date}: {band}, {price} euros.",
        "{band} comes to {city}. Date: {date}. Price: {price}.", "For {price} you see {band} in {city} on {date}."]),
    "tenant_fault": ({"flat": "room", "tenant": "person", "fault": "fault", "plumber": "person"}, [
        "In flat {flat}, {tenant} reports a {fault}; {plumber} will repair it.", "{plumber} goes to {tenant} in {flat} because of a {fault}.", "There is a {fault} in {flat}, where {tenant} lives. The plumber is {plumber}.",
        "Flat {flat}: {fault}. Tenant: {tenant}. Plumber: {plumber}.", "The {fault} in the flat {flat} of {tenant} is a job for {plumber}."]),
    "bet": ({"player": "person", "game": "subject", "stake": "money", "won": "bool"}, [
        "{player} put {stake} on {game}; won: {won}.", "With a stake of {stake}, {player} played {game}. Won: {won}.", "{player}, {game}, stake {stake}, won {won}.", "Won? {won}. {player} had {stake} on {game}."]),
    "membership": ({"member": "person", "number": "code", "club": "name", "since": "year"}, [
        "{member} has been in the club {club} since {since} with the number {number}.", "Member {member} of {club}, number {number}, since {since}.", "In {since}, {member} joined {club} and got the number {number}.",
        "Number {number} at {club} is {member}, a member since {since}.", "The club {club} welcomed {member} ({number}) in {since}."]),
    "library_card": ({"reader": "person", "card": "code", "books": "small2", "fee": "price"}, [
        "{reader} with card {card} has {books} books and owes {fee}.", "Card {card}: {reader}, {books} books, fee {fee}.", "The reader {reader} must pay {fee} for {books} books; the card is {card}.",
        "{books} books were lent to {reader} on card {card}. Fee: {fee}."]),
    "project": ({"project": "name", "leader": "person", "budget": "money", "end": "date"}, [
        "Project {project} is led by {leader}, has a budget of {budget} and ends on {end}.", "{leader} leads {project} until {end} with {budget}.", "By {end}, {leader} must finish {project}; {budget} may be spent.",
        "The leader of {project} is {leader}. Budget {budget}, end {end}.", "{budget} for {project} ({leader}), to be done by {end}."]),
    "journey": ({"traveler": "person", "origin": "city", "goal": "city2", "day": "date"}, [
        "{traveler} travels from {origin} to {goal} on {day}.", "On {day}, {traveler} leaves {origin} and goes to {goal}.", "{traveler} will be in {goal} on {day}, coming from {origin}.",
        "A journey of {traveler}: {origin} to {goal}, {day}.", "From {origin}, {traveler} sets out for {goal} on {day}."]),
    "trade": ({"exporter": "country", "goods": "food", "tons": "count", "year": "year"}, [
        "In {year}, {exporter} exported {tons} tons of {goods}.", "{exporter} sold {tons} tons of {goods} abroad in {year}.", "{tons} tons of {goods} came from {exporter} in {year}.", "{year}: {exporter}, {goods}, {tons} tons."]),
    "medicine": ({"patient": "person", "medicine": "name", "dose": "small2", "doctor": "person"}, [
        "{doctor} prescribed {dose} pills of {medicine} a day to {patient}.", "{patient} takes {dose} pills of {medicine}, as doctor {doctor} said.", "Patient {patient}, medicine {medicine}, dose {dose}, doctor {doctor}.",
        "For {patient}: {medicine}, {dose} a day. Signed {doctor}.", "Doctor {doctor} wants {patient} to take {medicine} {dose} times a day."]),
    "auction": ({"lot": "small", "object": "thing", "bidder": "person", "bid": "money"}, [
        "Lot {lot}, a {object}, goes to {bidder} for {bid}.", "{bidder} bid {bid} for lot {lot}, the {object}.", "The {object} (lot {lot}) was sold to {bidder} at {bid}.", "With a bid of {bid}, {bidder} gets lot {lot}: the {object}.",
        "Lot: {lot}. Object: {object}. Bidder: {bidder}. Bid: {bid}."]),
    "shift": ({"worker": "person", "begin": "time", "end": "time", "department": "department"}, [
        "{worker} works in {department} from {begin} to {end}.", "The shift of {worker} in {department} begins at {begin} and ends at {end}.", "{begin} to {end}: {worker}, {department}.",
        "In {department}, {worker} starts at {begin} and goes home at {end}.", "From {begin} until {end} {worker} is in the {department} department."]),
    "promotion": ({"employee": "person", "old_job": "job", "new_job": "job", "company": "company"}, [
        "{employee} of {company} was a {old_job} and is now a {new_job}.", "At {company}, {employee} went from {old_job} to {new_job}.", "Before, {employee} was a {old_job} at {company}; now {employee} is a {new_job}.",
        "{company} made the {old_job} {employee} a {new_job}.", "{employee}: {old_job} before, {new_job} now, at {company}."]),
    "move": ({"resident": "person", "old_city": "city", "new_city": "city2", "year": "year"}, [
        "{resident} moved from {old_city} to {new_city} in {year}.", "In {year}, {resident} left {old_city} for {new_city}.", "Since {year} {resident} lives in {new_city}; before that it was {old_city}.",
        "{resident}, formerly of {old_city}, came to {new_city} in {year}.", "Old city {old_city}, new city {new_city}: {resident}, {year}."]),
    "pet_visit": ({"pet": "first", "species": "animal", "vet": "person", "weight": "small"}, [
        "{vet} saw the {species} {pet}, which weighs {weight} kg.", "The {species} {pet} ({weight} kg) was with the vet {vet}.", "{pet} is a {species} of {weight} kilos; the vet is {vet}.", "Vet {vet} weighed {pet}, a {species}: {weight} kg."]),
    "survey": ({"village": "city", "people": "count", "houses": "count", "mayor": "person"}, [
        "{village} has {people} people, {houses} houses and the mayor {mayor}.", "{mayor} is the mayor of {village}, where {people} people live in {houses} houses.", "In {village}, {houses} houses stand and {people} people live. Mayor: {mayor}.",
        "The mayor of {village}, {mayor}, counts {people} people and {houses} houses.", "{people} people and {houses} houses: that is {village} under {mayor}."]),
    "recipe_step": ({"cook": "person", "first": "food", "second": "food", "minutes": "small"}, [
        "{cook} mixes {first} with {second} for {minutes} minutes.", "First take {first}, second {second}, says {cook}; cook it for {minutes} minutes.", "After {minutes} minutes, {first} and {second} are done ({cook}).",
        "{cook} uses {first} first and {second} second. Time: {minutes} minutes."]),
    "crew": ({"boat": "name", "skipper": "person", "mate": "person", "harbor": "city"}, [
        "The boat {boat} with skipper {skipper} and mate {mate} is in {harbor}.", "{skipper} steers the {boat} out of {harbor}; {mate} helps.", "Skipper {skipper} and mate {mate} left {harbor} on the {boat}.",
        "{boat}: skipper {skipper}, mate {mate}, harbor {harbor}.", "In {harbor} lies {boat}. {skipper} is the skipper, {mate} the mate."]),
    "loan_money": ({"lender": "person", "borrower": "person", "sum": "money", "due": "date"}, [
        "{lender} lent {sum} to {borrower} until {due}.", "{borrower} owes {lender} {sum}, due on {due}.", "By {due}, {borrower} has to give {sum} back to {lender}.", "{borrower} borrowed {sum} from {lender}; it is due {due}.",
        "Lender {lender}, borrower {borrower}, sum {sum}, due {due}."]),
    "prize": ({"winner": "person", "prize": "name", "field": "subject", "year": "year"}, [
        "{winner} won the {prize} prize for {field} in {year}.", "The {prize} prize of {year} went to {winner} for {field}.", "For work in {field}, {winner} got the {prize} prize in {year}.", "In {year} the {field} prize {prize} was given to {winner}.",
        "{year}, {prize} prize, {field}: {winner}."]),
    "ticket": ({"passenger": "person", "seat": "room", "train": "code", "price": "price"}, [
        "{passenger} sits on seat {seat} of train {train} and paid {price}.", "Seat {seat} in {train} is for {passenger} ({price} euros).", "For {price}, {passenger} travels with {train}, seat {seat}.",
        "Train {train}: passenger {passenger}, seat {seat}, price {price}.", "The ticket of {passenger} for {train} cost {price}; the seat is {seat}."]),
    "storage": ({"item": "thing", "shelf": "room", "amount": "count", "keeper": "person"}, [
        "{amount} pieces of the {item} lie on shelf {shelf}; {keeper} looks after them.", "On shelf {shelf} {keeper} keeps {amount} of the {item}.", "The {item} is on {shelf}, amount {amount}, keeper {keeper}.",
        "{keeper} put {amount} x {item} on shelf {shelf}.", "Shelf {shelf}: {item}, {amount}, {keeper}."]),
    "bug": ({"reporter": "person", "component": "noun", "severity": "level", "version": "small"}, [
        "{reporter} found a bug of {severity} severity in the {component}, version {version}.", "The {component} of version {version} has a {severity} bug, says {reporter}.", "Bug in {component} (version {version}), severity {severity}, by {reporter}.",
        "{reporter} reports: {component}, version {version}, severity {severity}.", "In version {version}, the {component} fails. Severity: {severity}. Reporter: {reporter}."]),
    "meal": ({"guest": "person", "starter": "food", "main": "food", "table": "small"}, [
        "{guest} at table {table} has {starter} as a starter and {main} as the main dish.", "Table {table}: {guest} starts with {starter} and then eats {main}.", "First {starter}, then {main}, for {guest} at table {table}.",
        "{guest} ordered {starter} to start and {main} as main. Table {table}."]),
    "rain": ({"place": "city", "amount": "small", "month": "month", "year": "year"}, [
        "In {month} {year} {place} had {amount} millimeters of rain.", "{amount} millimeters fell on {place} in {month} of {year}.", "{place}: {amount} mm in {month} {year}.", "The rain in {place} in {month} {year} came to {amount} millimeters."]),
    "museum_loan": ({"work": "title", "lender": "city", "museum": "city2", "until": "date"}, [
        "{work} was lent by {lender} to the museum in {museum} until {until}.", "Until {until}, the museum of {museum} shows {work}, which belongs to {lender}.", "{lender} lends {work} to {museum}; it comes back on {until}.",
        "In {museum} you can see {work} from {lender} until {until}."]),
    "key": ({"key": "code", "door": "room", "holder": "person", "given": "date"}, [
        "Key {key} for door {door} was given to {holder} on {given}.", "{holder} holds the key {key} to {door} since {given}.", "On {given}, {holder} got {key}, which opens {door}.", "Door {door}, key {key}: {holder}, {given}.",
        "{holder} signed for {key} (door {door}) on {given}."]),
    "newspaper": ({"paper": "name", "editor": "person", "copies": "count", "city": "city"}, [
        "The newspaper {paper} of {city} prints {copies} copies; {editor} is the editor.", "{editor} makes {paper} in {city}, {copies} copies a day.", "{copies} copies of {paper} are sold in {city}. Editor: {editor}.", "In {city}, {editor} edits {paper} ({copies} copies)."]),
    "duel": ({"white": "person", "black": "person", "moves": "small", "event": "event"}, [
        "{white} beat {black} in {moves} moves at the {event}.", "At the {event}, {white} had white and {black} black; it took {moves} moves.", "After {moves} moves {black} (black) gave up against {white} (white) at the {event}.",
        "White: {white}. Black: {black}. Moves: {moves}. Event: {event}.", "The {event} saw {white} with white against {black}, {moves} moves."]),
    "phone_plan": ({"customer": "person", "plan": "plan", "minutes": "count", "phone": "code"}, [
        "{customer} has the {plan} plan with {minutes} minutes for the phone {phone}.", "The {plan} plan of {customer} ({phone}) holds {minutes} minutes.", "{customer}, phone {phone}: {plan}, {minutes} minutes.", "Phone {phone} of {customer} uses {minutes} minutes of the {plan} plan."]),
    "hike": ({"hiker": "person", "start": "city", "goal": "city2", "hours": "small2"}, [
        "{hiker} walked {hours} hours from {start} to {goal}.", "From {start} {hiker} reached {goal} in {hours} hours.", "It took {hiker} {hours} hours to get to {goal} from {start}.", "{start} to {goal} on foot: {hiker}, {hours} hours."]),
    "contract": ({"contract": "code", "client": "company", "supplier": "company", "ends": "date"}, [
        "Contract {contract} between the client {client} and the supplier {supplier} ends on {ends}.", "{supplier} delivers to {client} under {contract} until {ends}.", "{client} signed {contract} with {supplier}; it runs until {ends}.",
        "Client: {client}, supplier: {supplier}, contract {contract}, ends {ends}.", "On {ends} the contract {contract} that {client} has with the supplier {supplier} is over."]),
    "temperature_range": ({"city": "city", "low": "small2", "high": "small", "date": "date"}, [
        "On {date} it was between {low} and {high} degrees in {city}.", "{city}, {date}: low {low}, high {high}.", "The low in {city} on {date} is {low} degrees, the high {high}.", "In {city} the thermometer went from {low} up to {high} degrees on {date}."]),
    "vacancy": ({"employer": "company", "contact": "person", "email": "email", "hours": "small"}, [
        "{employer} needs someone for {hours} hours a week; ask {contact} at {email}.", "Write to {contact} ({email}) if you want to work {hours} hours for {employer}.", "{hours} hours a week at {employer}. Contact: {contact}, {email}.",
        "For a job of {hours} hours at {employer}, {contact} can be reached under {email}."]),
    "inspection": ({"inspector": "person", "building": "place", "date": "date", "passed": "bool"}, [
        "{inspector} looked at the {building} on {date}; passed: {passed}.", "On {date} the {building} was inspected by {inspector}. Passed: {passed}.", "{building}, {date}, inspector {inspector}, passed {passed}.", "Passed: {passed}. The {building} was seen by {inspector} on {date}."]),
    "scholarship": ({"student": "person", "university": "city", "field": "subject", "amount": "money"}, [
        "{student} gets {amount} to study {field} in {university}.", "The university of {university} pays {student} {amount} for {field}.", "With {amount}, {student} can study {field} at the university of {university}.", "{field} in {university}: {student} receives {amount}."]),
    "birth": ({"child": "first", "mother": "person", "father": "person", "weight": "count"}, [
        "{child}, the child of {mother} and {father}, weighed {weight} grams.", "{mother} and {father} are the mother and the father of {child} ({weight} grams).", "Mother {mother} and father {father} have a child, {child}, of {weight} grams.",
        "{child} was born to {mother}; the father is {father}. Weight: {weight} grams."]),
    "code_change": ({"author": "person", "reviewer": "person", "file": "noun", "lines": "small"}, [
        "{author} changed {lines} lines of {file}; {reviewer} reviewed it.", "{reviewer} read the {lines} lines that {author} wrote in {file}.", "In {file}, {lines} lines by {author} were approved by {reviewer}.", "File {file}: author {author}, reviewer {reviewer}, {lines} lines."]),
    "debate": ({"topic": "noun", "pro": "person", "contra": "person", "hall": "room"}, [
        "In hall {hall} {pro} speaks for the {topic} and {contra} against it.", "{contra} is against the {topic}, {pro} is for it; the debate is in {hall}.", "The {topic}: pro {pro}, contra {contra}, hall {hall}.", "About the {topic}, {pro} (pro) and {contra} (contra) talk in {hall}."]),
}
