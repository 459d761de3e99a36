"""A partner's justification file: a template that explains itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from concordat.vocabulary import Aim, Offence, Purpose, SubjectCategory, words

if TYPE_CHECKING:
    from datetime import date

    from concordat.justification import Justification

# Whoever leaves these there has no justification of their own.
_EXAMPLES: Final = {"reference": "IJM-2026-0001", "authority": "Example Mission", "officer": "analyst-1"}
_TEMPLATE: Final = """\
# Why your organisation asks. Without it nothing is asked. Only a hash of it, with a fresh salt, goes out; the file
# stays here, and you answer for it in an audit. Replace every value by that of your case.

# Reference of the case in your own file system.
reference = "{reference}"

# Your organisation, and the pseudonym of the person who answers for the search.
authority = "{authority}"
officer = "{officer}"

# Why: {purposes}
# The agreement says for which of these your organisation may ask; see: concordat partner status
purpose = "investigation"

# What: {offences}
# May be left out only for a missing person or human remains.
offence = "trafficking_in_human_beings"

# Article of the national law, if you want it on record.
# offence_code = "Section 1"

# About whom: {subjects}
subject_category = "victim"

# What the search shall bring: {aims}
aim = "identify"

# Last day of the case. After it nothing is asked any more.
valid_until = {valid_until}
"""


def template(valid_until: date) -> str:
    """Return the text of a new justification that explains itself and that `load_justification` takes."""
    return _TEMPLATE.format(
        **_EXAMPLES,
        purposes=words(Purpose),
        offences=words(Offence),
        subjects=words(SubjectCategory),
        aims=words(Aim),
        valid_until=valid_until.isoformat(),
    )


def left_from_template(justification: Justification) -> tuple[str, ...]:
    """Return the names of the fields that still hold what a new template holds."""
    return tuple(name for name, example in _EXAMPLES.items() if getattr(justification, name) == example)
