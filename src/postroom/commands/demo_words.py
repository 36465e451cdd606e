"""What is said in the demo workspace."""

from __future__ import annotations

from dataclasses import dataclass

OLGA = "olga@demo.example"
ANA = "ana@demo.example"
BEN = ("Ben Ortiz", "ben@example.org")
CARLA = ("Carla Stan", "carla@example.com")
MIHAI = ("Mihai Radu", "bounce-5.1.1@libraria.example")
ELENA = ("Elena Dinu", "elena@cafecentral.example")
TOMAS = ("Tomás Vidal", "greylist-1@hotelmarina.example")

File = tuple[str, str, bytes]


@dataclass(frozen=True, slots=True)
class Line:
    """Something said by `author` (an address)."""

    author: str
    text: str
    subject: str = ""
    is_note: bool = False
    files: tuple[File, ...] = ()


@dataclass(frozen=True, slots=True)
class Scene:
    """A record, who follows it and what is said on it."""

    model: str
    external_id: str
    title: str
    responsible: str
    followers: tuple[tuple[str, str], ...]
    lines: tuple[Line, ...]


_DELIVERY_NOTE = b"""Casa Verde, delivery note 2026-118
Order SO042

 40  desk lamp, brass        21.50
  4  lampshade, spare         6.00

Arrives on Thursday between 9 and 12.
"""

SCENES = (
    Scene(
        "sale.order",
        "SO042",
        "SO042 Forty desk lamps for Librăria Veche",
        ANA,
        (BEN, MIHAI, CARLA),
        (
            Line(
                ANA,
                "Good morning,\n\nyour lamps leave our workshop today and arrive on Thursday "
                "between 9 and 12. The delivery note is attached.\n\nKind regards\nAna",
                subject="Your lamps arrive on Thursday",
                files=(("delivery-note-2026-118.txt", "text/plain", _DELIVERY_NOTE),),
            ),
            Line(
                ANA,
                "Mihai said on the phone that he has a new address since May. "
                "Ask him if this mail comes back.",
                is_note=True,
            ),
        ),
    ),
    Scene(
        "crm.lead",
        "L-204",
        "Café Central asks for twelve garden tables",
        ANA,
        (ELENA,),
        (
            Line(
                ANA,
                "Dear Elena,\n\nthank you for your call. Twelve round tables in green are in stock; "
                "folding ones take three weeks. Shall I reserve the round ones for you?\n\nAna",
                subject="Twelve garden tables",
            ),
            Line(
                ELENA[1],
                "Yes please, the round ones. We open the terrace on the first of May.\n\nElena",
                subject="Re: Twelve garden tables",
            ),
            Line(ANA, "Reserved until Friday. @Olga: may I give five percent?", is_note=True),
            Line(OLGA, "Five percent is fine if they pay within ten days.", is_note=True),
        ),
    ),
    Scene(
        "account.invoice",
        "INV-2031",
        "Invoice 2031 for Hotel Marina",
        OLGA,
        (TOMAS,),
        (
            Line(
                OLGA,
                "Dear Tomás,\n\nthis is a friendly reminder: invoice 2031 over 1,240.00 was due on Monday. "
                "If you have paid in the meantime, thank you, and please ignore this mail.\n\nOlga Ionescu",
                subject="Reminder: invoice 2031",
            ),
        ),
    ),
    Scene(
        "project.task",
        "T-31",
        "New catalogue for the spring fair",
        OLGA,
        (BEN, CARLA),
        (
            Line(
                OLGA,
                "Hello Ben, hello Carla,\n\nthe photos are ready. Please send me your texts by "
                "Wednesday; twelve lines for each page are enough.\n\nOlga",
                subject="Catalogue: texts by Wednesday",
            ),
            Line(BEN[1], "Mine come tomorrow.\n\nBen", subject="Re: Catalogue: texts by Wednesday"),
        ),
    ),
)

INCOMING = """\
From: Carla Stan <carla@example.com>
To: {to}
Subject: A chair with a loose leg
Date: {date}
Message-ID: <chair-with-a-loose-leg@example.com>
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

Hello,

one of the six chairs that came yesterday has a loose leg. Can you send a
screw, or shall I bring the chair?

Carla Stan
"""
