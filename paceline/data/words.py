"""Words and values for made-up texts: names, places, dates, codes, drawn from short lists or composed of syllables."""

from __future__ import annotations

import string
from collections.abc import Callable
from random import Random

__all__ = [
    "ADJECTIVES",
    "STATES",
    "THINGS",
    "VERBS",
    "clock",
    "code",
    "date",
    "email",
    "people",
    "person",
    "place",
    "syllables",
    "title",
    "whole",
]


def _words(*lines: str) -> list[str]:
    return " ".join(lines).split()


VERBS = _words(
    "book cancel find search create update delete send schedule get list check convert translate calculate order",
    "track reserve transfer open close start stop add remove rename upload download share archive restore approve",
    "reject assign print scan measure compare sort export import query lookup register renew pay refund estimate",
    "predict monitor notify invite play pause",
)
THINGS = _words(
    "hotel flight train car table room ticket meeting event reminder alarm note task invoice order parcel payment",
    "account card loan recipe movie song album book article photo video document folder file report project sprint",
    "issue server database backup sensor lamp thermostat door camera robot drone garden pool gym course lesson exam",
    "student patient doctor appointment prescription sample vehicle trip route map weather forecast stock currency",
    "portfolio contract customer employee shift warehouse shipment supplier product coupon review survey poll channel",
    "message thread playlist podcast wallet token device",
)
ADJECTIVES = _words(
    "new old local remote monthly weekly daily shared private public main spare blue green red quick full partial",
)
STATES = _words(
    "pending active done open closed urgent low high medium small large daily weekly monthly economy business",
    "standard express celsius fahrenheit metric imperial email phone chat pdf csv json png ascending descending",
    "public private",
)
_CITIES = _words(
    "Oslo Lima Paris Rome Madrid Lisbon Vienna Prague Berlin Hamburg Zurich Geneva Milan Turin Athens Cairo Nairobi",
    "Lagos Accra Tokyo Osaka Kyoto Seoul Busan Beijing Shanghai Hanoi Bangkok Delhi Mumbai Chennai Sydney Perth",
    "Auckland Toronto Montreal Boston Chicago Denver Seattle Austin Dallas Miami Atlanta Houston Phoenix Dublin",
    "London Leeds Glasgow Porto Ghent Basel",
)
_CITIES += ["New York", "San Francisco", "Los Angeles", "Cape Town"]
_CITIES += ["Buenos Aires", "Mexico City", "Hong Kong", "Tel Aviv"]
_FIRST = _words(
    "Anna Ben Clara David Elena Felix Grace Hugo Iris Jonas Kira Leo Maria Nils Olga Paul Rosa Sam Tina Uma Victor",
    "Wendy Yara Zoe Ahmed Bianca Carlos Diana Emre Fatima George Hanna Ivan Julia Kenji Laura Mateo Nadia Omar Priya",
    "Ravi Sofia Thomas Lin Wei",
)
_LAST = _words(
    "Smith Jones Brown Miller Garcia Lopez Muller Schmidt Weber Rossi Ferrari Silva Santos Costa Kim Lee Park Chen",
    "Wang Li Zhang Singh Patel Khan Ali Hassan Novak Kowalski Ivanov Petrov Larsen Hansen Berg Lind Virtanen Dubois",
    "Martin Bernard Murphy Walsh",
)
_PLAIN = _words(
    "river stone winter summer quiet golden early morning silver paper market harbour mountain city night little",
    "second final annual budget review plan team update launch design garden story light signal open road first",
    "letter music holiday family strategy customer feedback roadmap quarterly results training welcome party birthday",
    "dinner coffee data model system network",
)
_DOMAINS = _words("example.com mail.org post.net acme.io north.dev webmail.com office.co")


def syllables(rng: Random, low: int = 2, high: int = 3) -> str:
    """A word that does not exist, such as ``velmora``, of ``low`` to ``high`` syllables."""
    consonants, vowels, ends = "bcdfghjklmnprstvwz", "aeiou", "lmnrst" + " " * 8
    parts = [rng.choice(consonants) + rng.choice(vowels) + rng.choice(ends) for _ in range(rng.randint(low, high))]
    return "".join(parts).replace(" ", "")


def code(rng: Random) -> str:
    """An identifier: letters and digits in one of four forms."""
    letters = "".join(rng.choices(string.ascii_uppercase, k=rng.randint(1, 3)))
    digits = "".join(rng.choices(string.digits, k=rng.randint(3, 6)))
    return rng.choice([f"{letters}-{digits}", letters + digits, digits, f"{digits[:3]}-{letters}-{digits[3:] or '7'}"])


def person(rng: Random) -> str:
    """A person's name, in part made up."""
    first = rng.choice(_FIRST) if rng.random() < 0.7 else syllables(rng).capitalize()
    last = rng.choice(_LAST) if rng.random() < 0.6 else syllables(rng).capitalize()
    return rng.choice([first, f"{first} {last}", f"{first} {last}", f"Dr. {last}"])


def people(rng: Random) -> list[str]:
    """One to three names."""
    return [person(rng) for _ in range(rng.randint(1, 3))]


def email(rng: Random) -> str:
    """An address at one of a few invented or reserved domains."""
    name = rng.choice(_FIRST).lower() if rng.random() < 0.6 else syllables(rng)
    return f"{name}{rng.choice(['', '.' + rng.choice(_LAST).lower(), str(rng.randint(1, 99))])}@{rng.choice(_DOMAINS)}"


def date(rng: Random) -> str:
    """A date as YYYY-MM-DD."""
    return f"{rng.randint(2019, 2031)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"


def clock(rng: Random) -> str:
    """A time as HH:MM, mostly on a quarter of an hour."""
    return f"{rng.randint(0, 23):02d}:{rng.choice(['00', '15', '30', '45', f'{rng.randint(0, 59):02d}'])}"


def title(rng: Random) -> str:
    """One to four words, some made up, as a title or the start of a sentence."""
    words = [rng.choice(_PLAIN) if rng.random() < 0.8 else syllables(rng) for _ in range(rng.randint(1, 4))]
    return " ".join(words).capitalize() if rng.random() < 0.5 else " ".join(words).title()


def place(rng: Random) -> str:
    """A city, real or made up."""
    return rng.choice(_CITIES) if rng.random() < 0.7 else syllables(rng).capitalize()


def whole(low: int, high: int) -> Callable[[Random], int]:
    """A draw of whole numbers from ``low`` to ``high``, small ones more often."""
    return lambda rng: rng.randint(low, rng.choice([high, max(low + 1, high // 10)]))
